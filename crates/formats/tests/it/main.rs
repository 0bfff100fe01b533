//! Real servers' files, decoded whole.

mod fixtures;
