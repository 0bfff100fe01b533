//! Ctrl-C and SIGTERM: the first asks the run to stop, the second ends it at once.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::exit_code::ExitCode;
use crate::failure::{Failure, Result};
use crate::output;

/// Signals so soon after the first are the same one: `timeout` and process supervisors send it to
/// the process and to its group.
const SAME_SIGNAL: Duration = Duration::from_millis(300);

/// The signals that stop a run.
#[derive(Clone)]
pub struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// From here on the first signal is told to who waits for it, and no longer kills the process;
    /// the second one ends it at once, whatever it does. Needs the runtime.
    pub fn listen() -> Result<Self> {
        let open = |kind| signal(kind).map_err(|error| Failure::of(ExitCode::Internal, &error));
        let mut int = open(SignalKind::interrupt())?;
        let mut term = open(SignalKind::terminate())?;
        let (told, waiting) = watch::channel(false);
        tokio::spawn(async move {
            next(&mut int, &mut term).await;
            told.send_replace(true);
            let first = Instant::now();
            while first.elapsed() < SAME_SIGNAL {
                next(&mut int, &mut term).await;
            }
            output::tell("error", "interrupted again, stopping at once");
            std::process::exit(i32::from(ExitCode::Interrupted.status()));
        });
        Ok(Self(waiting))
    }

    /// Waits for the first signal; ready at once if it has come already.
    pub async fn wait(&self) {
        let mut waiting = self.0.clone();
        if waiting.wait_for(|told| *told).await.is_err() {
            // Nobody listens any more: the runtime is going down.
            std::future::pending::<()>().await;
        }
    }

    /// Whether the first signal has come.
    pub fn has_come(&self) -> bool {
        *self.0.borrow()
    }
}

async fn next(int: &mut Signal, term: &mut Signal) {
    tokio::select! {
        _ = int.recv() => {}
        _ = term.recv() => {}
    }
}
