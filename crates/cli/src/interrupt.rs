//! Ctrl-C and SIGTERM: the first asks the run to stop, the second ends it at once.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit_code::ExitCode;
use crate::failure::{Failure, Result};
use crate::output;

/// The signals that stop a run; from here on they no longer kill it.
pub struct Interrupt {
    int: Signal,
    term: Signal,
}

impl Interrupt {
    /// Begins to listen. Needs the runtime.
    pub fn listen() -> Result<Self> {
        let open = |kind| {
            signal(kind).map_err(|error| Failure::of(ExitCode::Internal, &error))
        };
        Ok(Self { int: open(SignalKind::interrupt())?, term: open(SignalKind::terminate())? })
    }

    /// Waits for the next signal.
    pub async fn wait(&mut self) {
        tokio::select! {
            _ = self.int.recv() => {}
            _ = self.term.recv() => {}
        }
    }

    /// From here on the next signal ends the process at once, whatever it does.
    pub fn then_exit_at_once(mut self) {
        tokio::spawn(async move {
            self.wait().await;
            output::tell("error", "interrupted again, stopping at once");
            std::process::exit(i32::from(ExitCode::Interrupted.status()));
        });
    }
}
