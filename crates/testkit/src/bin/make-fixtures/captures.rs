//! What the backup tool of 3.0 and a server of 3.0 say to each other, as a proxy between them sees
//! it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, Value as Json, json};
use testkit::proxy::Proxy;
use testkit::server::Server;
use testkit::versions::Version;
use testkit::{backup_tool, rest};

use crate::three;
use crate::workload::run;

type Facts = Map<String, Json>;

/// The folder of a home that they are in.
pub const FOLDER: &str = "captures";
const TOOL_LIMIT: Duration = Duration::from_secs(120);
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);
const BUSY_TRIES: u32 = 20;
const BUSY_TRANSACTIONS: usize = 3;
const BUSY_WRITERS: u32 = 3;
/// The length of COMMIT: its version, its type, the transaction's id and its time.
const COMMIT_BYTES: usize = 18;
/// Its version, its type, and a transaction's id that is not large.
const COMMIT: [u8; 9] = [0xFA, 5, 0, 0, 0, 0, 0, 0, 0];

/// One transaction each.
const BEGINNING: &[&str] = &[
    "CREATE INDEX ON :Thing(name)",
    "UNWIND range(1, 5) AS i CREATE (:Thing {name: 'thing ' + i})-[:HAS {w: i}]->(:Part {n: i})",
    "UNWIND range(1, 100) AS i CREATE (:Filler {v: i})",
];
const ONE: &[&str] = &["MATCH (t:Thing {name: 'thing 1'}) SET t.name = 'changed'"];
const SEVERAL: &[&str] = &[
    "CREATE (:New {list: [1, 2, 3], text: 'a text that is too long for the property store: it goes on'})",
    "MATCH (t:Thing)-[r:HAS]->(p {n: 2}) DELETE r, p SET t.name = 'without', t:New",
    "MATCH (t:Thing {name: 'changed'}) UNWIND range(1, 60) AS i CREATE (t)-[:DENSE]->(t)",
    "MATCH (n:New) REMOVE n.list",
];
const BUSY: &str = "CREATE (:Meanwhile)";
const FILLING: &str = "MATCH (f:Filler) SET f.v = f.v + 1";

/// What is asked that the tool does not ask, in hexadecimal.
const OTHERS: &[(&str, &str)] = &[
    ("store-id", "00000023 0801 01 ~ 0000000000000000 ffffffffffffffff"),
    ("other-version", "00000023 0802 01 ~ 0000000000000000 ffffffffffffffff"),
    ("other-internal-version", "00000023 0c01 01 ~ 0000000000000000 ffffffffffffffff"),
    ("unknown-type", "00000023 0801 02 ~ 0000000000000000 ffffffffffffffff"),
    ("bad-forensics", "00000024 0801 00 ~ ffffffffffffffff ffffffffffffffff 02"),
    ("short-request", "00000013 0801 01 ~"),
];
/// `~` in them: session, machine and event, which the tool sends so.
const NOBODY: &str = "ffffffffffffffff ffffffff ffffffff";

/// Leaves captures in the home; facts are what the tool made of what it was told.
pub fn record(version: &Version, home: &Path) -> Result<Facts> {
    let mut scene = Scene::begin(version, home)?;
    let mut facts = Facts::new();
    scene.write(BEGINNING)?;
    rest::request(
        &scene.server,
        "POST",
        "/db/data/index/node",
        Some(&json!({ "name": "Gr\u{f6}\u{df}e" })),
    )?;
    three::add(&scene.server, ("node", "Gr%C3%B6%C3%9Fe"), "key", &json!("value"), 0)?;

    scene.by_the_tool("a", &[], &["full"], &mut facts)?;
    scene.by_the_tool("a", &[], &["incremental-0"], &mut facts)?;
    scene.write(ONE)?;
    scene.by_the_tool("a", &[], &["incremental-1"], &mut facts)?;
    scene.write(SEVERAL)?;
    scene.by_the_tool("a", &[], &["incremental-several"], &mut facts)?;

    let last = scene.full_while_busy(&mut facts)?;
    scene.write(SEVERAL)?;
    let again = format!("00000023 0801 01 ~ {:016x} ffffffffffffffff", last - 1);
    scene.ask("incremental-from-last", &again)?;
    scene.by_the_tool("forensics", &["-gather-forensics"], &["full-forensics"], &mut facts)?;
    for (name, request) in OTHERS {
        scene.ask(name, request)?;
    }
    scene.ask_another_server(version, &mut facts)?;

    scene.prune()?;
    let names = ["logs-pruned", "logs-pruned-full"];
    scene.by_the_tool("a", &[], &names, &mut facts)?;
    scene.server.stop()?;
    Ok(facts)
}

