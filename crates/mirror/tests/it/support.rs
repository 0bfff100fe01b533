//! A service's answers made from a real server's files, and a client that feeds them to a mirror.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use client::Sink;
use fs::{Busy, Disk, RealDisk};
use mirror::{Backup, DatabaseEntry, Error, Mirror, Outcome, Staged};
use source::{HotCopy, Installation, LiveCopy as _};
use wire::api::{
    CheckpointInfo, DatabaseState, FileInfo, FileKind, Finished, LastTx, LeftOut, Session,
};

use wire::pages::{GROUP_BYTES, Group};

/// Small, so that small files have several blocks.
pub const BLOCK_BYTES: u64 = 4096;
/// Of the derived file by which copies are told apart.
pub const MARKED_BYTES: u64 = 100_000;
pub const PAGE_BYTES: usize = 8192;
/// Servers that were killed: their logs go on after the last checkpoint.
pub const FIXTURES: [&str; 2] = ["5.26.30/killed", "2026.08.1/killed"];

/// A copy as it comes from a service.
#[derive(Clone)]
pub struct Copy {
    pub session: Session,
    pub finished: Finished,
    /// Contents by file id.
    pub bytes: Vec<(FileInfo, Vec<u8>)>,
}

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name)
}

fn info(file: &source::CopyFile) -> FileInfo {
    let kind = match file.kind {
        source::FileKind::Record => FileKind::Record,
        source::FileKind::Tree => FileKind::Tree,
        source::FileKind::Lucene => FileKind::Lucene,
        source::FileKind::Log => FileKind::Log,
        source::FileKind::Checkpoint => FileKind::Checkpoint,
        source::FileKind::Counts => FileKind::Counts,
        source::FileKind::LegacyIndex => FileKind::LegacyIndex,
    };
    FileInfo { id: file.id, kind, path: file.path.clone(), size_bytes: file.size_bytes }
}

fn contents(copy: &HotCopy, file: &FileInfo) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.size_bytes).unwrap()];
    assert_eq!(copy.read_at(file.id, 0, &mut bytes).unwrap(), bytes.len(), "{file:?}");
    bytes
}

impl Copy {
    /// Of a fixture's database, by the real source; with a nested derived file and an empty one.
    pub fn of(name: &str, database: &str) -> Self {
        Self::at(&fixture(name), database)
    }

    /// Of a data directory.
    pub fn at(data: &Path, database: &str) -> Self {
        let installation = Installation::from_data(data).unwrap();
        let copy = HotCopy::begin(&installation.database("neo4j").unwrap()).unwrap();
        let mut bytes = Vec::new();
        let mut files: Vec<FileInfo> = copy.files().iter().map(info).collect();
        for file in &files {
            bytes.push((file.clone(), contents(&copy, file)));
        }
        for (id, size) in [(1000, MARKED_BYTES), (1001, 0), (1002, 50_000)] {
            let path = format!("schema/index/range-1.0/{id}/some file");
            let file = FileInfo { id, kind: FileKind::Lucene, path, size_bytes: size };
            files.push(file.clone());
            bytes.push((file, (0..size).map(|i| (i % 251) as u8).collect()));
        }
        let done = copy.finish().unwrap();
        let logs: Vec<FileInfo> = done.files.iter().map(info).collect();
        for file in &logs {
            bytes.push((file.clone(), contents(&copy, file)));
        }
        let c = copy.checkpoint();
        let session = Session {
            session_id: "test".into(),
            lease_seconds: 60,
            database: database.into(),
            state: DatabaseState::Offline,
            store_id: copy.store_id().clone(),
            external_uuid: copy
                .external_uuid()
                .map(|uuid| format!("{:032x}", u128::from_be_bytes(uuid))),
            checkpoint: Some(CheckpointInfo {
                tx_id: c.tx_id,
                position: c.position,
                time: c.time,
                kernel_version: c.kernel_version,
                reason: c.reason.clone(),
            }),
            block_bytes: BLOCK_BYTES,
            files,
            left_out: vec![LeftOut { path: "neostore.counts.db".into(), reason: "test".into() }],
        };
        let finished = Finished {
            files: logs,
            stale: Vec::new(),
            first_consistent_tx_id: done.first_consistent_tx_id,
            last_tx: LastTx {
                start_bytes: done.last_tx.start_bytes,
                tx_id: done.last_tx.tx_id,
                checksum: done.last_tx.checksum,
                commit_time: done.last_tx.commit_time,
                end: done.last_tx.end,
            },
            transactions: done.transactions,
            as_of: done.as_of,
        };
        Self { session, finished, bytes }
    }

