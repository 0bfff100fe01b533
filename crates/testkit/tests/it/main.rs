//! The testkit itself, on real servers: what it accepts is right, and damage is noticed.

mod fixtures;
mod three;

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use testkit::consistency;
use testkit::load::{Expected, Load, LoadOptions};
use testkit::schema::passing;
use testkit::seed::{SeedOptions, seed};
use testkit::server::{DatabaseFailed, Server};
use testkit::verdict::{self, Verdict};
use testkit::versions::{self, Version};

/// On a machine that others keep busy, a commit takes seconds.
const REACH_LIMIT: Duration = Duration::from_secs(180);

/// Servers want the whole machine: one test with servers at a time.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::new(());
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Goal: the load, the verdict and the checker agree with a real server, across a crash of it,
/// and each kind of damage done on purpose is reported.
/// Method: one server per version; damage by Cypher while it runs, and in a file when stopped. In the
/// ordinary run copies of 5.26 that break a rule must be caught instead (cli).
#[test]
fn right_data_passes_and_damage_is_reported() {
    let test = "right_data_passes_and_damage_is_reported";
    let _guard = one_at_a_time();
    for version in versions::long_run_only(test) {
        if let Err(error) = examine_all(&version) {
            panic!("{}: {error:#}", version.name);
        }
    }
}

fn examine_all(version: &Version) -> Result<()> {
    let home = tempfile::tempdir()?;
    let mut server = Server::builder(version).home(home.path()).start()?;
    println!("{}: started in {:.1?}", version.name, server.started_in());
    let expected = loaded(&mut server)?;

    let verdict = verdict::examine(&server, &expected);
    println!("{}: {verdict}", version.name);
    verdict.into_result()?;
    let users = verdict::examine_users(&server, &expected).into_result()?;
    ensure!(users.users > Some(2), "the load made {:?} users", users.users);
    ensure!(!expected.no_users.is_empty(), "the load dropped no user");

    println!("{}: stopped in {:.1?}", version.name, server.stop()?);
    for database in ["neo4j", "system"] {
        let begun = Instant::now();
        consistency::check(version, home.path(), database)?.into_result()?;
        println!("{}: {database} checked in {:.1?}", version.name, begun.elapsed());
    }

    starts_with_only_its_user_database(version, home.path(), &expected)?;
    tells_why_a_database_does_not_start(version, home.path())?;

    server.start_again()?;
    run_all(&server, DAMAGE)?;
    run_all(&server, DAMAGE_OF_5)?;
    damage_users(&server)?;
    let verdict = verdict::examine(&server, &expected);
    println!("{}: damaged: {verdict}", version.name);
    for (_, finding) in DAMAGE.iter().chain(DAMAGE_OF_5) {
        reported(&verdict, finding)?;
    }
    let users = verdict::examine_users(&server, &expected);
    reported(&users, "is missing")?;
    reported(&users, "should not be there")?;

    server.stop()?;
    damage_relationships(&server.database_dir())?;
    let report = consistency::check(version, home.path(), "neo4j")?;
    ensure!(!report.is_consistent(), "the checker missed it: {report:?}");
    ensure!(report.is_inconsistent(), "the checker failed otherwise: {report:?}");
    Ok(())
}

/// Goal: a server that was killed in the middle of creating a constraint passes, as a copy that ends
/// there does, and the load goes on over what is left of the constraint.
/// Method: kills a real server later and later until it leaves an index that stays `POPULATING`.
#[test]
fn a_constraint_cut_off_in_the_middle_passes() {
    let test = "a_constraint_cut_off_in_the_middle_passes";
    let _guard = one_at_a_time();
    for version in versions::long_run_only(test) {
        if let Err(error) = cut_off_a_constraint(&version) {
            panic!("{}: {error:#}", version.name);
        }
    }
}

