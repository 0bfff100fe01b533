//! Negative controls: the same checks must catch a copy that breaks a rule, and `verify` damage.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use formats::LogPosition;
use formats::checkpoint::{Tail, decode_file};
use formats::record_store::MANDATORY;
use source::{FileKind, HotCopy, LiveCopy as _};
use testkit::consistency::Report;
use testkit::load::LoadOptions;
use testkit::server::DatabaseFailed;
use testkit::verdict::Verdict;
use testkit::versions::{self, Version};

use crate::scene::{Scene, arg, one_at_a_time, program, start_and_examine};

/// After each 256 KiB: about 8 MiB/s.
pub const SLOW: Duration = Duration::from_millis(30);

/// Which rule of a hot copy is broken; everything else is done right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    /// None: what is made here is a right copy, but for the rules that are broken below.
    Nothing,
    /// The checkpoint file ends with a checkpoint that was taken while the stores were copied:
    /// recovery skips changes that the copied pages lack.
    CheckpointTooNew,
    /// The logs end before the stores are copied: the stores are ahead of them.
    LogsFirst,
}

/// A copy of the user database's record stores and logs, by the real source, with one rule broken;
/// the moment before the end of its logs was looked for.
fn break_a_rule(scene: &Scene, home: &Path, broken: Broken) -> Result<Instant> {
    let database = source::Installation::from_config(&scene.live.conf())?.database("neo4j")?;
    let store = home.join("data/databases/neo4j");
    let logs = home.join("data/transactions/neo4j");
    std::fs::create_dir_all(&store)?;
    std::fs::create_dir_all(&logs)?;
    let copy = HotCopy::begin(&database)?;
    let finish_asked;
    match broken {
        Broken::Nothing => {
            write_stores(&copy, &store)?;
            finish_asked = Instant::now();
            write_logs(&copy, &logs)?;
        }
        Broken::CheckpointTooNew => {
            write_stores(&copy, &store)?;
            finish_asked = Instant::now();
            let end = write_logs(&copy, &logs)?;
            let name = scene.newest_checkpoint_file()?;
            let live = std::fs::read(database.log_dir.join(&name))?;
            let file = decode_file(&live)?.context("a checkpoint file without a header")?;
            let newest = file.entries.iter().rfind(|(entry, _)| entry.position <= end);
            let (newest, cut) = newest.context("no checkpoint before the end of the logs")?;
            ensure!(newest.tx_id > copy.checkpoint().tx_id, "no checkpoint fell into the copy");
            std::fs::write(logs.join(name), &live[..usize::try_from(*cut)?])?;
        }
        Broken::LogsFirst => {
            finish_asked = Instant::now();
            write_logs(&copy, &logs)?;
            std::thread::sleep(Duration::from_secs(4));
            write_stores(&HotCopy::begin(&database)?, &store)?;
        }
    }
    check_files(&store, &logs)?;
    Ok(finish_asked)
}

/// Writes the record stores; derived files are left out.
fn write_stores(copy: &HotCopy, store: &Path) -> Result<()> {
    for file in copy.files().iter().filter(|file| file.kind == FileKind::Record) {
        let read = |at, buf: &mut [u8]| copy.read_at(file.id, at, buf);
        write(&store.join(&file.path), SLOW, read)?;
    }
    Ok(())
}

/// Ends the copy and writes its logs and checkpoint file; the position where the logs end.
fn write_logs(copy: &HotCopy, logs: &Path) -> Result<LogPosition> {
    let finished = copy.finish()?;
    for file in &finished.files {
        let read = |at, buf: &mut [u8]| copy.read_at(file.id, at, buf);
        write(&logs.join(&file.path), Duration::ZERO, read)?;
    }
    Ok(finished.last_tx.end)
}

/// Writes what `read` gives, which is told where from, with a pause after each piece.
pub fn write(
    target: &Path,
    pause: Duration,
    read: impl Fn(u64, &mut [u8]) -> source::Result<usize>,
) -> Result<()> {
    let target = std::fs::File::create(target)?;
    let mut buf = vec![0; 256 << 10];
    let mut at = 0;
    loop {
        let read = read(at, &mut buf)?;
        if read == 0 {
            return Ok(());
        }
        target.write_all_at(&buf[..read], at)?;
        at += read as u64;
        std::thread::sleep(pause);
    }
}

