//! A hot copy of a 3.0 database.

use std::sync::{Arc, PoisonError, RwLock};

use formats::txlog::LogHeader;
use formats::v3_0::{
    COUNTS, CountsFile, IndexConfig, LABEL_SCAN_STORE, LEGACY_INDEX_CONFIG, LEGACY_INDEXES,
    LOG_BYTES_MAX, MANDATORY, Neostore, SCHEMA_INDEXES,
};
use formats::{KernelVersion, LogPosition, StoreId};

use super::composed::{ComposedLog, fill};
use super::lucene::is_whole;
use super::start::{self, LogStart};
use super::{REASON, neostore, read_whole};
use crate::derived::{LeftOut, Lucene, hold_lucene, names};
use crate::installation::{Database, State};
use crate::live_copy::{CopyFile, End, FileKind, Finished, LiveCopy, Stale, limit};
use crate::log_files::RecoveryStart;
use crate::logs::HeldLogs;
use crate::read::{Held, identity};
use crate::scan::{LOG_PREFIX, LastTx};
use crate::{Error, Result, now};

const METADATA_STORE: &str = "neostore";
/// The start's log can be pruned between finding and opening it; then there is a newer check point.
const START_TRIES: u32 = 10;
/// A Lucene commit in the middle of listing and opening is met rarely, twice in a row hardly ever.
const LUCENE_TRIES: u32 = 10;
/// Held files of all Lucene indexes; more would run into the limit of open files.
const LUCENE_FILES_MAX: usize = 4096;
/// The list of legacy indexes is replaced by a rename.
const CONFIG_TRIES: u32 = 20;
const CONFIG_WAIT: std::time::Duration = std::time::Duration::from_millis(5);

/// One hot copy in progress. Dropping it releases every descriptor.
pub struct HotCopy {
    database: Database,
    state: State,
    neostore: Neostore,
    store_id: StoreId,
    found: LogStart,
    entries: Vec<Entry>,
    index_dirs: Vec<(String, Option<(u64, u64)>)>,
    left_out: Vec<LeftOut>,
    logs: Arc<HeldLogs>,
    /// Readers of store bytes hold it for reading: so none is under way when E is looked for.
    phase: RwLock<Option<End<ComposedLog>>>,
}

struct Entry {
    kind: FileKind,
    path: String,
    size_bytes: u64,
    content: Content,
}

enum Content {
    Held(Held),
    Kept(Vec<u8>),
}

impl HotCopy {
    /// Finds where recovery may start, holds the logs from there on, then everything of the store.
    pub fn begin(database: &Database) -> Result<Self> {
        let mut records = Vec::new();
        for store in MANDATORY.iter().filter(|store| store.file_name() != METADATA_STORE) {
            let held = Held::open(&database.store_dir.join(store.file_name()))?;
            records.push((store.file_name().to_owned(), held));
        }
        let (found, logs, store_id) = hold(database)?;
        logs.watch()?;
        let (neostore, bytes) = neostore(database)?;
        let mut copy = Self {
            database: database.clone(),
            state: database.live_state()?,
            store_id: neostore.store_id(),
            neostore,
            found,
            entries: Vec::new(),
            index_dirs: Vec::new(),
            left_out: Vec::new(),
            logs,
            phase: RwLock::new(None),
        };
        if copy.store_id != store_id {
            let what = "was replaced as the copy began".to_owned();
            return Err(Error::Changed { path: database.store_dir.join(METADATA_STORE), what });
        }
        // The first of these have the room that there is: without legacy indexes there is no copy.
        copy.hold_legacy_indexes()?;
        copy.hold_derived()?;
        for (path, held) in records {
            // Only now: what a check point before the start has made them grow by is in no log.
            copy.entries.push(Entry::held(FileKind::Record, path, held)?);
        }
        copy.entries.push(Entry::kept(FileKind::Record, METADATA_STORE, bytes));
        Ok(copy)
    }