fn cut_off_a_constraint(version: &Version) -> Result<()> {
    let home = tempfile::tempdir()?;
    let mut server = Server::builder(version).home(home.path()).start()?;
    seed(&server, &SeedOptions { filler_nodes: 1000 })?;
    server.connect()?.query("UNWIND range(1, 100000) AS i CREATE (:Item {serial: i})")?;
    leave_unfinished(&mut server)?;
    let expected = Load::start(&server, LoadOptions::default())?.history();
    let now = Instant::now();
    let verdict = verdict::examine(&server, &expected.expected(now, now));
    // The other checks find that the load's items are not its own.
    let mut all = verdict.findings.iter().chain(&verdict.not_completed);
    ensure!(!all.any(|finding| finding.starts_with("schema")), "{verdict}");

    leave_unfinished(&mut server)?;
    // The constraint is the fifth that a load creates.
    let options =
        LoadOptions { schema_every: Some(Duration::from_millis(100)), ..LoadOptions::default() };
    let load = Load::start(&server, options)?;
    thread::sleep(Duration::from_secs(10));
    let totals = load.stop()?;
    ensure!(totals.schema_changes > 10, "{totals}");
    server.stop()?;
    consistency::check(version, home.path(), "neo4j")?.into_result()?;
    Ok(())
}

/// Kills and starts the server until what is left of a constraint is an index without it.
fn leave_unfinished(server: &mut Server) -> Result<()> {
    let rule = passing(server.version().generation)
        .iter()
        .find(|rule| rule.is_constraint())
        .expect("one of them is");
    for millis in (50..2000).step_by(50) {
        let mut client = server.connect()?;
        let creating = thread::spawn(move || client.query(&rule.create()).map(drop));
        thread::sleep(Duration::from_millis(millis));
        server.kill()?;
        let _created = creating.join();
        server.start_again()?;
        let mut client = server.connect()?;
        let indexes = client.query(&format!(
            "SHOW INDEXES YIELD name, state, owningConstraint WHERE name = '{}' \
             RETURN state, owningConstraint IS NULL",
            rule.name
        ))?;
        println!("killed after {millis} ms: index {indexes:?}");
        if indexes.first().is_some_and(|row| row[0].as_str() == Some("POPULATING")) {
            return Ok(());
        }
        client.query(&rule.drop())?;
    }
    bail!("the server was never killed in the middle of it")
}

/// A load during which the server is killed and comes back.
fn loaded(server: &mut Server) -> Result<Expected> {
    seed(server, &SeedOptions { filler_nodes: 3000 })?;
    let options = LoadOptions { kept: 15, ..LoadOptions::default() };
    let load = Load::start(server, options)?;
    thread::sleep(Duration::from_secs(12));
    // Enough for deletions of what is older than what is kept.
    let before_crash = reach(&load, &[20; 2])?;
    server.kill()?;
    server.start_again()?;
    thread::sleep(Duration::from_secs(6));
    reach(&load, &one_more(&before_crash))?;
    let history = load.history();
    println!("{}: {}", server.version().name, load.stop()?);
    let now = Instant::now();
    let after = history.acknowledged_before(now);
    let grew = before_crash.iter().zip(&after).all(|(before, after)| before < after);
    ensure!(grew, "a writer did nothing after the crash: {before_crash:?} {after:?}");

    // A second load continues the numbers of the first one.
    let load = Load::start(server, LoadOptions { users_every: None, ..options })?;
    thread::sleep(Duration::from_secs(2));
    let second = load.history();
    load.stop()?;
    let users = history.expected(now, now);
    let expected = second.expected(Instant::now(), Instant::now());
    ensure!(expected.writers.iter().zip(&after).all(|(new, old)| new.at_least > *old));
    Ok(Expected { users: users.users, no_users: users.no_users, ..expected })
}