struct Scene {
    version: Version,
    server: Server,
    captures: PathBuf,
    /// For the tool's backups and for what is not named yet.
    work: tempfile::TempDir,
}

impl Scene {
    fn begin(version: &Version, home: &Path) -> Result<Self> {
        let captures = home.join(FOLDER);
        fs::create_dir_all(&captures)?;
        let server = start(version, home)?;
        Ok(Self { version: *version, server, captures, work: tempfile::tempdir()? })
    }

    fn write(&self, queries: &[&str]) -> Result<()> {
        run(&mut self.server.connect()?, queries)
    }

    /// Has the tool back up into the folder `to`, which makes as many connections as there are
    /// names.
    fn by_the_tool(
        &self,
        to: &str,
        args: &[&str],
        names: &[&str],
        facts: &mut Facts,
    ) -> Result<()> {
        let network = Recording::of(self.server.backup_address())?;
        let finished = self.run_tool(&network, to, args)?;
        network.keep(&self.captures, names)?;
        ensure!(finished.status.success(), "{names:?}: {}", finished.output);
        self.tell(names[0], &finished, facts)
    }

    fn run_tool(
        &self,
        network: &Recording,
        to: &str,
        args: &[&str],
    ) -> Result<testkit::process::Finished> {
        let from: SocketAddr = network.proxy.address.parse()?;
        let (host, port) = (from.ip().to_string(), from.port().to_string());
        let to = self.work.path().join(to).display().to_string();
        let all = [&["-host", &host, "-port", &port, "-to", &to], args].concat();
        backup_tool::run(&self.version, self.work.path(), &all, TOOL_LIMIT)
    }

    fn tell(
        &self,
        name: &str,
        finished: &testkit::process::Finished,
        facts: &mut Facts,
    ) -> Result<()> {
        let last = rest::last_tx_id(&self.server)?;
        let status = finished.status.code();
        let fact = json!({ "exit_status": status, "last_transaction_id_afterwards": last });
        facts.insert(name.to_owned(), fact);
        Ok(())
    }

    /// A full backup during which transactions are committed; the last that came with it.
    fn full_while_busy(&self, facts: &mut Facts) -> Result<u64> {
        let name = "full-with-transactions";
        for attempt in 0..BUSY_TRIES {
            let network = Recording::of(self.server.backup_address())?;
            let (request, response) = (network.path("0.request"), network.path("0.response"));
            let finished = thread::scope(|scope| {
                for _ in 0..BUSY_WRITERS {
                    scope.spawn(|| {
                        if let Err(error) = self.write_between(&request, &response) {
                            eprintln!("{error:#}");
                        }
                    });
                }
                self.run_tool(&network, &format!("busy-{attempt}"), &[])
            })?;
            ensure!(finished.status.success(), "{name}: {}", finished.output);
            let bytes = fs::read(&response)?;
            let count = bytes.windows(COMMIT.len()).filter(|window| **window == COMMIT).count();
            let Some(commit) = bytes.last_chunk::<COMMIT_BYTES>() else { continue };
            if count >= BUSY_TRANSACTIONS && commit.starts_with(&COMMIT) {
                network.keep(&self.captures, &[name])?;
                self.tell(name, &finished, facts)?;
                let id = commit[2..10].first_chunk().context("an id")?;
                return Ok(u64::from_be_bytes(*id));
            }
        }
        anyhow::bail!("no transactions came with {BUSY_TRIES} full backups")
    }

