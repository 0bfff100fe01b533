//! A hot copy: the rules that make the copy of a running database recover to a commit.
//!
//! 1. The logs from checkpoint C on are held before the first store byte is read.
//! 2. Record stores are read fuzzy: each change after C is in the logs as a whole record image.
//! 3. Derived files are held or proven whole; else they are left out and named.
//! 4. The logs end last: commit E is looked for after the last store byte, and no store byte can
//!    be read after that. A transaction's bytes are in the log before any page has its effect.
//! 5. The copy of the checkpoint file ends at C.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use formats::StoreId;
use formats::checkpoint::Checkpoint;
use formats::metadata::MetadataStore;
use formats::record_store;

use crate::checkpoint::{FoundCheckpoint, find_checkpoint};
use crate::derived::{Derived, LeftOut, Tree};
use crate::installation::{Database, State};
use crate::live_copy::{Checked, CopyFile, End, FileKind, Finished, LiveCopy, Stale, limit};
use crate::log_files::RecoveryStart;
use crate::logs::HeldLogs;
use crate::read::{Held, identity};
use crate::scan::{LOG_PREFIX, LastTx};
use crate::{Error, Result, now};

/// C's log can be pruned between finding C and opening it; then there is a newer C.
const CHECKPOINT_TRIES: u32 = 10;

/// One hot copy in progress. Dropping it releases every descriptor.
pub struct HotCopy {
    database: Database,
    state: State,
    metadata: MetadataStore,
    found: FoundCheckpoint,
    entries: Vec<Entry>,
    index_dirs: Vec<(String, Option<(u64, u64)>)>,
    left_out: Vec<LeftOut>,
    logs: Arc<HeldLogs>,
    /// Readers of store bytes hold it for reading: so none is under way when E is looked for.
    phase: RwLock<Option<End<Vec<Arc<Held>>>>>,
}

struct Entry {
    path: String,
    size_bytes: AtomicU64,
    content: Content,
}

enum Content {
    Record(Held),
    Tree(Tree),
    Lucene(Held),
}

impl HotCopy {
    /// Finds checkpoint C, holds its logs, then opens every file of the store.
    pub fn begin(database: &Database) -> Result<Self> {
        // Says best why a store cannot be copied.
        database.metadata()?;
        // The stores are held before anything else is read: if one is replaced from now on, so that
        // what is read belongs to another store, `check_in_place` sees it.
        let mut records = Vec::new();
        for store in record_store::MANDATORY {
            let held = Held::open(&database.store_dir.join(store.file_name()))?;
            records.push((store.file_name().to_owned(), held));
        }
        let metadata = database.metadata()?;
        let (found, logs) = hold_checkpoint(database, &metadata.store_id)?;
        logs.watch()?;
        let derived = Derived::hold(&database.store_dir)?;
        let index_dirs = index_dirs(&database.store_dir, &derived);
        let mut entries = Vec::new();
        for (path, tree) in derived.trees {
            entries.push(Entry::new(path, tree.held.size_bytes()?, Content::Tree(tree)));
        }
        for (path, held) in derived.lucene {
            entries.push(Entry::new(path, held.size_bytes()?, Content::Lucene(held)));
        }
        for (path, held) in records {
            entries.push(Entry::new(path, held.size_bytes()?, Content::Record(held)));
        }
        let state = database.live_state()?;
        Ok(Self {
            database: database.clone(),
            state,
            metadata,
            found,
            entries,
            index_dirs,
            left_out: derived.left_out,
            logs,
            phase: RwLock::new(None),
        })
    }

