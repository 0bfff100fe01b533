//! Negative controls of Neo4j 3.0: the same checks must catch a copy that breaks a rule.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use formats::txlog::{BatchReader, LogHeader};
use formats::v3_0::{
    CheckPoint, LEGACY_INDEXES, MANDATORY, Neostore, SCHEMA_INDEXES, newest_check_points,
};
use formats::{LogPosition, LogVersion};
use source::v3_0::HotCopy;
use source::{CopyFile, Database, FileKind, LOG_PREFIX, LiveCopy as _};
use testkit::load::Expected;
use testkit::rest;
use testkit::versions::{self, V3_0_0, Version};

use crate::control::{SLOW, is_about_the_copy, write};
use crate::scene::one_at_a_time;
use crate::scene_3_0::{DATABASE, Scene, without_schema_changes};

const METADATA_STORE: &str = "neostore";
/// Time for two check points.
const CHECK_POINTS: Duration = Duration::from_secs(8);
const CHECK_POINT_LIMIT: Duration = Duration::from_secs(120);
const ROTATED_LIMIT: Duration = Duration::from_secs(120);

/// Which rule of a hot copy is broken; everything else is done right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    /// None: what is made here is a right copy, but for the rules that are broken below.
    Nothing,
    /// Files of the schema's indexes are copied one after the other, those of one commit and those of later ones.
    SchemaIndexesNaive,
    /// The same of legacy indexes.
    LegacyIndexesNaive,
    /// Legacy indexes are of a time before the check point where recovery starts.
    LegacyIndexesOld,
    /// The logs come with the server's check points: recovery starts at one that was made during the copy.
    CheckPointsLeft,
    /// A wrong check point is trusted, as 3.0.0 writes them soon after its start.
    WrongCheckPoint,
    /// `neostore` is read late: recovery looks for another log than the one that is there.
    LogVersionLate,
    /// The logs end before the stores are copied: the stores are ahead of them.
    LogsFirst,
}

const ALL: [Broken; 8] = [
    Broken::Nothing,
    Broken::SchemaIndexesNaive,
    Broken::LegacyIndexesNaive,
    Broken::LegacyIndexesOld,
    Broken::CheckPointsLeft,
    Broken::WrongCheckPoint,
    Broken::LogVersionLate,
    Broken::LogsFirst,
];

/// Claim: of copies of a busy 3.0 server by the real source, the right one passes every check, and each that breaks
/// one rule is caught: real 3.0 does not start on it, or it is not what the writers made; but for one that
/// 3.0.7 makes up for. Method: as [`Broken`] says; indexes do not come and go, since most wrong copies would not be started at all then.
#[test]
fn a_copy_of_3_0_that_breaks_a_rule_is_caught() {
    let _guard = one_at_a_time();
    for version in versions::long_run_only_3_0("negative controls of 3.0") {
        if let Err(error) = examine(&version) {
            panic!("{}: {error:#}", version.name);
        }
    }
}

