//! The asynchronous runtime, and work that may be interrupted.

use std::future::Future;

use tokio::runtime::{Builder, Runtime};

use crate::exit_code::ExitCode;
use crate::failure::{Failure, Result};
use crate::interrupt::Interrupt;

/// Enough for the sockets; files are read and written by blocking threads.
const WORKER_THREADS: usize = 2;

/// Runs a future on a small runtime. Blocking threads that still work when it ends are left behind.
pub fn block_on<T>(blocking_threads: usize, future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = runtime(blocking_threads)?;
    let ended = runtime.block_on(future);
    runtime.shutdown_background();
    ended
}

/// Runs work that a signal may cut off at any point.
pub fn interruptible<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    block_on(1, async {
        let interrupt = Interrupt::listen()?;
        tokio::select! {
            ended = tokio::task::spawn_blocking(work) => {
                ended.map_err(|error| Failure::of(ExitCode::Internal, &error))?
            }
            () = interrupt.wait() => Err(Failure::interrupted()),
        }
    })
}

fn runtime(blocking_threads: usize) -> Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .max_blocking_threads(blocking_threads)
        .enable_all()
        .build()
        .map_err(|error| Failure::of(ExitCode::Internal, &error))
}
