//! A client against the real service with a synthetic source, and against hostile servers.

#[path = "../../../service/tests/it/synthetic.rs"]
mod synthetic;

mod captures;
mod changes;
mod copy;
mod endless;
mod hostile;
mod kit;
mod patience;
mod security;
mod v3_0;
