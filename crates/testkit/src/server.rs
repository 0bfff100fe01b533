//! A real server in a process of its own.

mod conf;
mod ready;

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::bolt::{Address, Connection};
use crate::versions::{Generation, Version};
use crate::{admin, jars, process};

pub use conf::Settings;
pub use ready::DatabaseFailed;

/// The password of the user `neo4j`, unless the builder says otherwise.
pub const PASSWORD: &str = "testkit-password";

const QUERY_LIMIT: Duration = Duration::from_secs(120);
const STOP_LIMIT: Duration = Duration::from_secs(120);
const PASSWORD_LIMIT: Duration = Duration::from_secs(120);
const ANOTHER_PORT_TRIES: u32 = 3;

/// What a server is started with.
#[derive(Debug, Clone)]
pub struct Builder {
    version: Version,
    home: Option<PathBuf>,
    settings: Settings,
    heap: String,
    jvm_flags: Vec<String>,
    password: String,
    ready_limit: Duration,
    wait_for_user_database: bool,
}

impl Builder {
    /// The server's home, kept afterwards; without it a temporary one is made and removed.
    pub fn home(mut self, dir: impl Into<PathBuf>) -> Builder {
        self.home = Some(dir.into());
        self
    }

    /// A line of `neo4j.conf`, in place of ours or of Neo4j's default.
    pub fn setting(mut self, name: &str, value: impl ToString) -> Builder {
        self.settings.set(name, value);
        self
    }

    /// The largest heap, as `-Xmx` takes it.
    pub fn heap(mut self, size: &str) -> Builder {
        size.clone_into(&mut self.heap);
        self
    }

    /// One more flag for the JVM.
    pub fn jvm_flag(mut self, flag: &str) -> Builder {
        self.jvm_flags.push(flag.to_owned());
        self
    }

    /// The password to log on with, when a restored `system` brings another one.
    pub fn password(mut self, password: &str) -> Builder {
        password.clone_into(&mut self.password);
        self
    }

    /// How long the server may take until it answers queries.
    pub fn ready_within(mut self, limit: Duration) -> Builder {
        self.ready_limit = limit;
        self
    }

    /// Counts as started when `system` answers, for homes whose user database must not start.
    pub fn only_system(mut self) -> Builder {
        self.wait_for_user_database = false;
        self
    }

    /// Starts the server and waits until it answers queries. A database that cannot be started is
    /// an error with a [`DatabaseFailed`] in it.
    pub fn start(self) -> Result<Server> {
        let (home, temporary) = match &self.home {
            Some(home) => (home.clone(), None),
            None => {
                let dir = tempfile::Builder::new().prefix("neo4j-").tempdir()?;
                (dir.path().to_path_buf(), Some(dir))
            }
        };
        fs::create_dir_all(home.join("conf")).context("create the server's home")?;
        let home = home.canonicalize()?;
        match self.version.generation {
            // It asks for no password, see `conf`.
            Generation::Three => {}
            Generation::Five if home.join("data/databases/system").exists() => {}
            Generation::Five => set_initial_password(&self.version, &home, &self.password)?,
        }
        let mut server = Server {
            builder: self,
            home,
            child: None,
            sockets: Sockets::any(),
            started_in: Duration::ZERO,
            _temporary: temporary,
        };
        server.start_again()?;
        Ok(server)
    }
}

/// Where a server listens; only one of 3.0 uses the last two.
#[derive(Debug, Clone, Copy)]
struct Sockets {
    bolt: SocketAddr,
    http: SocketAddr,
    backup: SocketAddr,
}

impl Sockets {
    fn any() -> Sockets {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Sockets { bolt: any, http: any, backup: any }
    }

    /// These where they are free, and others. They are closed again before the server binds them.
    fn free(self) -> Result<Sockets> {
        let Sockets { bolt, http, backup } = self;
        // All are held until the last is found, so that no two are the same.
        let held = [hold(bolt)?, hold(http)?, hold(backup)?];
        let [bolt, http, backup] = held.each_ref().map(TcpListener::local_addr);
        Ok(Sockets { bolt: bolt?, http: http?, backup: backup? })
    }
}

fn hold(wanted: SocketAddr) -> Result<TcpListener> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Ok(TcpListener::bind(wanted).or_else(|_| TcpListener::bind(any))?)
}

/// A server that was started; dropping it kills the process.
#[derive(Debug)]
pub struct Server {
    builder: Builder,
    home: PathBuf,
    child: Option<Child>,
    sockets: Sockets,
    started_in: Duration,
    _temporary: Option<TempDir>,
}

impl Server {
    /// A server of `version`, to be configured and started.
    pub fn builder(version: &Version) -> Builder {
        Builder {
            version: *version,
            home: None,
            settings: Settings::of(version.generation),
            heap: "512m".to_owned(),
            jvm_flags: Vec::new(),
            password: PASSWORD.to_owned(),
            ready_limit: Duration::from_secs(180),
            wait_for_user_database: true,
        }
    }

