//! A Neo4j 3.0 server's own backup service, made from a real server's files.

use std::path::Path;
use std::sync::Arc;

use formats::txlog::{Batch, BatchReader, LogFormatVersion, LogHeader};
use formats::v3_0::{
    COUNTS, CheckPoint, CountsFile, MANDATORY, Neostore, Place, newest_check_points, place_in_log,
    recovery_start,
};
use formats::{KernelVersion, LogPosition, LogVersion, StoreId, TxId};
use fs::{Busy, Disk};
use mirror::{DatabaseEntry, Error, Mirror};
use wire::api::{
    After, CheckpointInfo, DatabaseState, FileInfo, FileKind, Finished, LastTx, LeftOut, Session,
};
use wire::names::{LOG_PREFIX, check_path};

use crate::support::*;

/// The name that the one database of a 3.0 server has.
pub const DATABASE: &str = "graph.db";
/// Servers that were killed, of two versions, and one whose log has another number.
pub const NAMES_3_0: [&str; 3] = ["3.0.0/killed", "3.0.7/killed", "3.0.0/rotated"];
const HEADER_BYTES: usize = LogHeader::V6_SIZE_BYTES as usize;
/// So many of a server's newest check points were taken after the copy had begun.
const LATER_CHECK_POINTS: usize = 2;
/// Kinds of files that the service sends.
const STORE_KINDS: [FileKind; 4] =
    [FileKind::Record, FileKind::Counts, FileKind::Lucene, FileKind::LegacyIndex];

/// A server: its store, and its transactions from a copy's check point on.
#[derive(Clone)]
pub struct Three {
    neostore: Neostore,
    /// Of the store, in the order of their ids.
    files: Vec<(FileInfo, Vec<u8>)>,
    /// Header and check point, and all transactions.
    log: Vec<u8>,
    batches: Vec<Batch>,
}

impl Three {
    /// Of a fixture. Record stores that it lacks are empty.
    pub fn of(name: &str) -> Self {
        let dir = fixture(name).join("databases").join(DATABASE);
        let neostore = Neostore::decode(&std::fs::read(dir.join("neostore")).unwrap()).unwrap();
        let mut files = Vec::new();
        let mut add = |path: &str, bytes: Vec<u8>| {
            let kind = STORE_KINDS.into_iter().find(|kind| check_path(*kind, path).is_ok());
            let id = u32::try_from(files.len()).unwrap();
            let file = |kind| FileInfo { id, kind, path: path.to_owned(), size_bytes: 0 };
            files.extend(kind.map(|kind| (file(kind), bytes)));
        };
        for entry in fs::walk(&dir).unwrap() {
            if entry.kind == fs::EntryKind::File {
                let bytes = std::fs::read(dir.join(&entry.path)).unwrap();
                add(entry.path.to_str().unwrap(), bytes);
            }
        }
        for store in MANDATORY.iter().filter(|store| !dir.join(store.file_name()).exists()) {
            add(store.file_name(), Vec::new());
        }
        let log = compose(&dir, neostore.log_version);
        let batches = batches(&log);
        assert!(batches.len() > 3, "{name}: {} transactions", batches.len());
        Self { neostore, files, log, batches }
    }

    /// The same with something more in its log.
    pub fn with(&self, at: u64, bytes: &[u8]) -> Self {
        let mut log = self.log.clone();
        log.splice(at as usize..at as usize, bytes.iter().copied());
        Self { batches: batches(&log), log, ..self.clone() }
    }

    /// The same with few files, of which `index` says which indexes they are of: where each
    /// operation of the disk is tried.
    pub fn few_files(name: &str, index: &str) -> Self {
        let mut server = Self::of(name);
        server.files.retain(|(file, _)| match file.kind {
            FileKind::Lucene | FileKind::LegacyIndex => {
                file.path == "index.db" || file.path.contains(index)
            }
            _ => true,
        });
        for (file, bytes) in &mut server.files {
            // Some of a page, some empty, as in young stores.
            if file.kind == FileKind::Record && file.path != "neostore" {
                bytes.truncate(if file.id.is_multiple_of(3) { 5000 } else { 0 });
            }
        }
        server
    }