    /// Commits from when something was asked until something is answered: the server sends only
    /// when a frame is full or the answer complete.
    fn write_between(&self, request: &Path, response: &Path) -> Result<()> {
        let has_bytes = |path| fs::metadata(path).is_ok_and(|file| file.len() > 0);
        let mut connection = self.server.connect()?;
        let deadline = Instant::now() + ANSWER_LIMIT;
        while !has_bytes(request) && Instant::now() < deadline {
            thread::sleep(BETWEEN_LOOKS);
        }
        while !has_bytes(response) && Instant::now() < deadline {
            run(&mut connection, &[BUSY])?;
        }
        Ok(())
    }

    /// Sends a request that the tool would not send, and reads the answer.
    fn ask(&self, name: &str, request: &str) -> Result<()> {
        let network = Recording::of(self.server.backup_address())?;
        let mut stream = TcpStream::connect(&network.proxy.address)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        stream.write_all(&bytes(&request.replace('~', NOBODY))?)?;
        // Bit 0 of a frame's flags: another one follows.
        let mut more = true;
        while more {
            let mut head = [0; 5];
            stream.read_exact(&mut head).with_context(|| name.to_owned())?;
            let [a, b, c, d, flags] = head;
            let length = u64::from(u32::from_be_bytes([a, b, c, d]));
            std::io::copy(&mut (&mut stream).take(length - 1), &mut std::io::sink())?;
            more = flags & 1 == 1;
        }
        network.keep(&self.captures, &[name])
    }

    /// The tool asks a server with another store for what follows its backup.
    fn ask_another_server(&self, version: &Version, facts: &mut Facts) -> Result<()> {
        let name = "other-store";
        let home = self.work.path().join("another");
        let mut another = start(version, &home)?;
        run(&mut another.connect()?, BEGINNING)?;
        let network = Recording::of(another.backup_address())?;
        let finished = self.run_tool(&network, "a", &[])?;
        ensure!(finished.status.code() == Some(1), "{name}: {}", finished.output);
        network.keep(&self.captures, &[name])?;
        self.tell(name, &finished, facts)?;
        another.stop()?;
        Ok(())
    }

    /// Writes until a check point has removed the first log.
    fn prune(&self) -> Result<()> {
        let mut connection = self.server.connect()?;
        let first = self.server.database_dir().join("neostore.transaction.db.0");
        let deadline = Instant::now() + ANSWER_LIMIT;
        while first.exists() {
            ensure!(Instant::now() < deadline, "the first log is still there");
            run(&mut connection, &[FILLING])?;
        }
        Ok(())
    }
}

/// A network to a server whose captures have no names yet.
struct Recording {
    proxy: Proxy,
    dir: tempfile::TempDir,
}

impl Recording {
    fn of(server: SocketAddr) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        Ok(Self { proxy: Proxy::recording(&server.to_string(), dir.path())?, dir })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Names the connections.
    fn keep(&self, captures: &Path, names: &[&str]) -> Result<()> {
        let count = self.proxy.connections();
        ensure!(count == names.len(), "{names:?}: {count} connections");
        for (number, name) in names.iter().enumerate() {
            for direction in ["request", "response"] {
                let from = self.path(&format!("{number}.{direction}"));
                fs::copy(from, captures.join(format!("{name}.{direction}")))?;
            }
        }
        Ok(())
    }
}

fn start(version: &Version, home: &Path) -> Result<Server> {
    let mut builder = Server::builder(version).home(home);
    for (name, value) in three::SETTINGS {
        builder = builder.setting(name, value);
    }
    builder.setting("dbms.tx_log.rotation.retention_policy", "false").start()
}

fn bytes(hex: &str) -> Result<Vec<u8>> {
    let digits: Vec<char> = hex.chars().filter(char::is_ascii_hexdigit).collect();
    let pairs = digits.chunks(2).map(|pair| pair.iter().collect::<String>());
    Ok(pairs.map(|pair| u8::from_str_radix(&pair, 16)).collect::<Result<_, _>>()?)
}