    /// Starts a stopped or killed server once more, on the same ports if they are still free.
    pub fn start_again(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "the server runs already");
        for attempt in 1.. {
            let result = self.try_start();
            let Err(error) = result else { break };
            self.kill().ok();
            self.sockets = Sockets::any();
            // Another process took the port between our look and the server's.
            let taken = format!("{error:#}").contains("already in use");
            if !taken || attempt == ANOTHER_PORT_TRIES {
                return Err(error);
            }
        }
        Ok(())
    }

    fn try_start(&mut self) -> Result<()> {
        let begun = Instant::now();
        self.sockets = self.sockets.free()?;
        fs::write(self.conf(), self.builder.settings.text(&self.sockets))?;
        let heap = format!("-Xmx{}", self.builder.heap);
        let mut flags = vec!["-Xms128m", &heap];
        flags.extend(self.builder.jvm_flags.iter().map(String::as_str));
        let version = self.builder.version;
        let mut command = jars::java(&version, &flags, version.main_class)?;
        // 3.0.0 knows no `--home-dir`: its home is where it runs.
        command.current_dir(&self.home);
        command.arg(format!("--home-dir={}", self.home.display()));
        command.arg(format!("--config-dir={}", self.home.join("conf").display()));
        let log_dir = self.home.join("logs");
        fs::create_dir_all(&log_dir)?;
        // Sizes tell the log lines of this start from those of earlier ones.
        let log = ready::LogTail::new(&log_dir);
        let stdout = File::create(log_dir.join("stdout.log"))?;
        command.stdout(stdout.try_clone()?).stderr(stdout);
        self.child = Some(process::spawn(command)?);
        self.wait_until_ready()
            .with_context(|| format!("start Neo4j {}\n{}", version.name, log.since()))?;
        self.started_in = begun.elapsed();
        Ok(())
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let database =
            self.builder.wait_for_user_database.then(|| self.builder.settings.user_database());
        let (address, http) = (self.address(), self.sockets.http);
        let generation = self.version().generation;
        let child = self.child.as_mut().context("the server does not run")?;
        ready::wait(child, self.builder.ready_limit, || match generation {
            Generation::Three => ready::one_database(&address, http),
            Generation::Five => ready::databases(&address.database("system"), database.as_deref()),
        })
    }

    /// Stops the server cleanly (SIGTERM) and says how long that took.
    pub fn stop(&mut self) -> Result<Duration> {
        let begun = Instant::now();
        let child = self.child.as_mut().context("the server does not run")?;
        process::signal(child, Signal::TERM)?;
        let Some(status) = process::wait(child, STOP_LIMIT)? else {
            self.kill()?;
            bail!("the server did not stop within {STOP_LIMIT:?}");
        };
        self.child = None;
        // 143 is how a JVM ends that ran its shutdown hooks upon SIGTERM.
        ensure!(status.success() || status.code() == Some(143), "the server stopped: {status}");
        Ok(begun.elapsed())
    }

    /// Kills the server (SIGKILL), as a crash does; nothing to do if it does not run.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().context("kill the server")?;
            child.wait().context("wait for the killed server")?;
        }
        Ok(())
    }

    /// A new connection to the user database.
    pub fn connect(&self) -> Result<Connection> {
        Connection::open(&self.address(), QUERY_LIMIT)
    }

    /// A new connection to the database of that name.
    pub fn connect_to(&self, database: &str) -> Result<Connection> {
        Connection::open(&self.address().database(database), QUERY_LIMIT)
    }

    /// Where clients connect, for the user database.
    pub fn address(&self) -> Address {
        Address {
            socket: self.sockets.bolt,
            password: self.builder.password.clone(),
            database: self.builder.settings.user_database(),
        }
    }

    /// `bolt://127.0.0.1:<port>`.
    pub fn bolt_uri(&self) -> String {
        format!("bolt://{}", self.sockets.bolt)
    }

    /// Where a server of 3.0 listens for HTTP.
    pub fn http_address(&self) -> SocketAddr {
        self.sockets.http
    }

    /// Where a server of 3.0 listens for its own backup tool.
    pub fn backup_address(&self) -> SocketAddr {
        self.sockets.backup
    }

    /// The id of the process, which is the JVM's own.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// The version that runs.
    pub fn version(&self) -> &Version {
        &self.builder.version
    }

    /// The server's home.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// `<home>/data`.
    pub fn data_dir(&self) -> PathBuf {
        self.home.join("data")
    }

    /// The folder of the user database's stores; in 3.0 of its logs too.
    pub fn database_dir(&self) -> PathBuf {
        self.data_dir().join("databases").join(self.builder.settings.user_database())
    }

    /// `<home>/conf/neo4j.conf`, written anew at each start.
    pub fn conf(&self) -> PathBuf {
        self.home.join("conf/neo4j.conf")
    }

    /// How long the last start took, until queries were answered.
    pub fn started_in(&self) -> Duration {
        self.started_in
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("testkit: {error:#}");
        }
    }
}

/// Neo4j's own tool takes 5 s for this, so what it wrote once is kept beside the jars.
fn set_initial_password(version: &Version, home: &Path, password: &str) -> Result<()> {
    let target = home.join("data/dbms/auth.ini");
    if target.exists() {
        return Ok(());
    }
    fs::create_dir_all(home.join("data/dbms"))?;
    let kept = jars::cache_dir(version).join("auth.ini");
    if password == PASSWORD && kept.exists() {
        fs::copy(&kept, &target)?;
        return Ok(());
    }
    let args = ["dbms", "set-initial-password", password];
    let finished = admin::run(version, home, &args, PASSWORD_LIMIT)?;
    ensure!(finished.status.success(), "set-initial-password: {}", finished.output);
    ensure!(target.is_file(), "set-initial-password wrote no auth.ini: {}", finished.output);
    if password == PASSWORD {
        let partial = kept.with_extension(format!("partial.{}", std::process::id()));
        fs::copy(&target, &partial)?;
        fs::rename(&partial, &kept)?;
    }
    Ok(())
}
