//! Neo4j 3.0 in high availability: backups that go from member to member, clusters made of them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use testkit::cluster::{Cluster, MEMBERS};
use testkit::load::{Expected, Load, LoadOptions};
use testkit::program::Service;
use testkit::seed::{SeedOptions, seed};
use testkit::server::{Builder, Server};
use testkit::versions::{self, Version};
use testkit::{consistency, rest, verdict};

use crate::scene::{arg, one_at_a_time, program};

const DATABASE: &str = "graph.db";
/// A type of backup.
const EITHER: &str = "full or incremental";
const BETWEEN: Duration = Duration::from_secs(2);
const REPLICATED_LIMIT: Duration = Duration::from_secs(30);
/// Exit code of a backup whose last transaction the server has not got.
const DIVERGED: i32 = 24;
/// And of one that is older than the server's logs, if that must not become a full one.
const LOGS_PRUNED: i32 = 22;

/// Claim: one backup of a cluster under load goes on from whichever member, master or slave, from the
/// member's own service and from ours beside it, across a switch of the master, with a member that was
/// killed and came back, and with one that lost its disk and copied the store from the master.
/// Restored on all members it makes them a cluster again, with everything in it, which goes on to
/// replicate. Method: three real members; writers that know what must be there.
#[test]
fn a_cluster_of_3_0_is_backed_up_and_restored() {
    each("a cluster of 3.0", around_the_members);
}

/// Claim: what a member lacks of a backup is never passed over. A slave that is behind is refused, and goes on
/// once it is not; a member is refused for good whose history parted from the backup's, because a master
/// died with transactions that no other had. Method: slaves that only learn of the master's transactions
/// when they write themselves.
#[test]
fn a_member_without_the_end_of_the_backup_is_refused() {
    each("a member that lacks transactions", behind_and_diverged);
}

fn each(test: &str, examine: fn(&Version) -> Result<()>) {
    let _guard = one_at_a_time();
    for version in versions::long_run_only_3_0(test) {
        if let Err(error) = examine(&version) {
            panic!("{}: {error:#}", version.name);
        }
    }
}

fn around_the_members(version: &Version) -> Result<()> {
    let mut scene = Scene::begin(version, |server| {
        server
            .setting("dbms.tx_log.rotation.size", "1M")
            .setting("ha.pull_interval", "500ms")
            // What a writer is told of is on both slaves.
            .setting("ha.tx_push_factor", MEMBERS - 1)
    })?;
    let master = scene.cluster.master()?;
    let (slave, other) = ((master + 1) % MEMBERS, (master + 2) % MEMBERS);
    seed(&scene.cluster.members()[master], &SeedOptions { filler_nodes: 2_000 })?;
    scene.load(master)?;
    let (backup, another) = (scene.path("backup"), scene.path("another"));
    scene.back_up(Of::Theirs(slave), &backup, "full")?;
    scene.back_up(Of::Theirs(master), &backup, "incremental")?;
    scene.back_up(Of::Ours(master), &backup, "incremental")?;
    scene.back_up(Of::Ours(slave), &backup, "incremental")?;
    scene.back_up(Of::Theirs(other), &backup, "incremental")?;
    scene.back_up(Of::Ours(other), &another, "full")?;
    scene.back_up(Of::Theirs(master), &another, "incremental")?;
    let expected = scene.back_up(Of::Ours(slave), &another, "incremental")?;
    scene.alone(&another, &expected)?;

    let new_master = scene.switch(master)?;
    scene.back_up(Of::Theirs(new_master), &backup, "incremental")?;
    scene.back_up(Of::Ours(new_master), &backup, "incremental")?;
    let remaining = MEMBERS - master - new_master;
    scene.back_up(Of::Ours(remaining), &backup, "incremental")?;
    scene.back_up(Of::Theirs(remaining), &backup, "incremental")?;

    // It may have had transactions that no other had: then it copies the store from the master, and has a log
    // of what follows only. So has one without a store.
    scene.cluster.member(master).start_again()?;
    scene.cluster.master()?;
    scene.back_up(Of::Ours(master), &backup, EITHER)?;
    scene.back_up(Of::Theirs(master), &backup, "incremental")?;
    scene.cluster.member(remaining).stop()?;
    std::fs::remove_dir_all(scene.cluster.members()[remaining].database_dir())?;
    scene.cluster.member(remaining).start_again()?;
    scene.cluster.master()?;
    scene.back_up(Of::Ours(remaining), &another, "full")?;
    scene.back_up(Of::Theirs(remaining), &backup, EITHER)?;
    scene.back_up(Of::Ours(remaining), &backup, "incremental")?;
    let expected = scene.back_up(Of::Theirs(new_master), &another, "incremental")?;
    scene.alone(&another, &expected)?;
    let expected = scene.back_up(Of::Ours(master), &backup, "incremental")?;
    scene.end_load()?;
    scene.everywhere(&backup, &expected)
}

