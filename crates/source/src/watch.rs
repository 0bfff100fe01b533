//! Is told by the kernel when files of a directory change (inotify), so that nobody has to look for it
//! again and again.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify;

use crate::{Error, Result};

/// Not every file system tells of all changes: those of another host, say.
const LOOK_AGAIN_NS: i64 = 100_000_000;
/// How often to look where the kernel tells nothing. A log file lives at least until the checkpoint
/// after its last byte, and one failed `open` costs nothing.
const LOOK_NS: i64 = 10_000_000;

/// Waits for changes in one directory.
pub struct Watch {
    /// `None` where there is none to be had: a user may have so many only.
    inotify: Option<OwnedFd>,
    stop: OwnedFd,
}

impl Watch {
    /// Changes from now on.
    pub fn new(dir: &Path) -> Result<Self> {
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let stop = stop.map_err(|e| Error::io("watch", dir)(e.into()))?;
        let inotify = open(dir);
        if let Err(error) = &inotify {
            tracing::debug!(dir = %dir.display(), %error, "no inotify: looking every 10 ms");
        }
        Ok(Self { inotify: inotify.ok(), stop })
    }

    /// Ends the wait that is under way, and every later one.
    pub fn stop(&self) {
        let _ = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
    }

    /// Returns when something may have changed.
    pub fn wait(&self) {
        let tv_nsec = if self.inotify.is_some() { LOOK_AGAIN_NS } else { LOOK_NS };
        let timeout = Timespec { tv_sec: 0, tv_nsec };
        let stop = PollFd::new(&self.stop, PollFlags::IN);
        let Some(inotify) = &self.inotify else {
            let _ = poll(&mut [stop], Some(&timeout));
            return;
        };
        let _ = poll(&mut [stop, PollFd::new(inotify, PollFlags::IN)], Some(&timeout));
        let mut buf = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(inotify, &mut buf);
        while events.next().is_ok() {}
    }
}

fn open(dir: &Path) -> rustix::io::Result<OwnedFd> {
    let inotify = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    let flags = inotify::WatchFlags::MODIFY
        | inotify::WatchFlags::CREATE
        | inotify::WatchFlags::MOVED_TO
        | inotify::WatchFlags::ONLYDIR;
    inotify::add_watch(&inotify, dir, flags)?;
    Ok(inotify)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::*;

    /// A write is told of at once, and a stop too; without either it is looked again all the same.
    #[test]
    fn a_wait_ends_with_a_change() {
        let dir = tempfile::tempdir().unwrap();
        let watch = Arc::new(Watch::new(dir.path()).unwrap());
        assert!(watch.inotify.is_some());
        let took = |change: &dyn Fn()| {
            let waiting = Arc::clone(&watch);
            let waiter = std::thread::spawn(move || waiting.wait());
            std::thread::sleep(Duration::from_millis(10));
            let since = Instant::now();
            change();
            waiter.join().unwrap();
            since.elapsed()
        };
        let fastest = |change: &dyn Fn()| (0..5).map(|_| took(change)).min().unwrap();
        assert!(fastest(&|| ()) > Duration::from_millis(50));
        let file = dir.path().join("file");
        assert!(fastest(&|| std::fs::write(&file, "x").unwrap()) < Duration::from_millis(50));
        assert!(fastest(&|| watch.stop()) < Duration::from_millis(50));
    }
}