/// Waits until each writer has got so far; how far they have got.
fn reach(load: &Load, wanted: &[u64]) -> Result<Vec<u64>> {
    let deadline = Instant::now() + REACH_LIMIT;
    loop {
        let reached = load.acknowledged_before(Instant::now());
        if reached.iter().zip(wanted).all(|(reached, wanted)| reached >= wanted) {
            return Ok(reached);
        }
        ensure!(Instant::now() < deadline, "writers at {reached:?}, not at {wanted:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn one_more(writers: &[u64]) -> Vec<u64> {
    writers.iter().map(|last| last + 1).collect()
}

/// As after a restore of `neo4j` alone: the new home has its own `system` and password.
fn starts_with_only_its_user_database(
    version: &Version,
    home: &Path,
    expected: &Expected,
) -> Result<()> {
    let restored = tempfile::tempdir()?;
    for dir in ["data/databases/neo4j", "data/transactions/neo4j"] {
        copy_tree(&home.join(dir), &restored.path().join(dir))?;
    }
    let mut server = Server::builder(version).home(restored.path()).start()?;
    verdict::examine(&server, expected).into_result()?;
    let users = verdict::examine_users(&server, expected);
    reported(&users, "is missing")?;
    server.stop()?;
    Ok(())
}

/// Stores without logs: the server is up and its port open, but that is not a start.
fn tells_why_a_database_does_not_start(version: &Version, home: &Path) -> Result<()> {
    let restored = tempfile::tempdir()?;
    let dir = "data/databases/neo4j";
    copy_tree(&home.join(dir), &restored.path().join(dir))?;
    let begun = Instant::now();
    let started = Server::builder(version).home(restored.path()).start();
    let Err(error) = started else { bail!("started without logs") };
    let failed = error.downcast_ref::<DatabaseFailed>().map(ToString::to_string);
    let told = failed.is_some_and(|text| text.contains("neo4j: "));
    ensure!(told, "{error:#}");
    ensure!(begun.elapsed() < Duration::from_secs(120), "known only after {:?}", begun.elapsed());
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &to.join(entry.file_name()))?;
        } else {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// A statement, and what of the verdict tells of it.
type Damage = (&'static str, &'static str);

const DAMAGE: &[Damage] = &[
    ("MATCH (s:Seq {writer: 0, n: 3}) DETACH DELETE s", "writer 0: of 1 to"),
    ("MATCH (w:Writer {id: 0}) SET w.n = w.n + 1000000", "was attempted"),
    ("MATCH (w:Writer {id: 1}) SET w.n = 1", "was acknowledged"),
    ("MATCH (s:Seq {writer: 0, n: 2}) SET s.seen = [0, 1000000]", "another writer saw its 1000000"),
    ("MATCH (a:Account {id: 7}) SET a.balance = a.balance + 1", "the balances add up to"),
    (
        "MATCH (i:Item {writer: 1}) WITH i ORDER BY i.n DESC LIMIT 1 DETACH DELETE i",
        "items instead of",
    ),
    (
        "MATCH (:Hub)<-[r:AT {writer: 0}]-(i:Item) WITH r LIMIT 1 DELETE r",
        "dense relationships instead of",
    ),
    ("MATCH (i:Item {i: 0}) WITH i LIMIT 1 SET i.text = i.text + '!'", "item 0: text"),
    (
        "MATCH (s:Seq) WHERE s.deleted > 0 WITH s LIMIT 1 \
         CREATE (:Item {writer: s.writer, n: s.deleted})",
        "1 items instead of 0",
    ),
    ("CREATE (:Item {writer: 9, n: 9})", "items of no transaction"),
    ("CREATE (:Item {writer: 9, n: 10})", "items are counted differently"),
];

const DAMAGE_OF_5: &[Damage] = &[
    ("DROP INDEX item_place", "no index item_place"),
    ("DROP CONSTRAINT account_id", "no constraint account_id"),
];

fn run_all(server: &Server, damage: &[Damage]) -> Result<()> {
    let mut connection = server.connect()?;
    for (statement, _) in damage {
        connection.query(statement)?;
    }
    Ok(())
}

fn damage_users(server: &Server) -> Result<()> {
    let mut system = server.connect_to("system")?;
    system.query("DROP USER user_1_0")?;
    system.query("CREATE USER user_1_1 SET PASSWORD 'password of a dropped one'")?;
    Ok(())
}

fn reported(verdict: &Verdict, finding: &str) -> Result<()> {
    ensure!(verdict.findings.iter().any(|text| text.contains(finding)), "not reported: {finding}");
    Ok(())
}

/// Overwrites some records of the relationship store with zeros, that is, unused ones. They are of
/// those that the seed made, before all others, and that nobody deletes.
fn damage_relationships(database: &Path) -> Result<()> {
    let path = database.join("neostore.relationshipstore.db");
    let file = File::options().write(true).open(&path)?;
    file.write_all_at(&[0; 512], 1024)?;
    Ok(())
}