    pub fn store_id(&self) -> StoreId {
        self.neostore.store_id()
    }

    pub fn log_name(&self) -> String {
        format!("{LOG_PREFIX}{}", self.neostore.log_version)
    }

    /// Header, check point and all transactions, as a backup has them.
    pub fn log(&self) -> &[u8] {
        &self.log
    }

    pub fn transactions(&self) -> &[Batch] {
        &self.batches
    }

    fn last_tx(&self, batch: &Batch) -> LastTx {
        LastTx {
            tx_id: batch.tx_id,
            checksum: batch.checksum,
            commit_time: batch.commit_time,
            start_bytes: Some(batch.start),
            end: LogPosition { version: self.neostore.log_version, offset_bytes: batch.end },
        }
    }

    fn session(&self, checkpoint: Option<CheckpointInfo>) -> Session {
        Session {
            session_id: "3.0".into(),
            lease_seconds: 0,
            database: DATABASE.into(),
            state: DatabaseState::Online,
            store_id: self.store_id(),
            external_uuid: None,
            checkpoint,
            block_bytes: BLOCK_BYTES,
            files: Vec::new(),
            left_out: Vec::new(),
        }
    }

    fn finished(&self, last: &Batch, transactions: u64, files: Vec<FileInfo>) -> Finished {
        Finished {
            files,
            stale: Vec::new(),
            first_consistent_tx_id: last.tx_id,
            last_tx: self.last_tx(last),
            transactions,
            as_of: last.commit_time,
        }
    }

    /// A full copy when the server had only half of its transactions.
    pub fn young(&self) -> Copy {
        self.copy(self.batches.len() / 2)
    }

    /// A full copy.
    pub fn present(&self) -> Copy {
        self.copy(self.batches.len())
    }

    /// The same with stores of some pages, one of which tells the mark.
    pub fn with_pages(&self, mark: u8) -> Self {
        let mut server = self.clone();
        let marked = ["neostore.nodestore.db", "neostore.propertystore.db"];
        for (name, mark) in marked.into_iter().zip([mark, 0]) {
            let file = server.files.iter_mut().find(|(file, _)| file.path == name).unwrap();
            file.1 = (0..5 * PAGE_BYTES).map(|at| (at % 251) as u8).collect();
            file.1[2 * PAGE_BYTES] = mark;
        }
        server
    }

    /// A full copy from a service of ours, which tells of the store's files as it begins.
    pub fn told(&self, transactions: usize) -> Copy {
        let mut copy = self.copy(transactions);
        let is_log = |file: &FileInfo| file.kind == FileKind::Log;
        let (logs, files) = copy.finished.files.into_iter().partition(is_log);
        (copy.finished.files, copy.session.files) = (logs, files);
        copy
    }

    /// A full copy when the server had so many transactions since the check point.
    pub fn copy(&self, transactions: usize) -> Copy {
        let (first, last) = (&self.batches[0], &self.batches[transactions - 1]);
        let mut bytes = self.files.clone();
        let fits = |bytes: &[u8]| CountsFile::check(bytes).unwrap().fits(first.tx_id, last.tx_id);
        bytes.retain(|(file, bytes)| file.kind != FileKind::Counts || fits(bytes));
        let left_out =
            COUNTS.iter().filter(|path| bytes.iter().all(|(file, _)| file.path != **path));
        let left_out: Vec<_> = left_out
            .map(|path| LeftOut { path: (*path).to_owned(), reason: "test".into() })
            .collect();
        let log = FileInfo {
            id: u32::try_from(self.files.len()).unwrap(),
            kind: FileKind::Log,
            path: self.log_name(),
            size_bytes: 0,
        };
        let is_all = transactions == self.batches.len();
        let end = if is_all { self.log.len() } else { last.end as usize };
        bytes.push((log, self.log[..end].to_vec()));
        bytes.iter_mut().for_each(|(file, bytes)| file.size_bytes = bytes.len() as u64);
        let files = bytes.iter().map(|(file, _)| file.clone()).collect();
        let start = TxId(first.tx_id.0 - 1);
        let checkpoint = CheckpointInfo {
            tx_id: start,
            position: position(self.neostore.log_version),
            time: last.commit_time,
            kernel_version: KernelVersion::V3_0,
            reason: "test".into(),
        };
        let session = Session { left_out, ..self.session(Some(checkpoint)) };
        Copy { session, finished: self.finished(last, transactions as u64, files), bytes }
    }

