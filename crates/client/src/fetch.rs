//! Fetches a range of a file: again from the last complete block when the connection breaks or a
//! block arrives damaged.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde::de::DeserializeOwned;
use wire::api::{ErrorCode, ErrorDetail, FileInfo};

use crate::error::{Error, Result};
use crate::http::{Failure, Http};
use crate::patience::Patience;
use crate::plan::tidy;
use crate::rate::Rate;
use crate::receive::{End, Fault, Known, Received, Receiver, Tally};
use crate::sink::Sink;

/// How often a damaged block is fetched.
const CORRUPT_TRIES: u32 = 3;

/// What a session's requests share.
pub(crate) struct Conversation {
    pub(crate) http: Arc<Http>,
    pub(crate) session_id: String,
    pub(crate) block_bytes: u64,
    pub(crate) rate: Option<Rate>,
    pub(crate) retry_for: Duration,
    pub(crate) answer_timeout: Duration,
    pub(crate) finish_timeout: Duration,
}

impl Conversation {
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, &format!("/v1/sessions/{}{path}", self.session_id))
    }

    /// Asks something that may be asked again, until there is an answer.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        timeout: Duration,
    ) -> Result<T> {
        let request = || self.request(method.clone(), path);
        self.http.ask(request, timeout, self.retry_for).await.map_err(|f| lasting(f.into()))
    }

    /// Fetches a range, which begins at a block.
    pub(crate) async fn fetch(
        &self,
        file: &FileInfo,
        range: Range<u64>,
        sink: &Arc<dyn Sink>,
        tally: &Arc<Tally>,
        mut known: Option<Arc<Known>>,
    ) -> Result<End> {
        let mut patience = Patience::new(self.retry_for);
        let mut at = range.start;
        let mut damaged = (u64::MAX, 0);
        loop {
            let receiver = Receiver {
                sink: Arc::clone(sink),
                tally: Arc::clone(tally),
                file: file.clone(),
                block_bytes: self.block_bytes,
                range: at..range.end,
                known: known.clone(),
            };
            let (received, failure) = self.attempt(receiver).await;
            if received.complete_to > at {
                patience.reset();
            }
            let fault = match received.outcome {
                Ok(end) => return Ok(end),
                // Only END is missing.
                Err(Fault::Incomplete(_))
                    if received.complete_to == range.end && at < range.end =>
                {
                    return Ok(End { offset_bytes: range.end });
                }
                Err(fault) => fault,
            };
            // The server may have changed a page that came back to what it was: what came must not stay.
            known = known.map(|known| Arc::new(known.again()));
            // After the short block at a file's end the service wants its start again.
            at = received.complete_to - received.complete_to % self.block_bytes;
            tally.take_back(received.complete_to - at);
            match judge(fault, failure) {
                Verdict::Final(error) => return Err(error),
                Verdict::Passing(error) => patience.pause(error).await?,
                // The file became shorter, say: everything is fetched then.
                Verdict::Damaged(what) if known.is_some() => {
                    tracing::info!(file = file.path, offset = at, what, "fetching all of a range");
                    known = None;
                }
                Verdict::Damaged(what) => {
                    damaged = if damaged.0 == at { (at, damaged.1 + 1) } else { (at, 1) };
                    if damaged.1 >= CORRUPT_TRIES {
                        let file = file.path.clone();
                        return Err(Error::CorruptData { file, offset_bytes: at, what });
                    }
                    tracing::warn!(file = file.path, offset = at, what, "fetching a block again");
                }
            }
        }
    }

    /// One request for a range. The failure is what the network did, if it did something.
    async fn attempt(&self, receiver: Receiver) -> (Received, Option<Failure>) {
        let Range { start, end } = receiver.range;
        let (id, length) = (receiver.file.id, end - start);
        let tally = Arc::clone(&receiver.tally);
        let request = match &receiver.known {
            None => {
                self.request(Method::GET, &format!("/files/{id}?offset={start}&length={length}"))
            }
            Some(known) => {
                let path = format!("/files/{id}/changes?offset={start}&length={length}");
                let list = known.list_from(start);
                receiver.tally.moved(list.len());
                self.request(Method::POST, &path).body(list)
            }
        };
        let mut response = match self.http.frames(request).await {
            Ok(response) => response,
            Err(failure) => {
                let fault = Fault::Protocol("no answer".to_owned());
                return (Received { complete_to: start, outcome: Err(fault) }, Some(failure));
            }
        };
        let mut receiving = receiver.start();
        let (taken, failure) = loop {
            let piece = match self.http.chunk(&mut response).await {
                Ok(Some(piece)) => piece,
                Ok(None) => break (Ok(()), None),
                Err(failure) => break (Ok(()), Some(failure)),
            };
            if let Some(rate) = &self.rate {
                rate.take(piece.len()).await;
            }
            tally.received();
            if let Err(fault) = receiving.take(piece).await {
                break (Err(fault), None);
            }
        };
        (receiving.end(taken).await, failure)
    }
}

enum Verdict {
    Final(Error),
    Passing(Error),
    Damaged(String),
}

/// What a fault of the stream means, knowing what the network did.
fn judge(fault: Fault, failure: Option<Failure>) -> Verdict {
    match (fault, failure) {
        (Fault::Sink(error), _) => Verdict::Final(Error::Sink(error)),
        (Fault::Corrupt(what), _) => Verdict::Damaged(what),
        (Fault::Remote(mut detail), _) => {
            tidy(&mut detail.message);
            detail.hint.iter_mut().for_each(tidy);
            match detail.code {
                ErrorCode::Busy => Verdict::Passing(Error::Remote(detail)),
                _ => Verdict::Final(lasting(Error::Remote(detail))),
            }
        }
        (_, Some(Failure::Lost(error) | Failure::Busy(error))) => Verdict::Passing(error),
        (_, Some(Failure::Lasting(error))) => Verdict::Final(lasting(error)),
        (Fault::Incomplete(error), None) => Verdict::Passing(Error::Protocol(error.to_string())),
        (Fault::Protocol(what), None) => Verdict::Final(Error::Protocol(what)),
    }
}

/// Within a session `not found` means that the session is gone.
fn lasting(error: Error) -> Error {
    match error {
        Error::Remote(ErrorDetail { code: ErrorCode::NotFound, message, .. }) => {
            Error::SessionLost(message)
        }
        error => error,
    }
}
