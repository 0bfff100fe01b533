//! The asynchronous runtime, and work that may be interrupted.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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

/// Runs work that a signal asks to end, and waits until it has cleaned up after itself.
pub fn cancellable<T: Send + 'static>(
    work: impl FnOnce(&AtomicBool) -> Result<T> + Send + 'static,
) -> Result<T> {
    block_on(1, async {
        let interrupt = Interrupt::listen()?;
        let cancelled = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&cancelled);
        let mut working = tokio::task::spawn_blocking(move || work(&seen));
        let ended = tokio::select! {
            ended = &mut working => ended,
            () = interrupt.wait() => {
                cancelled.store(true, Ordering::Relaxed);
                working.await
            }
        };
        ended.map_err(|error| Failure::of(ExitCode::Internal, &error))?
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