/// Whatever rule is broken, every file is there and each checkpoint whole: so a database that does
/// not start fails on what is in its records.
fn check_files(store: &Path, logs: &Path) -> Result<()> {
    for file in MANDATORY {
        let path = store.join(file.file_name());
        ensure!(path.is_file(), "{} was not written", path.display());
    }
    let mut files = Vec::new();
    list(logs, &mut files)?;
    let is_checkpoint = |path: &&PathBuf| path.to_string_lossy().contains("/checkpoint.");
    let path = files.iter().find(is_checkpoint).context("no checkpoint file was written")?;
    let file = decode_file(&std::fs::read(path)?)?.context("a checkpoint file without a header")?;
    ensure!(matches!(file.tail, Tail::Clean) && !file.entries.is_empty(), "{file:?}");
    Ok(())
}

/// Whether the error says that the copy is wrong: by what is in it, by Neo4j's checker, or by the
/// server, which cannot recover it. A start that takes too long, a Java that cannot be run or a
/// question without an answer say nothing.
pub fn is_about_the_copy(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Verdict>().is_some_and(|verdict| !verdict.findings.is_empty())
        || error.downcast_ref::<Report>().is_some_and(Report::is_inconsistent)
        || error.downcast_ref::<DatabaseFailed>().is_some()
}

/// The same way of making a copy passes every check when it breaks no rule.
#[test]
fn a_copy_that_breaks_a_rule_is_caught() -> Result<()> {
    let _guard = one_at_a_time();
    for version in versions::one_under_test("negative controls", versions::V5_26) {
        // Changes of the schema keep a wrong copy from being started at all. Without them the server
        // mostly starts, and what is wrong must be found.
        let scene = Scene::begin_with(
            &version,
            |server| server.setting("db.checkpoint.interval.time", "2s"),
            LoadOptions { schema_every: None, ..LoadOptions::default() },
        )?;
        let mut copies = Vec::new();
        for broken in [Broken::Nothing, Broken::CheckpointTooNew, Broken::LogsFirst] {
            let home = scene.dir.path().join(format!("{broken:?}"));
            let finish_asked = break_a_rule(&scene, &home, broken)?;
            let expected = scene.load.history().expected(finish_asked, Instant::now());
            copies.push((broken, home, expected));
        }
        let (version, _dir) = scene.end()?;
        for (broken, home, expected) in copies {
            let place = format!("{} {broken:?}", version.name);
            match start_and_examine(&version, &home, &expected, false) {
                Ok(figures) if broken == Broken::Nothing => eprintln!("{place}: {figures:?}"),
                Err(error) if broken == Broken::Nothing => return Err(error.context(place)),
                Ok(_) => bail!("{place}: passed every check"),
                Err(error) if is_about_the_copy(&error) => eprintln!("{place}: caught: {error:#}"),
                Err(error) => return Err(error.context(format!("{place}: proves nothing"))),
            }
        }
    }
    Ok(())
}

/// Every file of a real backup, one byte flipped: `verify` names it, and `restore` refuses.
#[test]
fn a_flipped_byte_in_any_file_is_found() -> Result<()> {
    let _guard = one_at_a_time();
    for version in versions::one_under_test("a flipped byte", versions::V2026_08) {
        flip_every_file(&version)?;
    }
    Ok(())
}

fn flip_every_file(version: &Version) -> Result<()> {
    let scene = Scene::begin(version, |server| server)?;
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

fn list(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        // The lock, and what is known of pages, are no parts of the backup: whatever they say, the backup is
        // right (`renewals.rs` spoils the latter).
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_part = ![".neo4j-backup.lock", ".neo4j-backup.pages"].contains(&name.as_str());
        if path.is_dir() && is_part {
            list(&path, files)?;
        } else if is_part {
            files.push(path);
        }
    }
    Ok(())
}
