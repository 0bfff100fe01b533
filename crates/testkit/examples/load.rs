//! Runs a server under load and shows the latency: `load [<version> [<seconds> [<schema s>]]]`.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use testkit::load::{Load, LoadOptions};
use testkit::seed::{SeedOptions, seed};
use testkit::server::Server;
use testkit::{verdict, versions};

const STEP: Duration = Duration::from_secs(5);

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or_else(|| versions::V5_26.name.to_owned());
    let version = versions::find(&name).context("no such version")?;
    let seconds: u64 = args.next().map_or(Ok(30), |text| text.parse())?;
    let schema: Option<u64> = args.next().map(|text| text.parse()).transpose()?;

    let mut server = Server::builder(&version).start()?;
    println!("{} started in {:.1?}", server.bolt_uri(), server.started_in());
    seed(&server, &SeedOptions { filler_nodes: 10_000 })?;
    let mut options = LoadOptions::default();
    if let Some(schema) = schema {
        options.schema_every = (schema > 0).then_some(Duration::from_secs(schema));
    }
    let load = Load::start(&server, options)?;
    let history = load.history();
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        let from = Instant::now();
        thread::sleep(STEP);
        println!("{:?}", history.latency(from, Instant::now()));
    }
    println!("{}", load.stop()?);
    let now = Instant::now();
    println!("{}", verdict::examine(&server, &history.expected(now, now)));
    println!("stopped in {:.1?}", server.stop()?);
    Ok(())
}
