//! What goes where: for each half of each database its final place, the place aside on the same
//! file system where it is made, and where an old one is moved to.

use std::path::{Path, PathBuf};

use fs::Disk;
use mirror::{Area, DatabaseEntry};

use crate::destination::{Owner, create_owned, create_private, is_there, resolve};
use crate::journal::Move;
use crate::{Destination, Error, Result};

pub(crate) const STAGING_NAME: &str = ".neo4j-backup-restoring";
pub(crate) const REPLACED_NAME: &str = "neo4j-backup-replaced";
const PROBE_NAME: &str = ".neo4j-backup-probe";
/// Space that must be left over.
const SPARE_BYTES: u64 = 16 << 20;

/// One half of one database.
#[derive(Clone, Debug)]
pub(crate) struct Half {
    /// Number of the database among the entries.
    pub database: usize,
    pub area: Area,
    /// Where it is made.
    pub staged: PathBuf,
    /// Where it will be, links resolved.
    pub place: PathBuf,
    /// Where the old one goes.
    pub aside: PathBuf,
    bytes: u64,
}

/// Both halves of all databases, the transactions of each before its store.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub halves: Vec<Half>,
    /// Staging directories, to be removed at the end.
    pub staging: Vec<PathBuf>,
}

impl Plan {
    pub fn make(
        disk: &dyn Disk,
        to: &Destination,
        entries: &[&DatabaseEntry],
        time: &str,
    ) -> Result<Self> {
        let mut plan = Self { halves: Vec::new(), staging: vec![to.data().join(STAGING_NAME)] };
        let mut bases: Vec<(PathBuf, PathBuf)> = Vec::new();
        for (database, entry) in entries.iter().enumerate() {
            for area in entry.areas().iter().rev().copied() {
                let place = resolve(&to.root(area).join(&entry.name))?;
                let root = root_of(&place)?;
                if fs::is_mount_point(&place)? {
                    return Err(Error::MountPoint { path: place });
                }
                let known = bases.iter().find(|(known, _)| *known == root);
                let base = match known {
                    Some((_, base)) => base.clone(),
                    None => base_for(disk, &root, to.data())?,
                };
                bases.push((root.clone(), base.clone()));
                let staging = base.join(STAGING_NAME);
                let replaced = format!("{}-{time}", entry.name);
                let is_all = entry.areas().len() == 1;
                let files = entry.files.iter().filter(|file| is_all || file.area == area);
                plan.halves.push(Half {
                    database,
                    area,
                    staged: staging.join(format!("{database}")).join(area.staged_name()),
                    place,
                    aside: replaced_dir(&base, &root).join(replaced).join(area.staged_name()),
                    bytes: files.fold(0, |sum, file| sum.saturating_add(file.size_bytes)),
                });
                if !plan.staging.contains(&staging) {
                    plan.staging.push(staging);
                }
            }
        }
        Ok(plan)
    }

    /// The half that holds the files of an area: where a server keeps all in one directory, that.
    pub fn half(&self, database: usize, area: Area) -> Option<&Half> {
        let mut halves = self.halves.iter().filter(|half| half.database == database);
        halves.clone().find(|half| half.area == area).or_else(|| halves.next())
    }

    /// Fails if what goes to one file system does not fit on it.
    pub fn require_space(&self) -> Result<()> {
        let mut needs: Vec<(u64, &Path, u64)> = Vec::new();
        for half in &self.halves {
            let root = half.place.parent().unwrap_or(Path::new("/"));
            let device = fs::Place::of(root)?.map_or(0, |place| place.device);
            match needs.iter_mut().find(|(other, _, _)| *other == device) {
                Some((_, _, bytes)) => *bytes = bytes.saturating_add(half.bytes),
                None => needs.push((device, root, half.bytes.saturating_add(SPARE_BYTES))),
            }
        }
        for (_, path, needed_bytes) in needs {
            let free_bytes = fs::free_bytes(path)?;
            if free_bytes < needed_bytes {
                return Err(Error::NoSpace { path: path.to_owned(), needed_bytes, free_bytes });
            }
        }
        Ok(())
    }

    pub fn create_staging(&self, disk: &dyn Disk, owner: Owner) -> Result<()> {
        self.staging.iter().try_for_each(|dir| create_private(disk, dir))?;
        self.halves.iter().try_for_each(|half| create_owned(disk, &half.staged, owner))
    }

    /// The renames that put all in place. First every old store goes, so that Neo4j finds nothing
    /// to start on until the new store, the last of its database, is there.
    pub fn moves(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        let old = self.halves.iter().filter(|half| is_there(&half.place));
        for half in old.clone().filter(|half| half.area == Area::Store) {
            moves.push(Move { from: half.place.clone(), to: half.aside.clone() });
        }
        for half in old.filter(|half| half.area == Area::Transactions) {
            moves.push(Move { from: half.place.clone(), to: half.aside.clone() });
        }
        for half in &self.halves {
            moves.push(Move { from: half.staged.clone(), to: half.place.clone() });
        }
        moves
    }

    /// Where old directories are moved to, for those that are there.
    pub fn old(&self) -> impl Iterator<Item = &Half> {
        self.halves.iter().filter(|half| is_there(&half.place))
    }
}

/// A directory from which directories can be renamed into `root`, and in which Neo4j sees no
/// database: the data directory, else what is around the root, else, at a mount point, the root
/// itself. Tried, because bind mounts cannot be told.
fn base_for(disk: &dyn Disk, root: &Path, data: &Path) -> Result<PathBuf> {
    let around = root.parent().unwrap_or(root);
    for base in [data, around] {
        if try_rename(disk, base, root)? {
            return Ok(base.to_owned());
        }
    }
    Ok(root.to_owned())
}

/// The real directory that a place is a name in.
fn root_of(place: &Path) -> Result<PathBuf> {
    let root = place.parent().unwrap_or(Path::new("/"));
    Ok(root.canonicalize().map_err(fs::Error::io("resolve", root))?)
}

fn try_rename(disk: &dyn Disk, base: &Path, root: &Path) -> Result<bool> {
    let (from, to) = (base.join(PROBE_NAME), root.join(PROBE_NAME));
    for leftover in [&from, &to] {
        if leftover.is_dir() {
            disk.remove_dir_all(leftover)?;
        }
    }
    if disk.create_dir(&from, 0o700).is_err() {
        return Ok(false);
    }
    match disk.rename(&from, &to) {
        Ok(()) => disk.remove_dir_all(&to).map(|()| true).map_err(Error::from),
        Err(_) => disk.remove_dir_all(&from).map(|()| false).map_err(Error::from),
    }
}

/// Neo4j takes no name that begins with a dot for a database's.
fn replaced_dir(base: &Path, root: &Path) -> PathBuf {
    let hidden = if base == root { "." } else { "" };
    base.join(format!("{hidden}{REPLACED_NAME}"))
}
