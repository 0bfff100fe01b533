//! What has been read of a server's logs. A backup's positions are not the server's, and check points stand
//! anywhere among the transactions: so a log must be read to find either. It is read once, and then only what
//! came since.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use formats::TxId;
use formats::txlog::{Batch, BatchReader, Item, LogHeader};
use formats::v3_0::{CheckPoint, Place, keep_newest, place_in_log};

use crate::read::{Held, HeldReader};
use crate::{Error, Result};

/// Marks are so far apart, or farther where a transaction is longer.
const MARK_BYTES: u64 = 1 << 20;

/// What has been read of the logs of a server's databases; clones share it.
#[derive(Clone, Debug, Default)]
pub struct LogIndex(Arc<Mutex<BTreeMap<PathBuf, Known>>>);

/// What is known of one file.
#[derive(Clone, Debug)]
struct Known {
    /// Device and inode.
    file: (u64, u64),
    log: IndexedLog,
}

/// Transactions and check points of a log, from behind its header to where it ended when it was read.
#[derive(Clone, Debug)]
pub(super) struct IndexedLog {
    /// Some of its transactions, the first among them.
    marks: Vec<Mark>,
    /// As [`keep_newest`] keeps them.
    pub(super) check_points: VecDeque<CheckPoint>,
    /// The last transaction.
    pub(super) last: Option<Batch>,
    /// Behind the last transaction or check point.
    end: u64,
}

/// Where a transaction begins.
#[derive(Clone, Copy, Debug)]
struct Mark {
    tx_id: TxId,
    start: u64,
}

impl LogIndex {
    /// Keeps all others from reading.
    #[cfg(test)]
    pub(super) fn lock(&self) -> impl Drop + '_ {
        self.0.lock().unwrap()
    }

    /// Reads what has come to a log since it was read last. One that is being written to may end anywhere.
    pub(super) fn read(&self, held: &Held) -> Result<IndexedLog> {
        let mut logs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let file = held.identity()?;
        let known = logs.remove(held.path()).filter(|known| known.file == file);
        let mut log = match known {
            Some(known) if known.log.is_still(held)? => known.log,
            _ => {
                logs.retain(|path, _| path.exists());
                IndexedLog::new()
            }
        };
        log.go_on(held)?;
        logs.insert(held.path().to_owned(), Known { file, log: log.clone() });
        Ok(log)
    }
}

impl IndexedLog {
    fn new() -> Self {
        let end = LogHeader::V6_SIZE_BYTES;
        Self { marks: Vec::new(), check_points: VecDeque::new(), last: None, end }
    }

    /// Whether what was read is there still, by the first and the last transaction: files can be replaced in place.
    fn is_still(&self, held: &Held) -> Result<bool> {
        let Some(last) = self.last.filter(|_| held.size_bytes().is_ok_and(|size| size >= self.end))
        else {
            return Ok(false);
        };
        let at = |start| match reader(held, start, self.end).next_batch() {
            Ok(batch) => Ok(batch),
            Err(error) if error.is_io() => Err(Error::format(held.path())(error)),
            Err(_) => Ok(None),
        };
        let Some(first) = self.marks.first() else { return Ok(false) };
        let is_first = |batch: Batch| (batch.tx_id, batch.start) == (first.tx_id, first.start);
        Ok(at(last.start)? == Some(last) && at(first.start)?.is_some_and(is_first))
    }

    fn go_on(&mut self, held: &Held) -> Result<()> {
        let mut reader = reader(held, self.end, held.size_bytes()?.max(self.end));
        loop {
            match reader.next_item() {
                Ok(Some(Item::Batch(batch))) => {
                    let before = self.marks.last();
                    if before.is_none_or(|mark| batch.start.abs_diff(mark.start) >= MARK_BYTES) {
                        self.marks.push(Mark { tx_id: batch.tx_id, start: batch.start });
                    }
                    self.last = Some(batch);
                }
                Ok(Some(Item::CheckPoint(check_point))) => {
                    keep_newest(&mut self.check_points, check_point);
                }
                Ok(None) => break,
                Err(error) if error.is_incomplete() => break,
                Err(error) => return Err(Error::format(held.path())(error)),
            }
        }
        self.end = reader.boundary();
        Ok(())
    }

