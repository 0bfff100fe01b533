//! Formats against real servers' files, against bytes made by hand from their description, and
//! against damage.

mod chain;
mod facts;
mod fixtures;
mod golden;
mod golden_commands;
mod golden_entries;
mod golden_files;
mod golden_rare_commands;
mod hostile;
mod round_trip;
mod streams;
mod sweep;
mod unknown;
mod v3_0;
mod values;
