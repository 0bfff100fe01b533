//! What a disk holds after a power failure.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{DirBuilder, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::history::{Change, History, Kind, Names, Node, ROOT};
use crate::{Error, Result};

const SECTOR_BYTES: usize = 512;

/// How much survives of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Survival {
    /// Nothing.
    Least,
    /// Everything, as if only the process had died.
    Most,
    /// All names, but none of the bytes.
    Names,
    /// All names and lengths; where bytes should be are zeros.
    Lengths,
    /// All bytes, but none of the names.
    Data,
    /// Some names, and some sectors of each file: which, this number says.
    Some(u64),
}

/// A [`History`] looked at from one moment on to the next.
#[derive(Debug)]
pub struct Replay {
    history: History,
    /// How many operations have been done by now.
    count: usize,
    files: BTreeMap<Node, Bytes>,
    /// Numbers of the operations that changed names, and are not durable.
    pending: Vec<usize>,
    /// Those that are.
    durable: Vec<usize>,
}

/// A file. A new one is empty.
#[derive(Clone, Debug, Default)]
struct Bytes {
    durable: Arc<Vec<u8>>,
    current: Arc<Vec<u8>>,
    /// Sectors of the current bytes that no sync makes durable any more.
    lost: BTreeSet<usize>,
}

/// Names and bytes that have survived.
#[derive(Clone, Debug)]
pub struct Image {
    /// Parents before what is in them.
    entries: Vec<(PathBuf, Node, Item)>,
}

#[derive(Clone, Debug)]
enum Item {
    Dir(u32),
    File(u32, Arc<Vec<u8>>),
    Link(PathBuf),
}

impl Replay {
    /// Before the first operation.
    #[must_use]
    pub fn of(history: &History) -> Self {
        let mut files = BTreeMap::new();
        for (node, kind) in history.lock().nodes.iter().enumerate() {
            if let Kind::File { bytes, .. } = kind {
                let (durable, current) = (Arc::clone(bytes), Arc::clone(bytes));
                files.insert(node, Bytes { durable, current, lost: BTreeSet::new() });
            }
        }
        let (pending, durable) = (Vec::new(), Vec::new());
        Self { history: history.clone(), count: 0, files, pending, durable }
    }

    /// Goes on until so many operations have been done.
    pub fn go_to(&mut self, count: usize) {
        let history = self.history.clone();
        let log = history.lock();
        for (at, step) in log.steps.iter().enumerate().take(count).skip(self.count) {
            match &step.change {
                Change::Names(_) => self.pending.push(at),
                Change::SyncDir(dir) => {
                    let is_durable = |at: &mut usize| {
                        let names = log.steps.get(*at).map(|step| &step.change);
                        matches!(names, Some(Change::Names(names)) if made_in(names) == Some(*dir))
                    };
                    self.durable.extend(self.pending.extract_if(.., is_durable));
                }
                Change::Write(node, offset, bytes) => {
                    let offset = usize::try_from(*offset).unwrap_or(usize::MAX);
                    self.files.entry(*node).or_default().write(offset, bytes);
                }
                Change::SetLen(node, size) => {
                    let size = usize::try_from(*size).unwrap_or(usize::MAX);
                    self.files.entry(*node).or_default().set_len(size);
                }
                Change::Sync(node) => {
                    let file = self.files.entry(*node).or_default();
                    file.durable = file.synced();
                }
                Change::SyncFailed(node) => {
                    let file = self.files.entry(*node).or_default();
                    file.lost = file.differing().collect();
                }
            }
        }
        self.count = self.count.max(count);
    }

    /// What there is if the power fails now.
    #[must_use]
    pub fn image(&self, survival: Survival) -> Image {
        let log = self.history.lock();
        let mut random = Random(match survival {
            Survival::Some(seed) => seed.wrapping_mul(1_000_003).wrapping_add(self.count as u64),
            _ => 0,
        });
        let mut done: BTreeSet<usize> = self.durable.iter().copied().collect();
        for at in &self.pending {
            let survives = match survival {
                Survival::Least | Survival::Data => false,
                Survival::Most | Survival::Names | Survival::Lengths => true,
                Survival::Some(_) => random.below(2) == 0,
            };
            if survives {
                done.insert(*at);
            }
        }
        let changes = |at: usize| match log.steps.get(at).map(|step| &step.change) {
            Some(Change::Names(names)) => names.as_slice(),
            _ => &[],
        };
        // What came before on the same name has happened as well.
        let mut later: BTreeSet<(Node, &OsString)> = BTreeSet::new();
        for at in (0..self.count).rev() {
            let touches = |(dir, name, _): &(Node, OsString, _)| later.contains(&(*dir, name));
            if done.contains(&at) || changes(at).iter().any(touches) {
                done.insert(at);
                later.extend(changes(at).iter().map(|(dir, name, _)| (*dir, name)));
            }
        }
        let mut names = log.first_names.clone();
        for (dir, name, node) in done.into_iter().flat_map(changes) {
            let names = names.entry(*dir).or_default();
            match node {
                Some(node) => drop(names.insert(name.clone(), *node)),
                None => drop(names.remove(name)),
            }
        }
        let survivors: BTreeMap<Node, Arc<Vec<u8>>> = self
            .files
            .iter()
            .map(|(node, file)| (*node, file.after(survival, &mut random)))
            .collect();
        let mut image = Image { entries: Vec::new() };
        image.collect(&log.nodes, &names, &survivors, ROOT, Path::new(""));
        image
    }
}

