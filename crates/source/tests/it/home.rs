//! A data directory made of a fixture, to be changed as a server would change it.

use std::path::{Path, PathBuf};

use source::{Database, HotCopy, Installation, LiveCopy as _};
use tempfile::TempDir;

/// A writable copy of a fixture.
pub struct Home {
    pub dir: TempDir,
    fixture: PathBuf,
}

impl Home {
    /// Copies `fixtures/<name>`. Record stores that the fixture lacks are empty, as those of a
    /// young database are; the trees of a `trees` fixture lie beside the stores
    /// of `mixed`.
    pub fn of(name: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
        let dir = tempfile::tempdir().unwrap();
        match name.strip_suffix("/trees") {
            None => copy(&root.join(name), dir.path()),
            Some(version) => {
                copy(&root.join(version).join("mixed"), dir.path());
                let store = dir.path().join("databases/neo4j");
                let neostore = std::fs::read(store.join("neostore")).unwrap();
                copy(&root.join(name).join("databases/neo4j"), &store);
                std::fs::write(store.join("neostore"), neostore).unwrap();
            }
        }
        for store in formats::record_store::MANDATORY {
            let path = dir.path().join("databases/neo4j").join(store.file_name());
            if !path.exists() {
                std::fs::write(path, b"").unwrap();
            }
        }
        Self { dir, fixture: root.join(name) }
    }

    pub fn installation(&self) -> Installation {
        Installation::from_data(self.dir.path()).unwrap()
    }

    pub fn database(&self) -> Database {
        self.installation().database("neo4j").unwrap()
    }

    pub fn begin(&self) -> HotCopy {
        HotCopy::begin(&self.database()).unwrap()
    }

    pub fn store(&self, name: &str) -> PathBuf {
        self.dir.path().join("databases/neo4j").join(name)
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.dir.path().join("transactions/neo4j").join(name)
    }

    /// What the server said of the fixture.
    pub fn fact(&self, key: &str) -> serde_json::Value {
        let text = std::fs::read_to_string(self.fixture.join("facts.json")).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap()[key].clone()
    }
}

/// A writable copy of the database of a fixture of Neo4j 3.0, whose server does not run.
pub struct ThreeHome(TempDir);

impl ThreeHome {
    /// Copies `fixtures/3.0.0/<name>`; record stores that it lacks are empty.
    pub fn of(name: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/3.0.0");
        let home = Self(tempfile::tempdir().unwrap());
        copy(&root.join(name), home.0.path());
        for store in formats::v3_0::MANDATORY {
            let path = home.path(store.file_name());
            std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        }
        home
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("databases/graph.db").join(name)
    }

    /// Its first log.
    pub fn log(&self) -> PathBuf {
        self.path("neostore.transaction.db.0")
    }

    pub fn database(&self) -> Database {
        Installation::from_data(self.0.path()).unwrap().database("graph.db").unwrap()
    }
}

pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// All bytes of a file of a copy.
pub fn read(copy: &HotCopy, id: u32) -> Vec<u8> {
    let mut bytes = vec![0; 4 << 20];
    let read = copy.read_at(id, 0, &mut bytes).unwrap();
    bytes.truncate(read);
    bytes
}
