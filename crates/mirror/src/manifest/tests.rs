use fs::RealDisk;

use super::*;
use crate::layout::MANIFEST_NAME;

fn entry(name: &str) -> DatabaseEntry {
    let position = LogPosition { version: formats::LogVersion(0), offset_bytes: 128 };
    DatabaseEntry {
        name: name.to_owned(),
        generation: "20260102T030405Z-00".to_owned(),
        backup_type: BackupType::Full,
        reason: None,
        store_id: StoreId {
            creation_time: TimestampMs(1),
            random: 2,
            engine: "record".to_owned(),
            format_family: "aligned".to_owned(),
            major: 1,
            minor: 1,
            upgrade: None,
        },
        store_id_text: "record-aligned-1.1:1-2".to_owned(),
        external_uuid: Some("00".to_owned()),
        checkpoint: Checkpoint {
            tx_id: TxId(3),
            position,
            time: TimestampMs(4),
            kernel_version: KernelVersion(20),
            reason: "test".to_owned(),
        },
        first_consistent_tx_id: TxId(5),
        last_tx: LastTx {
            start_bytes: None,
            tx_id: TxId(5),
            checksum: Checksum(6),
            commit_time: TimestampMs(7),
            end: position,
        },
        transactions: 2,
        as_of: Some(TimestampMs(9)),
        started: Timestamp::UNIX_EPOCH,
        finished: Timestamp::UNIX_EPOCH,
        bytes_transferred: 8,
        duration_ms: 9,
        left_out: Vec::new(),
        block_bytes: 4,
        files: vec![FileEntry {
            area: Area::Store,
            path: "a/b".to_owned(),
            kind: FileKind::Tree,
            size_bytes: 5,
            changed: None,
            pages_at: None,
            blocks: (0..64).collect(),
        }],
    }
}

/// What is written is read; its checksum is as the documentation defines it; entries are sorted
/// and replaced by name.
#[test]
fn what_is_written_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut manifest = Manifest::empty();
    manifest.set(entry("b"));
    manifest.set(entry("a"));
    manifest.set(DatabaseEntry { duration_ms: 10, ..entry("b") });
    write(&RealDisk, dir.path(), &manifest).unwrap();
    assert_eq!(read(dir.path()).unwrap(), manifest);
    let names: Vec<_> = manifest.databases.iter().map(|e| (&*e.name, e.duration_ms)).collect();
    assert_eq!(names, [("a", 9), ("b", 10)]);
    let text = std::fs::read_to_string(dir.path().join(MANIFEST_NAME)).unwrap();
    let (body, tail) = text.split_at(text.len() - 68);
    assert!(body.ends_with(",\n  \"checksum\": \""));
    assert_eq!(tail, format!("{}\"\n}}\n", blake3::hash(body.as_bytes()).to_hex()));
    assert!(text.contains(r#""blocks": "000102030405"#));
}

/// A manifest that could not be read again is not written.
#[test]
fn what_cannot_be_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let bad = |change: &dyn Fn(&mut DatabaseEntry)| {
        let mut manifest = Manifest::empty();
        let mut entry = entry("a");
        change(&mut entry);
        manifest.set(entry);
        assert!(write(&RealDisk, dir.path(), &manifest).is_err());
    };
    bad(&|entry| entry.name = "../x".to_owned());
    bad(&|entry| entry.generation = String::new());
    bad(&|entry| entry.files[0].size_bytes = 9);
    bad(&|entry| entry.files[0].path = "..".to_owned());
    bad(&|entry| entry.files.push(entry.files[0].clone()));
    assert!(fs::entries(dir.path()).unwrap().is_empty());
}
