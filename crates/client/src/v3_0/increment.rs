//! The transactions behind those that a backup has.

use formats::TxId;
use wire::api::{After, ErrorCode, FileKind, Finished, Session};
use wire::names::LOG_PREFIX;
use wire::v3_0::Request;

use super::keep::Writer;
use super::transactions::{Transactions, last_tx};
use super::{Brought, PATIENCE, Server, refused};
use crate::error::Result;
use crate::progress::{Phase, Progress};
use crate::sink::Sink;

/// Asks from the backup's last transaction on, which must come again as the backup has it: that shows that
/// the server has the same history. Its bytes are compared by the sink, which has them.
pub(super) fn bring(
    server: &Server,
    session: &Session,
    after: &After,
    sink: &dyn Sink,
    progress: &dyn Progress,
) -> Result<Brought> {
    let old = after.last_tx;
    let Some(start_bytes) = old.start_bytes else {
        let message =
            "the backup has no transaction that could show the server's history".to_owned();
        return Err(refused(ErrorCode::LogsPruned, message));
    };
    progress.phase(Phase::Logs, 0);
    let before = i64::try_from(old.tx_id.0.saturating_sub(1)).unwrap_or(i64::MAX);
    let mut response = server.ask(&Request::Incremental { last_tx_id: before }, PATIENCE)?;
    let store_id = response.store_id()?;
    if store_id != session.store_id {
        let message = format!("the server's store is {store_id} now, not {}", session.store_id);
        return Err(refused(ErrorCode::OtherStore, message));
    }
    let path = format!("{LOG_PREFIX}{}", old.end.version);
    let mut log = Writer::at(sink, 0, FileKind::Log, path, start_bytes)?;
    let found = Transactions::bring(&mut response, &mut log, progress)?;
    let diverged = |what: String| Err(refused(ErrorCode::Diverged, what));
    let (Some(first), Some(last)) = (found.first, found.last) else {
        return diverged(format!(
            "the server has no transaction {}, the backup's last, unless it is a member of a cluster \
             that is behind",
            old.tx_id
        ));
    };
    if (first.tx_id, first.checksum, first.commit_time)
        != (old.tx_id, old.checksum, old.commit_time)
    {
        return diverged(format!(
            "transaction {} has checksum {} and commit time {} ms, in the backup it is {} with checksum \
             {} and commit time {} ms",
            first.tx_id,
            first.checksum,
            first.commit_time.0,
            old.tx_id,
            old.checksum,
            old.commit_time.0
        ));
    }
    let file = log.finish()?;
    let last_tx = if last.tx_id == old.tx_id { old } else { last_tx(&last, old.end.version) };
    progress.done(file.size_bytes.saturating_sub(start_bytes));
    let finished = Finished {
        files: vec![file],
        stale: Vec::new(),
        first_consistent_tx_id: last_tx.tx_id,
        last_tx,
        transactions: last_tx.tx_id.0.saturating_sub(TxId(old.tx_id.0).0),
        // It tells no time.
        as_of: last_tx.commit_time,
    };
    Ok(Brought { session: session.clone(), finished, left_out: Vec::new(), files: 1 })
}