    /// Another copy, told apart by the length and some pages of its derived file.
    pub fn changed(&self, mark: u8) -> Self {
        let mut changed = self.clone();
        changed.cut(1000, MARKED_BYTES - u64::from(mark) * 5000);
        let derived = changed.bytes.iter_mut().find(|(file, _)| file.id == 1000).unwrap();
        derived.1.chunks_mut(PAGE_BYTES).step_by(3).for_each(|page| page.fill(mark));
        changed
    }

    /// Makes a file shorter.
    pub fn cut(&mut self, id: u32, size_bytes: u64) {
        let cut = self.bytes.iter_mut().find(|(file, _)| file.id == id).unwrap();
        cut.1.truncate(size_bytes as usize);
        cut.0.size_bytes = size_bytes;
        for file in self.session.files.iter_mut().filter(|file| file.id == id) {
            file.size_bytes = size_bytes;
        }
    }

    pub fn bytes_of(&mut self, path: &str) -> &mut (FileInfo, Vec<u8>) {
        self.bytes.iter_mut().find(|(file, _)| file.path.ends_with(path)).unwrap()
    }

    pub fn outcome(&self) -> Outcome<'_> {
        Outcome {
            finished: &self.finished,
            left_out: &[],
            bytes_transferred: 12345,
            checkpoint: self.session.checkpoint.as_ref(),
        }
    }

    /// All of the copy into a mirror, and its commit.
    pub fn run(&self, mirror: &Mirror) -> Result<DatabaseEntry, Error> {
        let staged = mirror.begin(&self.session, mirror::Reason::FirstBackup)?;
        self.feed(&staged)?;
        staged.commit(&self.outcome())
    }

    /// The whole run of a client.
    pub fn back_up(&self, disk: Arc<dyn Disk>, dir: &Path) -> Result<DatabaseEntry, Error> {
        self.run(&Mirror::open_for_write(disk, dir, Busy::Fail)?)
    }

    pub fn feed(&self, staged: &Staged) -> Result<(), Error> {
        let block_bytes = self.session.block_bytes;
        let is_untold = is_3_0(&self.session) && self.session.files.is_empty();
        let feed = |(file, bytes): &(_, Vec<_>)| match is_untold {
            true => feed_unsized(staged, file, 0, bytes, block_bytes),
            false => feed_file(staged, file, bytes, block_bytes),
        };
        self.bytes.iter().try_for_each(feed)
    }
}

/// Which backup a directory holds: its derived file is wholly that of [`Copy::changed`].
pub fn mark(dir: &Path) -> Option<u8> {
    let backup = Backup::open(dir).ok()?;
    let entry = backup.manifest().database("neo4j")?;
    let is_it = |file: &&mirror::FileEntry| file.path.contains("1000");
    let bytes = contents_of(&backup, entry, entry.files.iter().find(is_it)?);
    let mark = bytes[0];
    assert_eq!(bytes.len() as u64, MARKED_BYTES - u64::from(mark) * 5000);
    for (index, page) in bytes.chunks(PAGE_BYTES).enumerate() {
        let at = index * PAGE_BYTES;
        let expected = |i: usize| if index % 3 == 0 { mark } else { ((at + i) % 251) as u8 };
        let mixed = page.iter().enumerate().position(|(i, byte)| *byte != expected(i));
        assert_eq!(mixed, None, "page {index} is not of copy {mark}");
    }
    Some(mark)
}

