//! Backups of real servers' files into a mirror, what disturbs them, and what verify finds.

mod both;
mod crash;
mod crash_power;
mod full;
mod history;
mod increment;
mod power;
mod refuse;
mod support;
mod three;
mod three_crash;
mod three_support;
mod verify;
