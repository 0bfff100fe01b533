//! A backup, for reading.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::changes::Changes;
use crate::layout::{Area, Layout, staged_dir};
use crate::{DatabaseEntry, Error, FileEntry, Manifest, Result, manifest};

/// A backup directory and its manifest, as of the moment it was opened. Takes no lock.
#[derive(Clone, Debug)]
pub struct Backup {
    dir: PathBuf,
    manifest: Manifest,
    /// Where the databases were.
    located: Vec<Located>,
    /// Their pages that are not in their places yet.
    changes: Vec<Option<Arc<Changes>>>,
}

/// Where a database's files lie at present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    store: PathBuf,
    transactions: PathBuf,
    /// Where files are that are no longer in one of these: see [`Layout::Database`].
    placed: Option<PathBuf>,
}

impl Backup {
    /// Reads and checks the manifest of a backup.
    pub fn open(dir: &Path) -> Result<Self> {
        let manifest = manifest::read(dir)?;
        let located = locate_all(dir, &manifest);
        let changes = |entry: &DatabaseEntry| {
            Ok(Changes::open(&staged_dir(dir, &entry.generation))?.map(Arc::new))
        };
        let changes = manifest.databases.iter().map(changes).collect::<Result<_>>()?;
        Ok(Self { dir: dir.to_owned(), manifest, located, changes })
    }

    /// The backup's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What it holds.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// As [`Mirror::name_as_server`](crate::Mirror::name_as_server), for whoever reads it; nothing is written.
    pub fn name_as_server(&mut self, databases: &[wire::api::Database]) {
        self.manifest.name_as_server(databases);
    }

    /// The entries of the databases that are named, or of all if none is.
    pub fn select(&self, names: &[String]) -> Result<Vec<&DatabaseEntry>> {
        if names.is_empty() {
            return Ok(self.manifest.databases.iter().collect());
        }
        let find = |name: &String| {
            self.manifest.database(name).ok_or_else(|| Error::NoSuchDatabase {
                dir: self.dir.clone(),
                name: name.clone(),
                known: self.manifest.databases.iter().map(|e| e.name.clone()).collect(),
            })
        };
        let mut entries = names.iter().map(find).collect::<Result<Vec<_>>>()?;
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries.dedup_by(|a, b| a.name == b.name);
        Ok(entries)
    }

    /// Where the files of a database are: the one rule of the crate's documentation.
    #[must_use]
    pub fn locate(&self, entry: &DatabaseEntry) -> Located {
        locate(&self.dir, entry)
    }

    /// Pages of a file that are not in their place yet, and with which it may have another length.
    pub(crate) fn changes(&self, entry: &DatabaseEntry, file: &FileEntry) -> Option<Arc<Changes>> {
        // Not by its name, which a restore may change.
        let is_it = |other: &DatabaseEntry| other.generation == entry.generation;
        let index = self.manifest.databases.iter().position(is_it)?;
        let changes = self.changes.get(index)?.as_ref()?;
        (file.area == Area::Store && changes.has(&file.path)).then(|| Arc::clone(changes))
    }

    /// Whether all files are where they were, and are still those of the manifest: no run has replaced or
    /// moved them since. Increments do neither: they only add to the logs.
    pub fn is_current(&self) -> Result<bool> {
        let now = manifest::read(&self.dir)?;
        let is_same = |entry: &DatabaseEntry| {
            let now = now.database(&entry.name);
            now.is_some_and(|now| now.generation == entry.generation)
        };
        let unmoved = locate_all(&self.dir, &self.manifest) == self.located;
        Ok(unmoved && self.manifest.databases.iter().all(is_same))
    }
}

impl Located {
    /// In the directory of a staged generation.
    pub(crate) fn staged(dir: &Path) -> Self {
        let [store, transactions] = Area::ALL.map(|area| dir.join(area.staged_name()));
        Self { store, transactions, placed: None }
    }

    /// Whether a part of it may still be staged, and the rest be in its place.
    pub(crate) fn is_moving(&self) -> bool {
        self.placed.is_some()
    }

    /// The directory of an area.
    #[must_use]
    pub fn dir(&self, area: Area) -> &Path {
        match area {
            Area::Store => &self.store,
            Area::Transactions => &self.transactions,
        }
    }

    /// The path of a file.
    #[must_use]
    pub fn file(&self, file: &FileEntry) -> PathBuf {
        let path = self.dir(file.area).join(&file.path);
        match &self.placed {
            Some(placed) if std::fs::symlink_metadata(&path).is_err() => placed.join(&file.path),
            _ => path,
        }
    }
}

fn locate_all(dir: &Path, manifest: &Manifest) -> Vec<Located> {
    manifest.databases.iter().map(|entry| locate(dir, entry)).collect()
}

pub(crate) fn locate(dir: &Path, entry: &DatabaseEntry) -> Located {
    if Layout::of(&entry.store_id) == Layout::Database {
        return locate_in_place(dir, entry);
    }
    let place = |area: Area| {
        let staged = staged_dir(dir, &entry.generation).join(area.staged_name());
        let placed = dir.join(area.root_name()).join(&entry.name);
        if staged.is_dir() { staged } else { placed }
    };
    Located { store: place(Area::Store), transactions: place(Area::Transactions), placed: None }
}

/// The same where the backup's directory is the database's: files move into it one by one.
fn locate_in_place(dir: &Path, entry: &DatabaseEntry) -> Located {
    let staged = staged_dir(dir, &entry.generation);
    let is_staged = |area: Area| {
        let root = staged.join(area.staged_name());
        let mut files = entry.files.iter().filter(|file| file.area == area);
        files.any(|file| std::fs::symlink_metadata(root.join(&file.path)).is_ok())
    };
    let place = |area: Area| match is_staged(area) {
        true => staged.join(area.staged_name()),
        false => dir.to_owned(),
    };
    let placed = staged.is_dir().then(|| dir.to_owned());
    Located { store: place(Area::Store), transactions: place(Area::Transactions), placed }
}