/// A file's bytes as readers get them, wherever they are.
fn contents_of(backup: &Backup, entry: &DatabaseEntry, file: &mirror::FileEntry) -> Vec<u8> {
    struct Collect<'a> {
        path: &'a str,
        bytes: std::sync::Mutex<Vec<u8>>,
    }
    impl mirror::CheckedBlocks for Collect<'_> {
        type Error = ();
        fn bytes(&self, file: mirror::FileRef<'_>, at: u64, bytes: &[u8]) -> Result<(), ()> {
            if file.file.path == self.path {
                let mut all = self.bytes.lock().unwrap();
                all[at as usize..][..bytes.len()].copy_from_slice(bytes);
            }
            Ok(())
        }
        fn piece_done(&self, _: mirror::FileRef<'_>, _: u64) -> Result<(), ()> {
            Ok(())
        }
    }
    let bytes = std::sync::Mutex::new(vec![0; file.size_bytes as usize]);
    let collect = Collect { path: &file.path, bytes };
    mirror::check_blocks(backup, &[entry], &|_| (), &collect).unwrap();
    collect.bytes.into_inner().unwrap()
}

/// What is known of a file's bytes.
pub fn groups(bytes: &[u8], block_bytes: u64) -> Vec<Group> {
    let groups = (0..).step_by(GROUP_BYTES).zip(bytes.chunks(GROUP_BYTES));
    groups.map(|(at, bytes)| Group::of(at % block_bytes, bytes)).collect()
}

/// One file, in pieces that do not end where blocks end; where there is a base, only what differs.
pub fn feed_file(
    staged: &Staged,
    file: &FileInfo,
    bytes: &[u8],
    block_bytes: u64,
) -> Result<(), Error> {
    let down = |e: client::SinkError| *e.downcast::<Error>().unwrap();
    staged.create(file).map_err(down)?;
    let base = staged.base(file.id);
    let mut old = vec![0; base.map_or(0, |base| base.size_bytes.min(file.size_bytes) as usize)];
    if base.is_some() {
        staged.read_base(file.id, 0, &mut old).map_err(down)?;
    }
    let stays = base.is_some_and(|base| base.stays);
    let piece_bytes = if stays { PAGE_BYTES } else { 30_000 };
    for (index, piece) in bytes.chunks(piece_bytes).enumerate() {
        let at = index * piece_bytes;
        if !stays || old.get(at..at + piece.len()) != Some(piece) {
            staged.write_at(file.id, at as u64, piece).map_err(down)?;
        }
    }
    for (index, block) in bytes.chunks(block_bytes as usize).enumerate() {
        let hash = *blake3::hash(block).as_bytes();
        staged.block(file.id, index as u64 * block_bytes, hash).map_err(down)?;
    }
    staged.groups(file.id, 0, &groups(bytes, block_bytes)).map_err(down)?;
    staged.complete(file.id, bytes.len() as u64).map_err(down)
}

/// Whether a session is of a Neo4j 3.0 server; its own service tells of no files.
fn is_3_0(session: &Session) -> bool {
    session.store_id.is_v3_0()
}

/// One file from an offset on, as its length shows at its end: block by block, the first one last.
/// Blocks of a file that does not begin here have no hashes.
pub fn feed_unsized(
    sink: &dyn Sink,
    file: &FileInfo,
    from: u64,
    bytes: &[u8],
    block_bytes: u64,
) -> Result<(), Error> {
    let down = |e: client::SinkError| *e.downcast::<Error>().unwrap();
    sink.create_unsized(&FileInfo { size_bytes: 0, ..file.clone() }).map_err(down)?;
    let mut blocks: Vec<_> =
        (from..).step_by(block_bytes as usize).zip(bytes.chunks(block_bytes as usize)).collect();
    if from == 0 && !blocks.is_empty() {
        blocks.rotate_left(1);
    }
    for (at, block) in blocks {
        sink.write_at(file.id, at, block).map_err(down)?;
        if from == 0 {
            sink.block(file.id, at, *blake3::hash(block).as_bytes()).map_err(down)?;
        }
    }
    sink.complete(file.id, from + bytes.len() as u64).map_err(down)
}