    /// The first transaction's id.
    pub(super) fn first(&self) -> Option<TxId> {
        self.marks.first().map(|mark| mark.tx_id)
    }

    /// A transaction, by its id.
    pub(super) fn find(&self, held: &Held, tx_id: TxId) -> Result<Option<Batch>> {
        if self.last.is_none_or(|last| last.tx_id < tx_id) {
            return Ok(None);
        }
        let after = self.marks.partition_point(|mark| mark.tx_id <= tx_id);
        let Some(mark) = self.marks.get(after.saturating_sub(1)) else { return Ok(None) };
        let mut reader = reader(held, mark.start, self.end);
        while let Some(batch) = reader.next_batch().map_err(Error::format(held.path()))? {
            if batch.tx_id >= tx_id {
                return Ok((batch.tx_id == tx_id).then_some(batch));
            }
        }
        Ok(None)
    }

    /// What stands at an offset.
    pub(super) fn place(&self, held: &Held, offset: u64) -> Result<Place> {
        let from = self.before(offset);
        let log = HeldReader::new(held, from, self.end);
        place_in_log(log, from, offset).map_err(Error::format(held.path()))
    }

    /// The last transaction that begins before an offset.
    pub(super) fn last_before(&self, held: &Held, offset: u64) -> Result<Option<Batch>> {
        let mut reader = reader(held, self.before(offset.saturating_sub(1)), offset.min(self.end));
        let mut last = None;
        while let Some(batch) = reader.next_batch().map_err(Error::format(held.path()))? {
            last = Some(batch);
        }
        Ok(last)
    }

    /// A place to begin to read that is not behind an offset, if that is not in the header.
    pub(super) fn before(&self, offset: u64) -> u64 {
        let after = self.marks.partition_point(|mark| mark.start <= offset);
        let mark = after.checked_sub(1).and_then(|index| self.marks.get(index));
        mark.map_or(LogHeader::V6_SIZE_BYTES, |mark| mark.start)
    }
}