    /// Checkpoint C.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.found.checkpoint
    }

    fn read_end(
        &self,
        end: Option<&End<Vec<Arc<Held>>>>,
        index: usize,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<usize> {
        let file = index.saturating_sub(self.entries.len());
        let Some((end, described)) = end.and_then(|e| Some((e, e.finished.files.get(file)?)))
        else {
            return Err(Error::State("no such file in this copy"));
        };
        let buf = limit(buf, offset, described.size_bytes);
        let held = end.logs.get(file).map_or(&self.found.file, |log| log.as_ref());
        let read = held.read_quietly(offset, buf)?;
        if read < buf.len() {
            let what = "became shorter although it was finished".to_owned();
            return Err(Error::Changed { path: held.path().to_owned(), what });
        }
        Ok(read)
    }

    fn find_end(&self) -> Result<End<Vec<Arc<Held>>>> {
        let as_of = now();
        let c = &self.found.checkpoint;
        let from = c.oldest_not_completed.min(c.position);
        let (scanner, cuts) = self.logs.read_to_end(from, self.store_id())?;
        let last_tx = scanner.last.unwrap_or(LastTx {
            tx_id: c.tx_id,
            checksum: c.tx_checksum,
            commit_time: c.tx_commit_time,
            start_bytes: None,
            end: from,
        });
        let log_dir = &self.database.log_dir;
        let gap = |what: String| Error::Changed { path: log_dir.clone(), what };
        if let Some(first) = scanner.first_tx.filter(|first| first.0 > c.tx_id.0.saturating_add(1))
        {
            return Err(gap(format!(
                "the log after checkpoint {} begins with transaction {first}",
                c.tx_id
            )));
        }
        if last_tx.tx_id < c.tx_id {
            return Err(gap(format!(
                "the log ends with transaction {}, before the checkpoint's {}",
                last_tx.tx_id, c.tx_id
            )));
        }
        let mut files = Vec::new();
        let mut logs = Vec::new();
        let mut id = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        for (version, cut) in cuts.range(from.version..=last_tx.end.version) {
            let Some(held) = self.logs.get(*version) else { continue };
            let path = format!("{LOG_PREFIX}{version}");
            files.push(CopyFile { id, kind: FileKind::Log, path, size_bytes: *cut });
            logs.push(held);
            id = id.saturating_add(1);
        }
        let (path, size_bytes) = (self.found.file_name.clone(), self.found.end_bytes);
        files.push(CopyFile { id, kind: FileKind::Checkpoint, path, size_bytes });
        let finished = Finished {
            files,
            stale: self.stale()?,
            // E was looked for after the last store byte, so E itself is consistent. An earlier
            // commit may be as well, but that is not known.
            first_consistent_tx_id: last_tx.tx_id,
            last_tx,
            transactions: scanner.transactions,
            as_of: if scanner.is_unfinished { last_tx.commit_time } else { as_of },
        };
        Ok(End { finished, logs })
    }

    /// The store must still be the one that the copy began with.
    fn check_in_place(&self) -> Result<()> {
        self.database.check_not_migrating()?;
        for entry in &self.entries {
            if let Content::Record(held) = &entry.content
                && !held.is_in_place()?
            {
                let what = "was replaced while it was copied".to_owned();
                return Err(Error::Changed { path: held.path().to_owned(), what });
            }
        }
        Ok(())
    }

    fn stale(&self) -> Result<Vec<Stale>> {
        let gone: Vec<&str> = self
            .index_dirs
            .iter()
            .filter(|(path, id)| *id != identity(&self.database.store_dir.join(path)))
            .map(|(path, _)| path.as_str())
            .collect();
        let mut stale = Vec::new();
        for (entry, id) in self.entries.iter().zip(0..) {
            let reason = match &entry.content {
                Content::Tree(tree) if !tree.held.is_in_place()? => "the file was replaced",
                _ if gone.iter().any(|dir| entry.is_below(dir)) => "the index was replaced",
                _ => continue,
            };
            stale.push(Stale { id, reason: reason.to_owned() });
        }
        Ok(stale)
    }
}

impl LiveCopy for HotCopy {
    fn state(&self) -> State {
        self.state
    }

    fn store_id(&self) -> &StoreId {
        &self.metadata.store_id
    }

    fn external_uuid(&self) -> Option<[u8; 16]> {
        Some(self.metadata.external_uuid)
    }

    fn start(&self) -> Option<RecoveryStart> {
        Some(RecoveryStart::from(&self.found.checkpoint))
    }

    fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    fn files(&self) -> Vec<CopyFile> {
        let mut files: Vec<CopyFile> = self.entries.iter().zip(0..).map(Entry::describe).collect();
        let phase = self.phase.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        files.extend(phase.iter().flat_map(|end| end.finished.files.iter().cloned()));
        files
    }

