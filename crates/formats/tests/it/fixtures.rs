//! Every log and checkpoint file of every fixture: all bytes understood, all checksums right,
//! every entry encoded to the same bytes again, and what the server itself said of them.

use std::path::{Path, PathBuf};

use formats::checkpoint::{Checkpoint, Tail, decode_file};
use formats::txlog::{Batch, BatchReader, Chain, EntryReader, LogHeader};

/// Where fixtures lie: `<Neo4j's version>/<scenario>/`.
pub fn fixtures_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

/// The directories in a directory, by name.
pub fn directories(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    paths.sort();
    paths
}

/// Whether a directory has the fixtures of a version of 3.0, or of an upgrade to one.
pub fn is_3_0(version: &Path) -> bool {
    version.file_name().is_some_and(|name| name.to_string_lossy().starts_with("3.0."))
}

/// The scenarios of all versions of Neo4j 5.
pub fn scenarios() -> Vec<PathBuf> {
    let mut versions = directories(&fixtures_dir());
    versions.retain(|version| !is_3_0(version));
    versions.iter().flat_map(|version| directories(version)).collect()
}

/// Directories that hold log files, over all fixtures of Neo4j 5.
pub fn log_dirs() -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    for scenario in scenarios() {
        dirs.extend(directories(&scenario.join("transactions")));
    }
    dirs.retain(|dir| !numbered(dir, "neostore.transaction.db.").is_empty());
    assert!(dirs.len() >= 8, "only {} log directories", dirs.len());
    dirs
}

/// Numbered files of a directory, oldest first.
pub fn numbered(dir: &Path, prefix: &str) -> Vec<(u64, PathBuf)> {
    let mut files: Vec<(u64, PathBuf)> = std::fs::read_dir(dir)
        .unwrap()
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            let number = path.file_name()?.to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((number, path))
        })
        .collect();
    files.sort();
    files
}

/// All batches of a log file's bytes.
pub fn batches(bytes: &[u8]) -> Result<Vec<Batch>, formats::Error> {
    let mut reader = BatchReader::new(&bytes[128..], 128);
    let mut batches = Vec::new();
    while let Some(batch) = reader.next_batch()? {
        batches.push(batch);
    }
    Ok(batches)
}

#[test]
fn every_batch_of_every_fixture_is_whole_and_chained() {
    for dir in log_dirs() {
        let mut chain = Chain::start_anywhere();
        let mut count = 0;
        for (version, path) in numbered(&dir, "neostore.transaction.db.") {
            let bytes = std::fs::read(&path).unwrap();
            let header = LogHeader::decode(&bytes).unwrap().unwrap();
            assert_eq!(header.log_version.0, version, "{}", path.display());
            assert_eq!(header.encode(), bytes[..128], "{}", path.display());
            chain.check_header(&header).unwrap();
            for batch in batches(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display())) {
                chain.check(&batch).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
                count += 1;
            }
        }
        eprintln!("{}: {count} batches, last {:?}", dir.display(), chain.last());
        assert!(count > 0, "{}", dir.display());
    }
}

#[test]
fn every_entry_of_every_fixture_is_encoded_to_the_same_bytes() {
    for dir in log_dirs() {
        for (_, path) in numbered(&dir, "neostore.transaction.db.") {
            let bytes = std::fs::read(&path).unwrap();
            let mut reader = EntryReader::new(&bytes[128..], 128);
            let mut at = 128;
            while let Some((version, entry)) = reader.next_entry().unwrap() {
                let end = reader.offset_bytes() as usize;
                let place = format!("{} at {at}", path.display());
                assert_eq!(entry.encode(version).unwrap(), bytes[at..end], "{place}");
                at = end;
            }
            assert!(bytes[at..].iter().all(|byte| *byte == 0), "{}", path.display());
        }
    }
}

#[test]
fn every_checkpoint_of_every_fixture_is_encoded_to_the_same_bytes() {
    for dir in log_dirs() {
        for (version, path) in numbered(&dir, "checkpoint.") {
            let bytes = std::fs::read(&path).unwrap();
            let file = decode_file(&bytes).unwrap().unwrap();
            assert_eq!(file.header.log_version.0, version);
            assert!(matches!(file.tail, Tail::Clean), "{}: {:?}", path.display(), file.tail);
            assert!(!file.entries.is_empty(), "{}", path.display());
            for (checkpoint, end) in &file.entries {
                let length = Checkpoint::entry_bytes(checkpoint.kernel_version);
                let end = *end as usize;
                assert_eq!(checkpoint.encode(), bytes[end - length..end], "{}", path.display());
            }
        }
    }
}
