//! A peer that speaks Neo4j 3.0's backup protocol and says what a test wants, out of a real database.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use formats::TxId;
use formats::txlog::{Batch, BatchReader};
use formats::v3_0::Neostore;
use wire::v3_0::{Encoder, Request, RequestDecoder};

/// Longer than any tool of a test waits for a peer that says nothing.
const SILENCE: Duration = Duration::from_secs(60);

/// What a peer sends upon a request.
pub enum Answer {
    /// This, and goes on.
    Bytes(Vec<u8>),
    /// This, then closes the connection.
    Last(Vec<u8>),
    /// Nothing, for longer than anybody waits.
    Silence,
}

/// Listens on a free port of loopback for the rest of the test, each connection on its own thread.
pub fn serve(answer: impl Fn(Request) -> Answer + Send + Sync + 'static) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            // Whoever has heard enough closes the connection.
            thread::spawn(move || converse(stream, &*answer).ok());
        }
    });
    Ok(address)
}

/// Listens likewise, but says the same to whoever connects, and closes the connection.
pub fn serve_raw(says: &'static [u8]) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            stream.write_all(says).ok();
        }
    });
    Ok(address)
}

fn converse(mut stream: TcpStream, answer: &dyn Fn(Request) -> Answer) -> std::io::Result<()> {
    let (mut decoder, mut buffer) = (RequestDecoder::new(), [0; 1024]);
    while let read @ 1.. = stream.read(&mut buffer)? {
        let mut input = buffer.get(..read).unwrap_or_default();
        while let Ok(Some(request)) = decoder.next(&mut input) {
            match answer(request) {
                Answer::Bytes(bytes) => stream.write_all(&bytes)?,
                Answer::Last(bytes) => return stream.write_all(&bytes),
                Answer::Silence => thread::sleep(SILENCE),
            }
        }
    }
    Ok(())
}

/// A port at which nobody listens.
pub fn nobody() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// A database of a 3.0.0 that was killed: its last two transactions came after its last check point.
#[derive(Clone)]
pub struct Database {
    dir: PathBuf,
    neostore: Vec<u8>,
    log: Vec<u8>,
    batches: Vec<Batch>,
    is_damaged: bool,
}

impl Database {
    /// The last transaction of all.
    pub const LAST: u64 = 129;
    /// The one as of which the store's files are.
    pub const STORED: u64 = 127;

    /// Reads the fixture.
    pub fn open() -> Result<Self> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../fixtures/3.0.0/killed/databases/graph.db");
        let neostore = std::fs::read(dir.join("neostore")).context("read the fixture")?;
        let log = std::fs::read(dir.join("neostore.transaction.db.0"))?;
        let mut batches = Vec::new();
        let mut reader = BatchReader::new(log.get(16..).context("no log")?, 16);
        while let Some(batch) = reader.next_batch()? {
            batches.push(batch);
        }
        Ok(Self { dir, neostore, log, batches, is_damaged: false })
    }

    /// The bytes of the transactions with these ids.
    pub fn transactions(&self, ids: impl IntoIterator<Item = u64>) -> Vec<u8> {
        let find = |id| self.batches.iter().find(|batch| batch.tx_id == TxId(id));
        let bytes = |batch: &Batch| self.log.get(batch.start as usize..batch.end as usize);
        let found = ids.into_iter().filter_map(|id| bytes(find(id)?)).collect::<Vec<_>>();
        found.concat()
    }

    /// As a server answers whose last transaction is `last`.
    pub fn honest(&self, request: Request, last: u64) -> Vec<u8> {
        match request {
            Request::Full { .. } => self.full(&self.transactions(Self::STORED + 1..=last)),
            Request::Incremental { last_tx_id: ..=0 } => self.incremental(&[]),
            Request::Incremental { last_tx_id } => {
                self.incremental(&self.transactions(last_tx_id.unsigned_abs() + 1..=last))
            }
        }
    }

    /// All files, and these transactions.
    pub fn full(&self, transactions: &[u8]) -> Vec<u8> {
        let mut encoder = Encoder::new();
        self.files(&mut encoder);
        encoder.store_id(&self.store_id());
        encoder.transactions(transactions);
        encoder.finish().to_vec()
    }

    /// These transactions.
    pub fn incremental(&self, transactions: &[u8]) -> Vec<u8> {
        self.incremental_of(&self.store_id(), transactions)
    }

    /// These transactions, of a store with that identity.
    pub fn incremental_of(&self, store_id: &[u8; 40], transactions: &[u8]) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder.store_id(store_id);
        encoder.transactions(transactions);
        encoder.finish().to_vec()
    }

    /// The same with nodes that lead to relationships that are not theirs.
    pub fn damaged(&self) -> Self {
        Self { is_damaged: true, ..self.clone() }
    }

    /// Copies the store to a directory, and makes it one of an older format.
    pub fn copy_older(&self, to: &Path) -> Result<()> {
        std::fs::create_dir_all(to)?;
        for entry in std::fs::read_dir(&self.dir)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                std::fs::copy(entry.path(), to.join(entry.file_name()))?;
            }
        }
        let mut neostore = self.neostore.clone();
        let version = b"6.A.0v\x06";
        let at = neostore.windows(6).position(|found| found == b"7.A.0v");
        let at = at.context("the fixture is of another format")?;
        neostore.get_mut(at..at + version.len()).context("short")?.copy_from_slice(version);
        Ok(std::fs::write(to.join("neostore"), neostore)?)
    }

    /// As it is on the wire.
    pub fn store_id(&self) -> [u8; 40] {
        let neostore = Neostore::decode(&self.neostore).expect("a real metadata store");
        Neostore::encode_store_id(&neostore.store_id()).expect("that of a 3.0 store")
    }

    /// What the real server sends of a database, in its order.
    pub fn files(&self, encoder: &mut Encoder) {
        let mut names = Vec::new();
        list(&self.dir, "", &mut names);
        let is_last = |name: &String| (name.contains('/'), name == "neostore", name.clone());
        names.sort_by_key(is_last);
        for name in names {
            assert!(encoder.file(&name), "{name}");
            let mut bytes = std::fs::read(self.dir.join(&name)).expect("read the fixture");
            if self.is_damaged && name == "neostore.nodestore.db" {
                // Behind the flags of each record: its first relationship.
                for record in bytes.chunks_exact_mut(15).skip(1).take(50) {
                    record[4] ^= 1;
                }
            }
            encoder.data(&bytes);
            encoder.file_end();
        }
        encoder.files_end();
    }
}

fn list(dir: &Path, prefix: &str, names: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).expect("list the fixture").flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let is_sent = !name.ends_with(".id") && !name.starts_with("neostore.transaction");
        if entry.path().is_dir() {
            list(&entry.path(), &format!("{name}/"), names);
        } else if is_sent {
            names.push(name);
        }
    }
}
