//! Writing back early, so that the sync at the end is short.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use crate::{DiskFile, Result};

/// How many requests may wait; more make the writers wait, which bounds the dirty memory.
const QUEUE: usize = 64;

/// A thread that syncs files while others are being written.
#[derive(Debug)]
pub struct Flusher {
    queue: SyncSender<Request>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    failed: Mutex<Option<crate::Error>>,
    /// Nobody wants the files any more: requests that still wait are dropped.
    abandoned: AtomicBool,
}

#[derive(Debug)]
enum Request {
    WriteBack(Arc<dyn DiskFile>),
    Sync(Arc<dyn DiskFile>),
    Stop,
}

impl Flusher {
    /// Starts the thread.
    #[must_use]
    pub fn start() -> Self {
        let (queue, requests) = sync_channel(QUEUE);
        let shared = Arc::new(Shared::default());
        let keep = Arc::clone(&shared);
        let thread = std::thread::spawn(move || run(&requests, &keep));
        Self { queue, thread: Some(thread), shared }
    }

    /// Asks for an early write-back of a file that is still being written. Never waits.
    pub fn write_back(&self, file: &Arc<dyn DiskFile>) {
        // Where the thread is behind already, one more request would not make it faster.
        drop(self.queue.try_send(Request::WriteBack(Arc::clone(file))));
    }

    /// Asks for a file to be synced and closed. An error appears in [`Flusher::finish`].
    pub fn sync(&self, file: Arc<dyn DiskFile>) {
        // A receiver that is gone has panicked; `finish` says so.
        drop(self.queue.send(Request::Sync(file)));
    }

    /// Waits until all that was asked for is durable; the first error of all is returned.
    pub fn finish(mut self) -> Result<()> {
        self.stop();
        let mut failed = match self.shared.failed.lock() {
            Ok(failed) => failed,
            Err(poisoned) => poisoned.into_inner(),
        };
        failed.take().map_or(Ok(()), Err)
    }

    fn stop(&mut self) {
        drop(self.queue.send(Request::Stop));
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        if self.thread.is_some() && !std::thread::panicking() {
            self.shared.abandoned.store(true, Ordering::Relaxed);
            self.stop();
        }
    }
}

fn run(requests: &Receiver<Request>, shared: &Shared) {
    while let Ok(request) = requests.recv() {
        if shared.abandoned.load(Ordering::Relaxed) {
            return;
        }
        let done = match request {
            Request::WriteBack(file) => file.write_back(),
            Request::Sync(file) => file.sync(),
            Request::Stop => return,
        };
        if let (Err(error), Ok(mut failed)) = (done, shared.failed.lock()) {
            failed.get_or_insert(error);
        }
    }
}
