//! The backup tool of Neo4j 3.0 and our service: where it must begin anew, where it is refused, how much it takes,
//! how many run at once, and what becomes of it when the service ends.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use formats::v3_0::Neostore;
use rustix::process::Signal;
use testkit::load::Expected;
use testkit::server::Server;
use testkit::versions::{self, V3_0_0, V3_0_0_COMMUNITY, Version};
use testkit::{backup_tool, params, process, rest, verdict};

use crate::scene::{arg, one_at_a_time, program};
use crate::scene_3_0::{Scene, usual_load, without_schema_changes};

/// How the tool says that it must begin anew.
const LOGS_GONE: &str = "IncrementalBackupNotPossibleException";
/// What it says to a backup of another store.
const OTHER_STORE: &str = "MismatchingStoreIdException";
const PRUNED_LIMIT: Duration = Duration::from_secs(180);
/// Far less than the tool waits for a peer that is silent, which is 20 minutes.
const END_LIMIT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(2);
const MANY: u64 = 3000;
/// More than one frame of the protocol has.
const MANY_BYTES: u64 = 4 << 20;
const AT_ONCE: usize = 3;
/// So that a client takes longer than the tools take to start.
const SLOWLY: [&str; 2] = ["--limit-rate", "1MiB"];
const SERVICE_KIB_MAX: u64 = 64 << 10;
/// More than the sockets on the way hold.
const LARGE_MIB: u32 = 96;
const LINK_PAUSE: Duration = Duration::from_millis(20);
const BEGUN_BYTES: u64 = 1 << 20;

/// Claim: where the server has pruned the logs that an increment needs, our service tells the tool so in words on
/// which it removes the backup and makes a full one; that one is right. Method: a server that keeps one log
/// file, of 1 MiB; a file of nobody's in the backup, which only a new backup does not have.
#[test]
fn the_tool_begins_anew_where_logs_are_gone() {
    each("the tool where logs are gone", |version| {
        let mut scene = Scene::begin(version, |server| {
            server.setting("dbms.tx_log.rotation.retention_policy", "1 files")
        })?;
        // The job that makes check points, which prune, dies now and then where indexes come and go.
        scene.load(without_schema_changes())?;
        let to = scene.path("tool");
        scene.by_the_tool(scene.ours(), &to)?;
        let strange = to.join("strange");
        std::fs::write(&strange, "kept by an increment")?;
        wait_for_pruning(&scene.live)?;
        let (done, expected) = scene.run_the_tool(scene.ours(), &to)?;
        ensure!(done.status.success() && done.output.contains(LOGS_GONE), "{}", done.output);
        ensure!(!strange.exists(), "not a new backup: {}", done.output);
        scene.by_hand(&to, &expected)?;
        scene.end()
    });
}

/// Claim: from our service the tool takes none, and thousands, of transactions in an increment, which are then
/// in its backup; an increment on the backup of another server ends as it does with the real server: it says
/// that the store is another, exits with 1, and leaves the backup as it was. Method: a quiet server, whose last
/// transaction is known, and a second one.
#[test]
fn the_tool_takes_none_and_many_and_refuses_another_store() {
    each("increments of the tool", |version| {
        let mut scene = Scene::begin(version, |server| server)?;
        scene.load(usual_load())?;
        let expected = end_load(&mut scene)?;
        let to = scene.path("tool");
        scene.by_the_tool(scene.ours(), &to)?;
        let (full, full_bytes) = (last_tx_id(&to)?, log_bytes(&to)?);
        ensure!(full == rest::last_tx_id(&scene.live)?, "the full backup ends with {full}");
        scene.by_the_tool(scene.ours(), &to)?;
        ensure!(last_tx_id(&to)? == full, "an increment of none goes on to {}", last_tx_id(&to)?);

        write_notes(&scene.live, MANY)?;
        scene.by_the_tool(scene.ours(), &to)?;
        let (last, bytes) = (last_tx_id(&to)?, log_bytes(&to)? - full_bytes);
        println!("{}: {full} to {last}, {bytes} bytes of log more", version.name);
        let told = rest::last_tx_id(&scene.live)?;
        ensure!(last == told && last >= full + MANY, "{full} to {last} of {told}");
        ensure!(bytes > MANY_BYTES, "only {bytes} bytes");
        let live = verdict::examine(&scene.live, &expected).into_result()?;
        let copied = scene.by_hand(&to, &expected)?;
        ensure!(copied.nodes == live.nodes, "{copied:?}, but {live:?}");

        refused_on_another_store(&scene)?;
        scene.end()
    });
}

