//! Negative controls: the same checks must catch a copy that breaks a rule, and `verify` damage.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use testkit::versions;

use crate::scene::{Scene, arg, one_at_a_time, program, start_and_examine};

/// Copies a file at 8 MiB/s, as a slow `cp` would.
fn slow_copy(from: &Path, to: &Path) -> Result<()> {
    let mut source = std::fs::File::open(from)?;
    let mut target = std::fs::File::create(to)?;
    let mut buf = vec![0; 256 << 10];
    loop {
        let read = source.read(&mut buf)?;
        if read == 0 {
            return Ok(());
        }
        target.write_all(&buf[..read])?;
        std::thread::sleep(Duration::from_secs_f64(read as f64 / f64::from(8 << 20)));
    }
}

fn copy_files(from: &Path, to: &Path, wanted: impl Fn(&str) -> bool) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_file() && wanted(&name) {
            slow_copy(&path, &to.join(name))?;
        }
    }
    Ok(())
}

fn is_record_store(name: &str) -> bool {
    formats::record_store::MANDATORY.iter().any(|store| store.file_name() == name)
}

/// The order that a naive script has: what breaks if a rule is broken.
enum Broken {
    /// The checkpoint file as it is after the stores were copied: recovery skips changes.
    CheckpointTooNew,
    /// The logs before the stores: the stores are ahead of them.
    LogsFirst,
}

fn break_a_rule(scene: &Scene, home: &Path, broken: &Broken) -> Result<()> {
    let live = scene.live.data_dir();
    let data = home.join("data");
    let stores = |data: &Path| {
        copy_files(&live.join("databases/neo4j"), &data.join("databases/neo4j"), is_record_store)
    };
    let logs = |data: &Path| {
        let from = live.join("transactions/neo4j");
        copy_files(&from, &data.join("transactions/neo4j"), |_| true)
    };
    match broken {
        Broken::CheckpointTooNew => {
            stores(&data)?;
            logs(&data)
        }
        Broken::LogsFirst => {
            logs(&data)?;
            stores(&data)
        }
    }
}

#[test]
fn a_copy_that_breaks_a_rule_is_caught() -> Result<()> {
    let _guard = one_at_a_time();
    for version in versions::under_test("negative controls") {
        // Small log files, so that the naive copy of preallocated ones does not take long.
        let scene = Scene::begin(&version, |server| {
            server
                .setting("db.tx_log.rotation.size", "1m")
                .setting("db.checkpoint.interval.time", "2s")
        })?;
        let mut copies = Vec::new();
        for (name, broken) in
            [("too-new", Broken::CheckpointTooNew), ("logs-first", Broken::LogsFirst)]
        {
            let home = scene.dir.path().join(name);
            let begun = Instant::now();
            break_a_rule(&scene, &home, &broken)?;
            copies.push((name, home, scene.load.history().expected(begun, Instant::now())));
        }
        let (version, _dir) = scene.end()?;
        for (name, home, expected) in copies {
            let verdict = start_and_examine(&version, &home, &expected, false);
            let Err(caught) = verdict else {
                anyhow::bail!("{}: the copy {name} passed every check", version.name);
            };
            eprintln!("{} {name}: caught: {caught:#}", version.name);
        }
    }
    Ok(())
}

/// Every file of a real backup, one byte flipped: `verify` names it, and `restore` refuses.
#[test]
fn a_flipped_byte_in_any_file_is_found() -> Result<()> {
    let _guard = one_at_a_time();
    let Some(version) = versions::under_test("a flipped byte").into_iter().next() else {
        return Ok(());
    };
    let scene = Scene::begin(&version, |server| server)?;
    let service = scene.serve()?;
    let copy = scene.back_up(&service, "backup", &[])?;
    drop(service);
    let (_, dir) = scene.end()?;
    let mut files = Vec::new();
    list(&copy.backup, &mut files)?;
    ensure!(files.len() > 40, "only {} files in the backup", files.len());
    for path in &files {
        let file = std::fs::File::options().read(true).write(true).open(path)?;
        let Some(last) = file.metadata()?.len().checked_sub(1) else { continue };
        let at = last / 2;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at)?;
        file.write_all_at(&[byte[0] ^ 0x04], at)?;
        let (code, report) =
            program().outcome(&["verify", "--from", arg(&copy.backup), "--json"])?;
        ensure!(code != Some(0), "{} with a flipped byte passes verify", path.display());
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        ensure!(report.to_string().contains(&name), "{name} is not named: {report}");
        file.write_all_at(&byte, at)?;
    }
    program().json(&["verify", "--from", arg(&copy.backup), "--json"])?;

    // A restore of damage must leave nothing behind.
    let store = copy.backup.join("databases/neo4j/neostore.nodestore.db");
    let file = std::fs::File::options().write(true).open(&store)?;
    file.write_all_at(&[0x7f], 8192)?;
    let data = dir.path().join("restored/data");
    let restore = ["restore", "--from", arg(&copy.backup), "--to", arg(&data), "--json"];
    let (code, _) = program().outcome(&restore)?;
    ensure!(code != Some(0), "a damaged backup was restored");
    ensure!(!data.join("databases/neo4j").exists(), "a damaged backup was put in place");
    Ok(())
}

fn list(directory: &Path, files: &mut Vec<std::path::PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let lock = path.file_name().is_some_and(|n| n.to_string_lossy().contains(".lock"));
        if path.is_dir() {
            list(&path, files)?;
        } else if !lock {
            files.push(path);
        }
    }
    Ok(())
}