fn examine(version: &Version) -> Result<()> {
    let mut scene = Scene::begin(version, |server| server)?;
    scene.load(without_schema_changes())?;
    // Before the first check point a legacy index has no commit, and there is nothing to copy of it.
    std::thread::sleep(CHECK_POINTS);
    let mut copies = Vec::new();
    for broken in ALL {
        let home = scene.path(&format!("{broken:?}"));
        let finish_asked =
            break_a_rule(&scene, &home, broken).with_context(|| format!("{broken:?}"))?;
        copies.push((broken, home, scene.expected(finish_asked)));
    }
    scene.stop()?;
    let mut wrong = Vec::new();
    for (broken, home, expected) in copies {
        if let Err(error) = judge(&scene, broken, &home, &expected) {
            wrong.push(format!("{error:#}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Has real 3.0 start on a copy, and says whether that came out as it must.
fn judge(scene: &Scene, broken: Broken, home: &Path, expected: &Expected) -> Result<()> {
    let place = format!("{} {broken:?}", scene.version.name);
    match scene.started(home, DATABASE, expected) {
        Ok(figures) if broken == Broken::Nothing || is_mended(&scene.version, broken) => {
            println!("{place}: {figures:?}");
        }
        Err(error) if broken == Broken::Nothing => return Err(error.context(place)),
        Ok(_) => bail!("{place}: passed every check"),
        Err(error) if is_about_the_copy(&error) || is_no_start(&error) => {
            println!("{place}: caught: {error:#}");
        }
        Err(error) => return Err(error.context(format!("{place}: proves nothing"))),
    }
    Ok(())
}

/// Whether the server ended because of its database, which is named in what it says last.
fn is_no_start(error: &anyhow::Error) -> bool {
    let text = format!("{error:#}");
    text.contains("the server ended by itself")
        && text.contains(&format!("data/databases/{DATABASE}"))
        && !text.contains("already in use")
}

/// Whether real Neo4j makes up for the broken rule: 3.0.7 makes a schema index anew that it cannot open.
fn is_mended(version: &Version, broken: Broken) -> bool {
    *version != V3_0_0 && broken == Broken::SchemaIndexesNaive
}

/// A copy of the database by the real source, with one rule broken; the moment before the end of its logs was
/// looked for.
fn break_a_rule(scene: &Scene, home: &Path, broken: Broken) -> Result<Instant> {
    let database = source::Installation::from_config(&scene.live.conf())?.database(DATABASE)?;
    let to = home.join("data/databases").join(DATABASE);
    if broken == Broken::LegacyIndexesOld {
        let earlier = HotCopy::begin(&database)?;
        write_files(&earlier, &to, |file| file.kind == FileKind::LegacyIndex)?;
        let before = rest::last_tx_id(&scene.live)?;
        let deadline = Instant::now() + CHECK_POINT_LIMIT;
        let start = || anyhow::Ok(HotCopy::begin(&database)?.start().context("no start")?.tx_id.0);
        while start()? <= before {
            ensure!(Instant::now() < deadline, "no check point within {CHECK_POINT_LIMIT:?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    let copy = HotCopy::begin(&database)?;
    write_files(&copy, &to, |file| match broken {
        Broken::SchemaIndexesNaive => !file.path.starts_with(SCHEMA_INDEXES),
        Broken::LegacyIndexesNaive => !file.path.starts_with(LEGACY_INDEXES),
        Broken::LegacyIndexesOld => file.kind != FileKind::LegacyIndex,
        // With counts that lack a transaction 3.0 would wait for it for ever, which proves little.
        Broken::CheckPointsLeft | Broken::WrongCheckPoint => file.kind != FileKind::Counts,
        Broken::LogsFirst => file.kind != FileKind::Record || file.path == METADATA_STORE,
        _ => true,
    })?;
    match broken {
        Broken::SchemaIndexesNaive => copy_naively(&database, &to, SCHEMA_INDEXES)?,
        Broken::LegacyIndexesNaive => copy_naively(&database, &to, LEGACY_INDEXES)?,
        _ => {}
    }
    let mut finish_asked = Instant::now();
    match broken {
        Broken::CheckPointsLeft => {
            let before = check_points(&database.log_dir)?.len();
            std::thread::sleep(CHECK_POINTS);
            finish_asked = Instant::now();
            copy_logs(&database, &to)?;
            let after = check_points(&to)?.len();
            ensure!(after > before, "no check point fell into the copy");
        }
        _ => write_log(&copy, &to)?,
    }
    match broken {
        Broken::WrongCheckPoint => {
            let nowhere = LogPosition { version: LogVersion(0), offset_bytes: 0 };
            let log = log_of(&to)?;
            let bytes = [std::fs::read(&log)?.as_slice(), &CheckPoint::encode(nowhere)].concat();
            std::fs::write(log, bytes)?;
        }
        Broken::LogVersionLate => read_neostore_late(&database, &to)?,
        Broken::LogsFirst => {
            std::thread::sleep(CHECK_POINTS);
            write_files(&HotCopy::begin(&database)?, &to, |file| {
                file.kind == FileKind::Record && file.path != METADATA_STORE
            })?;
        }
        _ => {}
    }
    check_files(&to)?;
    Ok(finish_asked)
}

/// Writes the chosen files of a copy, slowly.
fn write_files(copy: &HotCopy, to: &Path, is_wanted: impl Fn(&CopyFile) -> bool) -> Result<()> {
    for file in copy.files().iter().filter(|file| is_wanted(file)) {
        let target = to.join(&file.path);
        std::fs::create_dir_all(target.parent().context("a file without a directory")?)?;
        write(&target, SLOW, |at, buf| copy.read_at(file.id, at, buf))?;
    }
    Ok(())
}

/// Ends a copy and writes its log.
fn write_log(copy: &HotCopy, to: &Path) -> Result<()> {
    for file in &copy.finish()?.files {
        write(&to.join(&file.path), Duration::ZERO, |at, buf| copy.read_at(file.id, at, buf))?;
    }
    Ok(())
}

/// Copies what was listed at first, as far as it is still there: each index's commit, and what it consists of after
/// others have been made.
fn copy_naively(database: &Database, to: &Path, below: &str) -> Result<()> {
    let mut listed = Vec::new();
    list(&database.store_dir.join(below), &mut listed)?;
    let is_commit = |path: &PathBuf| path.to_string_lossy().contains("/segments_");
    let (commits, parts) = listed.into_iter().partition::<Vec<_>, _>(is_commit);
    copy_files(&database.store_dir, to, &commits)?;
    std::thread::sleep(CHECK_POINTS);
    copy_files(&database.store_dir, to, &parts)
}

fn copy_files(from: &Path, to: &Path, paths: &[PathBuf]) -> Result<()> {
    for path in paths {
        let target = to.join(path.strip_prefix(from)?);
        std::fs::create_dir_all(target.parent().context("a file without a directory")?)?;
        match std::fs::copy(path, target) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            copied => drop(copied?),
        }
    }
    Ok(())
}

fn list(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() { list(&path, files)? } else { files.push(path) }
    }
    Ok(())
}

/// All logs of a directory.
fn logs(dir: &Path) -> Result<BTreeMap<LogVersion, PathBuf>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(version) = name.strip_prefix(LOG_PREFIX) {
            found.insert(LogVersion(version.parse()?), path);
        }
    }
    Ok(found)
}

/// The one log of a copy.
fn log_of(copy: &Path) -> Result<PathBuf> {
    logs(copy)?.into_values().next().context("no log")
}

fn check_points(dir: &Path) -> Result<Vec<CheckPoint>> {
    let mut found = Vec::new();
    for path in logs(dir)?.into_values() {
        let bytes = std::fs::read(path)?;
        let header = usize::try_from(LogHeader::V6_SIZE_BYTES)?;
        let entries = bytes.get(header..).unwrap_or_default();
        let mut reader = BatchReader::new(entries, LogHeader::V6_SIZE_BYTES);
        found.extend(newest_check_points(&mut reader)?);
    }
    Ok(found)
}

/// The server's own logs as they are, and the number of the last in `neostore`.
fn copy_logs(database: &Database, to: &Path) -> Result<()> {
    let logs = logs(&database.log_dir)?;
    copy_files(&database.log_dir, to, &logs.values().cloned().collect::<Vec<_>>())?;
    let last = *logs.keys().next_back().context("no log")?;
    let neostore = to.join(METADATA_STORE);
    let mut bytes = std::fs::read(&neostore)?;
    Neostore::set_log_version(&mut bytes, last)?;
    Ok(std::fs::write(neostore, bytes)?)
}

/// As it is once the server has begun two more logs.
fn read_neostore_late(database: &Database, to: &Path) -> Result<()> {
    let first = Neostore::decode(&std::fs::read(to.join(METADATA_STORE))?)?.log_version;
    let deadline = Instant::now() + ROTATED_LIMIT;
    loop {
        let bytes = std::fs::read(database.store_dir.join(METADATA_STORE))?;
        if Neostore::decode(&bytes)?.log_version.0 >= first.0 + 2 {
            return Ok(std::fs::write(to.join(METADATA_STORE), bytes)?);
        }
        ensure!(Instant::now() < deadline, "no two logs more within {ROTATED_LIMIT:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Whatever rule is broken, every store, log and legacy index is there: so a database that does not start fails on
/// what is in them.
fn check_files(copy: &Path) -> Result<()> {
    for store in MANDATORY {
        let path = copy.join(store.file_name());
        ensure!(path.is_file(), "{} was not written", path.display());
    }
    log_of(copy)?;
    let mut indexes = Vec::new();
    list(&copy.join(LEGACY_INDEXES), &mut indexes)?;
    ensure!(!indexes.is_empty(), "no legacy index");
    Ok(())
}