pub fn verify(dir: &Path) -> mirror::Report {
    mirror::verify(&Backup::open(dir).unwrap(), &|_| ()).unwrap()
}

pub fn real() -> Arc<dyn Disk> {
    RealDisk::new()
}

/// The backup of the one database that there is.
pub fn state(dir: &Path) -> Option<DatabaseEntry> {
    match Backup::open(dir) {
        Ok(backup) => backup.manifest().databases.first().cloned(),
        Err(Error::NotABackup { .. }) => None,
        Err(error) => panic!("{error}: {:?}", std::error::Error::source(&error)),
    }
}

/// When files last changed is another thing after a power failure, and on another disk.
pub fn is_same(one: Option<&DatabaseEntry>, other: Option<&DatabaseEntry>) -> bool {
    let timeless = |entry: &DatabaseEntry| {
        let mut entry = entry.clone();
        entry.files.iter_mut().for_each(|file| file.changed = None);
        entry
    };
    one.map(timeless) == other.map(timeless)
}

/// All names and contents under a directory, for "nothing has changed".
pub fn tree(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let read = |entry: fs::Entry| {
        let bytes = match entry.kind {
            fs::EntryKind::File => std::fs::read(dir.join(&entry.path)).unwrap(),
            _ => Vec::new(),
        };
        (entry.path, bytes)
    };
    // Every run that looks writes into the lock's file who it is, and since when.
    let is_lock = |entry: &fs::Entry| entry.path.ends_with(".neo4j-backup.lock");
    let found = fs::walk(dir).unwrap().into_iter();
    found.filter(|entry| !is_lock(entry)).map(read).collect()
}

/// A fixture's data directory; record stores that it lacks are empty.
pub fn whole(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::walk(&fixture(name)).unwrap() {
        let to = dir.path().join(&entry.path);
        match entry.kind {
            fs::EntryKind::Dir => std::fs::create_dir_all(to).unwrap(),
            _ => drop(std::fs::copy(fixture(name).join(&entry.path), to).unwrap()),
        }
    }
    let store = dir.path().join("databases/neo4j");
    for file in formats::record_store::MANDATORY {
        if !store.join(file.file_name()).exists() {
            std::fs::write(store.join(file.file_name()), b"").unwrap();
        }
    }
    dir
}

/// The log of a fixture that was cut in its middle, as the server had it then.
pub struct Young {
    dir: tempfile::TempDir,
}

/// What an increment brings.
#[derive(Clone)]
pub struct Step {
    pub session: Session,
    pub finished: Finished,
    /// Files, each with the bytes from an offset on.
    pub bytes: Vec<(FileInfo, u64, Vec<u8>)>,
}

impl Young {
    /// The fixture when it had only its first checkpoint and half of its first log.
    pub fn of(name: &str) -> Self {
        let dir = whole(name);
        let logs = dir.path().join("transactions/neo4j");
        let path = logs.join("checkpoint.0");
        let bytes = std::fs::read(&path).unwrap();
        let file = formats::checkpoint::decode_file(&bytes).unwrap().unwrap();
        let (first, end) = &file.entries[0];
        std::fs::write(&path, &bytes[..*end as usize]).unwrap();
        for number in 1..9 {
            let _ = std::fs::remove_file(logs.join(format!("neostore.transaction.db.{number}")));
        }
        let path = logs.join("neostore.transaction.db.0");
        let log = std::fs::read(&path).unwrap();
        let from = first.position.offset_bytes;
        let mut reader = formats::txlog::BatchReader::new(&log[from as usize..], from);
        let ends: Vec<u64> =
            std::iter::from_fn(|| reader.next_batch().unwrap()).map(|batch| batch.end).collect();
        assert!(ends.len() > 4, "{name}: {ends:?}");
        std::fs::write(&path, &log[..ends[ends.len() / 2] as usize]).unwrap();
        Self { dir }
    }

