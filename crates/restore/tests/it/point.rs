//! Restores to a point in time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use formats::TxId;
use fs::Busy;
use mirror::{Backup, Mirror, Point, Until};
use restore::{Destination, Error, Options, Report};

use crate::support::{Copy, Step, Young, real, tree};

fn restore(from: &Path, data: &Path, id: u64) -> Result<Report, Error> {
    let until = Some(Until { point: Point::TxId(TxId(id)), inclusive: true });
    let to = Destination::from_data(data);
    let options = Options { to, databases: vec!["neo4j".into()], force: false, until };
    restore::restore(&real(), from, &options, &|_| (), &AtomicBool::new(false))
}

/// To every transaction that is possible: the logs are those of the backup up to there, byte for
/// byte, and lead from C to it, as the real source reads them; all other files are the backup's.
#[test]
fn to_any_transaction() {
    for name in ["5.26.30/rotated", "2026.08.1/rotated", "2026.08.1/killed"] {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("backup");
        Young::of(name).copy("neo4j").back_up(real(), &from).unwrap();
        let mirror = Mirror::open_for_write(real(), &from, Busy::Fail).unwrap();
        let after = mirror.after("neo4j").unwrap().unwrap();
        Step::of(name, &after, "neo4j").run(&mirror).unwrap();
        drop(mirror);
        let backup = Backup::open(&from).unwrap();
        let entry = backup.manifest().database("neo4j").unwrap();
        let backed_up: BTreeMap<PathBuf, Vec<u8>> = tree(&from).into_iter().collect();
        let (first, last) = (entry.first_consistent_tx_id.0, entry.last_tx.tx_id.0);
        assert!(first < last);
        for id in first..=last {
            let data = dir.path().join(format!("data-{id}"));
            let report = restore(&from, &data, id).unwrap();
            let cut = report.databases[0].cut.unwrap();
            assert_eq!((cut.tx_id, cut.left_out), (TxId(id), last - id));

            let restored = Copy::at(&data, "neo4j");
            assert_eq!(restored.finished.last_tx.tx_id, TxId(id), "{name}");
            assert_eq!(restored.finished.last_tx.end, cut.end, "{name}");
            let restored: BTreeMap<PathBuf, Vec<u8>> = tree(&data).into_iter().collect();
            for (path, bytes) in &backed_up {
                let number = path.to_str().and_then(|p| p.split_once(".db.")).map(|(_, n)| n);
                let number = number.and_then(|number| number.parse::<u64>().ok());
                match number.filter(|_| path.starts_with("transactions")) {
                    Some(number) if number > cut.end.version.0 => {
                        assert!(!restored.contains_key(path), "{path:?}");
                    }
                    Some(number) if number == cut.end.version.0 => {
                        let kept = cut.end.offset_bytes as usize;
                        assert!(restored[path] == bytes[..kept], "{path:?}");
                    }
                    _ if path.starts_with("databases") || path.starts_with("transactions") => {
                        assert!(restored[path] == *bytes, "{path:?}");
                    }
                    _ => {}
                }
            }
            std::fs::remove_dir_all(&data).unwrap();
        }
        for id in [first - 1, last + 1] {
            let data = dir.path().join("refused");
            let refused = restore(&from, &data, id).unwrap_err();
            assert!(
                matches!(refused, Error::Backup(mirror::Error::OutOfRange { .. })),
                "{refused}"
            );
            assert!(!data.exists());
        }
    }
}
