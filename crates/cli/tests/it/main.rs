//! The real executable: spellings, exit codes, JSON, and what it does to files it must not touch.

mod backup;
mod check;
mod check_serve;
mod codes;
mod connect;
mod docs;
mod environment;
mod follow;
mod generate;
mod growing;
mod history;
mod limits;
mod packaging;
mod restore;
mod run;
mod serve;
mod stop;
mod tls;
mod token;
mod usage;
mod v3_0;
