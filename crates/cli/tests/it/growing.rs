//! A data directory whose log grows as a server's does: what a real server wrote, bit by bit.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use formats::txlog::{Batch, BatchReader};

use crate::run::data_directory_of;

/// A server that was killed, when it had only its first checkpoint and some of its transactions.
pub struct Growing {
    pub data: PathBuf,
    whole: Vec<u8>,
    checkpoints: Vec<u8>,
    batches: Vec<Batch>,
    has: usize,
}

impl Growing {
    /// With half of its transactions.
    pub fn new(parent: &Path) -> Self {
        let data = data_directory_of(parent, "2026.08.1/killed");
        let path = data.join("transactions/neo4j/checkpoint.0");
        let checkpoints = std::fs::read(&path).unwrap();
        let decoded = formats::checkpoint::decode_file(&checkpoints).unwrap().unwrap();
        let (first, end) = &decoded.entries[0];
        // Later ones would be of transactions that the server does not have yet.
        std::fs::write(&path, &checkpoints[..*end as usize]).unwrap();
        let from = first.position.offset_bytes;
        let log = data.join("transactions/neo4j/neostore.transaction.db.0");
        let whole = std::fs::read(&log).unwrap();
        let mut reader = BatchReader::new(&whole[from as usize..], from);
        let batches: Vec<Batch> = std::iter::from_fn(|| reader.next_batch().unwrap()).collect();
        assert!(batches.len() > 8, "{}", batches.len());
        let has = batches.len() / 2;
        std::fs::write(&log, &whole[..batches[has - 1].end as usize]).unwrap();
        Self { data, whole, checkpoints, batches, has }
    }

    /// The id of the last transaction that it has.
    pub fn last_tx_id(&self) -> u64 {
        self.batches[self.has - 1].tx_id.0
    }

    /// How many it does not have yet.
    pub fn rest(&self) -> usize {
        self.batches.len() - self.has
    }

    /// Commits so many more.
    pub fn commit(&mut self, transactions: usize) {
        let (start, last) = (self.batches[self.has - 1].end, self.has + transactions - 1);
        let bytes = &self.whole[start as usize..self.batches[last].end as usize];
        let file = OpenOptions::new().write(true).open(self.log()).unwrap();
        file.write_all_at(bytes, start).unwrap();
        self.has = last + 1;
    }

    /// Takes its last checkpoint, of which all transactions are needed.
    pub fn checkpoint(&self) {
        assert_eq!(self.rest(), 0);
        let path = self.data.join("transactions/neo4j/checkpoint.0");
        std::fs::write(path, &self.checkpoints).unwrap();
    }

    /// Its log file.
    pub fn log(&self) -> PathBuf {
        self.data.join("transactions/neo4j/neostore.transaction.db.0")
    }
}
