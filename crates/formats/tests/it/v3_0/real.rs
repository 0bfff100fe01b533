//! Real stores of 3.0, the fixtures of all its versions: every byte of every log understood and
//! encoded to the same bytes, and every file of a kind that we know accepted.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use formats::txlog::{BatchReader, Chain, LogHeader};
use formats::v3_0::{
    COUNTS, CountsFile, Entry, EntryReader, IndexConfig, LEGACY_INDEX_CONFIG, LuceneCommit,
    MANDATORY, Neostore, Place, lucene_commit, lucene_segment_files, newest_check_points,
    place_in_log, recovery_start,
};
use formats::{LogVersion, TxId, store_format};

use super::values::VERSIONS;
use crate::fixtures::{directories, fixtures_dir, is_3_0, numbered};

/// Every file below a directory.
fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// Directories that have logs.
fn log_dirs() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for version in directories(&fixtures_dir()).iter().filter(|version| is_3_0(version)) {
        files(version, &mut found);
    }
    let log = |path: &&PathBuf| path.to_string_lossy().contains("/neostore.transaction.db.");
    let dirs = found.iter().filter(log).map(|path| path.parent().unwrap().to_owned());
    let dirs: BTreeSet<PathBuf> = dirs.collect();
    assert!(dirs.len() >= 5, "only {} log directories", dirs.len());
    dirs.into_iter().collect()
}

#[test]
fn every_entry_of_every_log_is_encoded_to_the_same_bytes() {
    let mut types = BTreeSet::new();
    for path in log_dirs().iter().flat_map(|dir| numbered(dir, "neostore.transaction.db.")) {
        let (version, path) = path;
        let bytes = std::fs::read(&path).unwrap();
        let header = LogHeader::decode(&bytes).unwrap().unwrap();
        assert_eq!(header.log_version, LogVersion(version), "{}", path.display());
        assert_eq!(header.encode(), bytes[..16], "{}", path.display());
        let mut reader = EntryReader::new(&bytes[16..], 16);
        let mut at = 16;
        // A killed server's log may end inside an entry.
        while let Ok(Some((version, entry))) = reader.next_entry() {
            let end = reader.offset_bytes() as usize;
            let place = format!("{} at {at}", path.display());
            assert_eq!(entry.encode(version).unwrap(), bytes[at..end], "{place}");
            let command = match &entry {
                Entry::Command(command) => command.type_code(),
                _ => 0,
            };
            types.insert((version, entry.type_code(), command));
            at = end;
        }
        let mut batches = BatchReader::new(&bytes[16..], 16);
        let mut count = 0;
        let end = loop {
            match batches.next_batch() {
                Ok(Some(_)) => count += 1,
                end => break end,
            }
        };
        eprintln!("{}: {count} transactions, {at} of {} bytes", path.display(), bytes.len());
        assert!(end.is_ok() || end.is_err_and(|error| error.is_incomplete()), "{}", path.display());
    }
    eprintln!("versions, types of entries, types of commands: {types:?}");
    // All but the graph's own properties, which no query changes.
    for version in VERSIONS {
        for command in (1..=17).filter(|command| *command != 6) {
            assert!(types.contains(&(version, 3, command)), "{version}, command {command}");
        }
        assert!(types.contains(&(version, 7, 0)), "{version}, check point");
    }
}

#[test]
fn transactions_are_chained_and_the_last_one_is_neostores() {
    for dir in log_dirs() {
        let mut chain = Chain::start_anywhere();
        for (_, path) in numbered(&dir, "neostore.transaction.db.") {
            let bytes = std::fs::read(&path).unwrap();
            chain.check_header(&LogHeader::decode(&bytes).unwrap().unwrap()).unwrap();
            let mut batches = BatchReader::new(&bytes[16..], 16);
            while let Ok(Some(batch)) = batches.next_batch() {
                chain.check(&batch).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            }
        }
        let Ok(bytes) = std::fs::read(dir.join("neostore")) else { continue };
        let neostore = Neostore::decode(&bytes).unwrap();
        assert_eq!(neostore.encode(), bytes, "{}", dir.display());
        store_format::supported(&neostore.store_id()).unwrap();
        let last = chain.last().unwrap();
        eprintln!("{}: {} {neostore:?}, {last:?}", dir.display(), neostore.store_id());
        // Else the server was killed, and this is as old as its last flush.
        if neostore.last_tx_id >= last.tx_id {
            assert_eq!(neostore.last_tx_id, last.tx_id, "{}", dir.display());
            assert_eq!(neostore.last_tx_checksum, last.checksum, "{}", dir.display());
        }
    }
}

