//! Neo4j 3.0: against real servers' files, against bytes made by hand from their description, and
//! against damage.

mod check_points;
mod golden;
mod golden_index_commands;
mod hostile;
mod logs;
mod neostore;
mod real;
mod round_trip;
mod store_files;
mod values;