/// Claim: runs of the tool and of our client at the same time, from one service under load, all make right
/// backups, and the service needs no more memory than its limit. Method: all start at once.
#[test]
fn both_tools_copy_at_once() {
    each("copies at once", |version| {
        let mut scene = Scene::begin(version, |server| server)?;
        scene.load(usual_load())?;
        let tools: Vec<_> = (0..AT_ONCE).map(|run| scene.path(&format!("tool-{run}"))).collect();
        let (client, shared) = (scene.path("client"), &scene);
        let backups = thread::scope(|scope| {
            let mut running = Vec::new();
            for to in &tools {
                running.push((to, scope.spawn(|| shared.by_the_tool(shared.ours(), to))));
            }
            let mut backups =
                vec![(&client, shared.back_up_with(shared.ours(), &client, "full", &SLOWLY)?)];
            for (to, run) in running {
                backups.push((to, run.join().ok().context("a run panicked")??));
            }
            anyhow::Ok(backups)
        })?;
        let peak_kib = peak_kib(scene.service.pid())?;
        println!("{}: {peak_kib} KiB at most in the service", version.name);
        ensure!(peak_kib <= SERVICE_KIB_MAX, "{peak_kib} KiB");
        for (to, expected) in backups {
            scene.by_hand(to, &expected)?;
        }
        scene.end()
    });
}

/// Claim: when our service is told to stop, or is killed, while it sends files to the tool, the tool soon fails;
/// a service that starts then makes right backups. Method: a slow link between them, and more files than all
/// sockets on the way hold.
#[test]
fn the_tool_fails_when_the_service_ends() {
    each("the tool whose service ends", |version| {
        let mut scene = Scene::begin(version, |server| server)?;
        fill(&scene.live)?;
        scene.load(usual_load())?;
        for (name, signal) in [("told", Signal::TERM), ("killed", Signal::KILL)] {
            let link = Link::to(scene.ours())?;
            let mut tool = begin_to_copy(&scene, &link, &scene.path(name))?;
            process::signal(scene.service.child(), signal)?;
            let ended = process::wait(scene.service.child(), END_LIMIT)?;
            let ended = ended.context("the service does not end")?;
            ensure!(ended.success() == (signal == Signal::TERM), "{name}: the service: {ended}");
            let begun = Instant::now();
            link.is_slow.store(false, Ordering::Relaxed);
            let Some(status) = process::wait(&mut tool, END_LIMIT)? else {
                tool.kill()?;
                tool.wait()?;
                bail!("{name}: the tool hangs");
            };
            let passed = link.passed_bytes.load(Ordering::Relaxed);
            println!("{}: {name}: {status} in {:.1?}", version.name, begun.elapsed());
            println!("{}: {name}: {passed} bytes had come", version.name);
            ensure!(status.code() == Some(1), "{name}: the tool: {status}");
            scene.service = program().serve(&["--config", arg(&scene.live.conf())])?;
            let to = scene.path(&format!("after-{name}"));
            let expected = scene.back_up(scene.ours(), &to, "full")?;
            scene.by_hand(&to, &expected)?;
        }
        scene.end()
    });
}

