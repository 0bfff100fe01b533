//! Neo4j 3.0: its own backup service and tool, and ours, each with each.

use anyhow::{Result, ensure};
use testkit::follower::Follower;
use testkit::versions::{self, Version};

use crate::scene::{arg, copies, one_at_a_time, program};
use crate::scene_3_0::{DATABASE, Scene, usual_load};

/// Increments of a follower, each of a few transactions.
const LEAST_FOLLOWED: usize = 50;

/// Claim: a 3.0 database that is written to is backed up by our client from the server's own service and
/// from ours beside it, each going on with what came from the other, and by the original tool from ours.
/// Whatever comes of it is a database that real 3.0 recovers: by `restore`, and as it lies there. The
/// original tool goes on with our client's backups, and ours with the tool's. A follower has each transaction all
/// the while. Method: a load with legacy indexes, in the long run indexes that come and go, short logs; what must be
/// there is told by the writers.
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
    scene.load(usual_load())?;
    scene.back_up(ours, &quiet, "incremental")?;
    let from = ours.to_string();
    let follower = Follower::start(&program(), &["-host", &from, "-to", arg(&quiet)])?;
    for round in 0..copies(1, 10) {
        let to = scene.path(&format!("theirs-{round}"));
        scene.back_up(theirs, &to, "full")?;
        scene.back_up(ours, &to, "incremental")?;
        let expected = scene.back_up(theirs, &to, "incremental")?;
        scene.restored(&to, &expected)?;

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
