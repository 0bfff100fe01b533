//! The project's own commands: `cargo xtask demo`, `cargo xtask test`, `cargo xtask bench`.

mod bench;
mod demo;
mod demo_3_0;
mod program;
mod test;
mod tidy;

use anyhow::Result;
use clap::Parser;

/// The project's own commands.
#[derive(Parser)]
#[command(name = "cargo xtask")]
enum Xtask {
    /// Back up a live Neo4j, restore it and start what was restored.
    Demo(demo::Options),
    /// Format, lints, tests, documentation and tidy checks: all that CI runs.
    Test(test::Options),
    /// Speed and memory on a real, big database, beside `cp` and `b3sum`.
    Bench(bench::Options),
    /// Checks of the source tree that no compiler makes.
    Tidy,
}

fn main() -> Result<()> {
    match Xtask::parse() {
        Xtask::Demo(options) => demo::run(&options),
        Xtask::Test(options) => test::run(&options),
        Xtask::Bench(options) => bench::run(&options),
        Xtask::Tidy => tidy::run(),
    }
}
