//! Which databases a server has, and what each is in the middle of.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use formats::StoreId;
use formats::metadata::MetadataStore;
use formats::record_store;

use crate::checkpoint::find_checkpoint;
use crate::config::Config;
use crate::lock::{lock_file_holder, lock_holder};
use crate::read::Held;
use crate::v3_0::{self, LogIndex};
use crate::{Error, Result};

/// The directories of one Neo4j server.
#[derive(Clone, Debug)]
pub struct Installation {
    data: PathBuf,
    transactions: PathBuf,
    /// The database that a server of 3.0 starts, where the configuration tells.
    active_database: Option<String>,
    log_index: LogIndex,
}

/// The database of a server of 3.0 that its configuration does not name.
const GRAPH_DB: &str = "graph.db";
const ACTIVE_DATABASE: &str = "dbms.active_database";

impl Installation {
    /// From `neo4j.conf`: `server.directories.data` (default `data` in Neo4j's home) and
    /// `server.directories.transaction.logs.root` (default `transactions` in the data directory).
    pub fn from_config(neo4j_conf: &Path) -> Result<Self> {
        Self::configured_by(&Config::read(neo4j_conf)?)
    }

    /// The same of a configuration that has been read.
    pub fn configured_by(config: &Config) -> Result<Self> {
        let home = config.home()?;
        let data = match config.directory("server.directories.data", &home)? {
            // As Neo4j 3 and 4 spell it.
            None => config.directory("dbms.directories.data", &home)?,
            data => data,
        };
        let data = data.unwrap_or_else(|| home.join("data"));
        let transactions = config.directory("server.directories.transaction.logs.root", &home)?;
        let transactions = transactions.unwrap_or_else(|| data.join("transactions"));
        let active_database = config.get(ACTIVE_DATABASE).unwrap_or(GRAPH_DB).to_owned();
        if !is_name(&active_database) {
            let what = format!("{active_database:?} is not the name of a directory");
            return Err(config.bad_value(ACTIVE_DATABASE, &what));
        }
        let active_database = Some(active_database);
        Ok(Self { data, transactions, active_database, log_index: LogIndex::default() })
    }

    /// From a data directory, with the transaction logs in their default place.
    pub fn from_data(data_dir: &Path) -> Result<Self> {
        let found = Self {
            data: data_dir.to_owned(),
            transactions: data_dir.join("transactions"),
            active_database: None,
            log_index: LogIndex::default(),
        };
        found.check()?;
        Ok(found)
    }

    /// Fails unless the directories are those of a Neo4j server that has run before.
    pub fn check(&self) -> Result<()> {
        let databases = self.databases_root();
        match std::fs::metadata(&databases) {
            Ok(found) if found.is_dir() => Ok(()),
            Ok(_) => Err(Error::NotNeo4j { what: "data directory", path: self.data.clone() }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(Error::NotNeo4j { what: "data directory", path: self.data.clone() })
            }
            Err(error) => Err(Error::io("read", &databases)(error)),
        }
    }

    /// `<data>`.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data
    }

    /// `<data>/databases`.
    #[must_use]
    pub fn databases_root(&self) -> PathBuf {
        self.data.join("databases")
    }

    /// Where each database's transaction log directory lies.
    #[must_use]
    pub fn transactions_root(&self) -> &Path {
        &self.transactions
    }

    /// The database that a server of Neo4j 3.0 with this configuration starts: `dbms.active_database`, else
    /// `graph.db`; `None` without a configuration.
    #[must_use]
    pub fn active_database(&self) -> Option<&str> {
        self.active_database.as_deref()
    }

    /// Every database directory, sorted by name, whatever its state. Of those of Neo4j 3.0 only the one that the server
    /// starts, where that is known.
    pub fn databases(&self) -> Result<Vec<Database>> {
        self.check()?;
        let root = self.databases_root();
        let mut databases = Vec::new();
        for entry in std::fs::read_dir(&root).map_err(Error::io("list", &root))? {
            let path = entry.map_err(Error::io("list", &root))?.path();
            // Through links: a database directory may be a link to another volume.
            if std::fs::metadata(&path).is_ok_and(|found| !found.is_dir()) {
                continue;
            }
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let is_v3_0 = v3_0::is_store(&path);
            let is_active = self.active_database.as_ref().is_none_or(|active| *active == name);
            if is_v3_0 && !is_active {
                tracing::debug!(path = %path.display(), "not the database that the server starts");
                continue;
            }
            // Neo4j 3.0 keeps the logs beside the store.
            let log_dir = if is_v3_0 { path.clone() } else { self.transactions.join(&name) };
            let log_index = self.log_index.clone();
            let database = Database { name, store_dir: path, log_dir, is_v3_0, log_index };
            // `lost+found` and the like: no name that Neo4j gives, and nothing of its inside.
            if check_name(&database).is_err() && !database.store_dir.join("neostore").exists() {
                tracing::debug!(path = %database.store_dir.display(), "not a database");
                continue;
            }
            databases.push(database);
        }
        databases.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(databases)
    }

    /// The database of this name.
    pub fn database(&self, name: &str) -> Result<Database> {
        let found = self.databases()?.into_iter().find(|database| database.name == name);
        found
            .ok_or_else(|| Error::NoSuchDatabase { name: name.to_owned(), data: self.data.clone() })
    }
}

