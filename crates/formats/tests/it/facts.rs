//! Goal: what we read is what the server itself says. Method: each fixture's `facts.json`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use formats::checkpoint::{Checkpoint, decode_file};
use formats::metadata::MetadataStore;
use formats::record_store::{DERIVED_TREES, MANDATORY};
use formats::store_format;
use formats::tree::StatePages;
use formats::txlog::{Batch, Entry, EntryReader, LogFormatVersion, LogHeader};
use serde_json::Value;

use crate::fixtures::{batches, numbered, scenarios};

/// A fixture: where its files lie, and what the server says.
struct Fixture {
    logs: PathBuf,
    store: PathBuf,
    facts: Value,
}

fn fixtures() -> Vec<Fixture> {
    let mut found = Vec::new();
    for scenario in scenarios() {
        let facts = std::fs::read_to_string(scenario.join("facts.json")).unwrap();
        found.push(Fixture {
            logs: scenario.join("transactions/neo4j"),
            store: scenario.join("databases/neo4j"),
            facts: serde_json::from_str(&facts).unwrap(),
        });
    }
    assert!(found.len() >= 10, "only {} fixtures", found.len());
    found
}

impl Fixture {
    fn batches(&self) -> Vec<Batch> {
        let files = numbered(&self.logs, "neostore.transaction.db.");
        files.iter().flat_map(|(_, path)| batches(&std::fs::read(path).unwrap()).unwrap()).collect()
    }

    fn checkpoints(&self) -> Vec<Checkpoint> {
        let files = numbered(&self.logs, "checkpoint.");
        files
            .iter()
            .flat_map(|(_, path)| {
                decode_file(&std::fs::read(path).unwrap()).unwrap().unwrap().entries
            })
            .map(|(checkpoint, _)| checkpoint)
            .collect()
    }

    fn number(&self, name: &str) -> u64 {
        self.facts[name].as_u64().unwrap_or_else(|| panic!("{name} in {}", self.logs.display()))
    }

    fn metadata(&self) -> MetadataStore {
        MetadataStore::decode(&std::fs::read(self.store.join("neostore")).unwrap()).unwrap()
    }

    fn cleanly_stopped(&self) -> bool {
        self.facts["database_info"]["Store needs recovery"] == "false"
    }
}

#[test]
fn the_last_transaction_is_the_servers() {
    for fixture in fixtures() {
        let place = fixture.logs.display();
        // Not every fixture has transaction logs.
        let Some(last) = fixture.batches().pop() else { continue };
        assert_eq!(last.tx_id.0, fixture.number("last_transaction_id"), "{place}");
        // Before recovery the server's tools know no more than the last checkpoint says.
        let told = if fixture.cleanly_stopped() {
            last.tx_id
        } else {
            let checkpoint = fixture.checkpoints().pop().unwrap();
            assert!(last.tx_id > checkpoint.tx_id, "{place}: nothing to recover");
            checkpoint.tx_id
        };
        let id = &fixture.facts["database_info"]["Last committed transaction id"];
        assert_eq!(id.as_str(), Some(told.to_string().as_str()), "{place}");
        assert_eq!(last.append_index.map(|index| index.0), Some(last.tx_id.0), "{place}");
        assert_eq!(u64::from(last.kernel_version.0), fixture.number("kernel_version"), "{place}");
    }
}

#[test]
fn the_checkpoints_are_the_servers() {
    for fixture in fixtures() {
        let place = fixture.logs.display();
        let found = fixture.checkpoints();
        let told = fixture.facts["checkpoints"].as_array().unwrap();
        assert_eq!(found.len(), told.len(), "{place}");
        let metadata = fixture.metadata();
        let batches = fixture.batches();
        for (found, told) in found.iter().zip(told) {
            let (reason, tx_id) = (told["reason"].as_str().unwrap(), found.tx_id);
            assert_eq!(Some(tx_id.0), told["transaction"].as_u64(), "{place}");
            let mut whole = format!("Checkpoint triggered by \"{reason}\" @ txId: {tx_id}");
            if found.reason.len() > whole.len() {
                // 5.23 does not say it yet.
                whole += &format!(", append index: {}", found.append_index.unwrap());
            }
            // Before kernel version 32 there was no room for all of it.
            let room = match found.kernel_version.0 {
                16 => 108,
                17 => 91,
                18..=31 => 75,
                32 => 329,
                other => panic!("{place}: kernel version {other}"),
            };
            assert_eq!(found.reason, whole[..whole.len().min(room)], "{place}");
            assert_eq!(found.store_id, metadata.store_id, "{place}");
            assert_eq!(found.oldest_not_completed, found.position, "{place}");
            let Some(tx) = batches.iter().find(|batch| batch.tx_id == tx_id) else {
                assert!(batches.is_empty(), "{place}: no transaction {tx_id}");
                continue;
            };
            assert_eq!(found.tx_checksum, tx.checksum, "{place}");
            assert_eq!(found.tx_commit_time, tx.commit_time, "{place}");
            // 5.19 says neither this nor an append index yet.
            let tells = found.kernel_version.0 >= 17;
            let tx_version = tells.then_some(tx.kernel_version);
            assert_eq!(found.tx_kernel_version, tx_version, "{place}");
            assert_eq!(found.append_index, tx.append_index.filter(|_| tells), "{place}");
        }
    }
}

