//! The same on 3.0 Enterprise, and its own backup tool between them.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use testkit::load::{Expected, Load, LoadOptions};
use testkit::seed::{SeedOptions, seed};
use testkit::server::Server;
use testkit::versions::{self, Version};
use testkit::{backup_tool, consistency, verdict};

use crate::{
    DAMAGE, Damage, damage_relationships, one_at_a_time, one_more, reach, reported, run_all,
};

const DATABASE: &str = "graph.db";
const WRITERS: u32 = 3;
const BACKUP_LIMIT: Duration = Duration::from_secs(120);

/// Goal: load, verdict and checker agree with a real server of 3.0 across a crash of it; what its
/// own backup tool copies under load, full and then an increment, passes them; damage is reported.
/// Method: one server and one restored copy; damage by Cypher, and in files when stopped.
#[test]
fn copies_of_3_0_by_its_own_tool_pass_and_damage_is_reported() {
    let _guard = one_at_a_time();
    // In the ordinary run the program's own test does the like.
    for version in versions::under_test_3_0("copies of 3.0 by its own tool") {
        if !versions::is_long_run() {
            eprintln!("LONG RUN ONLY copies of 3.0 by its own tool on Neo4j {}", version.name);
            continue;
        }
        if let Err(error) = examine_all(&version) {
            panic!("{}: {error:#}", version.name);
        }
    }
}

fn examine_all(version: &Version) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut live = Server::builder(version).home(dir.path().join("live")).start()?;
    println!("{}: started in {:.1?}", version.name, live.started_in());
    let restored = dir.path().join("restored");
    let copy = restored.join("data/databases").join(DATABASE);
    let (expected, at_the_end) = backed_up_under_load(&mut live, dir.path(), &copy)?;
    verdict::examine(&live, &at_the_end).into_result()?;
    println!("{}: stopped in {:.1?}", version.name, live.stop()?);
    consistency::check(version, live.home(), DATABASE)?.into_result()?;

    let mut server = Server::builder(version).home(&restored).start()?;
    println!("{}: restored: started in {:.1?}", version.name, server.started_in());
    println!(
        "{}: restored: {:?}",
        version.name,
        verdict::examine(&server, &expected).into_result()?
    );
    server.stop()?;
    consistency::check(version, &restored, DATABASE)?.into_result()?;

    damage_is_reported(&mut server, &expected)
}

/// Kills the server on the way, and has the tool copy it twice. Returns what must be in the copy,
/// and in the server's own database.
fn backed_up_under_load(
    server: &mut Server,
    dir: &Path,
    to: &Path,
) -> Result<(Expected, Expected)> {
    let version = *server.version();
    seed(server, &SeedOptions { filler_nodes: 3000 })?;
    let options = LoadOptions { writers: WRITERS, kept: 15, ..LoadOptions::default() };
    let load = Load::start(server, options)?;
    // Enough for deletions of what is older than what is kept.
    let mut reached = reach(&load, &[20; WRITERS as usize])?;
    server.kill()?;
    let report = consistency::check(&version, server.home(), DATABASE)?;
    let refused = !report.is_consistent() && !report.is_inconsistent();
    ensure!(refused, "the checker took a store that needs recovery: {report:?}");
    server.start_again()?;
    reached = reach(&load, &one_more(&reached))?;

    fs::create_dir_all(to.parent().expect("it has one"))?;
    let history = load.history();
    let mut expected = Expected::default();
    for kind in ["full", "increment"] {
        let begun = Instant::now();
        let from = server.backup_address();
        let finished = backup_tool::back_up(&version, dir, from, to, BACKUP_LIMIT)?;
        ensure!(finished.status.success(), "{kind}: {}", finished.output);
        println!("{}: {kind} backup in {:.1?}", version.name, begun.elapsed());
        expected = history.expected(begun, Instant::now());
        reached = reach(&load, &one_more(&reached))?;
    }
    println!("{}: {}", version.name, load.stop()?);
    let now = Instant::now();
    Ok((expected, history.expected(now, now)))
}

const DAMAGE_OF_3_0: &[Damage] = &[
    ("DROP INDEX ON :Seq(n)", "no index INDEX ON :Seq(n)"),
    (
        "DROP CONSTRAINT ON (a:Account) ASSERT a.id IS UNIQUE",
        "no constraint CONSTRAINT ON ( account:Account )",
    ),
];

/// Of the legacy indexes nothing is left but their configuration, as after a backup that omits them.
fn damage_is_reported(server: &mut Server, expected: &Expected) -> Result<()> {
    fs::remove_dir_all(server.database_dir().join("index"))?;
    server.start_again()?;
    run_all(server, DAMAGE)?;
    run_all(server, DAMAGE_OF_3_0)?;
    let verdict = verdict::examine(server, expected);
    println!("{}: damaged: {verdict}", server.version().name);
    for (_, finding) in DAMAGE.iter().chain(DAMAGE_OF_3_0) {
        reported(&verdict, finding)?;
    }
    reported(&verdict, "relationships with a number are counted differently")?;
    reported(&verdict, "0 items at len")?;

    server.stop()?;
    damage_relationships(&server.database_dir())?;
    let report = consistency::check(server.version(), server.home(), DATABASE)?;
    ensure!(!report.is_consistent(), "the checker missed it: {report:?}");
    ensure!(report.is_inconsistent(), "the checker failed otherwise: {report:?}");
    Ok(())
}