    fn find_end(&self) -> Result<End<ComposedLog>> {
        let as_of = now();
        let (scanner, _) = self.logs.read_to_end(self.found.position, &self.store_id)?;
        let version = self.neostore.log_version;
        let end_of = |log: &ComposedLog| LogPosition { version, offset_bytes: log.size_bytes };
        let (log, last_tx) = match (scanner.last, scanner.first_tx) {
            (Some(last), Some(first)) if first.0 == self.found.before.0.saturating_add(1) => {
                let log = ComposedLog::whole(&self.logs, &scanner.runs, version)?;
                let last_tx = composed_end(last, end_of(&log));
                (log, last_tx)
            }
            (Some(last), first) => {
                let first = first.unwrap_or(last.tx_id);
                let what = format!("{first} follows transaction {}", self.found.before);
                return Err(Error::Changed { path: self.database.log_dir.clone(), what });
            }
            // A store that has had no transaction since its first log, which begins with the store or
            // with a slave's copy of it.
            (None, _) => {
                let log = ComposedLog::empty(version, self.found.before);
                let last_tx = LastTx {
                    tx_id: self.found.before,
                    checksum: self.neostore.last_tx_checksum,
                    commit_time: self.neostore.creation_time,
                    start_bytes: None,
                    end: end_of(&log),
                };
                (log, last_tx)
            }
        };
        if log.size_bytes > LOG_BYTES_MAX {
            let what = format!(
                "{} bytes of transactions since a check point: 3.0 cannot recover so many; the server's next one \
                 is to be waited for",
                log.size_bytes
            );
            return Err(Error::Changed { path: self.database.log_dir.clone(), what });
        }
        let id = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        let path = format!("{LOG_PREFIX}{version}");
        let file = CopyFile { id, kind: FileKind::Log, path, size_bytes: log.size_bytes };
        let finished = Finished {
            files: vec![file],
            stale: self.stale(),
            first_consistent_tx_id: last_tx.tx_id,
            last_tx,
            transactions: scanner.transactions,
            as_of: if scanner.is_unfinished { last_tx.commit_time } else { as_of },
        };
        Ok(End { finished, logs: log })
    }

    /// The store must still be the one that the copy began with.
    fn check_in_place(&self) -> Result<()> {
        for entry in self.entries.iter().filter(|entry| entry.kind == FileKind::Record) {
            if let Content::Held(held) = &entry.content
                && !held.is_in_place()?
            {
                let what = "was replaced while it was copied".to_owned();
                return Err(Error::Changed { path: held.path().to_owned(), what });
            }
        }
        Ok(())
    }

    /// Files of schema indexes that were dropped meanwhile.
    fn stale(&self) -> Vec<Stale> {
        let is_gone = |(dir, id): &&(String, Option<(u64, u64)>)| {
            *id != identity(&self.database.store_dir.join(dir))
        };
        let gone: Vec<&str> =
            self.index_dirs.iter().filter(is_gone).map(|(dir, _)| dir.as_str()).collect();
        let is_below = |path: &str, dir: &str| {
            path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'))
        };
        let stale = self.entries.iter().zip(0..).filter(|(entry, _)| {
            entry.kind == FileKind::Lucene && gone.iter().any(|dir| is_below(&entry.path, dir))
        });
        stale.map(|(_, id)| Stale { id, reason: "the index was replaced".to_owned() }).collect()
    }

    /// The label index, schema indexes and counts.
    fn hold_derived(&mut self) -> Result<()> {
        let store_dir = self.database.store_dir.clone();
        let mut dirs = vec![LABEL_SCAN_STORE.to_owned()];
        for index in names(&store_dir.join(SCHEMA_INDEXES))? {
            dirs.push(format!("{SCHEMA_INDEXES}/{index}"));
        }
        for dir in dirs {
            let id = identity(&store_dir.join(&dir));
            match self.hold_index(&dir)? {
                Lucene::Whole(files) => {
                    self.index_dirs.push((dir, id));
                    for (path, held) in files {
                        self.entries.push(Entry::held(FileKind::Lucene, path, held)?);
                    }
                }
                // Dropped since it was listed.
                _ if id.is_none() => {}
                other => {
                    let reason = why_not(&other).to_owned();
                    self.left_out.push(LeftOut { path: dir, reason });
                }
            }
        }
        for name in COUNTS {
            let Some(bytes) = read_whole(&store_dir.join(name))? else { continue };
            let reason = match CountsFile::check(bytes.as_slice()) {
                // None is newer than the logs, which end later.
                Ok(counts) if counts.tx_id >= self.found.before => {
                    self.entries.push(Entry::kept(FileKind::Counts, name, bytes));
                    continue;
                }
                Ok(counts) => format!("it is as of transaction {}", counts.tx_id),
                Err(error) => error.to_string(),
            };
            self.left_out.push(LeftOut { path: name.to_owned(), reason });
        }
        Ok(())
    }

