//! Which files of a home become a fixture.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::captures;

/// Zeros kept after the last entry of a preallocated file.
const ZEROS_KEPT: usize = 4096;

/// Trees that show one of each kind.
const TREES: [&str; 4] = [
    "neostore.nodestore.db.id",
    "neostore.counts.db",
    "neostore.relationshipgroupstore.degrees.db",
    "neostore.indexstats.db",
];

/// How much of a database to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Logs, checkpoint files and `neostore`.
    Logs,
    /// These and the record stores.
    Records,
    /// Checkpoint files, `neostore` and some trees.
    Trees,
    /// The directory of a database of 3.0.
    Directory,
    /// Logs and `neostore` of a database of 3.0.
    LogsInDirectory,
    /// Nothing of a database: what passed between server and tool.
    Captures,
}

impl Keep {
    /// In words.
    pub fn about(self) -> &'static str {
        match self {
            Keep::Logs => {
                "`transactions/neo4j/`, `databases/neo4j/`: the server's own files,\n  \
                 of the stores only `neostore`"
            }
            Keep::Records => {
                "`transactions/neo4j/`, `databases/neo4j/`: the server's own files,\n  \
                 all record stores, no trees and no indexes"
            }
            Keep::Trees => {
                "`transactions/neo4j/`, `databases/neo4j/`: the server's own files,\n  \
                 no transaction logs, `neostore` and four trees (id, counts, degrees, index statistics)"
            }
            Keep::Directory => {
                "`databases/graph.db/`: the server's own files, all of the database but locks and\n  \
                 messages that are blank since nothing failed"
            }
            Keep::LogsInDirectory => {
                "`databases/graph.db/`: the server's own files, logs and `neostore`"
            }
            Keep::Captures => {
                "`NAME.request`, `NAME.response`: what one connection carried, in either direction,\n  \
                 as a proxy between the two kept it"
            }
        }
    }

    /// What was left out of files, in words.
    pub fn cut(self) -> &'static str {
        match self {
            Keep::Directory | Keep::LogsInDirectory | Keep::Captures => {
                "Nothing in them is changed."
            }
            Keep::Logs | Keep::Records | Keep::Trees => {
                "**Cut**: of the zeros that the server preallocates after the last entry of a log or\n  \
                 checkpoint file, 4096 bytes are kept. Nothing else is changed."
            }
        }
    }

    fn wants(self, name: &str) -> bool {
        let tree = TREES.contains(&name);
        let derived = name.ends_with(".id") || tree;
        match self {
            Keep::Logs => name == "neostore",
            Keep::Records => name.starts_with("neostore") && !derived,
            Keep::Trees => name == "neostore" || tree,
            Keep::Directory => !["store_lock", "write.lock", "failure-message"].contains(&name),
            Keep::LogsInDirectory => {
                name == "neostore" || name.starts_with("neostore.transaction.db.")
            }
            Keep::Captures => true,
        }
    }
}

/// Copies what `keep` wants of the user database of a stopped server.
pub fn collect(home: &Path, fixture: &Path, keep: Keep) -> Result<()> {
    if keep == Keep::Captures {
        return copy_tree(&home.join(captures::FOLDER), fixture);
    }
    if matches!(keep, Keep::Directory | Keep::LogsInDirectory) {
        return collect_directory(home, fixture, keep);
    }
    let stores = fixture.join("databases/neo4j");
    let logs = fixture.join("transactions/neo4j");
    fs::create_dir_all(&stores)?;
    fs::create_dir_all(&logs)?;
    for (name, path) in files_in(&home.join("data/databases/neo4j"))? {
        if keep.wants(&name) {
            fs::copy(path, stores.join(name))?;
        }
    }
    let mut logs_count = 0;
    for (name, path) in files_in(&home.join("data/transactions/neo4j"))? {
        if keep == Keep::Trees && !name.starts_with("checkpoint.") {
            continue;
        }
        let mut bytes = fs::read(path)?;
        let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        bytes.truncate(end + ZEROS_KEPT);
        fs::write(logs.join(&name), bytes)?;
        logs_count += 1;
    }
    ensure!(logs_count > 0, "the server left no logs");
    ensure!(stores.join("neostore").is_file(), "the server left no neostore");
    Ok(())
}

fn collect_directory(home: &Path, fixture: &Path, keep: Keep) -> Result<()> {
    let from = home.join("data/databases/graph.db");
    let to = fixture.join("databases/graph.db");
    for path in tree(&from)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if keep.wants(&name) {
            let target = to.join(path.strip_prefix(&from)?);
            fs::create_dir_all(target.parent().context("a file has a folder")?)?;
            fs::copy(&path, target)?;
        }
    }
    ensure!(to.join("neostore").is_file(), "the server left no neostore");
    ensure!(to.join("neostore.transaction.db.0").is_file(), "the server left no logs");
    Ok(())
}

/// Writes `SHA256SUMS` over all files of the fixture.
pub fn write_sums(fixture: &Path) -> Result<()> {
    let names = tree(fixture)?.into_iter().map(|path| Ok(path.strip_prefix(fixture)?.to_owned()));
    let names = names.collect::<Result<Vec<PathBuf>>>()?;
    let sums = Command::new("sha256sum").current_dir(fixture).args(names).output()?;
    ensure!(sums.status.success(), "sha256sum: {}", String::from_utf8_lossy(&sums.stderr));
    fs::write(fixture.join("SHA256SUMS"), sums.stdout).context("write SHA256SUMS")
}

/// Copies a folder and all below it.
pub fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    for path in tree(from)? {
        let target = to.join(path.strip_prefix(from)?);
        fs::create_dir_all(target.parent().context("a file has a folder")?)?;
        fs::copy(&path, &target)?;
    }
    Ok(())
}

/// The bytes in all files of a folder.
pub fn size_of_tree(dir: &Path) -> Result<u64> {
    tree(dir)?.iter().map(|path| Ok(fs::metadata(path)?.len())).sum()
}

fn tree(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            all.extend(tree(&path)?);
        } else {
            all.push(path);
        }
    }
    all.sort();
    Ok(all)
}

fn files_in(dir: &Path) -> Result<Vec<(String, PathBuf)>> {
    let paths = fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))?;
    let mut files = Vec::new();
    for entry in paths {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            files.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
        }
    }
    files.sort();
    Ok(files)
}
