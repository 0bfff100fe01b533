//! A full copy: the store's files, then the transactions that make them whole.
//!
//! The server takes a check point, sends the files while others write to them, then the transactions since
//! the check point. Where these are pruned meanwhile it sends none at all and calls that a success. So an
//! answer without transactions is believed only where nothing can have been committed since the check
//! point: the server's last transaction was the same before the files were asked for, in the copied
//! metadata and afterwards. Where a log is pruned while the transactions of the one before it are sent, the server
//! ends with those, as if there were no more. So what follows them is asked for, until the log has everything
//! that was committed when the files had come.

use std::collections::BTreeSet;
use std::path::Path;

use formats::txlog::LogHeader;
use formats::v3_0::{
    COMPOSED_LOG_START_BYTES, COUNTS, CountsFile, LABEL_SCAN_STORE, LEGACY_INDEX_CONFIG,
    LEGACY_INDEXES, Neostore, SCHEMA_INDEXES, composed_log_start,
};
use formats::{KernelVersion, LogPosition, TxId};
use fs::RealDisk;
use wire::api::{
    CheckpointInfo, ErrorCode, FileInfo, FileKind, Finished, LastTx, LeftOut, MAX_FILES, Session,
};
use wire::names::{LOG_PREFIX, check_path};
use wire::v3_0::Request;

use super::keep::Writer;
use super::response::{Part, Response, failed};
use super::transactions::{Transactions, last_tx};
use super::{Brought, Server, broken, refused};
use crate::error::{Error, Result};
use crate::progress::{Phase, Progress};
use crate::sink::Sink;

/// That of a store before its first transaction, which is 2.
const FIRST_TX: TxId = TxId(1);
const METADATA_STORE: &str = "neostore";
/// As in a backup.
const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// Said of a log that 3.0 could not recover, which grows as long as the copy takes.
const TOO_LONG: ErrorCode = ErrorCode::SourceUnusable;
/// Longer counts files are left out: they are kept in memory until it is known whether they fit.
const COUNTS_BYTES_MAX: usize = 16 << 20;

/// What is known of the store's files once they have come.
#[derive(Default)]
struct Stored {
    files: Vec<FileInfo>,
    /// The first bytes of `neostore`.
    metadata: Vec<u8>,
    /// The counts files, each with its bytes.
    counts: Vec<(FileInfo, Vec<u8>)>,
}

