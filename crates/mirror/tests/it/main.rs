//! Backups of real servers' files into a mirror, what disturbs them, and what verify finds.

mod both;
mod crash;
mod full;
mod history;
mod increment;
mod refuse;
mod support;
mod verify;
