//! Backups of a Neo4j 3.0 server: the backup's directory is the database's.

use std::path::Path;

use formats::txlog::{BatchReader, LogHeader};
use formats::v3_0::{CheckPoint, Neostore, newest_check_points};
use formats::{LogPosition, TxId};
use mirror::{Area, BackupType, MANIFEST_NAME, Reason};

use crate::support::*;
use crate::three_support::*;

/// The files in a backup's directory, but for the hidden ones that are ours.
pub fn files(dir: &Path) -> Vec<String> {
    let found = fs::walk(dir).unwrap().into_iter();
    let files = found.filter(|entry| entry.kind != fs::EntryKind::Dir);
    let names = files.map(|entry| entry.path.to_str().unwrap().to_owned());
    names.filter(|name| !name.starts_with(".neo4j-backup")).collect()
}

/// What real 3.0 would begin recovery with: LOG_VERSION names a log whose last check point stands behind
/// its header, points to itself, and is followed by these transactions to the file's end.
fn require_recoverable(dir: &Path, transactions: &[TxId]) {
    let neostore = Neostore::decode(&std::fs::read(dir.join("neostore")).unwrap()).unwrap();
    let version = neostore.log_version;
    let log = std::fs::read(dir.join(format!("neostore.transaction.db.{version}"))).unwrap();
    let header = LogHeader::decode(&log).unwrap().unwrap();
    assert_eq!(header.log_version, version);
    assert_eq!(header.last_append_index, transactions[0].0 - 1);
    let position = LogPosition { version, offset_bytes: 16 };
    let end = 16 + CheckPoint::ENTRY_BYTES as u64;
    let own = CheckPoint { start: 16, end, position };
    let mut reader = BatchReader::new(&log[16..], 16);
    assert_eq!(newest_check_points(&mut reader).unwrap(), [own]);
    let mut reader = BatchReader::new(&log[16..], 16);
    let batches = std::iter::from_fn(|| reader.next_batch().unwrap());
    assert_eq!(batches.map(|batch| batch.tx_id).collect::<Vec<_>>(), transactions);
    assert_eq!(reader.boundary(), log.len() as u64);
}

/// A full backup and its increment are the directory of a 3.0 database with our hidden files in it,
/// byte for byte what the server sent; recovery would begin where it should, and `verify` is content.
#[test]
fn a_backup_is_a_database_of_3_0() {
    for name in NAMES_3_0 {
        let server = Three::of(name);
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let copy = server.young();
        let full = copy.back_up(real(), dir).unwrap();
        assert_eq!((full.backup_type, full.reason), (BackupType::Full, Some(Reason::FirstBackup)));
        assert_eq!(full.areas(), [Area::Store], "{name}");
        let mut expected: Vec<_> = copy.bytes.iter().map(|(file, _)| file.path.clone()).collect();
        expected.sort_by(|a, b| Path::new(a).cmp(Path::new(b)));
        assert_eq!(files(dir), expected, "{name}");
        for (file, bytes) in &copy.bytes {
            assert!(std::fs::read(dir.join(&file.path)).unwrap() == *bytes, "{name}: {file:?}");
        }
        let ids: Vec<_> = server.transactions().iter().map(|batch| batch.tx_id).collect();
        require_recoverable(dir, &ids[..ids.len() / 2]);
        let report = verify(dir);
        assert!(report.is_clean(), "{name}: {:?}", report.findings);
        assert_eq!((report.files, report.unfinished), (copy.bytes.len() as u64, Vec::new()));
        assert!(is_same(state(dir).as_ref(), Some(&full)), "{name}");

        let next = server.increment(real(), dir).unwrap();
        assert_eq!((next.backup_type, next.reason), (BackupType::Incremental, None));
        assert_eq!(next.transactions, ids.len() as u64, "{name}");
        assert_eq!(next.last_tx.tx_id, *ids.last().unwrap());
        assert_eq!(next.first_consistent_tx_id, full.first_consistent_tx_id);
        assert_eq!(files(dir), expected, "{name}");
        for (file, bytes) in &copy.bytes {
            let bytes = if file.path == server.log_name() { server.log() } else { bytes };
            assert!(std::fs::read(dir.join(&file.path)).unwrap() == *bytes, "{name}: {file:?}");
        }
        require_recoverable(dir, &ids);
        let report = verify(dir);
        assert!(report.is_clean(), "{name}: {:?}", report.findings);

        // Nothing new: the last transaction comes again all the same.
        let again = server.increment(real(), dir).unwrap();
        assert_eq!((again.last_tx, again.transactions), (next.last_tx, next.transactions));
        assert_eq!(again.files, next.files);
        assert!(verify(dir).is_clean());
        let ours = [MANIFEST_NAME, ".neo4j-backup.lock", ".neo4j-backup.pages"];
        let hidden = fs::entries(dir).unwrap().into_iter().map(|(name, _)| name);
        let hidden: Vec<_> = hidden.filter(|name| name.as_encoded_bytes()[0] == b'.').collect();
        assert_eq!(hidden, ours);
    }
}