fn behind_and_diverged(version: &Version) -> Result<()> {
    let mut scene = Scene::begin(version, |server| {
        server.setting("ha.tx_push_factor", 0).setting("ha.pull_interval", 0)
    })?;
    let master = scene.cluster.master()?;
    let slave = (master + 1) % MEMBERS;
    scene.write(master, "first")?;
    let (ours, theirs) = (scene.path("ours"), scene.path("theirs"));
    scene.back_up(Of::Ours(master), &ours, "full")?;
    scene.back_up(Of::Theirs(master), &theirs, "full")?;
    scene.write(master, "not yet on slaves")?;
    for to in [&ours, &theirs] {
        scene.back_up(Of::Ours(master), to, "incremental")?;
        scene.refused(slave, to, (DIVERGED, "behind"))?;
    }
    scene.write(slave, "by a slave, which learns of all others thereby")?;
    scene.back_up(Of::Ours(slave), &ours, "incremental")?;
    scene.back_up(Of::Theirs(slave), &theirs, "incremental")?;

    scene.write(master, "never on any other")?;
    scene.back_up(Of::Ours(master), &ours, "incremental")?;
    scene.back_up(Of::Theirs(master), &theirs, "incremental")?;
    scene.cluster.member(master).kill()?;
    let new_master = scene.cluster.master()?;
    for text in ["in its place", "behind it"] {
        scene.write(new_master, text)?;
    }
    for to in [&ours, &theirs] {
        scene.refused(new_master, to, (DIVERGED, "checksum"))?;
    }
    // It copies the store from the new master, and has a log of what follows only.
    scene.cluster.member(master).start_again()?;
    scene.cluster.master()?;
    scene.write(master, "by the one that came back")?;
    for to in [&ours, &theirs] {
        scene.refused(master, to, (LOGS_PRUNED, "logs_pruned"))?;
    }
    Ok(())
}

/// Which service of which member.
#[derive(Clone, Copy, Debug)]
enum Of {
    Ours(usize),
    Theirs(usize),
}

/// A cluster, a service of ours beside each member, and a load once that has begun.
struct Scene {
    version: Version,
    cluster: Cluster,
    services: Vec<Service>,
    load: Option<Load>,
    dir: TempDir,
}

impl Scene {
    fn begin(version: &Version, configure: impl Fn(Builder) -> Builder) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("neo4j-backup-test-").tempdir()?;
        let begun = Instant::now();
        let cluster = Cluster::start(version, dir.path(), |server| {
            configure(server.setting("dbms.checkpoint.interval.time", "3s"))
        })?;
        println!("{}: a cluster in {:.1?}", version.name, begun.elapsed());
        let serve = |member: &Server| program().serve(&["--config", arg(&member.conf())]);
        let services = cluster.members().iter().map(serve).collect::<Result<_>>()?;
        Ok(Self { version: *version, cluster, services, load: None, dir })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn load(&mut self, master: usize) -> Result<()> {
        // A master of 3.0.0 fails for good when an index is dropped that a commit is writing to: "Concurrent
        // drop() while updates have not completed". A server of its own waits.
        let options =
            LoadOptions { writers: 2, kept: 15, schema_every: None, ..LoadOptions::default() };
        self.load = Some(Load::start(&self.cluster.members()[master], options)?);
        std::thread::sleep(BETWEEN);
        Ok(())
    }

    fn end_load(&mut self) -> Result<()> {
        let load = self.load.take().context("no load")?;
        println!("{}: {}", self.version.name, load.stop()?);
        Ok(())
    }

    /// Kills the master under load; another takes its place, and the writers go there.
    fn switch(&mut self, master: usize) -> Result<usize> {
        let history = self.load.as_ref().context("no load")?.history();
        self.cluster.member(master).kill()?;
        let killed = Instant::now();
        let new_master = self.cluster.master()?;
        println!("{}: another master after {:.1?}", self.version.name, killed.elapsed());
        self.end_load()?;
        self.load(new_master)?;
        let (told, kept) = (history.acknowledged_before(killed), self.expected(killed).writers);
        // Else increments could not be told from divergence.
        let lost = told.iter().zip(&kept).any(|(told, kept)| *told > kept.at_least);
        ensure!(!lost, "the cluster lost what it had told of: {told:?}, {kept:?}");
        Ok(new_master)
    }

    fn address(&self, of: Of) -> SocketAddr {
        match of {
            Of::Ours(member) => ([127, 0, 0, 1], self.services[member].port).into(),
            Of::Theirs(member) => self.cluster.members()[member].backup_address(),
        }
    }

