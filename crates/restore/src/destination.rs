//! The server's directories that a restore goes to: where they are, whose they are, whether they
//! may be written to.

use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use fs::Disk;
use mirror::{Area, DatabaseEntry, MANIFEST_NAME};
use rustix::process::{getegid, geteuid};
use source::{Installation, lock_file_holder, lock_holder};

use crate::{Error, Result};

/// Names that Neo4j makes in its data directory.
const DATA_NAMES: [&str; 8] = [
    "databases",
    "transactions",
    "server_id",
    "dbms",
    "cluster-state",
    "dumps",
    "scripts",
    "neo4j-backup-replaced",
];
const FOUND_MAX: usize = 5;
/// As many as Linux follows.
const LINKS_MAX: usize = 40;
/// Where there is no data directory to take after: the files hold password hashes.
const DIR_MODE: u32 = 0o700;

/// Where to restore to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    data: PathBuf,
    databases: PathBuf,
    transactions: PathBuf,
    /// What a database of Neo4j 3.0 is called, of which a server starts one; if `None` as in the backup.
    active_database: Option<String>,
}

/// Whom restored files belong to, and who may read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    uid: u32,
    gid: u32,
    pub dir_mode: u32,
    pub file_mode: u32,
}

impl Destination {
    /// A data directory, which may be missing.
    #[must_use]
    pub fn from_data(data: &Path) -> Self {
        let (databases, transactions) = (data.join("databases"), data.join("transactions"));
        Self { data: data.to_owned(), databases, transactions, active_database: None }
    }

    /// The directories that a server's configuration names.
    #[must_use]
    pub fn from_installation(installation: &Installation) -> Self {
        Self {
            data: installation.data_dir().to_owned(),
            databases: installation.databases_root().to_owned(),
            transactions: installation.transactions_root().to_owned(),
            active_database: installation.active_database().map(str::to_owned),
        }
    }

    pub(crate) fn absolute(&self) -> Result<Self> {
        let absolute = |path: &Path| {
            std::path::absolute(path).map_err(fs::Error::io("resolve", path)).map_err(Error::from)
        };
        Ok(Self {
            data: absolute(&self.data)?,
            databases: absolute(&self.databases)?,
            transactions: absolute(&self.transactions)?,
            active_database: self.active_database.clone(),
        })
    }

    /// The same, once all is there that is needed, without links on the way.
    pub(crate) fn real(&self) -> Result<Self> {
        let real = |path: &Path| path.canonicalize().map_err(fs::Error::io("resolve", path));
        Ok(Self {
            data: real(&self.data)?,
            databases: real(&self.databases)?,
            transactions: resolve(&self.transactions)?,
            active_database: self.active_database.clone(),
        })
    }

    /// The data directory.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// A database of a backup, with the name that it is to have here.
    pub(crate) fn named(&self, entry: &DatabaseEntry) -> DatabaseEntry {
        let mut entry = entry.clone();
        if let Some(name) = self.active_database.as_ref().filter(|_| entry.store_id.is_v3_0()) {
            entry.name.clone_from(name);
        }
        entry
    }

    /// The directory that has one directory per database.
    #[must_use]
    pub fn root(&self, area: Area) -> &Path {
        match area {
            Area::Store => &self.databases,
            Area::Transactions => &self.transactions,
        }
    }

    /// Fails if the destination lies in a backup, or is not Neo4j's.
    pub(crate) fn refuse_foreign(&self, backup: &Path) -> Result<()> {
        for dir in [&self.data, &self.databases, &self.transactions] {
            let inside =
                |backup: &Path| Error::InsideBackup { to: dir.clone(), backup: backup.to_owned() };
            if fs::is_inside(dir, backup)? {
                return Err(inside(backup));
            }
            for ancestor in fs::ancestors(dir)? {
                if ancestor.join(MANIFEST_NAME).exists() {
                    return Err(inside(&ancestor));
                }
            }
        }
        let names = fs::entries(&self.data)?;
        let names: Vec<_> = names.iter().map(|(name, _)| name.to_string_lossy()).collect();
        let is_ours = |name: &str| name.starts_with(".neo4j-backup") || name == "lost+found";
        let is_neo4js = names.iter().any(|name| DATA_NAMES.contains(&&**name));
        if is_neo4js || names.iter().all(|name| is_ours(name)) {
            return Ok(());
        }
        let found = names.into_iter().take(FOUND_MAX).map(Into::into).collect();
        Err(Error::NotADataDirectory { to: self.data.clone(), found })
    }

    /// Fails if a server runs on the data directory, or on one of these databases.
    pub(crate) fn refuse_running(&self, entries: &[&DatabaseEntry]) -> Result<()> {
        let running = |lock: PathBuf, pid| Err(Error::DatabaseRunning { lock, pid });
        let server = self.databases.join("store_lock");
        if let Some(pid) = lock_file_holder(&server)? {
            return running(server, pid);
        }
        for entry in entries {
            let store = self.databases.join(&entry.name);
            if let Some(pid) = lock_holder(&store)? {
                return running(store.join("database_lock"), pid);
            }
            // Neo4j 3.0's, which has one for each database.
            let lock = store.join("store_lock");
            if let Some(pid) = lock_file_holder(&lock)? {
                return running(lock, pid);
            }
        }
        Ok(())
    }

    /// Fails if a half of one of these databases is there.
    pub(crate) fn refuse_existing(&self, entries: &[&DatabaseEntry]) -> Result<()> {
        for entry in entries {
            for area in entry.areas().iter().copied() {
                let path = resolve(&self.root(area).join(&entry.name))?;
                if is_there(&path) {
                    return Err(Error::DatabaseExists { database: entry.name.clone(), path });
                }
            }
        }
        Ok(())
    }

