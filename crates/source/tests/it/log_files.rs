//! What the heads of log files tell.

use formats::LogVersion;
use source::LiveCopy as _;

use crate::home::Home;

const FIRST: &str = "neostore.transaction.db.0";
const SECOND: &str = "neostore.transaction.db.1";

/// Each file's first transaction follows the last one of the file before; the newest files are told
/// first of all.
#[test]
fn the_first_transaction_of_each_file() {
    for name in ["5.26.30/rotated", "2026.08.1/rotated"] {
        let home = Home::of(name);
        let found = home.database().log_files(10).unwrap();
        let last = home.begin().finish().unwrap().last_tx;
        assert_eq!((found.count, found.files.len()), (2, 2), "{name}");
        assert_eq!(found.start.tx_id, last.tx_id, "{name}");
        for (index, name) in [FIRST, SECOND].into_iter().enumerate() {
            let size = std::fs::metadata(home.log(name)).unwrap().len();
            assert_eq!(found.files[index].size_bytes, size);
            assert_eq!(found.files[index].version, LogVersion(index as u64));
        }
        let bytes = std::fs::read(home.log(FIRST)).unwrap();
        let mut reader = formats::txlog::BatchReader::new(&bytes[128..], 128);
        let batches: Vec<_> = std::iter::from_fn(|| reader.next_batch().unwrap()).collect();
        let (first, end) = (batches[0], batches[batches.len() - 1]);
        assert_eq!(found.files[0].first, Some((first.tx_id, first.commit_time)), "{name}");
        let (next, time) = found.files[1].first.unwrap();
        assert_eq!(next.0, end.tx_id.0 + 1, "{name}");
        assert!(time >= end.commit_time && time <= last.commit_time, "{name}");
        let newest = home.database().log_files(1).unwrap();
        assert_eq!((newest.count, &newest.files[..]), (2, &found.files[1..]), "{name}");
    }
}

/// A file that is made but not begun, one whose first transaction is being written, and one of another
/// store.
#[test]
fn files_without_a_first_transaction() {
    let home = Home::of("5.26.30/rotated");
    let whole = std::fs::read(home.log(SECOND)).unwrap();
    let mut cut = whole.clone();
    cut[200..].fill(0);
    for (bytes, what) in [
        (vec![0; 4096], "no header"),
        (whole[..128].to_vec(), "no transaction"),
        (cut, "half a one"),
    ] {
        std::fs::write(home.log(SECOND), bytes).unwrap();
        let found = home.database().log_files(10).unwrap();
        assert_eq!(found.files[1].first, None, "{what}");
        assert!(found.files[0].first.is_some());
    }
    let mut strange = whole;
    strange[40] ^= 1;
    std::fs::write(home.log(SECOND), strange).unwrap();
    home.database().log_files(10).unwrap_err();
}
