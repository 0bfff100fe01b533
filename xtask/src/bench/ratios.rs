//! Rates of backup, restore and verify, each beside the tool that everybody has.
//!
//! Everything lies on one disk. All that is read is in the page cache before each measurement; what
//! was written by the one before is removed, and the disk is idle. The server runs and is idle.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testkit::certificates::Certificates;
use testkit::jars;
use testkit::server::Server;

use super::table::Table;
use super::{Bench, VERSION, text, timed};

const CP_SYNC: &str = "cp -r \"$1\"/databases \"$1\"/transactions \"$2\" && sync -f \"$2\"";
const CP: &str = "cp -r \"$1\"/databases \"$1\"/transactions \"$2\"";

/// What is measured, in the order of a round: each after what it is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    CopyServer,
    CopyServerUnsynced,
    Backup,
    BackupTls,
    CopyBackup,
    Restore,
    Hash,
    Verify,
}

const STEPS: [Step; 8] = [
    Step::CopyServer,
    Step::Backup,
    Step::CopyServerUnsynced,
    Step::BackupTls,
    Step::CopyBackup,
    Step::Restore,
    Step::Hash,
    Step::Verify,
];

/// What is compared, with what, and how fast it must be at least.
const BARS: [(&str, Step, Step, Option<f64>); 5] = [
    ("backup, of `cp -r` + `sync -f`", Step::Backup, Step::CopyServer, Some(0.9)),
    ("backup, of bare `cp -r`", Step::Backup, Step::CopyServerUnsynced, None),
    ("backup by TLS, of `cp -r` + `sync -f`", Step::BackupTls, Step::CopyServer, Some(0.7)),
    ("restore, of `cp -r` + `sync -f`", Step::Restore, Step::CopyBackup, Some(0.9)),
    ("verify, of `b3sum`", Step::Verify, Step::Hash, Some(1.0)),
];

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::CopyServer => "`cp -r` + `sync -f` of the server's files",
            Self::CopyServerUnsynced => "`cp -r` of the server's files",
            Self::Backup => "backup",
            Self::BackupTls => "backup by TLS",
            Self::CopyBackup => "`cp -r` + `sync -f` of the backup's files",
            Self::Restore => "restore",
            Self::Hash => "`b3sum` of the backup's files",
            Self::Verify => "verify",
        }
    }
}

/// Runs the rounds.
pub fn measure(bench: &Bench<'_>, table: &mut Table) -> Result<()> {
    let b3sum = b3sum()?;
    let server = Server::builder(VERSION).home(&bench.home).start()?;
    let conf = text(&server.conf());
    let service = bench.program.serve(&["--config", &conf])?;
    let certificates = Certificates::make(&bench.path("certificates"))?;
    let (cert, key) = (certificates.arg("server.pem"), certificates.arg("server.key"));
    let secure =
        bench.program.serve(&["--config", &conf, "--tls-cert", &cert, "--tls-key", &key])?;
    let ca = certificates.arg("ca.pem");

    let source = timed::tree(&server.data_dir())?;
    let backup = bench.path("backup");
    timed::remove(&backup)?;
    timed::run(&mut backup_command(bench, service.port, &backup, &[]))?;
    let kept = timed::tree(&backup)?;

    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); STEPS.len()];
    for round in 1..=bench.options.rounds {
        for step in STEPS {
            let to = bench.path("target");
            timed::remove(&to)?;
            let of_server = matches!(
                step,
                Step::CopyServer | Step::CopyServerUnsynced | Step::Backup | Step::BackupTls
            );
            timed::warm(if of_server { &source.files } else { &kept.files })?;
            timed::own_memory(kept.bytes.saturating_mul(3) / 2)?;
            let copy = |script: &str, from: &Path| -> Result<Command> {
                std::fs::create_dir_all(&to)?;
                let mut command = Command::new("sh");
                command.args(["-c", script, "sh"]).arg(from).arg(&to);
                Ok(command)
            };
            let (from, into) = (text(&backup), text(&to));
            let mut command = match step {
                Step::CopyServer => copy(CP_SYNC, &server.data_dir())?,
                Step::CopyServerUnsynced => copy(CP, &server.data_dir())?,
                Step::CopyBackup => copy(CP_SYNC, &backup)?,
                Step::Backup => backup_command(bench, service.port, &to, &[]),
                Step::BackupTls => backup_command(bench, secure.port, &to, &["--ca", &ca]),
                Step::Restore => {
                    let args = ["restore", "--from", &from, "--to", &into, "--quiet"];
                    bench.program.command(&args)
                }
                Step::Verify => bench.program.command(&["verify", "--from", &from, "--quiet"]),
                Step::Hash => {
                    let mut command = Command::new(&b3sum);
                    command.args(&kept.files);
                    command
                }
            };
            let took = timed::run(&mut command)?;
            eprintln!("xtask bench: round {round}: {}: {took:.2?}", step.name());
            times[step as usize].push(took);
        }
    }
    timed::remove(&bench.path("target"))?;

    let bytes = |step| match step {
        Step::CopyServer | Step::CopyServerUnsynced => source.bytes,
        _ => kept.bytes,
    };
    let rate =
        |step: Step, took: &Duration| bytes(step) as f64 / f64::from(1 << 20) / took.as_secs_f64();
    for step in STEPS {
        let mut rates: Vec<f64> = times[step as usize].iter().map(|t| rate(step, t)).collect();
        let shown = rates.iter().map(|rate| format!("{rate:.0}")).collect::<Vec<_>>().join(", ");
        table.figure(step.name(), format!("{:.0} MiB/s ({shown})", median(&mut rates)));
    }
    for (what, step, beside, bar) in BARS {
        let pairs = times[step as usize].iter().zip(&times[beside as usize]);
        let mut ratios: Vec<f64> =
            pairs.map(|(own, other)| rate(step, own) / rate(beside, other)).collect();
        let ratio = median(&mut ratios);
        let shown = format!("{:.0} %", ratio * 100.0);
        match bar {
            None => table.figure(what, shown),
            Some(bar) => {
                table.bar(what, shown, &format!(">= {:.0} %", bar * 100.0), ratio >= bar);
            }
        }
    }
    Ok(())
}

/// The one in the middle.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// `neo4j-backup` of all databases from a service on this host.
pub fn backup_command(bench: &Bench<'_>, port: u16, to: &Path, more: &[&str]) -> Command {
    let (port, to) = (port.to_string(), text(to));
    let mut command =
        bench.program.command(&["-host", "127.0.0.1", "-port", &port, "-to", &to, "--quiet"]);
    command.args(more);
    command
}

/// The program `b3sum`, built by Cargo once.
fn b3sum() -> Result<String> {
    let tools = jars::cache_dir(VERSION).with_file_name("tools");
    let path = tools.join("bin/b3sum");
    if !path.is_file() {
        let mut command = Command::new("cargo");
        command.args(["install", "--quiet", "--locked", "b3sum", "--root"]).arg(&tools);
        timed::run(&mut command).context("cargo install b3sum")?;
    }
    let path = text(&path);
    let (version, _) = timed::output(&path, &["--version"])?;
    ensure!(version.starts_with("b3sum "), "{path}: {version}");
    eprintln!("xtask bench: beside {}", version.trim());
    Ok(path)
}
