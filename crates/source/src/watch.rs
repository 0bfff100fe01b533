//! Is told by the kernel when files of a directory change (inotify), so that nobody has to look for it
//! again and again.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify;

use crate::{Error, Result};

/// Not every file system tells of all changes: those of another host, say.
const LOOK_AGAIN: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// How often to look where it does, so that looking costs nothing.
const LOOK_RARELY: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };
/// How often to look where the kernel tells nothing. A log file lives at least until the checkpoint
/// after its last byte, and one failed `open` costs nothing.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
/// File systems of this host alone (`statfs`): ext4, XFS, Btrfs, F2FS, ZFS, tmpfs and overlayfs.
const LOCAL: [u32; 7] =
    [0xEF53, 0x5846_5342, 0x9123_683E, 0xF2F5_2010, 0x2FC1_2FC1, 0x0102_1994, 0x794C_7630];

/// Waits for changes in one directory.
pub struct Watch {
    /// `None` where there is none to be had: a user may have so many only.
    inotify: Option<OwnedFd>,
    stop: OwnedFd,
    /// How long nothing may be told before it is looked all the same.
    timeout: Timespec,
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
        let timeout = match &inotify {
            Ok(_) if is_local(dir) => LOOK_RARELY,
            Ok(_) => LOOK_AGAIN,
            Err(_) => LOOK,
        };
        Ok(Self { inotify: inotify.ok(), stop, timeout })
    }

    /// Ends the wait that is under way, and every later one.
    pub fn stop(&self) {
        let _ = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
    }

    /// Returns when something may have changed.
    pub fn wait(&self) {
        let timeout = self.timeout;
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

/// Whether whatever changes there is changed by this host's kernel.
fn is_local(dir: &Path) -> bool {
    let found = rustix::fs::statfs(dir).ok();
    found.and_then(|found| u32::try_from(found.f_type).ok()).is_some_and(|it| LOCAL.contains(&it))
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
        assert!(took(&|| ()) > Duration::from_millis(50));
        let file = dir.path().join("file");
        assert!(fastest(&|| std::fs::write(&file, "x").unwrap()) < Duration::from_millis(50));
        assert!(fastest(&|| watch.stop()) < Duration::from_millis(50));
    }
}
