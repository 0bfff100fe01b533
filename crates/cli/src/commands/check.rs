//! `check`: would a backup work now? Looks, collects, and changes nothing.
//!
//! From a client: everything that a run of `backup` needs, asked of the service and of the target. On
//! the server's host: everything that `serve` needs.

mod certificates;
mod client_side;
mod databases;
mod estimate;
mod findings;
mod policy;
mod retention;
mod rights;
mod service_side;
mod target;

use super::runtime;
use crate::address::Address;
use crate::args::CheckArgs;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::output::{Ended, Output};
use findings::Findings;

const BLOCKING_THREADS: usize = 4;

pub fn run(args: CheckArgs, output: Output) -> Ended {
    let address = match &args.host {
        Some(host) => Some(Address::of_flags(host, args.port).map_err(Failure::usage)?),
        None => None,
    };
    args.protocol.check(&args.tls, args.token_file.as_ref())?;
    let globs = super::backup::choose::Globs::parse(&args.databases)?;
    let findings = runtime::block_on(BLOCKING_THREADS, async {
        let interrupt = Interrupt::listen()?;
        let mut findings = Findings::new(output);
        let look = async {
            match address {
                Some(address) => {
                    client_side::run(&args, &address, &globs, &mut findings).await;
                }
                None => service_side::run(&args, &mut findings).await,
            }
        };
        tokio::select! {
            () = look => {}
            () = interrupt.wait() => return Err(Failure::interrupted()),
        }
        Ok(findings)
    })?;
    findings.end()
}
