//! A source without Neo4j: files whose bytes follow from their number and offset.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use formats::{Checksum, KernelVersion, LogPosition, LogVersion, StoreId, TimestampMs, TxId};
use service::{Begun, Catalog, HotCopy};
use wire::api::{
    Checked, CheckpointInfo, Database, DatabaseState, ErrorCode, ErrorDetail, FileInfo, FileKind,
    Finished, LastTx, LeftOut, LogFile, Logs, StaleFile,
};

/// Settings and traces of a synthetic source, shared by all its copies.
#[derive(Default)]
pub struct Knobs {
    /// Store files: kind, path, size.
    pub files: Vec<(FileKind, String, u64)>,
    /// Log files and the checkpoint file.
    pub logs: Vec<(FileKind, String, u64)>,
    /// How often a tree is not whole, by its number.
    pub restless: Mutex<HashMap<u32, u32>>,
    /// Files that end earlier than they say.
    pub shrunk: Mutex<HashMap<u32, u64>>,
    /// A file whose first byte is another one, but only when it is read for the first time.
    pub flicker: Mutex<Option<u32>>,
    /// Files that turn out to be stale.
    pub stale: Vec<u32>,
    /// Of so many bytes of each read the cache has some, or all.
    pub cached_bytes: AtomicU64,
    /// How long each read takes.
    pub read_delay_ms: AtomicU64,
    /// Set by `finish`; a read of a store file that ends after it is counted in `late_reads`.
    pub finished: AtomicBool,
    pub late_reads: AtomicU32,
    pub reads: AtomicU32,
    pub live_copies: AtomicU32,
}

/// The byte at that offset of that file.
pub fn byte_at(file: u32, offset: u64) -> u8 {
    let word = (offset / 8).wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(u64::from(file) << 7);
    (word ^ (word >> 29)).to_le_bytes()[usize::try_from(offset % 8).unwrap()]
}

pub fn fill(file: u32, offset: u64, buf: &mut [u8]) {
    for (at, byte) in (offset..).zip(buf) {
        *byte = byte_at(file, at);
    }
}

pub fn fail(code: ErrorCode, message: &str) -> ErrorDetail {
    ErrorDetail { code, message: message.to_owned(), hint: None }
}

pub struct Synthetic(pub Arc<Knobs>);

impl Synthetic {
    /// A small store: trees, a Lucene index, record stores and one log.
    pub fn small() -> Knobs {
        let mib = 1 << 20;
        let file = |kind, path: &str, size| (kind, path.to_owned(), size);
        Knobs {
            files: vec![
                file(FileKind::Tree, "neostore.counts.db", 3 * 8192),
                file(FileKind::Tree, "neostore.nodestore.db.id", 2 * mib + 5),
                file(FileKind::Lucene, "schema/index/text-2.0/7/1/segments_1", 300),
                file(FileKind::Lucene, "schema/index/text-2.0/7/1/_0.cfs", mib),
                file(FileKind::Record, "neostore", 8192),
                file(FileKind::Record, "neostore.nodestore.db", 5 * mib + 17),
                file(FileKind::Record, "neostore.relationshipstore.db", 70 * mib),
                file(FileKind::Record, "neostore.nodestore.db.labels", 0),
            ],
            logs: vec![
                file(FileKind::Log, "neostore.transaction.db.3", 2 * mib + 1),
                file(FileKind::Checkpoint, "checkpoint.0", 396),
            ],
            ..Knobs::default()
        }
    }
}

fn infos(files: &[(FileKind, String, u64)], first: usize) -> Vec<FileInfo> {
    let info = |(index, (kind, path, size)): (usize, &(FileKind, String, u64))| FileInfo {
        id: u32::try_from(first + index).unwrap(),
        kind: *kind,
        path: path.clone(),
        size_bytes: *size,
    };
    files.iter().enumerate().map(info).collect()
}

impl Catalog for Synthetic {
    fn databases(&self) -> Result<Vec<Database>, ErrorDetail> {
        let database = |name: &str| Database {
            name: name.to_owned(),
            state: DatabaseState::Online,
            detail: None,
            store_id: None,
            size_bytes: Some(1),
        };
        Ok(vec![database("neo4j"), database("system")])
    }

