//! One writer at a time: a lock file whose lock dies with its holder.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::{Error, Kind, Place, Result};

/// A look at who holds a lock ([`Lock::holder`]) holds it itself, for a moment: not as long as this.
const GLANCE: Duration = Duration::from_millis(20);

/// What to do when another process holds the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// Fail at once.
    Fail,
    /// Wait so long, then fail.
    Wait(Duration),
}

/// Who holds a lock, as its file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// Process id, 0 if not known.
    pub pid: u32,
    /// Host name, empty if not known.
    pub host: String,
    /// When the holder took the lock, in seconds since 1970, 0 if not known.
    pub since_unix_seconds: u64,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pid == 0 {
            return write!(f, "another process");
        }
        write!(f, "process {} on {}", self.pid, self.host)
    }
}

/// An exclusive lock; free again when this is dropped or its process dies, however it dies.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock, creating its file where it is missing, and writes into it who we are. The
    /// file stays when the lock is gone, unless its holder removes it before it lets go.
    pub fn take(path: &Path, busy: Busy) -> Result<Self> {
        let no_follow = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
        let open = || {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(no_follow)
                .open(path)
                .map_err(Error::io("open lock file", path))
        };
        let mut file = open()?;
        let since = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) if is_file_at(&file, path)? => break,
                Ok(()) => {
                    // Its holder removed the file; a lock on what has no name keeps nobody out.
                    file = open()?;
                    continue;
                }
                Err(Errno::WOULDBLOCK | Errno::INTR) => {}
                Err(e) => return Err(Error::os("lock", path)(e)),
            }
            let waited_enough = match busy {
                Busy::Fail => since.elapsed() >= GLANCE,
                Busy::Wait(limit) => since.elapsed() >= limit,
            };
            if waited_enough {
                return Err(Error {
                    kind: Kind::InUse(read_holder(&mut file)),
                    ..Error::os("lock", path)(Errno::WOULDBLOCK)
                });
            }
            std::thread::sleep(match busy {
                Busy::Fail => GLANCE,
                Busy::Wait(_) => Duration::from_millis(100),
            });
        }
        // What is in the file helps people only, so a full disk is no reason to fail here.
        if let Err(error) = write_holder(&mut file) {
            tracing::debug!(path = %path.display(), %error, "cannot write the holder down");
        }
        Ok(Self { _file: file })
    }

    /// Who holds the lock at present. Makes and writes nothing, not even a lock file.
    pub fn holder(path: &Path) -> Result<Option<Holder>> {
        let no_follow = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
        let opened = OpenOptions::new().read(true).custom_flags(no_follow).open(path);
        let mut file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("open lock file", path)(error)),
        };
        loop {
            match flock(&file, FlockOperation::NonBlockingLockShared) {
                // Let go with the file.
                Ok(()) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => return Ok(Some(read_holder(&mut file))),
                Err(e) => return Err(Error::os("lock", path)(e)),
            }
        }
    }
}

fn is_file_at(file: &File, path: &Path) -> Result<bool> {
    let own = file.metadata().map_err(Error::io("look at", path))?;
    Ok(Place::of(path)? == Some(Place::from(&own)))
}

fn write_holder(file: &mut File) -> std::io::Result<()> {
    let host = rustix::system::uname().nodename().to_string_lossy().replace(['\n', '\r'], " ");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    write!(file, "pid {}\nhost {host}\nsince {now}\n", std::process::id())
}

fn read_holder(file: &mut File) -> Holder {
    let mut text = String::new();
    let mut holder = Holder::default();
    if file.seek(SeekFrom::Start(0)).is_err() || file.take(4096).read_to_string(&mut text).is_err()
    {
        return holder;
    }
    for line in text.lines() {
        match line.split_once(' ') {
            Some(("pid", value)) => holder.pid = value.parse().unwrap_or(0),
            Some(("host", value)) => holder.host = value.to_owned(),
            Some(("since", value)) => holder.since_unix_seconds = value.parse().unwrap_or(0),
            _ => {}
        }
    }
    holder
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second taker is told who holds the lock; when the first lets go, it is free again.
    #[test]
    fn a_second_taker_learns_who_holds_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = Lock::take(&path, Busy::Fail).unwrap();
        let error = Lock::take(&path, Busy::Fail).unwrap_err();
        let Kind::InUse(holder) = error.kind else { panic!("{error:?}") };
        assert_eq!(holder.pid, std::process::id());
        assert!(!holder.host.is_empty());
        assert!(holder.since_unix_seconds > 0);
        assert_eq!(Lock::holder(&path).unwrap(), Some(holder));
        drop(first);
        assert_eq!(Lock::holder(&path).unwrap(), None);
        assert_eq!(Lock::holder(&dir.path().join("none")).unwrap(), None);
        assert!(!dir.path().join("none").exists());
        drop(Lock::take(&path, Busy::Fail).unwrap());
    }

    /// A waiter gets the lock when its holder ends within the time, and fails after it.
    #[test]
    fn a_waiter_waits_and_not_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = Lock::take(&path, Busy::Fail).unwrap();
        let limit = Duration::from_millis(150);
        assert!(Lock::take(&path, Busy::Wait(limit)).is_err());
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| Lock::take(&path, Busy::Wait(Duration::from_secs(20))));
            std::thread::sleep(limit);
            drop(first);
            drop(waiter.join().unwrap().unwrap());
        });
    }

    /// A holder may remove the file: who waits for the removed one gets the new one, alone.
    #[test]
    fn a_removed_lock_file_keeps_nobody_out_twice() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = Lock::take(&path, Busy::Fail).unwrap();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| Lock::take(&path, Busy::Wait(Duration::from_secs(20))));
            std::thread::sleep(Duration::from_millis(50));
            std::fs::remove_file(&path).unwrap();
            drop(first);
            let second = waiter.join().unwrap().unwrap();
            assert!(Lock::take(&path, Busy::Fail).is_err());
            drop(second);
        });
    }

    /// A dead holder frees itself: what its file says does not matter.
    #[test]
    fn text_left_by_a_dead_holder_does_not_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        std::fs::write(&path, "pid 1\nhost elsewhere\nsince 5\n").unwrap();
        drop(Lock::take(&path, Busy::Fail).unwrap());
    }
}