pub(super) fn bring(
    server: &Server,
    session: &Session,
    sink: &dyn Sink,
    progress: &dyn Progress,
) -> Result<Brought> {
    let before = last_committed(server, FIRST_TX)?;
    progress.phase(Phase::Store, 0);
    let forensics = server.options.forensics.as_deref();
    let mut response = server.ask(&Request::Full { forensics: forensics.is_some() })?;
    let mut stored = Stored::default();
    let store_id = stored.bring(&mut response, sink, forensics, progress)?;
    let store_id = Neostore::decode_store_id(&store_id).map_err(broken)?;
    if store_id != session.store_id {
        let message = format!("the server's store is {store_id} now, not {}", session.store_id);
        return Err(refused(ErrorCode::OtherStore, message));
    }
    stored.require_legacy_list()?;
    let neostore = Neostore::decode(&stored.metadata).map_err(broken)?;
    let version = neostore.log_version;
    let id = u32::try_from(stored.files.len()).unwrap_or(u32::MAX);
    let mut log = Writer::create(sink, id, FileKind::Log, format!("{LOG_PREFIX}{version}"))?;
    log.keep_first();
    log.push(&[0; COMPOSED_LOG_START_BYTES])?;
    progress.phase(Phase::Logs, 0);
    let mut found = Transactions::default().bring(&mut response, &mut log, TOO_LONG, progress)?;
    if found.count == 0 {
        found = prove_quiet(server, before, &neostore, &mut log, progress)?;
    }
    found = complete(server, found, &mut log, progress)?;
    let start = found.first.map_or(neostore.last_tx_id.0, |first| first.tx_id.0.saturating_sub(1));
    if neostore.last_tx_id.0 < start {
        let last = neostore.last_tx_id;
        let what = format!("transactions since {start}, but the store is as of {last}");
        return Err(broken(what));
    }
    let position = LogPosition { version, offset_bytes: LogHeader::V6_SIZE_BYTES };
    let log = log.finish_with(&composed_log_start(version, TxId(start)))?;
    let last_tx = found.last.map_or(
        LastTx {
            tx_id: neostore.last_tx_id,
            checksum: neostore.last_tx_checksum,
            // Before 3.0.4 nothing tells it, and a store without transactions has none.
            commit_time: neostore.creation_time,
            start_bytes: None,
            end: LogPosition { version, offset_bytes: log.size_bytes },
        },
        |last| last_tx(&last, version),
    );
    let left_out = stored.keep_counts(sink, TxId(start.saturating_add(1)), last_tx.tx_id)?;
    let checkpoint = CheckpointInfo {
        tx_id: TxId(start),
        position,
        time: last_tx.commit_time,
        kernel_version: KernelVersion::V3_0,
        reason: "Full backup by the protocol of Neo4j 3.0".to_owned(),
    };
    let mut files = stored.files;
    files.push(log);
    let finished = Finished {
        stale: Vec::new(),
        first_consistent_tx_id: last_tx.tx_id,
        last_tx,
        transactions: found.count,
        // It tells no time.
        as_of: last_tx.commit_time,
        files,
    };
    let session = Session { checkpoint: Some(checkpoint), ..session.clone() };
    let files = finished.files.len() as u64;
    Ok(Brought { session, finished, left_out, files })
}

impl Stored {
    /// The list of legacy indexes comes with them: a server that is replacing it sends none.
    fn require_legacy_list(&self) -> Result<()> {
        let mut legacy = self.files.iter().filter(|file| file.kind == FileKind::LegacyIndex);
        let is_list = |file: &FileInfo| file.path == LEGACY_INDEX_CONFIG;
        if legacy.clone().any(is_list) || legacy.next().is_none() {
            return Ok(());
        }
        let message = format!("legacy indexes came without their list, {LEGACY_INDEX_CONFIG}");
        Err(refused(ErrorCode::SourceUnusable, message))
    }

    /// Takes all files; gives the store's identity, which comes behind them.
    fn bring(
        &mut self,
        response: &mut Response,
        sink: &dyn Sink,
        forensics: Option<&Path>,
        progress: &dyn Progress,
    ) -> Result<[u8; wire::v3_0::STORE_ID_BYTES]> {
        let mut paths = BTreeSet::new();
        let mut writer: Option<Writer<'_>> = None;
        let (mut counts, mut done_bytes) = (Vec::new(), 0_u64);
        loop {
            match response.next()? {
                Part::File(path) => {
                    if let Some(dir) = forensics.filter(|_| log_version(&path).is_some()) {
                        keep_aside(response, dir, &path)?;
                        continue;
                    }
                    let kind = kind_of(&path)?;
                    check_path(kind, &path).map_err(broken)?;
                    if paths.len() >= MAX_FILES {
                        return Err(broken(format_args!("more than {MAX_FILES} files")));
                    }
                    if !paths.insert(path.clone()) {
                        return Err(broken(format_args!("file {path:?} comes twice")));
                    }
                    let id = u32::try_from(self.files.len()).unwrap_or(u32::MAX);
                    writer = Some(Writer::create(sink, id, kind, path)?);
                }
                Part::Data(range) => {
                    let Some(writer) = &mut writer else { return Err(broken("bytes of no file")) };
                    let bytes = response.bytes(range);
                    writer.push(bytes)?;
                    match writer.kind() {
                        FileKind::Counts if counts.len() < COUNTS_BYTES_MAX => {
                            counts.extend_from_slice(bytes);
                        }
                        FileKind::Record if writer.path() == METADATA_STORE => {
                            let room = Neostore::USED_BYTES.saturating_sub(self.metadata.len());
                            let head = bytes.get(..room).unwrap_or(bytes);
                            self.metadata.extend_from_slice(head);
                        }
                        _ => {}
                    }
                    progress.received();
                }
                Part::FileEnd => {
                    let Some(writer) = writer.take() else { return Err(broken("no file ends")) };
                    let file = writer.finish()?;
                    done_bytes = done_bytes.saturating_add(file.size_bytes);
                    progress.done(done_bytes);
                    if file.kind == FileKind::Counts {
                        self.counts.push((file.clone(), std::mem::take(&mut counts)));
                    }
                    self.files.push(file);
                }
                Part::StoreId(id) => return Ok(id),
                Part::Failure(failure) => return Err(failed(&failure)),
                Part::Transactions(_) | Part::End => return Err(broken("it ends among the files")),
            }
        }
    }

