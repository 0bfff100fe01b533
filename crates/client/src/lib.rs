//! One conversation with a backup service
