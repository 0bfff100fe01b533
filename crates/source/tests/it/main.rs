//! Hot copies of real servers' files, in the states that a live server brings them into.

mod databases;
mod derived;
mod ends;
mod home;
mod increment;
mod log_files;
mod three;
mod three_damage;
mod three_lucene;