#[test]
fn recovery_may_begin_somewhere() {
    for dir in log_dirs() {
        let logs = numbered(&dir, "neostore.transaction.db.");
        let read = |version: LogVersion| {
            let path = &logs.iter().find(|(found, _)| *found == version.0)?.1;
            Some(std::fs::read(path).unwrap())
        };
        let mut check_points = Vec::new();
        for (version, _) in logs.iter().rev() {
            let bytes = read(LogVersion(*version)).unwrap();
            let mut reader = BatchReader::new(&bytes[16..], 16);
            check_points.extend(newest_check_points(&mut reader).unwrap());
        }
        let first = read(LogVersion(0)).and_then(|bytes| LogHeader::decode(&bytes).unwrap());
        let count = check_points.len();
        let place = |position: formats::LogPosition| match read(position.version) {
            None => Ok(Place::NoLog),
            Some(bytes) => place_in_log(&bytes[16..], 16, position.offset_bytes),
        };
        let refused = check_points
            .iter()
            .filter(|check_point| place(check_point.position).unwrap() != Place::Boundary);
        let refused = refused.count();
        let start = recovery_start(check_points, first.as_ref(), place).unwrap();
        eprintln!("{}: {count} check points, {refused} wrong; {start}", dir.display());
        assert!(start.position.is_some(), "{}", dir.display());
    }
}

/// Every file that a commit names is there; cut anywhere it is no commit. How many files it has.
fn commit_is_whole(path: &Path, bytes: &[u8]) -> usize {
    let dir = path.parent().unwrap();
    let commit = LuceneCommit::decode(bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut files = commit.files;
    for segment in commit.segments {
        let info = std::fs::read(dir.join(format!("{segment}.si"))).unwrap();
        let named = lucene_segment_files(&info).unwrap();
        assert!(named.contains(&format!("{segment}.si")), "{named:?}");
        files.extend(named);
        for length in 0..info.len() {
            assert!(lucene_segment_files(&info[..length]).unwrap_err().is_incomplete());
        }
    }
    for file in &files {
        assert!(dir.join(file).is_file(), "{}: {file}", path.display());
    }
    for length in 0..bytes.len() {
        assert!(LuceneCommit::decode(&bytes[..length]).unwrap_err().is_incomplete(), "{length}");
    }
    files.len()
}

#[test]
fn every_other_file_is_accepted() {
    for dir in log_dirs() {
        let mut found = Vec::new();
        files(&dir, &mut found);
        let (mut lucene, mut commits) = (0, 0);
        for path in found {
            let name = path.file_name().unwrap().to_str().unwrap();
            let bytes = std::fs::read(&path).unwrap();
            let place = path.display();
            if let Some(store) = MANDATORY.iter().find(|store| store.file_name() == name) {
                store.check_header(&bytes).unwrap_or_else(|e| panic!("{place}: {e}"));
            } else if COUNTS.contains(&name) {
                let counts =
                    CountsFile::check(&bytes[..]).unwrap_or_else(|e| panic!("{place}: {e}"));
                assert!(counts.tx_id >= TxId(1), "{place}");
                eprintln!("{place}: {counts:?}");
            } else if name == LEGACY_INDEX_CONFIG {
                let config = IndexConfig::decode(&bytes).unwrap_or_else(|e| panic!("{place}: {e}"));
                assert_eq!(config.encode(), bytes, "{place}");
            } else if path.to_string_lossy().contains("/lucene/")
                && !matches!(name, "write.lock" | "failure-message")
            {
                lucene += 1;
                if lucene_commit(name).is_some() {
                    commits += commit_is_whole(&path, &bytes);
                }
            }
        }
        eprintln!("{}: {lucene} Lucene files, {commits} of commits", dir.display());
        assert!(lucene == 0 || commits > 0, "{}", dir.display());
    }
}