/// The directory that must be synced for a change of names to be durable.
fn made_in(names: &[(Node, OsString, Option<Node>)]) -> Option<Node> {
    let made = names.iter().find(|(_, _, node)| node.is_some());
    made.or(names.first()).map(|(dir, _, _)| *dir)
}

impl Bytes {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset.saturating_add(bytes.len());
        let current = Arc::make_mut(&mut self.current);
        if current.len() < end {
            current.resize(end, 0);
        }
        if let Some(part) = current.get_mut(offset..end) {
            part.copy_from_slice(bytes);
        }
        // The whole page is written out again.
        for sector in offset / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES) {
            self.lost.remove(&sector);
        }
    }

    fn set_len(&mut self, size: usize) {
        Arc::make_mut(&mut self.current).resize(size, 0);
        self.lost.retain(|sector| sector * SECTOR_BYTES < size);
    }

    fn sector(bytes: &[u8], sector: usize) -> &[u8] {
        let start = sector * SECTOR_BYTES;
        bytes.get(start..bytes.len().min(start + SECTOR_BYTES)).unwrap_or_default()
    }

    /// Sectors that are not durable.
    fn differing(&self) -> impl Iterator<Item = usize> {
        let sectors = 0..self.current.len().div_ceil(SECTOR_BYTES);
        let differs = |sector: &usize| {
            Self::sector(&self.current, *sector) != Self::sector(&self.durable, *sector)
        };
        sectors.filter(differs)
    }

    /// A length, and for each sector that differs whether it survives.
    fn mixed(&self, size: usize, mut survives: impl FnMut(usize) -> bool) -> Arc<Vec<u8>> {
        let mut mixed = self.durable.as_ref().clone();
        mixed.resize(self.current.len(), 0);
        for sector in self.differing().filter(|sector| survives(*sector)) {
            let start = sector * SECTOR_BYTES;
            let from = Self::sector(&self.current, sector);
            if let Some(to) = mixed.get_mut(start..start + from.len()) {
                to.copy_from_slice(from);
            }
        }
        mixed.resize(size, 0);
        Arc::new(mixed)
    }

    /// What a sync makes of it.
    fn synced(&self) -> Arc<Vec<u8>> {
        match self.lost.is_empty() {
            true => Arc::clone(&self.current),
            false => self.mixed(self.current.len(), |sector| !self.lost.contains(&sector)),
        }
    }

    fn after(&self, survival: Survival, random: &mut Random) -> Arc<Vec<u8>> {
        if Arc::ptr_eq(&self.durable, &self.current) {
            return Arc::clone(&self.current);
        }
        let (old, new) = (self.durable.len(), self.current.len());
        match survival {
            Survival::Least | Survival::Names => Arc::clone(&self.durable),
            Survival::Most => Arc::clone(&self.current),
            Survival::Data => self.synced(),
            Survival::Lengths => self.mixed(new, |_| false),
            Survival::Some(_) => {
                let size = match random.below(3) {
                    0 => old,
                    1 => new,
                    _ => old.min(new) + random.below(old.abs_diff(new) + 1),
                };
                // None, all, or one in two.
                let share = random.below(3);
                let mut survives = |_| share == 2 || (share == 1 && random.below(2) == 0);
                self.mixed(size, |sector| !self.lost.contains(&sector) && survives(sector))
            }
        }
    }
}

impl Image {
    fn collect(
        &mut self,
        nodes: &[Kind],
        names: &Names,
        bytes: &BTreeMap<Node, Arc<Vec<u8>>>,
        dir: Node,
        below: &Path,
    ) {
        for (name, node) in names.get(&dir).into_iter().flatten() {
            let path = below.join(name);
            let item = match nodes.get(*node) {
                Some(Kind::Dir { mode }) => Item::Dir(*mode),
                Some(Kind::Link { to }) => Item::Link(to.clone()),
                Some(Kind::File { mode, .. }) => {
                    Item::File(*mode, bytes.get(node).cloned().unwrap_or_default())
                }
                None => continue,
            };
            let is_dir = matches!(item, Item::Dir(_));
            self.entries.push((path.clone(), *node, item));
            if is_dir {
                self.collect(nodes, names, bytes, *node, &path);
            }
        }
    }

    /// The same for images with the same names and bytes.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (path, node, item) in &self.entries {
            (path, node).hash(&mut hasher);
            if let Item::File(_, bytes) = item {
                bytes.hash(&mut hasher);
            }
        }
        hasher.finish()
    }

    /// Makes all of it in an empty directory. Names that shared their bytes share them again.
    pub fn write_to(&self, dir: &Path) -> Result<()> {
        let mut made: BTreeMap<Node, PathBuf> = BTreeMap::new();
        for (path, node, item) in &self.entries {
            let path = dir.join(path);
            let done = match item {
                Item::Dir(mode) => DirBuilder::new().mode(*mode).create(&path),
                Item::Link(to) => symlink(to, &path),
                Item::File(mode, bytes) => match made.get(node) {
                    Some(first) => std::fs::hard_link(first, &path),
                    None => OpenOptions::new()
                        .write(true)
                        .create_new(true)
                        .mode(*mode)
                        .open(&path)
                        .and_then(|mut file| file.write_all(bytes)),
                },
            };
            done.map_err(Error::io("create", &path))?;
            made.entry(*node).or_insert(path);
        }
        Ok(())
    }
}

/// SplitMix64: the same numbers for the same seed, everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let mixed = usize::try_from((mixed ^ (mixed >> 31)) >> 1).unwrap_or(0);
        mixed.checked_rem(end).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