/// Whether it is the name of one directory, and not one that hides or leads elsewhere.
fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0'])
}

/// A database that is older than this is not in the middle of its creation.
const CREATION_TIME: Duration = Duration::from_mins(5);

/// One database's directories.
#[derive(Clone, Debug)]
pub struct Database {
    /// Its name, which is also the name of both directories.
    pub name: String,
    /// `databases/<name>`: the store files.
    pub store_dir: PathBuf,
    /// `transactions/<name>`: transaction logs and checkpoint files.
    pub log_dir: PathBuf,
    is_v3_0: bool,
    /// What has been read of the logs of Neo4j 3.0.
    pub(crate) log_index: LogIndex,
}

/// What a look at a database found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Whether it can be backed up.
    pub state: State,
    /// Why it is in that state, where that needs saying.
    pub detail: Option<String>,
    /// Identity and format of the store, if it could be read.
    pub store_id: Option<StoreId>,
    /// Size of the store directory's files in bytes.
    pub size_bytes: Option<u64>,
}

/// What a database is in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A server holds its lock.
    Online,
    /// No server holds its lock; a copy can be made all the same.
    Offline,
    /// Its first checkpoint is not there yet.
    Creating,
    /// A store migration is under way.
    Migrating,
    /// A format that we refuse.
    Unsupported,
    /// Files that cannot be read, or that are missing.
    Unreadable,
    /// Files that are damaged.
    Corrupt,
}

impl Database {
    /// A database of Neo4j 3.0 that lies there, whatever its server.
    #[must_use]
    pub fn of_v3_0(name: String, dir: &Path) -> Self {
        let [store_dir, log_dir] = [dir, dir].map(Path::to_owned);
        Self { name, store_dir, log_dir, is_v3_0: true, log_index: LogIndex::default() }
    }

    /// Looks at the database; what is wrong with it becomes its state.
    #[must_use]
    pub fn inspect(&self) -> Inspection {
        let size_bytes = directory_size(&self.store_dir).ok();
        if self.is_v3_0() {
            return self.inspect_v3_0(size_bytes);
        }
        let metadata = self.metadata();
        let store_id = metadata.as_ref().ok().map(|metadata| metadata.store_id.clone());
        let looked = metadata.and_then(|_| find_checkpoint(self)).and_then(|_| self.online());
        let (state, detail) = match looked {
            Ok(true) => (State::Online, None),
            Ok(false) => (State::Offline, Some("no server is using it".to_owned())),
            Err(error) => (state_of(&error), Some(detail_of(&error))),
        };
        Inspection { state, detail, store_id, size_bytes }
    }

    /// Whether it is one of Neo4j 3.0: see [`v3_0`].
    #[must_use]
    pub fn is_v3_0(&self) -> bool {
        self.is_v3_0
    }

    fn inspect_v3_0(&self, size_bytes: Option<u64>) -> Inspection {
        let neostore = v3_0::neostore(self);
        let store_id = neostore.as_ref().ok().map(|(neostore, _)| neostore.store_id());
        let looked = check_name(self).and(neostore).and_then(|_| self.online());
        let (state, detail) = match looked {
            Ok(true) => (State::Online, None),
            Ok(false) => (State::Offline, Some("no server is using it".to_owned())),
            Err(error) => (state_of(&error), Some(detail_of(&error))),
        };
        Inspection { state, detail, store_id, size_bytes }
    }

    /// Whether a server holds the database's lock.
    pub fn online(&self) -> Result<bool> {
        let holder = match self.is_v3_0() {
            true => lock_file_holder(&self.store_dir.join("store_lock"))?,
            false => lock_holder(&self.store_dir)?,
        };
        Ok(holder.is_some())
    }

    /// Online or offline.
    pub(crate) fn live_state(&self) -> Result<State> {
        Ok(if self.online()? { State::Online } else { State::Offline })
    }