/// Claim: beside a Community server, which has no backup service, ours makes full and incremental backups for both
/// tools, which go on with each other's. Method: Community's own jars.
#[test]
fn backups_of_community_3_0() {
    each("backups of Community", |version| {
        if *version != V3_0_0 {
            return Ok(());
        }
        let mut scene = Scene::begin(&V3_0_0_COMMUNITY, |server| server)?;
        ensure!(TcpStream::connect(scene.theirs()).is_err(), "it has a backup service");
        scene.load(usual_load())?;
        let (client, tool) = (scene.path("client"), scene.path("tool"));
        scene.back_up(scene.ours(), &client, "full")?;
        scene.by_the_tool(scene.ours(), &tool)?;
        let expected = scene.back_up(scene.ours(), &client, "incremental")?;
        scene.restored(&client, &expected)?;
        let expected = scene.by_the_tool(scene.ours(), &tool)?;
        scene.by_hand(&tool, &expected)?;
        let expected = scene.by_the_tool(scene.ours(), &client)?;
        scene.by_hand(&client, &expected)?;
        let expected = scene.back_up(scene.ours(), &tool, "incremental")?;
        scene.restored(&tool, &expected)?;
        scene.end()
    });
}

fn each(test: &str, examine: impl Fn(&Version) -> Result<()>) {
    let _guard = one_at_a_time();
    for version in versions::long_run_only_3_0(test) {
        if let Err(error) = examine(&version) {
            panic!("{}: {error:#}", version.name);
        }
    }
}

