//! Peak resident memory of each process (VmHWM), as the kernel has it.

use anyhow::{Context as _, Result};
use testkit::server::Server;

use super::ratios::backup_command;
use super::table::Table;
use super::{Bench, VERSION, text, timed};

const MAX_KIB: u64 = 64 << 10;

/// Backs up with few and with many streams, verifies and restores.
pub fn measure(bench: &Bench<'_>, table: &mut Table) -> Result<()> {
    let server = Server::builder(VERSION).home(&bench.home).start()?;
    let (backup, restored) = (bench.path("backup"), bench.path("target"));
    let mut row = |what: &str, peak: u64| row(table, what, peak);
    for streams in ["1", "4", "16"] {
        let mut service = bench.program.serve(&["--config", &text(&server.conf())])?;
        timed::remove(&backup)?;
        let mut command = backup_command(bench, service.port, &backup, &["--parallel", streams]);
        let client = timed::peak_of(&mut command)?;
        let peak = timed::resident_peak(service.child()).context("the service ended")?;
        row(&format!("memory of backup, {streams} streams: client"), client);
        row(&format!("memory of backup, {streams} streams: service"), peak);
    }
    let (from, to) = (text(&backup), text(&restored));
    let verify = ["verify", "--from", &from, "--quiet"];
    row("memory of verify", timed::peak_of(&mut bench.program.command(&verify))?);
    timed::remove(&restored)?;
    let restore = ["restore", "--from", &from, "--to", &to, "--quiet"];
    row("memory of restore", timed::peak_of(&mut bench.program.command(&restore))?);
    timed::remove(&restored)
}

/// A peak in KiB beside the bar.
pub fn row(table: &mut Table, what: &str, peak: u64) {
    let measured = format!("{:.1} MiB", peak as f64 / 1024.0);
    eprintln!("xtask bench: {what}: {measured}");
    table.bar(what, measured, "<= 64 MiB", peak <= MAX_KIB);
}
