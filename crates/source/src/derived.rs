//! Derived files: trees and Lucene indexes. Neo4j rebuilds what is missing, but believes what is
//! there, so each is copied whole or not at all.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use formats::record_store;
use formats::tree::StatePages;

use crate::read::Held;
use crate::{Error, Result};

/// Pages of a tree that its state is read from: the meta page and the two state pages.
const STATE_BYTES: usize = 3 * PAGE_BYTES;
const PAGE_BYTES: usize = 8192;
/// A Lucene commit in the middle of listing and opening is met rarely, twice in a row hardly ever.
const LUCENE_TRIES: u32 = 5;
/// Directories of an index are at most this deep below its provider's.
const LUCENE_DEPTH_MAX: u32 = 4;
/// Held files of all Lucene indexes; more would run into the limit of open files.
const LUCENE_FILES_MAX: usize = 4096;

/// A derived file or directory that is not in the copy, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Path relative to the store directory.
    pub path: String,
    /// Why it is not in the copy.
    pub reason: String,
}

/// A tree (`*.id`, counts, degrees, index statistics, range, point and token indexes).
///
/// Its copy is one state of the tree if the two state pages are the same before the first and
/// after the last byte is read: then no checkpoint of the tree came in between, and what was
/// written in between belongs to the unstable generation, which recovery discards. The state's
/// last page must lie within the copied bytes, and the file must still be the one in place.
pub struct Tree {
    pub held: Held,
    before: Mutex<Option<Vec<u8>>>,
}

impl Tree {
    /// To be called before each read: notes the state before the first one.
    pub fn note_state(&self) -> Result<()> {
        let mut before = self.before.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if before.is_none() {
            *before = Some(self.state()?);
        }
        Ok(())
    }

    /// Whether what was read since the last call, `copied_bytes` long, is one state of the tree.
    pub fn check_whole(&self, copied_bytes: u64) -> Result<bool> {
        let mut before = self.before.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let Some(before) = before.take() else { return Ok(false) };
        let after = self.state()?;
        let Ok(state) = StatePages::decode(&before) else { return Ok(false) };
        let Some(newest) = state.newest() else { return Ok(false) };
        let needed = newest.last_id.saturating_add(1).saturating_mul(PAGE_BYTES as u64);
        Ok(before == after && needed <= copied_bytes && self.held.is_in_place()?)
    }

    fn state(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; STATE_BYTES];
        let read = self.held.read_at(0, &mut bytes)?;
        bytes.truncate(read);
        Ok(bytes)
    }
}

/// What was found of a store's derived files.
#[derive(Default)]
pub struct Derived {
    /// Trees, with their paths relative to the store directory.
    pub trees: Vec<(String, Tree)>,
    /// Lucene files, each held open as part of one commit of its index; relative paths.
    pub lucene: Vec<(String, Held)>,
    /// What could not be held.
    pub left_out: Vec<LeftOut>,
}

impl Derived {
    /// Opens every derived file of a store.
    pub fn hold(store_dir: &Path) -> Result<Self> {
        let mut derived = Self::default();
        for store in record_store::MANDATORY {
            derived.add_tree(store_dir, &format!("{}.id", store.file_name()))?;
        }
        for name in record_store::DERIVED_TREES {
            derived.add_tree(store_dir, name)?;
        }
        derived.add_indexes(store_dir)?;
        Ok(derived)
    }

    fn add_tree(&mut self, store_dir: &Path, path: &str) -> Result<()> {
        if let Some(held) = Held::open_if_there(&store_dir.join(path))? {
            let tree = Tree { held, before: Mutex::new(None) };
            self.trees.push((path.to_owned(), tree));
        }
        Ok(())
    }

    fn leave_out(&mut self, path: &str, reason: impl Into<String>) {
        self.left_out.push(LeftOut { path: path.to_owned(), reason: reason.into() });
    }

    fn add_indexes(&mut self, store_dir: &Path) -> Result<()> {
        for provider in names(&store_dir.join("schema/index"))? {
            let provider = format!("schema/index/{provider}");
            for index in names(&store_dir.join(&provider))? {
                let index = format!("{provider}/{index}");
                match IndexKind::of(&provider) {
                    Some(IndexKind::Tree) => self.add_index_trees(store_dir, &index)?,
                    Some(IndexKind::Lucene) => self.add_lucene(store_dir, &index)?,
                    None => self.leave_out(&index, "an index provider that we do not know"),
                }
            }
        }
        Ok(())
    }

