//! Neo4j 3.0: its own backup service and tool, and ours, each with each.

use std::time::Instant;

use anyhow::{Result, ensure};
use jiff::Timestamp;
use testkit::follower::Follower;
use testkit::load::{Expected, Load};
use testkit::server::Server;
use testkit::versions::{self, V3_0_0, V3_0_7, Version};

use crate::scene::{arg, copies, one_at_a_time, program};
use crate::scene_3_0::{DATABASE, Scene, without_schema_changes};

/// Increments of a follower, each of a few transactions.
const LEAST_FOLLOWED: usize = 50;

/// Claim: a 3.0 database that is written to is backed up by our client from the server's own service and
/// from ours beside it, each going on with what came from the other, and by the original tool from ours.
/// Whatever comes of it is a database that real 3.0 recovers: by `restore`, whole or up to a moment, and as it lies there. The
/// original tool goes on with our client's backups, and ours with the tool's. A follower has each transaction all
/// the while. Method: a load with legacy indexes, short logs; what must be there is told by the writers. Indexes do not
/// come and go: 3.0.0 broke after some minutes where they did while its own service copied; see `tool_3_0` for ours.
#[test]
fn backups_of_3_0() {
    let _guard = one_at_a_time();
    for version in versions::under_test_3_0("backups of 3.0") {
        if let Err(error) = examine(&version) {
            panic!("{}: {error:#}", version.name);
        }
    }
}

fn examine(version: &Version) -> Result<()> {
    let mut scene = Scene::begin(version, |server| server)?;
    let (ours, theirs) = (scene.ours(), scene.theirs());
    // Nothing is written: the server sends no transactions at all.
    let quiet = scene.path("quiet");
    scene.back_up_with(theirs, &quiet, "full", &["-gather-forensics"])?;
    scene.has_forensics("quiet")?;
    scene.load(without_schema_changes())?;
    scene.back_up(ours, &quiet, "incremental")?;
    let from = ours.to_string();
    let follower = Follower::start(&program(), &["-host", &from, "-to", arg(&quiet)])?;
    for round in 0..copies(1, 10) {
        let begun = Instant::now();
        let to = scene.path(&format!("theirs-{round}"));
        scene.back_up(theirs, &to, "full")?;
        let (then, moment) = (Instant::now(), Timestamp::now());
        scene.back_up(ours, &to, "incremental")?;
        let expected = scene.back_up(theirs, &to, "incremental")?;
        scene.restored(&to, &expected)?;
        if versions::is_long_run() {
            // Only so much of it: another database of the same transactions.
            let until = ["--until", &moment.to_string()];
            scene.restored_with(&to, &scene.expected_at(then), &until)?;
        }

        let to = scene.path(&format!("ours-{round}"));
        scene.back_up(ours, &to, "full")?;
        let expected = scene.back_up(theirs, &to, "incremental")?;
        if versions::is_long_run() {
            // As the manual says: the backup is a database.
            scene.by_hand(&to, &expected)?;
        }
        let expected = scene.by_the_tool(theirs, &to)?;
        scene.by_hand(&to, &expected)?;

        let to = scene.path(&format!("tool-{round}"));
        scene.by_the_tool(ours, &to)?;
        scene.by_the_tool(ours, &to)?;
        // Ours goes on with the tool's, that with ours, and ours with that.
        scene.back_up(theirs, &to, "incremental")?;
        scene.by_the_tool(theirs, &to)?;
        let expected = scene.back_up(ours, &to, "incremental")?;
        scene.restored(&to, &expected)?;
        scene.has_written_since(begun)?;
    }
    let (followed, events) = (follower.durable(DATABASE).len(), follower.events());
    let alarms: Vec<_> = events.iter().filter(|event| event.kind() == "alarm").collect();
    ensure!(followed > LEAST_FOLLOWED && alarms.is_empty(), "{followed}, {alarms:?}");
    follower.stop()?;
    let expected = scene.back_up(ours, &quiet, "incremental")?;
    if versions::is_long_run() {
        scene.restored(&quiet, &expected)?;
    }
    scene.end()
}

/// Claim: a server that is stopped and started by a newer 3.0 on the same directories goes on, and so do its backups:
/// from our service as if nothing had happened, and from its own with a new full backup, because that now writes
/// otherwise what the older one logged (-9 for -6). Where a transaction has been logged since, both go on.
#[test]
fn backups_of_3_0_go_on_over_an_upgrade() -> Result<()> {
    let _guard = one_at_a_time();
    if versions::long_run_only_3_0("an upgrade of 3.0 in place").len() < 2 {
        eprintln!("BOTH VERSIONS ONLY an upgrade of 3.0 in place");
        return Ok(());
    }
    let mut scene = Scene::begin(&V3_0_0, |server| server)?;
    scene.load(without_schema_changes())?;
    let [theirs, ours] = ["theirs", "ours"].map(|name| scene.path(name));
    let back_up = |scene: &Scene, kinds: [&str; 2]| -> Result<[Expected; 2]> {
        let [first, second] = kinds;
        let first = scene.back_up(scene.theirs(), &theirs, first)?;
        Ok([first, scene.back_up(scene.ours(), &ours, second)?])
    };
    back_up(&scene, ["full", "full"])?;
    scene.load.take().map(Load::stop).transpose()?;
    back_up(&scene, ["incremental", "incremental"])?;
    scene.stop()?;
    let home = scene.live.home().to_owned();
    scene.live = Server::builder(&V3_0_7).home(home).start()?;
    scene.version = V3_0_7;
    scene.service = program().serve(&["--config", arg(&scene.live.conf())])?;
    back_up(&scene, ["full", "incremental"])?;
    scene.load(without_schema_changes())?;
    let expected = back_up(&scene, ["incremental", "incremental"])?;
    for (to, expected) in [&theirs, &ours].into_iter().zip(&expected) {
        scene.restored(to, expected)?;
    }
    scene.end()
}