    /// What an increment brings that ends with the server's last transaction: from the backup's
    /// last one on, which comes again.
    pub fn step(&self, after: &After) -> Step {
        let last = self.batches.last().unwrap();
        let from = after.last_tx.start_bytes.unwrap();
        let size_bytes = self.log.len() as u64;
        let file = FileInfo { id: 0, kind: FileKind::Log, path: self.log_name(), size_bytes };
        let transactions = last.tx_id.0 - after.last_tx.tx_id.0;
        let finished = self.finished(last, transactions, vec![file.clone()]);
        let bytes = self.log[from as usize..].to_vec();
        Step { session: self.session(None), finished, bytes: vec![(file, from, bytes)] }
    }

    /// A whole incremental run.
    pub fn increment(&self, disk: Arc<dyn Disk>, dir: &Path) -> Result<DatabaseEntry, Error> {
        self.increment_into(&Mirror::open_for_write(disk, dir, Busy::Fail)?)
    }

    /// One of several of a process.
    pub fn increment_into(&self, mirror: &Mirror) -> Result<DatabaseEntry, Error> {
        let after = mirror.after(DATABASE)?.unwrap();
        self.step(&after).run(mirror)
    }
}

/// The transactions of a backup's log.
pub fn batches(log: &[u8]) -> Vec<Batch> {
    let mut reader = BatchReader::new(&log[HEADER_BYTES..], LogHeader::V6_SIZE_BYTES);
    std::iter::from_fn(|| reader.next_batch().unwrap()).collect()
}

/// Where the transactions of a backup's log begin, but for its check point.
fn position(version: LogVersion) -> LogPosition {
    LogPosition { version, offset_bytes: LogHeader::V6_SIZE_BYTES }
}

/// The log of a backup: the server's transactions since a check point, without its check points.
fn compose(dir: &Path, version: LogVersion) -> Vec<u8> {
    let logs =
        (0..=version.0).map(|number| std::fs::read(dir.join(format!("{LOG_PREFIX}{number}"))));
    let logs: Vec<Vec<u8>> = logs.collect::<Result<_, _>>().unwrap();
    let mut check_points = Vec::new();
    for log in logs.iter().rev() {
        let mut reader = BatchReader::new(&log[HEADER_BYTES..], LogHeader::V6_SIZE_BYTES);
        check_points.extend(newest_check_points(&mut reader).unwrap());
    }
    let first = LogHeader::decode(&logs[0]).unwrap();
    let place = |at: LogPosition| match logs.get(at.version.0 as usize) {
        None => Ok(Place::NoLog),
        Some(log) => place_in_log(&log[HEADER_BYTES..], HEADER_BYTES as u64, at.offset_bytes),
    };
    let older = check_points.into_iter().skip(LATER_CHECK_POINTS);
    let start = recovery_start(older, first.as_ref(), place).unwrap().position.unwrap();
    let (mut transactions, mut first) = (Vec::new(), None);
    for (number, log) in (0..).zip(&logs).skip(start.version.0 as usize) {
        let is_first = number == start.version.0;
        let from = if is_first { start.offset_bytes } else { LogHeader::V6_SIZE_BYTES };
        let mut reader = BatchReader::new(&log[from as usize..], from);
        // That of a server that was killed may end with half a transaction.
        while let Ok(Some(batch)) = reader.next_batch() {
            first.get_or_insert(batch.tx_id);
            transactions.extend_from_slice(&log[batch.start as usize..batch.end as usize]);
        }
    }
    let header = LogHeader {
        log_version: version,
        format: LogFormatVersion::V6,
        last_append_index: first.unwrap().0 - 1,
        store_id: None,
    };
    [header.encode(), CheckPoint::encode(position(version)).to_vec(), transactions].concat()
}
