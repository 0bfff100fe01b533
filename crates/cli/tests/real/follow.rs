//! A mirror that follows a real server under load, through all that happens to it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use testkit::follower::{Event, Follower};
use testkit::load::LoadOptions;
use testkit::versions::{self, Version};

use crate::scene::{Copy, Scene, arg, copies, one_at_a_time, program};

const LIMIT: Duration = Duration::from_secs(120);

/// Rotation, pruning at each checkpoint, renewals, restarts of the service, a kill of the server, and a
/// pause so long that the logs are pruned: an alarm and a new full backup. Nothing that was acknowledged
/// is missing in the end, and real Neo4j starts on it.
#[test]
fn a_mirror_follows_through_everything() -> Result<()> {
    let _guard = one_at_a_time();
    for version in versions::one_under_test("follow", versions::V2026_08) {
        follow(&version)?;
    }
    Ok(())
}

fn follow(version: &Version) -> Result<()> {
    let load = LoadOptions { pause: Duration::from_millis(50), ..LoadOptions::default() };
    let hard = |server: testkit::server::Builder| {
        server
            .setting("db.tx_log.rotation.size", "128k")
            .setting("db.tx_log.rotation.retention_policy", "keep_none")
            .setting("db.checkpoint.interval.time", "2s")
    };
    let mut scene = Scene::begin_with(version, hard, load)?;
    let serve =
        |scene: &Scene, port| program().serve_on(port, &["--config", arg(&scene.live.conf())]);
    let service = serve(&scene, 0)?;
    let (port, to) = (service.port, scene.dir.path().join("mirror"));
    let port_text = port.to_string();
    let line =
        ["-host", "127.0.0.1", "-port", &port_text, "-to", arg(&to), "--renew-after", "200KiB"];
    let follower = Follower::start(&program(), &line)?;
    let is_followed =
        |event: &Event| event.kind() == "following" && event.value["database"] == "neo4j";
    let began = follower.wait_for("the begin", 0, LIMIT, is_followed)?.at;
    std::thread::sleep(Duration::from_secs(copies(12, 60) as u64));
    let quiet_end = Instant::now();
    let renewal = |event: &Event| event.value["reason"] == "renewal";
    follower.wait_for("a renewal", 0, LIMIT, renewal)?;

    // Away for a moment: it goes on.
    drop(service);
    let service = serve(&scene, port)?;
    wait_for_the_last(&scene, &follower)?;
    // Killed in the middle, and started again.
    scene.live.kill()?;
    scene.live.start_again()?;
    wait_for_the_last(&scene, &follower)?;

    // Away for so long that the server prunes what is missing.
    let before = follower.events().len();
    drop(service);
    std::thread::sleep(Duration::from_secs(12));
    let service = serve(&scene, port)?;
    let pruned = |event: &Event| event.kind() == "full" && event.value["reason"] == "logs pruned";
    follower.wait_for("a new full backup", before, LIMIT, pruned)?;
    follower.wait_for("an alarm", before, LIMIT, |event| event.kind() == "alarm")?;
    follower.wait_for("its end", before, LIMIT, |event| event.kind() == "recovered")?;

    let Scene { version, mut live, load, dir } = scene;
    let history = load.history();
    eprintln!("{}: {}", version.name, load.stop()?);
    let ended = Instant::now();
    let last = history.last_tx_id().context("no transaction")?;
    follower.reaches("neo4j", last, LIMIT)?;
    // `system` has no ids that were told: two answers with nothing more.
    std::thread::sleep(Duration::from_secs(5));
    let events = follower.events();
    let count =
        |wanted: &dyn Fn(&Event) -> bool| events.iter().filter(|event| wanted(event)).count();
    let renewals = count(&|event| event.value["reason"] == "renewal");
    let (lags, lost) = history.lags((began, quiet_end), &follower.durable("neo4j"));
    ensure!(lost == 0 && !lags.is_empty(), "{lost} transactions never arrived");
    let part = |percent: usize| lags[(lags.len() * percent / 100).min(lags.len() - 1)];
    eprintln!(
        "{}: {} transactions, durable after p50 {:.1?}, p99 {:.1?}, max {:.1?}; {} increments, {renewals} \
         renewals, {} errors",
        version.name,
        lags.len(),
        part(50),
        part(99),
        part(100),
        count(&|event| event.kind() == "increment"),
        count(&|event| event.kind() == "error"),
    );
    follower.stop()?;
    drop(service);
    live.stop()?;
    let (report, _) = program().json(&["info", "--from", arg(&to), "--json"])?;
    let expected = history.expected(ended, ended);
    let copy = Copy { backup: to, report, expected, crossed: 0 };
    copy.prove(&version, &dir.path().join("restored"))?;
    Ok(())
}

/// Until all that is acknowledged now is durable in the mirror.
fn wait_for_the_last(scene: &Scene, follower: &Follower) -> Result<()> {
    let last = scene.load.history().last_tx_id().context("no transaction")?;
    // One more, since the server may be just back.
    let since = Instant::now();
    while scene.load.history().last_tx_id() <= Some(last) {
        ensure!(since.elapsed() < LIMIT, "nothing was committed for {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
    let last = scene.load.history().last_tx_id().context("no transaction")?;
    let reached = follower.reaches("neo4j", last, LIMIT)?;
    eprintln!("{}: {last} is there after {:.1?}", scene.version.name, reached.at - since);
    Ok(())
}
