//! Going on with what Neo4j 3.0's own backup tool has left in the target.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use client::Sink;
use mirror::{DatabaseEntry, Mirror, Outcome, Reason, Staged};
use service::{Begun, HotCopy};
use source::Database;
use wire::api::{After, ErrorDetail, FileInfo, Session};

use super::copy::{Run, blocking};
use crate::exit_code::ExitCode;
use crate::failure::{Failure, Result};
use crate::progress::{Meter, Progress};

/// A BLAKE3 is made for each block of so many bytes.
const BLOCK_BYTES: u64 = 1 << 20;

impl Run {
    /// The database in the target that is to be taken over, if there is one.
    pub(super) async fn theirs(&self, name: &str) -> Result<Option<Database>> {
        let (mirror, name) = (Arc::clone(&self.mirror), name.to_owned());
        Ok(blocking(move || mirror.theirs(&name)).await??)
    }

    /// Makes it a backup of ours, once the server is known to have its last transaction. Until that is
    /// committed the target is as it was.
    pub(super) async fn take_over(&self, theirs: Database) -> Result<()> {
        let name = theirs.name.clone();
        let looked = theirs.clone();
        let after = blocking(move || end_of(&looked)).await??;
        self.unless_interrupted(self.client.check(&name, Some(after))).await?;
        self.output.warning(format!(
            "{name}: taken over from Neo4j's own backup tool; what it has made is kept as it is, and not \
             compared with the server's store"
        ));
        let cancelled = Arc::new(AtomicBool::new(false));
        let progress = Progress::start(&name, self.output);
        let (mirror, seen, meter) =
            (Arc::clone(&self.mirror), Arc::clone(&cancelled), progress.meter());
        let mut copied = pin!(blocking(move || copy(&mirror, &theirs, &meter, &seen)));
        let ended = tokio::select! {
            ended = &mut copied => ended,
            () = self.interrupt.wait() => {
                cancelled.store(true, Ordering::Relaxed);
                copied.await
            }
        };
        ended?.map(drop)
    }
}

/// What the tool's database ends with.
pub fn end_of(theirs: &Database) -> Result<After> {
    let begun = service::full(theirs).map_err(failed)?;
    let finished = begun.copy.finish().map_err(failed)?;
    Ok(After { store_id: begun.store_id, external_uuid: None, last_tx: finished.last_tx })
}

/// Copies the database into a backup of ours, and commits that.
fn copy(
    mirror: &Mirror,
    theirs: &Database,
    meter: &Meter,
    cancelled: &AtomicBool,
) -> Result<DatabaseEntry> {
    let Begun { copy, state, store_id, checkpoint, files, left_out, .. } =
        service::full(theirs).map_err(failed)?;
    let session = Session {
        session_id: "taken over".to_owned(),
        lease_seconds: 0,
        database: theirs.name.clone(),
        state,
        store_id,
        external_uuid: None,
        checkpoint,
        block_bytes: BLOCK_BYTES,
        files,
        left_out,
    };
    let staged = mirror.begin(&session, Reason::TakenOver)?;
    meter.set_total(session.files.iter().map(|file| file.size_bytes).sum());
    let each = |file: &FileInfo| copy_file(&*copy, &staged, file, meter, cancelled);
    session.files.iter().try_for_each(each)?;
    let finished = copy.finish().map_err(failed)?;
    finished.files.iter().try_for_each(each)?;
    let outcome = Outcome {
        finished: &finished,
        left_out: &[],
        bytes_transferred: 0,
        checkpoint: session.checkpoint.as_ref(),
    };
    Ok(staged.commit(&outcome)?)
}

fn copy_file(
    copy: &dyn HotCopy,
    staged: &Staged,
    file: &FileInfo,
    meter: &Meter,
    cancelled: &AtomicBool,
) -> Result<()> {
    let kept = |error| Failure::from(client::Error::Sink(error));
    staged.create(file).map_err(kept)?;
    let mut block = Vec::new();
    let mut at = 0;
    while at < file.size_bytes {
        if cancelled.load(Ordering::Relaxed) {
            return Err(Failure::interrupted());
        }
        let length = BLOCK_BYTES.min(file.size_bytes.saturating_sub(at));
        block.resize(usize::try_from(length).unwrap_or(0), 0);
        if copy.read_at(file.id, at, &mut block).map_err(failed)? < block.len() {
            let message = format!("{}: became shorter while it was read", file.path);
            return Err(Failure::new(ExitCode::BackupChanged, message));
        }
        staged.write_at(file.id, at, &block).map_err(kept)?;
        staged.block(file.id, at, *blake3::hash(&block).as_bytes()).map_err(kept)?;
        at = at.saturating_add(length);
        meter.add_done(length);
    }
    staged.complete(file.id, file.size_bytes).map_err(kept)
}

/// As if a service told it, of the target.
fn failed(detail: ErrorDetail) -> Failure {
    let failure = Failure::from(client::Error::Remote(detail));
    let message = format!("the backup of Neo4j's own tool: {}", failure.message);
    Failure { message, ..failure }
}