    /// Leaves counts out that recovery could not go on from.
    fn keep_counts(&mut self, sink: &dyn Sink, first: TxId, last: TxId) -> Result<Vec<LeftOut>> {
        let mut left_out = Vec::new();
        for (file, bytes) in &self.counts {
            let reason = match CountsFile::check(bytes.as_slice()) {
                Ok(counts) if counts.fits(first, last) => continue,
                Ok(counts) => format!("it is as of transaction {}", counts.tx_id),
                Err(error) => error.to_string(),
            };
            sink.discard(file.id).map_err(Error::Sink)?;
            self.files.retain(|kept| kept.id != file.id);
            left_out.push(LeftOut { path: file.path.clone(), reason });
        }
        Ok(left_out)
    }
}

/// The version of a log file of the server's, which belong to no copy: those of its transactions that a copy
/// needs come behind the files.
fn log_version(path: &str) -> Option<u64> {
    // A sign or a zero before it would be another spelling of the same name.
    let version: u64 = path.strip_prefix(LOG_PREFIX)?.parse().ok()?;
    (path == format!("{LOG_PREFIX}{version}")).then_some(version)
}

/// Writes a log file of the server's to where it was asked for.
fn keep_aside(response: &mut Response, dir: &Path, name: &str) -> Result<()> {
    let (disk, path) = (RealDisk::new(), dir.join(name));
    let unwritten = |error: fs::Error| Error::Sink(Box::new(error));
    disk.create_dir_all(dir, DIR_MODE).map_err(unwritten)?;
    if path.exists() {
        // Of a copy that failed.
        disk.remove_file(&path).map_err(unwritten)?;
    }
    let file = disk.create_file(&path, FILE_MODE).map_err(unwritten)?;
    let mut at_bytes = 0_u64;
    loop {
        match response.next()? {
            Part::Data(range) => {
                let bytes = response.bytes(range);
                file.write_at(at_bytes, bytes).map_err(unwritten)?;
                at_bytes = at_bytes.saturating_add(bytes.len() as u64);
            }
            Part::FileEnd => return file.sync().map_err(unwritten),
            Part::Failure(failure) => return Err(failed(&failure)),
            _ => return Err(broken("it ends among the files")),
        }
    }
}

/// What a file of a store is.
fn kind_of(path: &str) -> Result<FileKind> {
    let is_in = |dir: &str| path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'));
    Ok(if COUNTS.contains(&path) {
        FileKind::Counts
    } else if path == LEGACY_INDEX_CONFIG || is_in(LEGACY_INDEXES) {
        FileKind::LegacyIndex
    } else if is_in(LABEL_SCAN_STORE) || is_in(SCHEMA_INDEXES) {
        FileKind::Lucene
    } else if path.contains('/') {
        return Err(broken(format_args!("file {path:?} is none of a store")));
    } else {
        FileKind::Record
    })
}