fn reader(held: &Held, from: u64, to: u64) -> BatchReader<HeldReader<'_>> {
    BatchReader::new(HeldReader::new(held, from, to), from)
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write as _;
    use std::path::Path;

    use formats::v3_0::newest_check_points;
    use formats::{LogPosition, LogVersion};

    use super::*;

    const HEADER_BYTES: usize = 16;
    const TRANSACTIONS: u64 = 3_000;
    /// Of an entry COMMIT, behind version and type: id and time.
    const COMMIT_BODY_BYTES: usize = 16;

    /// A log of so many transactions, from one of a real log, and check points.
    fn log(transactions: u64) -> Vec<u8> {
        let path = "../../fixtures/3.0.0/mixed/databases/graph.db/neostore.transaction.db.0";
        let real = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        let mut batches = BatchReader::new(&real[HEADER_BYTES..], HEADER_BYTES as u64);
        let mut found = std::iter::from_fn(|| batches.next_batch().unwrap());
        let chosen = found.find(|batch| (500..2_000).contains(&(batch.end - batch.start))).unwrap();
        let mut log = real[..HEADER_BYTES].to_vec();
        let mut batch = real[chosen.start as usize..chosen.end as usize].to_vec();
        let id_at = batch.len() - COMMIT_BODY_BYTES;
        assert_eq!(batch[id_at..][..8], chosen.tx_id.0.to_be_bytes());
        for tx_id in 2..2 + transactions {
            batch[id_at..][..8].copy_from_slice(&tx_id.to_be_bytes());
            log.extend(&batch);
            if tx_id % 100 == 0 {
                let offset_bytes = log.len() as u64;
                log.extend(CheckPoint::encode(LogPosition {
                    version: LogVersion(0),
                    offset_bytes,
                }));
            }
        }
        log
    }

    /// What an index tells is what reading the whole log tells.
    fn assert_right(index: &IndexedLog, held: &Held, log: &[u8]) {
        let mut reader = BatchReader::new(&log[HEADER_BYTES..], HEADER_BYTES as u64);
        let mut boundaries = vec![HEADER_BYTES as u64];
        let mut batches = Vec::new();
        while let Some(item) = reader.next_item().unwrap_or(None) {
            boundaries.push(item.end());
            if let Item::Batch(batch) = item {
                batches.push(batch);
            }
        }
        assert_eq!(index.last, batches.last().copied());
        assert_eq!(index.end, *boundaries.last().unwrap());
        let mut reader = BatchReader::new(&log[HEADER_BYTES..], HEADER_BYTES as u64);
        assert_eq!(index.check_points, newest_check_points(&mut reader).unwrap());
        for batch in batches.iter().step_by(97).chain(batches.last()) {
            assert_eq!(index.find(held, batch.tx_id).unwrap(), Some(*batch));
            assert_eq!(index.last_before(held, batch.end).unwrap(), Some(*batch));
            assert_eq!(index.place(held, batch.end - 1).unwrap(), Place::Inside);
            let before = index.before(batch.end);
            assert!(batch.end - before < 2 * MARK_BYTES, "{before} {batch:?}");
        }
        for boundary in boundaries.iter().step_by(89) {
            assert_eq!(index.place(held, *boundary).unwrap(), Place::Boundary, "{boundary}");
        }
        assert_eq!(index.place(held, index.end + 1).unwrap(), Place::Inside);
        assert_eq!(index.place(held, 1).unwrap(), Place::Header);
        assert_eq!(index.last_before(held, HEADER_BYTES as u64).unwrap(), None);
        for tx_id in [0, 1, batches.len() as u64 + 2, u64::MAX] {
            assert_eq!(index.find(held, TxId(tx_id)).unwrap(), None);
        }
    }

    /// A log is read as it grows, wherever its end is, and anew where it is another one: in its place, or in
    /// the same file.
    #[test]
    fn an_index_tells_what_the_whole_log_tells() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("neostore.transaction.db.0");
        let log = log(TRANSACTIONS);
        assert!((3..8).contains(&(log.len() as u64 / MARK_BYTES)), "{}", log.len());
        let index = LogIndex::default();
        let read = || {
            let held = Held::open(&path).unwrap();
            (index.read(&held).unwrap(), held)
        };
        std::fs::write(&path, &log[..HEADER_BYTES]).unwrap();
        assert!(read().0.last.is_none());
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        let mut length = HEADER_BYTES;
        for next in [20_001, 1_700_003, 1_700_004, log.len()] {
            file.write_all(&log[length..next]).unwrap();
            length = next;
            let (found, held) = read();
            assert_right(&found, &held, &log[..length]);
        }
        // Only what came is read: what lies before may have become anything.
        let mut spoilt = log.clone();
        spoilt[5_000..6_000].fill(0xEE);
        std::fs::write(&path, &spoilt).unwrap();
        assert_eq!(read().0.end, log.len() as u64);

        // Shorter by a check point alone, and then longer again.
        let last_check_point = read().0.check_points[0];
        let cut = last_check_point.start as usize;
        std::fs::write(&path, &log[..last_check_point.end as usize]).unwrap();
        read();
        std::fs::write(&path, &log[..cut]).unwrap();
        let (found, held) = read();
        assert_right(&found, &held, &log[..cut]);

        // As long, and with the same end, but a check point is at the beginning instead of later.
        let early = log[HEADER_BYTES..].to_vec();
        let moved = found.check_points[0];
        let (start, end) = (moved.start as usize - HEADER_BYTES, moved.end as usize - HEADER_BYTES);
        let early = [&log[..HEADER_BYTES], &early[start..end], &early[..start], &early[end..]];
        std::fs::write(&path, &log).unwrap();
        read();
        std::fs::write(&path, early.concat()).unwrap();
        let (found, held) = read();
        assert_right(&found, &held, &early.concat());

        // Shorter, in the same file.
        std::fs::write(&path, &log[..1_000_000]).unwrap();
        let (found, held) = read();
        assert_right(&found, &held, &log[..1_000_000]);
        // The same again in another file, and damaged.
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, &spoilt).unwrap();
        assert!(index.read(&Held::open(&path).unwrap()).is_err());
        std::fs::write(&path, &log).unwrap();
        let (found, held) = read();
        assert_right(&found, &held, &log);
        // A log that is gone is forgotten.
        let other = dir.path().join("neostore.transaction.db.1");
        std::fs::rename(&path, &other).unwrap();
        index.read(&Held::open(&other).unwrap()).unwrap();
        assert_eq!(index.0.lock().unwrap().keys().collect::<Vec<_>>(), [&other]);
    }
}
