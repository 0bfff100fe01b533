//! The transactions behind those that a backup has.

use formats::txlog::Batch;
use formats::{StoreId, TxId};
use wire::api::{After, ErrorCode, FileKind, Finished, LastTx, Session};
use wire::names::LOG_PREFIX;
use wire::v3_0::Request;

use super::keep::Writer;
use super::response::Response;
use super::transactions::{Transactions, last_tx};
use super::{Brought, Server, refused};
use crate::error::Result;
use crate::progress::{Phase, Progress};
use crate::sink::Sink;

/// Whether an increment could begin: the server has the backup's last transaction.
pub(super) fn check(server: &Server, after: &After) -> Result<()> {
    let old = after.last_tx;
    start_of(&old)?;
    let mut response = ask(server, &after.store_id, &old)?;
    require_same(Transactions::first(&mut response)?, &old)
}

fn start_of(old: &LastTx) -> Result<u64> {
    old.start_bytes.ok_or_else(|| {
        let message = "the backup has no transaction that could show the server's history";
        refused(ErrorCode::LogsPruned, message.to_owned())
    })
}

/// Asks for the backup's last transaction and what follows.
fn ask(server: &Server, expected: &StoreId, old: &LastTx) -> Result<Response> {
    let before = i64::try_from(old.tx_id.0.saturating_sub(1)).unwrap_or(i64::MAX);
    let mut response = server.ask(&Request::Incremental { last_tx_id: before })?;
    let store_id = response.store_id()?;
    if store_id == *expected {
        return Ok(response);
    }
    let message = format!("the server's store is {store_id} now, not {expected}");
    Err(refused(ErrorCode::OtherStore, message))
}

/// The first transaction that came must be the backup's last.
fn require_same(first: Option<Batch>, old: &LastTx) -> Result<()> {
    let diverged = |what: String| Err(refused(ErrorCode::Diverged, what));
    let Some(first) = first else {
        return diverged(format!(
            "the server has no transaction {}, the backup's last, unless it is a member of a cluster \
             that is behind",
            old.tx_id
        ));
    };
    if (first.tx_id, first.checksum, first.commit_time)
        == (old.tx_id, old.checksum, old.commit_time)
    {
        return Ok(());
    }
    diverged(format!(
        "transaction {} has checksum {} and commit time {} ms, in the backup it is {} with checksum \
         {} and commit time {} ms",
        first.tx_id,
        first.checksum,
        first.commit_time.0,
        old.tx_id,
        old.checksum,
        old.commit_time.0
    ))
}

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
    let start_bytes = start_of(&old)?;
    progress.phase(Phase::Logs, 0);
    let mut response = ask(server, &session.store_id, &old)?;
    let path = format!("{LOG_PREFIX}{}", old.end.version);
    let mut log = Writer::at(sink, 0, FileKind::Log, path, start_bytes)?;
    // A full backup brings fewer.
    let too_long = ErrorCode::LogsPruned;
    let found = match Transactions::default().bring(&mut response, &mut log, too_long, progress) {
        Err(error) if error.remote_code() == Some(ErrorCode::LogsPruned) => {
            // A full backup would replace this one: not by another history.
            check(server, after)?;
            return Err(error);
        }
        found => found?,
    };
    require_same(found.first, &old)?;
    let file = log.finish()?;
    let last_tx = match found.last {
        Some(last) if last.tx_id != old.tx_id => last_tx(&last, old.end.version),
        _ => old,
    };
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