    /// Legacy indexes and their list: all of them, or there is no copy.
    fn hold_legacy_indexes(&mut self) -> Result<()> {
        let store_dir = self.database.store_dir.clone();
        for entity in ["node", "relationship"] {
            let root = format!("{LEGACY_INDEXES}/{entity}");
            for index in names(&store_dir.join(&root))? {
                let dir = format!("{root}/{index}");
                match self.hold_index(&dir)? {
                    Lucene::Whole(files) => {
                        for (path, held) in files {
                            self.entries.push(Entry::held(FileKind::LegacyIndex, path, held)?);
                        }
                    }
                    // A check point commits each: so all of it is in the log since the last one.
                    Lucene::New => {}
                    // Deleted since it was listed.
                    _ if identity(&store_dir.join(&dir)).is_none() => {}
                    other => {
                        let (path, why) = (store_dir.join(&dir), why_not(&other));
                        return Err(Error::Changed { path, what: format!("legacy index: {why}") });
                    }
                }
            }
        }
        let path = store_dir.join(LEGACY_INDEX_CONFIG);
        let wants_config = names(&store_dir.join(LEGACY_INDEXES))?.iter().any(|_| true);
        for _ in 0..CONFIG_TRIES {
            match read_whole(&path)? {
                Some(bytes) if IndexConfig::decode(&bytes).is_ok() => {
                    self.entries.push(Entry::kept(
                        FileKind::LegacyIndex,
                        LEGACY_INDEX_CONFIG,
                        bytes,
                    ));
                    return Ok(());
                }
                None if !wants_config => return Ok(()),
                _ => std::thread::sleep(CONFIG_WAIT),
            }
        }
        let what = "the list of legacy indexes is missing or damaged".to_owned();
        Err(Error::Changed { path, what })
    }

    /// Opens every file of an index as part of one commit.
    fn hold_index(&self, dir: &str) -> Result<Lucene> {
        let held = self.entries.iter().filter(|entry| matches!(entry.content, Content::Held(_)));
        let room = LUCENE_FILES_MAX.saturating_sub(held.count());
        for _ in 0..LUCENE_TRIES {
            match hold_lucene(&self.database.store_dir, dir, room) {
                Ok(Lucene::Changed) => {}
                Ok(Lucene::Whole(files)) => match is_whole(dir, &files) {
                    Ok(true) => return Ok(Lucene::Whole(files)),
                    Ok(false) => {}
                    Err(Error::Format { path, source }) => {
                        tracing::warn!(path = %path.display(), error = %source, "not copied");
                        return Ok(Lucene::No("a Lucene index whose commit cannot be read"));
                    }
                    Err(error) => return Err(error),
                },
                Err(error) if error.is_not_found() => {}
                held => return held,
            }
        }
        Ok(Lucene::Changed)
    }
}

impl LiveCopy for HotCopy {
    fn state(&self) -> State {
        self.state
    }

    fn store_id(&self) -> &StoreId {
        &self.store_id
    }

    fn start(&self) -> Option<RecoveryStart> {
        let version = self.neostore.log_version;
        Some(RecoveryStart {
            tx_id: self.found.before,
            position: LogPosition { version, offset_bytes: LogHeader::V6_SIZE_BYTES },
            time: self.found.last_commit.unwrap_or_else(now),
            kernel_version: KernelVersion::V3_0,
            reason: REASON.to_owned(),
        })
    }

    fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    fn files(&self) -> Vec<CopyFile> {
        let mut files: Vec<CopyFile> = self.entries.iter().zip(0..).map(Entry::describe).collect();
        let phase = self.phase.read().unwrap_or_else(PoisonError::into_inner);
        files.extend(phase.iter().flat_map(|end| end.finished.files.iter().cloned()));
        files
    }

    fn read_at(&self, file: u32, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let phase = self.phase.read().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = self.entries.get(file as usize) else {
            return match phase.as_ref() {
                Some(end) if file as usize == self.entries.len() => end.logs.read_at(offset, buf),
                _ => Err(Error::State("no such file in this copy")),
            };
        };
        if phase.is_some() {
            return Err(Error::State("the copy is finished: no store byte can be read any more"));
        }
        match &entry.content {
            Content::Held(held) => held.read_quietly(offset, limit(buf, offset, entry.size_bytes)),
            Content::Kept(bytes) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX);
                Ok(fill(buf, bytes.get(from..).unwrap_or_default()))
            }
        }
    }

    fn read_cached(&self, file: u32, offset: u64, buf: &mut [u8]) -> usize {
        let Some(entry) = self.entries.get(file as usize) else { return 0 };
        let Ok(phase) = self.phase.try_read() else { return 0 };
        match &entry.content {
            Content::Held(held) if phase.is_none() => {
                held.read_cached(offset, limit(buf, offset, entry.size_bytes))
            }
            _ => 0,
        }
    }

    fn finish(&self) -> Result<Finished> {
        let mut phase = self.phase.write().unwrap_or_else(PoisonError::into_inner);
        End::once(&mut phase, || {
            self.check_in_place()?;
            let end = self.find_end()?;
            self.check_in_place()?;
            Ok(end)
        })
    }
}