    /// Reads `neostore`, and refuses by name what is not a complete store of a known format.
    pub fn metadata(&self) -> Result<MetadataStore> {
        self.check_not_migrating()?;
        check_name(self)?;
        let path = self.store_dir.join("neostore");
        let Some(held) = Held::open_if_there(&path)? else { return Err(self.without_neostore()?) };
        let mut page = vec![0; 8192];
        let read = held.read_at(0, &mut page)?;
        let bytes = page.get(..read).unwrap_or_default();
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(self.not_there("neostore is not written yet".to_owned()));
        }
        let metadata = MetadataStore::decode(bytes).map_err(Error::format(&path))?;
        formats::store_format::supported(&metadata.store_id).map_err(Error::format(&path))?;
        for store in record_store::MANDATORY {
            let path = self.store_dir.join(store.file_name());
            if let Err(error) = std::fs::metadata(&path) {
                return Err(match error.kind() {
                    std::io::ErrorKind::NotFound => {
                        self.not_there(format!("{} does not exist", path.display()))
                    }
                    _ => Error::io("read", &path)(error),
                });
            }
        }
        Ok(metadata)
    }

    pub(crate) fn check_not_migrating(&self) -> Result<()> {
        let migrate = self.store_dir.join("migrate");
        if migrate.symlink_metadata().is_ok() {
            return Err(Error::Migrating { name: self.name.clone(), path: migrate });
        }
        Ok(())
    }

    /// Something that every database has is missing: it is being created, which takes seconds, or it
    /// is broken. A database that was overlooked because a volume is not mounted must not look young.
    pub(crate) fn not_there(&self, detail: String) -> Error {
        let name = self.name.clone();
        if self.born().is_some_and(|born| born.elapsed().is_ok_and(|age| age > CREATION_TIME)) {
            return Error::Incomplete { name, detail };
        }
        Error::Creating { name, detail }
    }

    /// When the store was created, as it says itself, or when its directory last changed.
    fn born(&self) -> Option<SystemTime> {
        let page = std::fs::read(self.store_dir.join("neostore")).ok();
        let metadata = page.and_then(|page| MetadataStore::decode(&page).ok());
        match metadata.map(|metadata| u64::try_from(metadata.store_id.creation_time.0)) {
            Some(Ok(ms)) => SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(ms)),
            _ => std::fs::metadata(&self.store_dir).and_then(|found| found.modified()).ok(),
        }
    }

    fn without_neostore(&self) -> Result<Error> {
        let list =
            std::fs::read_dir(&self.store_dir).map_err(Error::io("list", &self.store_dir))?;
        let names: Vec<String> =
            list.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        let other = names.iter().find(|name| !matches!(name.as_str(), "database_lock" | "schema"));
        if names.iter().any(|name| name.starts_with("block.")) {
            let what = "block format (Enterprise)".to_owned();
            return Ok(Error::Unsupported { what, path: self.store_dir.clone() });
        }
        Ok(match other {
            None => self.not_there(format!("{} is empty", self.store_dir.display())),
            Some(_) => Error::Unsupported {
                what: "a store without neostore".to_owned(),
                path: self.store_dir.clone(),
            },
        })
    }
}

/// Neo4j names databases with ASCII letters, digits, dots and dashes; 63 at the most. We let
/// underscores pass as well, since a person may have renamed a directory.
fn check_name(database: &Database) -> Result<()> {
    let name = &database.name;
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if name.len() <= 63
        && name.chars().all(known)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
    {
        return Ok(());
    }
    let what = format!("{name:?} as a database name");
    Err(Error::Unsupported { what, path: database.store_dir.clone() })
}

fn state_of(error: &Error) -> State {
    match error {
        Error::Creating { .. } => State::Creating,
        Error::Migrating { .. } => State::Migrating,
        Error::Unsupported { .. } => State::Unsupported,
        Error::Format { source, .. } if source.is_unsupported() => State::Unsupported,
        Error::Format { .. } => State::Corrupt,
        _ => State::Unreadable,
    }
}

fn detail_of(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(source) if matches!(error, Error::Io { .. }) => format!("{error}: {source}"),
        _ => error.to_string(),
    }
}

fn directory_size(directory: &Path) -> std::io::Result<u64> {
    let mut total: u64 = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let size = if kind.is_dir() {
            directory_size(&entry.path()).unwrap_or(0)
        } else {
            entry.metadata().map_or(0, |found| found.len())
        };
        total = total.saturating_add(size);
    }
    Ok(total)
}