    /// A backup by our client, from a member that has what the backup has; what must be in it.
    fn back_up(&self, of: Of, to: &Path, kind: &str) -> Result<Expected> {
        let (Of::Ours(member) | Of::Theirs(member)) = of;
        if to.exists() {
            let (info, _) = program().json(&["info", "--from", arg(to), "--json"])?;
            let last = info["databases"][0]["last_tx_id"].as_u64().context("no last_tx_id")?;
            self.cluster.caught_up(member, last)?;
        }
        let (begun, from) = (Instant::now(), self.address(of).to_string());
        let mut args = vec!["-host", &from, "-to", arg(to), "--json"];
        if kind == "full" && to.exists() {
            args.push("--full");
        }
        let (report, took) = program().json(&args)?;
        let report: &Value = &report["databases"][0];
        eprintln!("{}: {of:?}: {took:.1?}, {report}", self.version.name);
        ensure!(kind == EITHER || report["type"] == kind, "{report}");
        let expected = self.expected(begun);
        program().json(&["verify", "--from", arg(to), "--json"])?;
        std::thread::sleep(BETWEEN / 2);
        Ok(expected)
    }

    /// A run that must fail with that code and word, from both services of a member, and leaves the backup as it
    /// was.
    fn refused(&self, member: usize, to: &Path, (code, word): (i32, &str)) -> Result<()> {
        let info = ["info", "--from", arg(to), "--json"];
        let (before, _) = program().json(&info)?;
        for of in [Of::Ours(member), Of::Theirs(member)] {
            let from = self.address(of).to_string();
            let args = ["-host", &from, "-to", arg(to), "--no-fallback", "--json"];
            let (found, said) = program().outcome(&args)?;
            eprintln!("{}: {of:?}: {found:?}, {said}", self.version.name);
            ensure!(found == Some(code) && said.to_string().contains(word), "{found:?}, {said}");
            ensure!(program().json(&info)?.0 == before, "another backup than before");
        }
        program().json(&["verify", "--from", arg(to), "--json"])?;
        Ok(())
    }

    fn expected(&self, begun: Instant) -> Expected {
        let now = Instant::now();
        self.load
            .as_ref()
            .map_or_else(Expected::default, |load| load.history().expected(begun, now))
    }

    fn write(&self, member: usize, text: &str) -> Result<()> {
        let member = &self.cluster.members()[member];
        member.connect()?.query(&format!("CREATE (:Note {{text: '{text}'}})"))?;
        println!("{}: transaction {}: {text}", self.version.name, rest::last_tx_id(member)?);
        Ok(())
    }

    /// What `restore` makes of a backup is right for a server of its own.
    fn alone(&self, from: &Path, expected: &Expected) -> Result<()> {
        let home = self.path("alone");
        std::fs::create_dir_all(&home)?;
        restore(from, &home.join("data"))?;
        let mut server = Server::builder(&self.version).home(&home).heap("256m").start()?;
        let figures = verdict::examine(&server, expected).into_result()?;
        println!("{}: alone: {figures:?}", self.version.name);
        server.stop()?;
        consistency::check(&self.version, &home, DATABASE)?.into_result()?;
        Ok(std::fs::remove_dir_all(home)?)
    }

    /// What `restore` makes of a backup on each member is right: they are a cluster, each has everything, and
    /// what is written from then on.
    fn everywhere(mut self, from: &Path, expected: &Expected) -> Result<()> {
        self.services.clear();
        self.cluster.stop()?;
        for member in self.cluster.members() {
            restore(from, &member.data_dir())?;
        }
        let master = self.cluster.start_again()?;
        let verdict = |member| verdict::examine(member, expected).into_result();
        let figures = self.cluster.members().iter().map(verdict).collect::<Result<Vec<_>>>()?;
        println!("{}: restored, member {master} is the master: {figures:?}", self.version.name);
        ensure!(figures.iter().all(|one| one.writers == figures[0].writers), "{figures:?}");
        self.write(master, "after the restore")?;
        self.cluster.members().iter().try_for_each(has_note)?;
        self.cluster.stop()?;
        for member in self.cluster.members() {
            consistency::check(&self.version, member.home(), DATABASE)?.into_result()?;
        }
        Ok(())
    }
}

fn restore(from: &Path, data: &Path) -> Result<()> {
    program().json(&["restore", "--from", arg(from), "--to", arg(data), "--force", "--json"])?;
    Ok(())
}

/// Waits until a member has what was written last.
fn has_note(member: &Server) -> Result<()> {
    let deadline = Instant::now() + REPLICATED_LIMIT;
    let query = "MATCH (n:Note {text: 'after the restore'}) RETURN count(n)";
    while member.connect()?.number(query)? != 1 {
        ensure!(Instant::now() < deadline, "not replicated to {}", member.home().display());
        std::thread::sleep(BETWEEN / 10);
    }
    Ok(())
}
