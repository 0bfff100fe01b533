//! `cargo xtask test`.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use testkit::versions;

use crate::tidy;

/// For servers that run a minute or less: the optimising compiler and parallel collectors cost more than they
/// bring, half of a start's time. Every `java` reads the variable.
const JAVA_OPTIONS: (&str, &str) = ("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC");

/// Everything that must hold before a change lands.
#[derive(clap::Args)]
pub struct Options {
    /// At least 20 copies of each server version instead of a few.
    #[arg(long)]
    long: bool,
}

/// Runs every step; stops at the first that fails.
pub fn run(options: &Options) -> Result<()> {
    let begun = Instant::now();
    step("tidy", tidy::run)?;
    cargo("format", &["fmt", "--all", "--check"], &[])?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"];
    cargo("lints", &clippy, &[])?;
    // A long run has servers as people run them.
    let run = if options.long { (versions::LONG_VARIABLE, "1") } else { JAVA_OPTIONS };
    cargo("tests", &["test", "--workspace", "--no-fail-fast"], &[run])?;
    let doc = ["doc", "--workspace", "--no-deps", "--document-private-items"];
    cargo("documentation", &doc, &[("RUSTDOCFLAGS", "--deny warnings")])?;
    let skipped = match std::env::var(versions::VERSIONS_VARIABLE) {
        Ok(chosen) => format!("; real servers only of {}={chosen}", versions::VERSIONS_VARIABLE),
        Err(_) => String::new(),
    };
    println!("xtask test: everything passed in {:.0?}{skipped}", begun.elapsed());
    Ok(())
}

fn step(name: &str, run: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("xtask test: {name}");
    let begun = Instant::now();
    run().with_context(|| name.to_owned())?;
    println!("xtask test: {name}: {:.1?}", begun.elapsed());
    Ok(())
}

fn cargo(name: &str, args: &[&str], variables: &[(&str, &str)]) -> Result<()> {
    step(name, || {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .args(args)
            .envs(variables.iter().copied())
            .current_dir(tidy::root())
            .status()
            .context("run cargo")?;
        ensure!(status.success(), "cargo {}: {status}", args.join(" "));
        Ok(())
    })
}