    fn add_index_trees(&mut self, store_dir: &Path, index: &str) -> Result<()> {
        for name in names(&store_dir.join(index))? {
            let path = format!("{index}/{name}");
            if name.starts_with("index-") {
                self.add_tree(store_dir, &path)?;
            } else {
                self.leave_out(&path, "not a file that such an index has");
            }
        }
        Ok(())
    }

    fn add_lucene(&mut self, store_dir: &Path, index: &str) -> Result<()> {
        let room = LUCENE_FILES_MAX.saturating_sub(self.lucene.len());
        for _ in 0..LUCENE_TRIES {
            match hold_lucene(store_dir, index, room) {
                Ok(Lucene::Whole(files)) => {
                    self.lucene.extend(files);
                    return Ok(());
                }
                Ok(Lucene::Changed) => {}
                Ok(Lucene::New) => {
                    self.leave_out(index, "a Lucene index without a commit");
                    return Ok(());
                }
                Ok(Lucene::No(reason)) => {
                    self.leave_out(index, reason);
                    return Ok(());
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        self.leave_out(index, "a Lucene index that did not hold still");
        Ok(())
    }
}

enum IndexKind {
    Tree,
    Lucene,
}

impl IndexKind {
    /// By the provider's directory, such as `schema/index/range-1.0`.
    fn of(provider: &str) -> Option<Self> {
        let name = provider.rsplit('/').next()?;
        let (name, version) = name.rsplit_once('-')?;
        if !version.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        match name {
            "range" | "point" | "token-lookup" => Some(Self::Tree),
            "text" | "fulltext" | "vector" => Some(Self::Lucene),
            _ => None,
        }
    }
}

/// What came of one try to hold a Lucene index.
pub(crate) enum Lucene {
    Whole(Vec<(String, Held)>),
    /// A commit came in between.
    Changed,
    /// It has no commit yet.
    New,
    /// It cannot be held, for this reason.
    No(&'static str),
}

/// Opens every file of an index. They are one commit if the newest `segments_N` of each partition
/// is the same before and after: Lucene deletes a commit's files only after a newer commit, and
/// never changes a file of a commit.
pub(crate) fn hold_lucene(store_dir: &Path, index: &str, room: usize) -> Result<Lucene> {
    let before = list_files(&store_dir.join(index), "", 0)?;
    let commits = segments(&before).into_iter().cloned().collect::<Vec<_>>();
    if commits.is_empty() {
        return Ok(Lucene::New);
    }
    if before.len() > room {
        return Ok(Lucene::No("too many files to hold open"));
    }
    let mut files = Vec::new();
    for name in before {
        let path = format!("{index}/{name}");
        let held = Held::open(&store_dir.join(&path))?;
        files.push((path, held));
    }
    let after = list_files(&store_dir.join(index), "", 0)?;
    Ok(if segments(&after).into_iter().eq(&commits) {
        Lucene::Whole(files)
    } else {
        Lucene::Changed
    })
}

/// The files of an index directory, as relative paths, without locks and commits in preparation.
fn list_files(directory: &Path, prefix: &str, depth: u32) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for name in names(directory)? {
        let path = directory.join(&name);
        let found = std::fs::metadata(&path).map_err(Error::io("read", &path))?;
        if found.is_dir() {
            if depth >= LUCENE_DEPTH_MAX {
                let what = "deeper than an index directory is".to_owned();
                return Err(Error::Changed { path, what });
            }
            let below = format!("{prefix}{name}/");
            files.extend(list_files(&path, &below, depth.saturating_add(1))?);
        } else if name != "write.lock" && !name.starts_with("pending_") {
            files.push(format!("{prefix}{name}"));
        }
    }
    Ok(files)
}

/// The `segments_N` files: the commits that a listing shows, sorted.
fn segments(files: &[String]) -> Vec<&String> {
    let is_commit =
        |path: &&String| path.rsplit('/').next().is_some_and(|name| name.starts_with("segments_"));
    let mut commits: Vec<&String> = files.iter().filter(is_commit).collect();
    commits.sort();
    commits
}

/// Names in a directory, sorted; none where there is no directory.
pub(crate) fn names(directory: &Path) -> Result<Vec<String>> {
    let list = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => return Ok(Vec::new()),
        listed => listed.map_err(Error::io("list", directory))?,
    };
    let mut names = Vec::new();
    for entry in list {
        let path: PathBuf = entry.map_err(Error::io("list", directory))?.path();
        names.push(path.file_name().unwrap_or_default().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