    fn begin(&self, database: &str, _: Option<&wire::api::After>) -> Result<Begun, ErrorDetail> {
        if database != "neo4j" {
            return Err(fail(ErrorCode::NotFound, "no such database"));
        }
        self.0.live_copies.fetch_add(1, Ordering::SeqCst);
        Ok(Begun {
            copy: Box::new(SyntheticCopy(Arc::clone(&self.0))),
            state: DatabaseState::Online,
            store_id: StoreId {
                creation_time: TimestampMs(1),
                random: 2,
                engine: "record".into(),
                format_family: "aligned".into(),
                major: 1,
                minor: 1,
                upgrade: None,
            },
            external_uuid: Some("00".repeat(16)),
            checkpoint: Some(checkpoint()),
            is_long: true,
            files: infos(&self.0.files, 0),
            left_out: vec![LeftOut { path: "schema/index/x".into(), reason: "moved".into() }],
        })
    }

    fn logs(&self, _: &str) -> Result<Logs, ErrorDetail> {
        let file = LogFile {
            version: LogVersion(3),
            size_bytes: 1 << 20,
            first_tx_id: Some(TxId(5)),
            first_commit_time: Some(TimestampMs(2)),
        };
        Ok(Logs {
            retention_policy: None,
            rotation_size_bytes: None,
            checkpoint_interval_ms: None,
            checkpoint: checkpoint(),
            time: TimestampMs(1),
            files_count: 1,
            files: vec![file],
        })
    }
}

fn checkpoint() -> CheckpointInfo {
    CheckpointInfo {
        tx_id: TxId(7),
        position: LogPosition { version: LogVersion(3), offset_bytes: 128 },
        time: TimestampMs(3),
        kernel_version: KernelVersion(20),
        reason: "test".into(),
    }
}

struct SyntheticCopy(Arc<Knobs>);

impl Drop for SyntheticCopy {
    fn drop(&mut self) {
        self.0.live_copies.fetch_sub(1, Ordering::SeqCst);
    }
}

impl HotCopy for SyntheticCopy {
    fn read_at(&self, file: u32, offset: u64, buf: &mut [u8]) -> Result<usize, ErrorDetail> {
        let knobs = &self.0;
        knobs.reads.fetch_add(1, Ordering::SeqCst);
        let delay = knobs.read_delay_ms.load(Ordering::SeqCst);
        if delay > 0 {
            std::thread::sleep(std::time::Duration::from_millis(delay));
        }
        let index = usize::try_from(file).unwrap();
        let all = knobs.files.iter().chain(&knobs.logs);
        let size = all.clone().nth(index).map(|file| file.2).unwrap();
        let size = knobs.shrunk.lock().unwrap().get(&file).copied().unwrap_or(size);
        let rest = usize::try_from(size.saturating_sub(offset)).unwrap();
        let length = buf.len().min(rest);
        fill(file, offset, &mut buf[..length]);
        if offset == 0
            && length > 0
            && self.0.flicker.lock().unwrap().take_if(|f| *f == file).is_some()
        {
            buf[0] ^= 1;
        }
        if index < knobs.files.len() && knobs.finished.load(Ordering::SeqCst) {
            knobs.late_reads.fetch_add(1, Ordering::SeqCst);
        }
        Ok(length)
    }

    fn read_cached(&self, file: u32, offset: u64, buf: &mut [u8]) -> usize {
        let cached = usize::try_from(self.0.cached_bytes.load(Ordering::SeqCst)).unwrap();
        let length = buf.len().min(cached);
        if length == 0 {
            return 0;
        }
        self.read_at(file, offset, &mut buf[..length]).unwrap()
    }

    fn check_whole(&self, file: u32) -> Result<Checked, ErrorDetail> {
        let mut restless = self.0.restless.lock().unwrap();
        let left = restless.entry(file).or_default();
        let whole = *left == 0;
        *left = left.saturating_sub(1);
        let size_bytes = self.0.files[usize::try_from(file).unwrap()].2;
        Ok(Checked { whole, size_bytes })
    }

    fn finish(&self) -> Result<Finished, ErrorDetail> {
        self.0.finished.store(true, Ordering::SeqCst);
        let stale = self.0.stale.iter();
        Ok(Finished {
            files: infos(&self.0.logs, self.0.files.len()),
            stale: stale.map(|id| StaleFile { id: *id, reason: "dropped".into() }).collect(),
            first_consistent_tx_id: TxId(9),
            last_tx: LastTx {
                start_bytes: None,
                tx_id: TxId(12),
                checksum: Checksum(5),
                commit_time: TimestampMs(6),
                end: LogPosition { version: LogVersion(3), offset_bytes: 2 },
            },
            transactions: 5,
            as_of: TimestampMs(6),
        })
    }
}
