//! A part of a server restored beside another one's, restores over what is there, and the promise
//! that the source is only read.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;
use testkit::load::LoadOptions;
use testkit::program::Service;
use testkit::server::{Builder, Server};
use testkit::verdict;
use testkit::versions::{self, Version};

use crate::scene::{Copy, Scene, arg, one_at_a_time, program};

/// `neo4j` alone, restored into a server with its own `system`: the target's users stay. Then the
/// same over a database that exists: refused without `--force`, refused while the server runs, and
/// with `--force` the old one is moved aside, not deleted.
#[test]
fn one_database_goes_beside_another_servers_system() -> Result<()> {
    let _guard = one_at_a_time();
    for version in
        versions::one_under_test("one database beside another system", versions::V2026_08)
    {
        let scene = Scene::begin(&version, |server| server)?;
        let service = scene.serve()?;
        let copy = scene.back_up(&service, "backup", &["--database", "neo*"])?;
        ensure!(copy.report["databases"].as_array().is_some_and(|list| list.len() == 1));
        drop(service);
        let (_, dir) = scene.end()?;

        let home = dir.path().join("target");
        let mut target = Server::builder(&version).home(&home).password("another-one").start()?;
        let conf = target.conf();
        let restore = ["restore", "--from", arg(&copy.backup), "--config", arg(&conf), "--json"];
        let with_force = [restore.as_slice(), &["--force"]].concat();
        let (code, refused) = program().outcome(&with_force)?;
        ensure!(code != Some(0), "restored under a running server: {refused}");
        ensure!(refused["error"]["code"] == "database_running", "{refused}");
        target.stop()?;
        let (code, refused) = program().outcome(&restore)?;
        ensure!(code != Some(0) && refused["error"]["code"] == "target_exists", "{refused}");
        program().json(&with_force)?;
        let replaced = home.join("data/neo4j-backup-replaced");
        ensure!(replaced.is_dir(), "the old database was not kept in {}", replaced.display());

        let mut target = Server::builder(&version).home(&home).password("another-one").start()?;
        verdict::examine(&target, &copy.expected).into_result()?;
        target.stop()?;
    }
    Ok(())
}

/// The service runs with the data directory mounted read-only, and still makes a right copy: so it
/// writes nothing there.
#[test]
fn the_service_needs_only_to_read() -> Result<()> {
    let _guard = one_at_a_time();
    for version in versions::one_under_test("read-only", versions::V2026_08) {
        only_read(&version)?;
    }
    Ok(())
}

fn only_read(version: &Version) -> Result<()> {
    let scene = Scene::begin(version, |server| server)?;
    let mounted = scene.dir.path().join("read-only");
    std::fs::create_dir(&mounted)?;
    let script = "mount --bind \"$1\" \"$2\" && mount -o remount,bind,ro \"$2\" \
                  && ! touch \"$2/databases/x\" 2>/dev/null && shift && exec \"$0\" serve \
                  --listen 127.0.0.1:0 --log-format json --data \"$1\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_neo4j-backup")]);
    command.args([arg(&scene.live.data_dir()), arg(&mounted)]);
    let service = match Service::start(command) {
        Ok(service) => service,
        // Only root may mount. Crate source has a test that needs no mount.
        Err(error) if !rustix::process::geteuid().is_root() => {
            eprintln!("SKIPPED the read-only mount: {error:#}");
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let copy = scene.back_up(&service, "backup", &[])?;
    drop(service);
    let (version, dir) = scene.end()?;
    copy.prove(&version, &dir.path().join("restored"))?;
    Ok(())
}

/// A server that is killed and started again in the middle of a copy: its recovery writes to the
/// stores and logs that are being copied. The copy is right all the same.
#[test]
fn a_restart_of_the_server_in_the_middle_of_a_copy() -> Result<()> {
    let _guard = one_at_a_time();
    for version in versions::one_under_test("a restart in the middle", versions::V5_26) {
        restart_in_the_middle(&version)?;
    }
    Ok(())
}

fn restart_in_the_middle(version: &Version) -> Result<()> {
    // Logs small enough that their copy does not take long at the rate that is chosen below.
    let small_logs = |server: Builder| server.setting("db.tx_log.rotation.size", "4M");
    let load = LoadOptions { pause: Duration::from_millis(150), ..LoadOptions::default() };
    let mut scene = Scene::begin_with(version, small_logs, load)?;
    let service = scene.serve()?;
    let to = scene.dir.path().join("backup");
    let port = service.port.to_string();
    let begun = Instant::now();
    // 40 MiB of stores take so long that the server answers again before their last byte is read.
    let rate = "1MiB";
    let backup =
        ["-host", "127.0.0.1", "-port", &port, "-to", arg(&to), "--json", "--limit-rate", rate];
    let child = program().command(&backup).stdout(Stdio::piped()).spawn()?;
    std::thread::sleep(Duration::from_secs(4));
    scene.live.kill()?;
    scene.live.start_again()?;
    let back = Instant::now();
    let output = child.wait_with_output()?;
    let ended = Instant::now();
    let report: Value = serde_json::from_slice(&output.stdout)?;
    eprintln!("{}: back after {:.1?}, {report}", version.name, scene.live.started_in());
    ensure!(output.status.success(), "{}: {report}", output.status);
    let asked = service.finish_asked("neo4j", begun)?;
    ensure!(asked > back, "nothing shown: the server came back {:.1?} too late", back - asked);
    let expected = service.expected(&scene.load.history(), &report, (begun, ended))?;
    drop(service);
    let (version, dir) = scene.end()?;
    let copy = Copy { backup: to, report, expected, crossed: 0 };
    copy.prove(&version, &dir.path().join("restored"))?;
    Ok(())
}