/// The server's last transaction, which it tells nobody: by asking for what follows others, from one that it has on.
/// Nothing follows the last one, and something does, or is pruned, all others.
fn last_committed(server: &Server, from: TxId) -> Result<TxId> {
    let (mut low, mut step) = (from.0, 1_u64);
    while is_followed(server, low.saturating_add(step).saturating_sub(1))? {
        low = low.saturating_add(step);
        step = step.saturating_mul(2);
        if step >= 1 << 62 {
            return Err(broken("transactions without end"));
        }
    }
    // Nothing follows `high`; something follows what is before `low`.
    let mut high = low.saturating_add(step).saturating_sub(1);
    while low < high {
        let middle = low.saturating_add(high.saturating_sub(low) / 2);
        if is_followed(server, middle)? {
            low = middle.saturating_add(1);
        } else {
            high = middle;
        }
    }
    Ok(TxId(low))
}

/// Brings what is missing of the transactions that were committed before the last file had come.
fn complete(
    server: &Server,
    mut found: Transactions,
    log: &mut Writer<'_>,
    progress: &dyn Progress,
) -> Result<Transactions> {
    // Where none came, nothing was committed.
    let Some(mut last) = found.last.map(|last| last.tx_id) else { return Ok(found) };
    let wanted = last_committed(server, last)?;
    while last < wanted {
        let last_tx_id = i64::try_from(last.0).unwrap_or(i64::MAX);
        let mut response = server.ask(&Request::Incremental { last_tx_id })?;
        response.store_id()?;
        found = found.bring(&mut response, log, TOO_LONG, progress)?;
        let next = found.last.map(|last| last.tx_id).filter(|next| *next > last);
        last = next.ok_or_else(|| {
            broken(format_args!("nothing follows transaction {last} any more, but {wanted} did"))
        })?;
    }
    Ok(found)
}

/// Whether a transaction follows that one, or had followed it before its log was pruned.
fn is_followed(server: &Server, tx_id: u64) -> Result<bool> {
    let last_tx_id = i64::try_from(tx_id).unwrap_or(i64::MAX);
    let mut response = server.ask(&Request::Incremental { last_tx_id })?;
    match response.store_id() {
        Ok(_) => {}
        Err(Error::Remote(detail)) if detail.code == ErrorCode::LogsPruned => return Ok(true),
        Err(error) => return Err(error),
    }
    match response.next()? {
        Part::End => Ok(false),
        Part::Transactions(_) => Ok(true),
        Part::Failure(failure) if failure.is_logs_pruned() => Ok(true),
        Part::Failure(failure) => Err(failed(&failure)),
        _ => Err(broken("something else in place of transactions")),
    }
}

/// Proves that no transaction was committed during a copy that came without any. The last one is taken into
/// the log, so that the next increment can show that the server has the same history; that it is in the
/// store already does no harm.
fn prove_quiet(
    server: &Server,
    before: TxId,
    neostore: &Neostore,
    log: &mut Writer<'_>,
    progress: &dyn Progress,
) -> Result<Transactions> {
    let last = neostore.last_tx_id;
    let busy = |now: &str| {
        let message = format!(
            "the server sent no transactions, although its last one was {before} before the copy \
             and {now}: its logs were pruned meanwhile"
        );
        Err(refused(ErrorCode::LogsPruned, message))
    };
    if last != before {
        return busy(&format!("is {last} in it"));
    }
    let previous = i64::try_from(last.0.saturating_sub(1)).unwrap_or(i64::MAX);
    let mut response = server.ask(&Request::Incremental { last_tx_id: previous })?;
    // A server that fails at once does not send its identity before.
    let found = response.store_id();
    let none = Transactions::default();
    match found.and_then(|_| none.bring(&mut response, log, TOO_LONG, progress)) {
        Ok(found) => match found.last {
            Some(now) if now.tx_id != last => busy(&format!("is {} after it", now.tx_id)),
            _ => Ok(found),
        },
        // It is older than the logs, unless what followed it was pruned, too.
        Err(Error::Remote(detail)) if detail.code == ErrorCode::LogsPruned => {
            match is_followed(server, last.0)? {
                true => busy("has others behind it now"),
                false => Ok(Transactions::default()),
            }
        }
        Err(error) => Err(error),
    }
}