#[test]
fn an_upgrade_is_found_where_the_kernel_version_changes_and_nowhere_else() {
    let mut upgrades = 0;
    for fixture in fixtures() {
        for pair in fixture.batches().windows(2) {
            let target = pair[1].kernel_version;
            let expected = (pair[0].kernel_version != target).then_some(target);
            assert_eq!(pair[0].upgrade_to, expected, "{}", fixture.logs.display());
            upgrades += u32::from(expected.is_some());
        }
    }
    assert!(upgrades >= 1);
}

/// The upgrade from 5.19 leaves files of both header formats in one directory.
#[test]
fn log_headers_are_of_the_format_of_the_servers_version() {
    let mut mixed = 0;
    for fixture in fixtures() {
        let mut formats = BTreeSet::new();
        for prefix in ["neostore.transaction.db.", "checkpoint."] {
            for (_, path) in numbered(&fixture.logs, prefix) {
                let bytes = std::fs::read(&path).unwrap();
                let header = LogHeader::decode(&bytes).unwrap().unwrap();
                let place = path.display();
                assert_eq!(header.store_id, Some(fixture.metadata().store_id), "{place}");
                // Each file begins with an entry, and each entry with its kernel version.
                let nine = bytes[128] >= 17;
                assert_eq!(header.format == LogFormatVersion::V9, nine, "{place}");
                formats.insert(bytes[0]);
            }
        }
        mixed += u32::from(formats == BTreeSet::from([8, 9]));
    }
    assert!(mixed >= 1);
}

#[test]
fn every_store_is_of_the_format_that_the_server_says() {
    for fixture in fixtures() {
        let metadata = fixture.metadata();
        let file = std::fs::read(fixture.store.join("neostore")).unwrap();
        assert_eq!(metadata.encode(), file, "{}", fixture.store.display());
        store_format::supported(&metadata.store_id).unwrap();
        let told = &fixture.facts["database_info"]["Store format version"];
        assert_eq!(told.as_str(), Some(metadata.store_id.format_name().as_str()));
        for store in MANDATORY {
            let path = fixture.store.join(store.file_name());
            if path.exists() {
                store.check_header(&std::fs::read(path).unwrap()).unwrap();
            }
        }
    }
}

#[test]
fn every_trees_newest_state_lies_within_its_file() {
    let mut trees = 0;
    for fixture in fixtures() {
        let ids = MANDATORY.iter().map(|store| format!("{}.id", store.file_name()));
        for name in DERIVED_TREES.iter().map(|name| (*name).to_owned()).chain(ids) {
            let Ok(file) = std::fs::read(fixture.store.join(&name)) else { continue };
            let newest = StatePages::decode(&file).unwrap().newest().unwrap();
            assert!((3..=newest.last_id).contains(&newest.root_id), "{name}: {newest:?}");
            if fixture.cleanly_stopped() {
                assert!(newest.clean, "{name}");
                assert!((newest.last_id + 1) * 8192 <= file.len() as u64, "{name}: {newest:?}");
            }
            trees += 1;
        }
    }
    assert!(trees >= 8, "only {trees} trees");
}

#[test]
fn all_command_types_that_are_known_from_real_data_occur() {
    let mut types = BTreeSet::new();
    for fixture in fixtures() {
        for (_, path) in numbered(&fixture.logs, "neostore.transaction.db.") {
            let log = std::fs::read(path).unwrap();
            let mut reader = EntryReader::new(&log[128..], 128);
            while let Some((_, entry)) = reader.next_entry().unwrap() {
                if let Entry::Command(command) = entry {
                    types.insert(command.type_code());
                }
            }
        }
    }
    let seen: BTreeSet<u8> =
        [1, 2, 3, 4, 5, 8, 9].into_iter().chain(16..=20).chain(22..=27).collect();
    assert_eq!(types, seen);
}

#[test]
fn the_layouts_of_start_and_of_checkpoints_are_all_among_the_fixtures() {
    let (mut batches, mut checkpoints) = (BTreeSet::new(), BTreeSet::new());
    for fixture in fixtures() {
        batches.extend(fixture.batches().iter().map(|batch| batch.kernel_version.0));
        checkpoints.extend(fixture.checkpoints().iter().map(|found| found.kernel_version.0));
    }
    // Both ends of each range from 5.19 on, apart from 30 (2026.06).
    for version in [16, 17, 18, 20, 21, 22, 29, 31, 32] {
        assert!(batches.contains(&version), "{version}: {batches:?}");
        assert!(checkpoints.contains(&version), "{version}: {checkpoints:?}");
    }
}
