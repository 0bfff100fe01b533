//! The stream of transactions: read and kept at once.

use std::cell::RefCell;
use std::io::{self, Read};
use std::ops::Range;

use formats::LogPosition;
use formats::txlog::{Batch, BatchReader, Chain};
use formats::v3_0::LOG_BYTES_MAX;
use wire::api::{ErrorCode, LastTx};

use super::keep::Writer;
use super::response::{Part, Response, failed};
use super::{broken, refused};
use crate::error::{Error, Result};
use crate::progress::Progress;

/// What came: all of it whole, one id after the other.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Transactions {
    pub(super) first: Option<Batch>,
    pub(super) last: Option<Batch>,
    pub(super) count: u64,
}

impl Transactions {
    /// Reads a response's transactions to its end, which go on after those that came before, and puts their bytes into
    /// a log. `too_long` is said of a log that 3.0 could not recover.
    pub(super) fn bring(
        self,
        response: &mut Response,
        log: &mut Writer<'_>,
        too_long: ErrorCode,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let (begin, log) = (log.size_bytes(), Some((log, too_long)));
        let error = RefCell::new(None);
        let tee = Tee { response, log, progress, left: 0..0, is_ended: false, error: &error };
        let mut reader = BatchReader::new(tee, begin);
        let mut chain =
            self.last.map_or_else(Chain::start_anywhere, |last| Chain::after((&last).into()));
        let (mut found, mut expected) = (self, begin);
        loop {
            match reader.next_batch() {
                Ok(Some(batch)) if batch.start == expected => {
                    chain.check(&batch).map_err(|cause| found.broken_off(cause))?;
                    expected = batch.end;
                    found.take(batch);
                }
                Ok(Some(batch)) => {
                    let what = "a check point before transaction";
                    return Err(broken(format_args!("{what} {}", batch.tx_id)));
                }
                Ok(None) if reader.stopped_at_zero() => {
                    return Err(broken("an empty entry among the transactions"));
                }
                // A check point could be the last.
                Ok(None) if reader.boundary() != expected => {
                    return Err(broken("a check point behind the transactions"));
                }
                Ok(None) => return Ok(found),
                Err(cause) => {
                    let own = error.borrow_mut().take();
                    return Err(own.unwrap_or_else(|| found.broken_off(cause)));
                }
            }
        }
    }

    /// The first transaction of a response alone; nothing is kept.
    pub(super) fn first(response: &mut Response) -> Result<Option<Batch>> {
        let (log, error) = (None, RefCell::new(None));
        let tee = Tee { response, log, progress: &(), left: 0..0, is_ended: false, error: &error };
        BatchReader::new(tee, 0)
            .next_batch()
            .map_err(|cause| error.borrow_mut().take().unwrap_or_else(|| broken(cause)))
    }

    /// What comes next is wrong.
    fn broken_off(&self, cause: formats::Error) -> Error {
        match self.last {
            Some(last) => broken(format_args!("after transaction {}: {cause}", last.tx_id)),
            None => broken(cause),
        }
    }

    fn take(&mut self, batch: Batch) {
        self.first.get_or_insert(batch);
        self.last = Some(batch);
        self.count = self.count.saturating_add(1);
    }
}

/// A transaction as a backup's end.
pub(super) fn last_tx(batch: &Batch, version: formats::LogVersion) -> LastTx {
    LastTx {
        tx_id: batch.tx_id,
        checksum: batch.checksum,
        commit_time: batch.commit_time,
        start_bytes: Some(batch.start),
        end: LogPosition { version, offset_bytes: batch.end },
    }
}

/// Gives the bytes that come to whoever reads them, and to the log, if there is one.
struct Tee<'a, 'b> {
    response: &'a mut Response,
    log: Option<(&'a mut Writer<'b>, ErrorCode)>,
    progress: &'a dyn Progress,
    left: Range<usize>,
    /// The connection stays open: whoever asks for more waits for ever.
    is_ended: bool,
    /// What went wrong, whole.
    error: &'a RefCell<Option<Error>>,
}

impl Tee<'_, '_> {
    /// Has bytes left; `false` at the end.
    fn fill(&mut self) -> Result<bool> {
        while self.left.is_empty() {
            if self.is_ended {
                return Ok(false);
            }
            match self.response.next()? {
                Part::Transactions(range) => {
                    if let Some((log, too_long)) = &mut self.log {
                        log.push(self.response.bytes(range.clone()))?;
                        if log.size_bytes() > LOG_BYTES_MAX {
                            let message = "the backup's log would be longer than 2 GiB".to_owned();
                            return Err(refused(*too_long, message));
                        }
                    }
                    self.progress.received();
                    self.left = range;
                }
                Part::End => self.is_ended = true,
                Part::Failure(failure) => return Err(failed(&failure)),
                _ => return Err(broken("something else among the transactions")),
            }
        }
        Ok(true)
    }
}

impl Read for Tee<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.fill() {
            Ok(true) => {}
            Ok(false) => return Ok(0),
            Err(error) => {
                let text = error.to_string();
                self.error.borrow_mut().get_or_insert(error);
                return Err(io::Error::other(text));
            }
        }
        let mut bytes = self.response.bytes(self.left.clone());
        let read = bytes.read(buf)?;
        self.left.start = self.left.start.saturating_add(read);
        Ok(read)
    }
}