/// Waits until no log is left that there is now.
fn wait_for_pruning(server: &Server) -> Result<()> {
    let logs = || -> Result<Vec<PathBuf>> {
        let files = std::fs::read_dir(server.database_dir())?.map(|entry| Ok(entry?.path()));
        let is_log = |path: &PathBuf| path.to_string_lossy().contains("neostore.transaction.db.");
        files.filter(|path| path.as_ref().map_or(true, is_log)).collect()
    };
    let deadline = Instant::now() + PRUNED_LIMIT;
    let before = logs()?;
    while logs()?.iter().any(|log| before.contains(log)) {
        ensure!(Instant::now() < deadline, "not pruned after {PRUNED_LIMIT:?}: {:?}", logs()?);
        thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

/// Ends the load; what must be in every backup that is made from then on.
fn end_load(scene: &mut Scene) -> Result<Expected> {
    let load = scene.load.take().context("no load")?;
    let history = load.history();
    load.stop()?;
    let now = Instant::now();
    Ok(history.expected(now, now))
}

/// The last transaction of a backup of the tool's, which it has recovered and closed.
fn last_tx_id(backup: &Path) -> Result<u64> {
    Ok(Neostore::decode(&std::fs::read(backup.join("neostore"))?)?.last_tx_id.0)
}

fn log_bytes(backup: &Path) -> Result<u64> {
    let logs = files(backup)?;
    let logs = logs.iter().filter(|(name, _)| name.starts_with("neostore.transaction.db."));
    Ok(logs.map(|(_, bytes)| bytes.len() as u64).sum())
}

/// The database's files in a directory, not those below it.
fn files(dir: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.path().is_file() {
            let name = entry.file_name().to_string_lossy().into_owned();
            found.insert(name, std::fs::read(entry.path())?);
        }
    }
    Ok(found)
}

/// Transactions of which each has some 1500 bytes.
fn write_notes(server: &Server, count: u64) -> Result<()> {
    let mut connection = server.connect()?;
    let text = "a note of some length. ".repeat(65);
    for i in 0..count {
        let params = params! { "i" => i.cast_signed(), "text" => text.clone() };
        connection.run("CREATE (:Note {i: $i, text: $text})", params)?;
    }
    Ok(())
}

/// Nodes of about 1 MiB each.
fn fill(server: &Server) -> Result<()> {
    let mut connection = server.connect()?;
    for _ in 0..LARGE_MIB {
        connection.query(
            "CREATE (:Large {longs: [x IN range(1, 131072) | toInteger(rand() * 1000000000000000)]})",
        )?;
    }
    Ok(())
}

/// From our service and from the server's own.
fn refused_on_another_store(scene: &Scene) -> Result<()> {
    let home = scene.path("other");
    let mut other = Server::builder(&scene.version).home(home).heap("256m").start()?;
    write_notes(&other, 3)?;
    let to = scene.path("others");
    scene.by_the_tool(other.backup_address(), &to)?;
    let content = |to: &Path| -> Result<BTreeMap<String, Vec<u8>>> {
        let mut content = files(to)?;
        // The tool opens the database and closes it: that is told in the logs.
        content.retain(|name, _| name.starts_with("neostore.") && name.ends_with("store.db"));
        ensure!(!content.is_empty(), "no stores in {}", to.display());
        Ok(content)
    };
    let before = (last_tx_id(&to)?, content(&to)?);
    for from in [scene.theirs(), scene.ours()] {
        let (done, _) = scene.run_the_tool(from, &to)?;
        let told = done.output.contains(OTHER_STORE);
        ensure!(done.status.code() == Some(1) && told, "{}: {}", done.status, done.output);
        ensure!((last_tx_id(&to)?, content(&to)?) == before, "the backup is another");
    }
    write_notes(&other, 3)?;
    scene.by_the_tool(other.backup_address(), &to)?;
    ensure!(last_tx_id(&to)? == rest::last_tx_id(&other)?, "not gone on with");
    other.stop()?;
    Ok(())
}

/// The tool in the middle of a full copy.
fn begin_to_copy(scene: &Scene, link: &Link, to: &Path) -> Result<Child> {
    let (host, port) = (link.address.ip().to_string(), link.address.port().to_string());
    let args = ["-host", &host, "-port", &port, "-to", arg(to)];
    let mut command = backup_tool::command(&scene.version, &["-Xmx256m"], &args)?;
    command.current_dir(scene.dir.path());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut tool = process::spawn(command)?;
    while link.passed_bytes.load(Ordering::Relaxed) < BEGUN_BYTES {
        ensure!(tool.try_wait()?.is_none(), "the tool ended before it had copied anything");
        thread::sleep(LOOK_EVERY);
    }
    Ok(tool)
}

/// What stands between the tool and a service, and passes little at a time of what the service says.
struct Link {
    address: SocketAddr,
    is_slow: Arc<AtomicBool>,
    passed_bytes: Arc<AtomicU64>,
}

impl Link {
    fn to(service: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let (is_slow, passed_bytes) = (Arc::new(AtomicBool::new(true)), Arc::default());
        let (slow, passed) = (Arc::clone(&is_slow), Arc::clone(&passed_bytes));
        thread::spawn(move || {
            for tool in listener.incoming().flatten() {
                let (slow, passed) = (Arc::clone(&slow), Arc::clone(&passed));
                // Either side may end in the middle: that is what is tested.
                thread::spawn(move || pass(tool, service, &slow, &passed).ok());
            }
        });
        Ok(Self { address, is_slow, passed_bytes })
    }
}

/// Ends when the service closes the connection, and then closes that to the tool.
fn pass(tool: TcpStream, service: SocketAddr, slow: &AtomicBool, passed: &AtomicU64) -> Result<()> {
    let mut service = TcpStream::connect(service)?;
    let (mut from_tool, mut to_service) = (tool.try_clone()?, service.try_clone()?);
    thread::spawn(move || std::io::copy(&mut from_tool, &mut to_service).ok());
    let closed = || -> Result<()> {
        let mut buffer = vec![0; 64 << 10];
        while let read @ 1.. = service.read(&mut buffer)? {
            (&tool).write_all(buffer.get(..read).unwrap_or_default())?;
            passed.fetch_add(read as u64, Ordering::Relaxed);
            if slow.load(Ordering::Relaxed) {
                thread::sleep(LINK_PAUSE);
            }
        }
        Ok(())
    }();
    tool.shutdown(Shutdown::Both)?;
    closed
}

fn peak_kib(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}
