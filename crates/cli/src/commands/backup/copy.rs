//! The copy of one database: session, staging, streams, commit.

use std::sync::Arc;
use std::time::Duration;

use client::{Client, CopyReport, Sink};
use mirror::{DatabaseEntry, Mirror, Outcome, Staged};

use crate::exit_code::ExitCode;
use crate::failure::{Failure, Result, chain};
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::progress::Progress;

/// How long writes that are under way may take to end when a copy is given up.
const RELEASE_TIME: Duration = Duration::from_secs(10);

/// What the copies of one run share.
pub struct Run<'a> {
    pub client: &'a Client,
    pub mirror: &'a Arc<Mirror>,
    pub interrupt: &'a Interrupt,
}

impl Run<'_> {
    /// Copies a database; on a failure the backup that was there is as it was.
    pub async fn database(&self, name: &str, full: bool, output: Output) -> Result<DatabaseEntry> {
        if !full {
            self.mirror.refuse_existing(name)?;
        }
        let mut copy = tokio::select! {
            copy = self.client.open(name) => copy?,
            () = self.interrupt.wait() => return Err(Failure::interrupted()),
        };
        let (mirror, session) = (Arc::clone(self.mirror), copy.session().clone());
        let staged = match blocking(move || mirror.begin(&session)).await? {
            Ok(staged) => Arc::new(staged),
            Err(error) => {
                copy.abort().await;
                return Err(error.into());
            }
        };
        let progress = Progress::start(name, output);
        let sink: Arc<dyn Sink> = Arc::<Staged>::clone(&staged);
        let ran = tokio::select! {
            ran = copy.run(sink, progress.meter()) => ran.map_err(Failure::from),
            () = self.interrupt.wait() => Err(Failure::interrupted()),
        };
        drop(progress);
        match ran {
            Ok(report) => self.commit(staged, report, output).await,
            Err(failure) => {
                copy.abort().await;
                release(staged).await;
                Err(failure)
            }
        }
    }

    /// Proves and keeps what has come. A signal does not cut this off: a second one does.
    async fn commit(
        &self,
        staged: Arc<Staged>,
        report: CopyReport,
        output: Output,
    ) -> Result<DatabaseEntry> {
        let name = report.session.database.clone();
        let committed = blocking(move || {
            let outcome = Outcome {
                finished: &report.finished,
                left_out: &report.left_out,
                bytes_transferred: report.bytes_transferred,
            };
            staged.commit(&outcome)
        });
        match committed.await? {
            Ok(entry) => Ok(entry),
            Err(error @ mirror::Error::RollForward(_)) => {
                output.warning(format!("{name}: {}; {}", chain(&error), error.hint()));
                let entry = self.mirror.manifest().database(&name).cloned();
                entry.ok_or_else(|| error.into())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Work that may wait for a disk, on a thread of its own.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.map_err(|error| Failure::of(ExitCode::Internal, &error))
}

/// Removes what was staged, once the last write that is under way has ended.
async fn release(staged: Arc<Staged>) {
    let since = tokio::time::Instant::now();
    while Arc::strong_count(&staged) > 1 && since.elapsed() < RELEASE_TIME {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // If a write hangs, the next run removes it.
    let _ = blocking(move || drop(staged)).await;
}