    pub fn copy(&self, database: &str) -> Copy {
        Copy::at(self.dir.path(), database)
    }
}

impl Step {
    /// From what a backup ends with to the fixture's present state, by the real source.
    pub fn of(name: &str, after: &wire::api::After, database: &str) -> Self {
        let home = whole(name);
        let installation = Installation::from_data(home.path()).unwrap();
        let last = after.last_tx;
        let source_after = source::After {
            store_id: after.store_id.clone(),
            external_uuid: after
                .external_uuid
                .as_ref()
                .map(|uuid| u128::from_str_radix(uuid, 16).unwrap().to_be_bytes()),
            last_tx: source::LastTx {
                tx_id: last.tx_id,
                checksum: last.checksum,
                commit_time: last.commit_time,
                start_bytes: last.start_bytes,
                end: last.end,
            },
        };
        let database_of = installation.database("neo4j").unwrap();
        let increment = source::Increment::begin(&database_of, source_after).unwrap();
        let done = increment.finish().unwrap();
        let first = format!("neostore.transaction.db.{}", last.end.version);
        let mut bytes = Vec::new();
        for file in &done.files {
            // Some bytes that the backup has already, as a service's blocks bring them.
            let has = if file.path == first { last.end.offset_bytes } else { 0 };
            let from = has.saturating_sub(1000);
            if has == file.size_bytes {
                continue;
            }
            let mut content = vec![0; usize::try_from(file.size_bytes - from).unwrap()];
            assert_eq!(increment.read_at(file.id, from, &mut content).unwrap(), content.len());
            bytes.push((info(file), from, content));
        }
        let session = Session {
            session_id: "test".into(),
            lease_seconds: 60,
            database: database.into(),
            state: DatabaseState::Offline,
            store_id: after.store_id.clone(),
            external_uuid: after.external_uuid.clone(),
            checkpoint: None,
            block_bytes: BLOCK_BYTES,
            files: Vec::new(),
            left_out: Vec::new(),
        };
        let finished = Finished {
            files: done.files.iter().map(info).collect(),
            stale: Vec::new(),
            first_consistent_tx_id: done.first_consistent_tx_id,
            last_tx: LastTx {
                tx_id: done.last_tx.tx_id,
                checksum: done.last_tx.checksum,
                commit_time: done.last_tx.commit_time,
                start_bytes: done.last_tx.start_bytes,
                end: done.last_tx.end,
            },
            transactions: done.transactions,
            as_of: done.as_of,
        };
        Self { session, finished, bytes }
    }

    /// All of it into a backup, and its commit.
    pub fn run(&self, mirror: &Mirror) -> Result<DatabaseEntry, Error> {
        let down = |e: client::SinkError| *e.downcast::<Error>().unwrap();
        let increment = mirror.append(&self.session)?;
        for (file, from, bytes) in &self.bytes {
            if is_3_0(&self.session) {
                feed_unsized(&increment, file, *from, bytes, self.session.block_bytes)?;
                continue;
            }
            increment.create(file).map_err(down)?;
            for (index, piece) in bytes.chunks(30_000).enumerate() {
                let at = from + index as u64 * 30_000;
                increment.write_at(file.id, at, piece).map_err(down)?;
            }
            increment.complete(file.id, file.size_bytes).map_err(down)?;
        }
        let outcome = Outcome {
            finished: &self.finished,
            left_out: &[],
            bytes_transferred: 54321,
            checkpoint: None,
        };
        increment.commit(&outcome)
    }
}

/// Fails unless one of these is there, with all its bytes. Says which.
pub fn require_whole(
    dir: &Path,
    expected: &[Option<&DatabaseEntry>],
    what: &dyn Fn() -> String,
) -> usize {
    let found = state(dir);
    let index = expected.iter().position(|entry| is_same(*entry, found.as_ref()));
    let index = index.unwrap_or_else(|| panic!("neither the old backup nor the new: {}", what()));
    if found.is_some() {
        let report = verify(dir);
        assert!(report.is_clean(), "{:?} {}", report.findings, what());
    }
    index
}