    /// Makes the roots, and says whom what is restored into them shall belong to. The directories
    /// that were missing are added to `made`, also on an error.
    pub(crate) fn prepare(
        &self,
        disk: &dyn Disk,
        entries: &[&DatabaseEntry],
        made: &mut Vec<PathBuf>,
    ) -> Result<Owner> {
        let owner = Owner::of(&self.data)?;
        let wants_logs = entries.iter().any(|entry| entry.areas().contains(&Area::Transactions));
        let logs = wants_logs.then_some(&self.transactions);
        for dir in [&self.data, &self.databases].into_iter().chain(logs) {
            create_noting(disk, dir, owner, made)?;
            fs::sync_name(disk, dir)?;
        }
        Ok(owner)
    }
}

impl Owner {
    /// As the data directory has it. If it is missing: this user, but if that is root, who can give
    /// files away and is not who runs a server, the owner of the directory that it will be made in.
    fn of(data: &Path) -> Result<Self> {
        let found = nearest(data)?;
        let is_data = data.is_dir();
        let dir_mode = if is_data { found.permissions().mode() & 0o2777 } else { DIR_MODE };
        let (uid, gid) = match is_data || geteuid().is_root() {
            true => (found.uid(), found.gid()),
            false => (geteuid().as_raw(), getegid().as_raw()),
        };
        Ok(Self { uid, gid, dir_mode, file_mode: dir_mode & 0o666 })
    }

    /// Gives a new file or directory its owner and its mode.
    pub fn apply(&self, disk: &dyn Disk, path: &Path, mode: u32) -> Result<()> {
        let found = std::fs::symlink_metadata(path).map_err(fs::Error::io("look at", path))?;
        if (found.uid(), found.gid()) != (self.uid, self.gid) {
            match disk.set_owner(path, self.uid, self.gid) {
                // Another group is no hindrance to a server that runs as the owner.
                Err(e) if e.kind == fs::Kind::Denied && found.uid() == self.uid => {}
                Err(e) if e.kind == fs::Kind::Denied => {
                    return Err(Error::Owner { path: path.to_owned(), uid: self.uid });
                }
                done => done?,
            }
        }
        if found.permissions().mode() & 0o7777 != mode {
            disk.set_mode(path, mode)?;
        }
        Ok(())
    }
}

/// Makes a directory with its missing parents, all of one owner.
pub(crate) fn create_owned(disk: &dyn Disk, dir: &Path, owner: Owner) -> Result<()> {
    create_noting(disk, dir, owner, &mut Vec::new())
}

/// The same, and adds those that were missing to `made`, parents first.
fn create_noting(disk: &dyn Disk, dir: &Path, owner: Owner, made: &mut Vec<PathBuf>) -> Result<()> {
    if dir.as_os_str().is_empty() || dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        create_noting(disk, parent, owner, made)?;
    }
    match disk.create_dir(dir, owner.dir_mode) {
        // Another thread was quicker.
        Err(e) if e.kind == fs::Kind::Exists && dir.is_dir() => return Ok(()),
        done => done?,
    }
    made.push(dir.to_owned());
    owner.apply(disk, dir, owner.dir_mode)?;
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        disk.sync_dir(parent)?;
    }
    Ok(())
}

/// What there is of a path: itself, else its nearest ancestor.
fn nearest(path: &Path) -> Result<Metadata> {
    for there in path.ancestors() {
        match std::fs::metadata(there) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            found => return Ok(found.map_err(fs::Error::io("look at", there))?),
        }
    }
    let nowhere = std::io::Error::from(std::io::ErrorKind::NotFound);
    Err(fs::Error::io("look at", path)(nowhere).into())
}

/// Makes a directory that only this user can write to, in one that may be somebody else's, or takes
/// the one that is there.
pub(crate) fn create_private(disk: &dyn Disk, dir: &Path) -> Result<()> {
    match disk.create_dir(dir, 0o700) {
        Err(e) if e.kind == fs::Kind::Exists => {}
        done => done?,
    }
    // One that is there may be of a run that was killed before it had synced this.
    disk.sync_dir(dir.parent().unwrap_or(Path::new("/")))?;
    require_private(dir)
}

/// Fails if others could have made or changed what is in a directory. No link is followed.
pub(crate) fn require_private(dir: &Path) -> Result<()> {
    let found = std::fs::symlink_metadata(dir).map_err(fs::Error::io("look at", dir))?;
    let (uid, mode) = (found.uid(), found.permissions().mode() & 0o7777);
    let what = if !found.is_dir() {
        "not a directory".to_owned()
    } else if uid != geteuid().as_raw() {
        format!("belongs to user {uid}, not to the one who runs this")
    } else if mode & 0o022 != 0 {
        format!("others may write to it (mode {mode:04o})")
    } else {
        return Ok(());
    };
    Err(Error::Staging { path: dir.to_owned(), what })
}

/// Where a directory really is: a link in its place is followed, even one that leads to nothing.
/// The result is a name in a real directory, if that is there.
pub(crate) fn resolve(path: &Path) -> Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        if let Ok(real) = path.canonicalize() {
            return Ok(real);
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(path) };
        let Ok(parent) = parent.canonicalize() else { return Ok(path) };
        let real = parent.join(name);
        match std::fs::read_link(&real) {
            Ok(target) => path = parent.join(target),
            Err(_) => return Ok(real),
        }
    }
    let around = std::io::Error::other("too many symbolic links");
    Err(fs::Error::io("resolve", &path)(around).into())
}

/// Whether anything has this name.
pub(crate) fn is_there(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}