impl Entry {
    fn held(kind: FileKind, path: String, held: Held) -> Result<Self> {
        let size_bytes = held.size_bytes()?;
        Ok(Self { kind, path, size_bytes, content: Content::Held(held) })
    }

    fn kept(kind: FileKind, path: &str, bytes: Vec<u8>) -> Self {
        let size_bytes = bytes.len() as u64;
        Self { kind, path: path.to_owned(), size_bytes, content: Content::Kept(bytes) }
    }

    fn describe((entry, id): (&Self, u32)) -> CopyFile {
        let (kind, path, size_bytes) = (entry.kind, entry.path.clone(), entry.size_bytes);
        CopyFile { id, kind, path, size_bytes }
    }
}

/// A transaction that is the last of a composed log.
pub(super) fn composed_end(last: LastTx, end: LogPosition) -> LastTx {
    let length = last.end.offset_bytes.saturating_sub(last.start_bytes.unwrap_or_default());
    LastTx { start_bytes: Some(end.offset_bytes.saturating_sub(length)), end, ..last }
}

fn hold(database: &Database) -> Result<(LogStart, Arc<HeldLogs>, StoreId)> {
    let (stored, _) = neostore(database)?;
    let store_id = stored.store_id();
    let mut tries = 0_u32;
    loop {
        let held = start::find(database, stored.last_tx_id).and_then(|found| {
            Ok((found, HeldLogs::hold(&database.log_dir, found.position, &store_id)?))
        });
        match held {
            Ok((found, logs)) => return Ok((found, logs, store_id)),
            Err(Error::LogPruned { .. }) if tries < START_TRIES => tries = tries.saturating_add(1),
            Err(error) => return Err(error),
        }
    }
}

/// Why an index is not in the copy.
fn why_not(found: &Lucene) -> &'static str {
    match found {
        Lucene::No(reason) => reason,
        Lucene::New => "a Lucene index without a commit",
        Lucene::Whole(_) | Lucene::Changed => "a Lucene index that did not hold still",
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;
    use crate::Installation;

    const STORE: &str = "neostore.schemastore.db";
    const PAGE_BYTES: u64 = 8 << 10;

    fn holds(file: &Path) -> bool {
        let held = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        held.filter_map(|found| std::fs::read_link(found.path()).ok()).any(|path| path == file)
    }

    /// A store that a check point makes longer before the copy's start is chosen is copied at that length: what made
    /// it grow is in no log behind the check point. Method: the start cannot be looked for until the store, which
    /// the copy holds already, has grown.
    #[test]
    fn a_store_is_as_long_as_it_was_at_the_start() {
        let home = tempfile::tempdir().unwrap();
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/3.0.0/killed");
        let copied = Command::new("cp").arg("-rT").arg(from).arg(home.path()).status();
        assert!(copied.unwrap().success());
        let database = Installation::from_data(home.path()).unwrap().database("graph.db").unwrap();
        let store = database.store_dir.join(STORE);
        let before = std::fs::metadata(&store).unwrap().len();
        let index = database.log_index.clone();
        let locked = index.lock();
        std::thread::scope(|scope| {
            let copy = scope.spawn(|| HotCopy::begin(&database).unwrap());
            while !holds(&store) {
                std::thread::yield_now();
            }
            // Time for what is not to happen yet.
            std::thread::sleep(std::time::Duration::from_millis(100));
            let file = std::fs::File::options().write(true).open(&store).unwrap();
            file.set_len(before + PAGE_BYTES).unwrap();
            drop(locked);
            let files = copy.join().unwrap().files();
            let copied = files.iter().find(|file| file.path == STORE).unwrap();
            assert_eq!(copied.size_bytes, before + PAGE_BYTES);
        });
    }
}