    fn read_at(&self, file: u32, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let phase = self.phase.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        let index = file as usize;
        let Some(entry) = self.entries.get(index) else {
            return self.read_end(phase.as_ref(), index, offset, buf);
        };
        if phase.is_some() {
            return Err(Error::State("the copy is finished: no store byte can be read any more"));
        }
        let size = entry.size_bytes.load(Ordering::Acquire);
        let buf = limit(buf, offset, size);
        match &entry.content {
            Content::Record(held) | Content::Lucene(held) => held.read_quietly(offset, buf),
            Content::Tree(tree) => {
                tree.note_state()?;
                tree.held.read_quietly(offset, buf)
            }
        }
    }

    fn read_cached(&self, file: u32, offset: u64, buf: &mut [u8]) -> usize {
        let Some(entry) = self.entries.get(file as usize) else { return 0 };
        // Held while reading, as in `read_at`: `finish` must not begin meanwhile.
        let Ok(phase) = self.phase.try_read() else { return 0 };
        match &entry.content {
            Content::Record(held) | Content::Lucene(held) if phase.is_none() => {
                let size = entry.size_bytes.load(Ordering::Acquire);
                held.read_cached(offset, limit(buf, offset, size))
            }
            _ => 0,
        }
    }

    fn check_whole(&self, file: u32) -> Result<Checked> {
        let Some(entry) = self.entries.get(file as usize) else {
            return Err(Error::State("no such file in this copy"));
        };
        let size = entry.size_bytes.load(Ordering::Acquire);
        let Content::Tree(tree) = &entry.content else {
            return Ok(Checked { whole: true, size_bytes: size });
        };
        let whole = tree.check_whole(size)?;
        if !whole {
            entry.size_bytes.store(tree.held.size_bytes()?, Ordering::Release);
        }
        Ok(Checked { whole, size_bytes: entry.size_bytes.load(Ordering::Acquire) })
    }

    fn finish(&self) -> Result<Finished> {
        let mut phase = self.phase.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        End::once(&mut phase, || {
            self.check_in_place()?;
            let end = self.find_end()?;
            self.check_in_place()?;
            Ok(end)
        })
    }
}

impl Entry {
    fn new(path: String, size_bytes: u64, content: Content) -> Self {
        Self { path, size_bytes: AtomicU64::new(size_bytes), content }
    }

    fn describe((entry, id): (&Self, u32)) -> CopyFile {
        let kind = match entry.content {
            Content::Record(_) => FileKind::Record,
            Content::Tree(_) => FileKind::Tree,
            Content::Lucene(_) => FileKind::Lucene,
        };
        let size_bytes = entry.size_bytes.load(Ordering::Acquire);
        CopyFile { id, kind, path: entry.path.clone(), size_bytes }
    }

    fn is_below(&self, directory: &str) -> bool {
        self.path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
    }
}

fn hold_checkpoint(
    database: &Database,
    store_id: &StoreId,
) -> Result<(FoundCheckpoint, Arc<HeldLogs>)> {
    let mut tries = 0_u32;
    loop {
        let found = find_checkpoint(database)?;
        let c = &found.checkpoint;
        if !c.store_id.is_same_store(store_id) {
            let what = format!("belongs to store {}, not to {store_id}", c.store_id);
            return Err(Error::Changed { path: found.file.path().to_owned(), what });
        }
        let from = c.oldest_not_completed.min(c.position);
        match HeldLogs::hold(&database.log_dir, from, store_id) {
            Ok(logs) => return Ok((found, logs)),
            Err(Error::LogPruned { .. }) if tries < CHECKPOINT_TRIES => {
                tries = tries.saturating_add(1);
            }
            Err(error) => return Err(error),
        }
    }
}

/// The directories of the copy's indexes, each with its identity now.
fn index_dirs(store_dir: &Path, derived: &Derived) -> Vec<(String, Option<(u64, u64)>)> {
    let trees = derived.trees.iter().map(|(path, _)| path);
    let mut dirs: Vec<String> = trees
        .chain(derived.lucene.iter().map(|(path, _)| path))
        .filter(|path| path.starts_with("schema/index/"))
        .map(|path| path.split('/').take(4).collect::<Vec<_>>().join("/"))
        .collect();
    dirs.sort();
    dirs.dedup();
    dirs.into_iter().map(|dir| (dir.clone(), identity(&store_dir.join(dir)))).collect()
}
