//! A database of Neo4j 3.0 whose log began when a slave of a cluster copied the store from the master.

use std::fs::OpenOptions;
use std::io::Write as _;

use formats::txlog::BatchReader;
use formats::v3_0::{Neostore, composed_log_start};
use formats::{LogVersion, TxId};
use source::v3_0::{Behind, HotCopy, Increment};
use source::{After, Error, LiveCopy as _};

use crate::home::ThreeHome;

/// Of an entry COMMIT, behind version and type.
const COMMIT_TIME_BYTES: usize = 8;

/// A slave's database: the store has transactions, its log has none, and tells that there were none.
struct Slave {
    home: ThreeHome,
    last: TxId,
    /// The log as the master has it.
    masters_log: Vec<u8>,
}

impl Slave {
    fn new() -> Self {
        let home = ThreeHome::of("mixed");
        let neostore = std::fs::read(home.path("neostore")).unwrap();
        let last = Neostore::decode(&neostore).unwrap().last_tx_id;
        let masters_log = std::fs::read(home.log()).unwrap();
        std::fs::write(home.log(), composed_log_start(LogVersion(0), TxId(1))).unwrap();
        Self { home, last, masters_log }
    }

    /// The master's next transaction arrives.
    fn pull(&self) {
        let mut reader = BatchReader::new(&self.masters_log[16..], 16);
        let last = std::iter::from_fn(|| reader.next_batch().unwrap()).last().unwrap();
        let mut bytes = self.masters_log[last.start as usize..last.end as usize].to_vec();
        let id_at = bytes.len() - COMMIT_TIME_BYTES - 8;
        bytes[id_at..id_at + 8].copy_from_slice(&(self.last.0 + 1).to_be_bytes());
        OpenOptions::new().append(true).open(self.home.log()).unwrap().write_all(&bytes).unwrap();
    }
}

/// A copy ends with the last transaction that the store has, also if the next one arrives meanwhile; and is not
/// taken for one that ends before all of them, as the log's header tells.
#[test]
fn a_copy_of_a_slave_whose_log_is_empty() {
    let slave = Slave::new();
    let (quiet, busy) = [(); 2].map(|()| HotCopy::begin(&slave.home.database()).unwrap()).into();
    let end = quiet.finish().unwrap();
    assert_eq!((end.last_tx.tx_id, end.transactions), (slave.last, 0));
    assert_eq!(quiet.start().unwrap().tx_id, slave.last);
    slave.pull();
    let end = busy.finish().unwrap();
    assert_eq!((end.last_tx.tx_id.0, end.transactions), (slave.last.0 + 1, 1));
    let later = HotCopy::begin(&slave.home.database()).unwrap();
    assert_eq!(
        (later.start().unwrap().tx_id, later.finish().unwrap().transactions),
        (slave.last, 1)
    );
}

/// Transactions that are in the store and in no log are not there to be told: that is not the same as
/// none that follow. A backup that ends with one of them cannot be gone on with; one that ends later has more
/// than the slave, whose copy must not take its place.
#[test]
fn what_follows_on_a_slave_whose_log_is_empty() {
    let slave = Slave::new();
    let database = slave.home.database();
    let behind = |tx_id: u64| Behind::find(&database, TxId(tx_id)).map(|it| it.size_bytes());
    let is_pruned = |found| matches!(found, Err(Error::LogPruned { .. }));
    assert!(is_pruned(behind(slave.last.0 - 1)));
    assert_eq!(behind(slave.last.0).unwrap(), 0);

    let copy = HotCopy::begin(&database).unwrap();
    let last_tx = copy.finish().unwrap().last_tx;
    let after = After { store_id: copy.store_id().clone(), external_uuid: None, last_tx };
    let begun = || Increment::begin(&database, after.clone()).map(|it| it.state()).map(|_| 0);
    assert!(is_pruned(begun()));
    let mut ahead = after.clone();
    (ahead.last_tx.tx_id.0, ahead.last_tx.start_bytes) = (slave.last.0 + 1, Some(34));
    let error = Increment::begin(&database, ahead).map(|it| it.state()).unwrap_err();
    assert!(matches!(&error, Error::Diverged { what, .. } if what.contains("behind")), "{error}");
    slave.pull();
    assert!(is_pruned(behind(slave.last.0 - 1)));
    assert!(behind(slave.last.0).unwrap() > 0);
    // The master has it, but nothing has told when it was committed.
    std::fs::write(slave.home.log(), &slave.masters_log).unwrap();
    assert!(is_pruned(begun()));
}
