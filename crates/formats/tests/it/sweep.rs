//! Goal: no damage passes for other data. Method: every truncation and every flipped byte of real
//! servers' files: an error, or a part from the beginning of what was there, unchanged.

use std::path::{Path, PathBuf};

use formats::Error;
use formats::checkpoint::{Checkpoint, Tail, decode_file};
use formats::metadata::MetadataStore;
use formats::tree::StatePages;
use formats::txlog::{Batch, BatchReader, LogHeader};

use crate::fixtures::batches;

/// Bits that are flipped: one high, one low, all, and such that small numbers become others.
const PATTERNS: [u8; 4] = [0x80, 0x01, 0xFF, 0x1D];
/// Enough for some transactions of several kinds.
const LOG_BYTES: u64 = 8 << 10;

fn fixture(path: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    std::fs::read(root.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// One fixture of each kernel version that there is: 16 to 29, 31 and 32 (no release of Community
/// begins with 30).
const KERNEL_VERSIONS: [&str; 16] = [
    "5.20.0/little",
    "5.22.0/little",
    "5.23.0/little",
    "5.26.30/mixed",
    "2025.04.0/little",
    "2025.05.0/little",
    "2025.07.1/little",
    "2025.08.0/little",
    "2025.09.0/little",
    "2025.10.1/little",
    "2025.11.2/little",
    "2026.01.4/little",
    "2026.02.3/little",
    "2026.07.1/little",
    "2026.08.1/mixed",
    "5.19.0-upgraded-to-5.26.30/upgrade",
];

/// The beginning of a log, cut behind a batch, and its batches.
fn log(name: &str) -> (Vec<u8>, Vec<Batch>) {
    let mut log = fixture(&format!("{name}/transactions/neo4j/neostore.transaction.db.0"));
    let mut all = batches(&log).unwrap();
    all.retain(|batch| batch.end <= LOG_BYTES);
    assert!(all.len() > 5, "{name}: {all:?}");
    log.truncate(usize::try_from(all.last().unwrap().end).unwrap());
    (log, all)
}

/// Reads batches until the end or an error, and then once more: it must stay there.
fn read(bytes: &[u8], offset: u64) -> (Vec<Batch>, Option<Error>) {
    let mut reader = BatchReader::new(bytes, offset);
    let mut found = Vec::new();
    loop {
        match reader.next_batch() {
            Ok(Some(batch)) => found.push(batch),
            end => {
                assert!(matches!(reader.next_batch(), Ok(None)));
                assert_eq!(reader.boundary(), found.last().map_or(offset, |batch| batch.end));
                return (found, end.err());
            }
        }
    }
}

#[test]
fn a_truncated_log_is_a_prefix_and_incomplete_unless_cut_behind_a_batch() {
    for name in KERNEL_VERSIONS {
        let (log, all) = log(name);
        for length in 128..=log.len() {
            let (found, error) = read(&log[128..length], 128);
            let whole = all.iter().filter(|batch| batch.end <= length as u64).count();
            assert_eq!(found, all[..whole], "{name} cut at {length}");
            let boundary = found.last().map_or(128, |batch| batch.end);
            match error {
                None => assert_eq!(boundary, length as u64, "{name} cut at {length}"),
                Some(error) => assert!(error.is_incomplete(), "{name} cut at {length}: {error}"),
            }
        }
    }
}

#[test]
fn a_log_whose_last_bytes_are_zero_is_a_prefix_and_never_unsupported() {
    for name in KERNEL_VERSIONS {
        let (log, all) = log(name);
        for length in 128..log.len() {
            let mut zeroed = log.clone();
            zeroed[length..].fill(0);
            let (found, error) = read(&zeroed[128..], 128);
            let place = format!("{name} zero from {length}: {error:?}");
            assert_eq!(found, all[..found.len()], "{place}");
            assert!(!error.is_some_and(|error| error.is_unsupported()), "{place}");
        }
    }
}

#[test]
fn a_flipped_byte_in_a_log_is_an_error_in_its_own_batch() {
    for name in KERNEL_VERSIONS {
        let (log, all) = log(name);
        for (index, batch) in all.iter().enumerate() {
            // From the batch on, with one more behind it: what comes before was read already.
            let next = all.get(index + 1).unwrap_or(batch);
            let (from, to) = (batch.start as usize, next.end as usize);
            let mut bytes = log[from..to].to_vec();
            for at in 0..(batch.end - batch.start) as usize {
                for pattern in PATTERNS {
                    bytes[at] ^= pattern;
                    let (found, error) = read(&bytes, batch.start);
                    let place = format!("{name} at {}, {pattern:02x}: {error:?}", from + at);
                    // A version byte of zero ends the log.
                    let ends = at == 0 && bytes[0] == 0;
                    assert!(found.is_empty() && error.is_none() == ends, "{place}");
                    bytes[at] ^= pattern;
                }
            }
        }
    }
}

#[test]
fn a_flipped_byte_in_a_log_leaves_the_batches_before_it() {
    let (mut log, all) = log(KERNEL_VERSIONS[0]);
    for at in (128..log.len()).step_by(61) {
        log[at] ^= 0x10;
        let (found, error) = read(&log[128..], 128);
        let whole = all.iter().filter(|batch| batch.end <= at as u64).count();
        assert_eq!(found, all[..whole], "at {at}");
        let error = error.unwrap_or_else(|| panic!("no error at {at}"));
        assert!(error.offset_bytes >= 128 && error.offset_bytes <= log.len() as u64, "{error}");
        log[at] ^= 0x10;
    }
}

fn checkpoint_files() -> Vec<Vec<u8>> {
    let upgraded = "5.26.30-upgraded-to-2026.08.1/upgrade/transactions/neo4j/checkpoint.1";
    let names = KERNEL_VERSIONS.map(|name| format!("{name}/transactions/neo4j/checkpoint.0"));
    names.iter().map(String::as_str).chain([upgraded]).map(fixture).collect()
}

/// The file without the zeros behind its last entry, and its entries.
fn checkpoints(mut file: Vec<u8>) -> (Vec<u8>, Vec<(Checkpoint, u64)>) {
    let mut entries = decode_file(&file).unwrap().unwrap().entries;
    entries.truncate(3);
    file.truncate(usize::try_from(entries.last().unwrap().1).unwrap());
    (file, entries)
}

#[test]
fn a_damaged_checkpoint_file_is_torn_behind_what_is_whole() {
    for file in checkpoint_files() {
        let (mut file, entries) = checkpoints(file);
        for length in 128..file.len() {
            let found = decode_file(&file[..length]).unwrap().unwrap();
            let whole = entries.iter().filter(|(_, end)| *end <= length as u64).count();
            assert_eq!(found.entries, entries[..whole], "cut at {length}");
            let at_end = length as u64 == found.entries.last().map_or(128, |(_, end)| *end);
            match found.tail {
                Tail::Clean => assert!(at_end, "cut at {length}"),
                Tail::Torn(error) => assert!(!at_end && error.is_incomplete(), "{error}"),
            }
        }
        for at in 128..file.len() {
            let whole = entries.iter().filter(|(_, end)| *end <= at as u64).count();
            for pattern in PATTERNS {
                file[at] ^= pattern;
                let found = decode_file(&file).unwrap().unwrap();
                assert_eq!(found.entries, entries[..whole], "flipped at {at}");
                assert!(matches!(found.tail, Tail::Torn(_)), "flipped at {at}: {:?}", found.tail);
                file[at] ^= pattern;
            }
        }
    }
}

/// A header has no checksum: damage to it is an error, or a value that shows every bit of it.
#[test]
fn a_damaged_header_is_an_error_or_shows_the_damage() {
    let headers = KERNEL_VERSIONS.map(|name| log(name).0[..128].to_vec());
    assert!(headers.iter().any(|header| header[0] == 8), "no header of format 8");
    for mut header in headers {
        for length in 0..header.len() {
            let cut = LogHeader::decode(&header[..length]).unwrap_err();
            assert!(cut.is_incomplete(), "cut at {length}: {cut}");
        }
        for at in 0..header.len() {
            for pattern in PATTERNS.into_iter().chain([header[at]]).filter(|bits| *bits != 0) {
                header[at] ^= pattern;
                if let Ok(Some(found)) = LogHeader::decode(&header) {
                    assert_eq!(found.encode(), header[..], "at {at}, {pattern:02x}");
                } else if let Ok(None) = LogHeader::decode(&header) {
                    assert_eq!(header[..8], [0; 8], "at {at}, {pattern:02x}");
                }
                header[at] ^= pattern;
            }
        }
    }
}

#[test]
fn a_damaged_metadata_store_is_an_error_or_shows_the_damage() {
    for name in KERNEL_VERSIONS {
        let mut file = fixture(&format!("{name}/databases/neo4j/neostore"));
        for length in 0..117 {
            let cut = MetadataStore::decode(&file[..length]).unwrap_err();
            assert!(cut.is_incomplete(), "cut at {length}: {cut}");
        }
        let whole = MetadataStore::decode(&file).unwrap();
        for at in 0..file.len() {
            for pattern in PATTERNS {
                file[at] ^= pattern;
                match MetadataStore::decode(&file) {
                    // Slots that are not in use, and what is behind the slots, have no meaning.
                    Ok(found) if found == whole => {
                        let unused = (19..27).contains(&at) || (28..36).contains(&at) || at >= 117;
                        assert!(unused, "at {at}");
                    }
                    Ok(found) => assert_eq!(found.encode()[..117], file[..117], "at {at}"),
                    Err(error) => assert!(!error.is_incomplete(), "at {at}: {error}"),
                }
                file[at] ^= pattern;
            }
        }
    }
}

#[test]
fn a_damaged_tree_state_is_none() {
    let names = ["neostore.counts.db", "neostore.nodestore.db.id"];
    let files: Vec<PathBuf> = names
        .iter()
        .flat_map(|name| ["5.26.30", "2026.08.1"].map(|version| (version, name)))
        .map(|(version, name)| format!("{version}/trees/databases/neo4j/{name}").into())
        .collect();
    for path in files {
        let mut file = fixture(path.to_str().unwrap());
        file.truncate(3 * 8192);
        let whole = StatePages::decode(&file).unwrap();
        for (page, other) in [(0, 1), (1, 0)] {
            for at in 0..200 {
                let place = (page + 1) * 8192 + at;
                for pattern in PATTERNS {
                    file[place] ^= pattern;
                    let found = StatePages::decode(&file).unwrap();
                    let expected = if at < 114 { None } else { whole.states[page] };
                    assert_eq!(found.states[page], expected, "{} at {place}", path.display());
                    assert_eq!(found.states[other], whole.states[other]);
                    file[place] ^= pattern;
                }
            }
        }
        for length in (0..file.len()).step_by(97) {
            assert!(StatePages::decode(&file[..length]).unwrap_err().is_incomplete());
        }
    }
}
