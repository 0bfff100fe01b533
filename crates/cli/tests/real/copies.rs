//! Copies in the middle of a load: with default settings and with the hardest ones.

use anyhow::{Result, ensure};
use testkit::versions;

use crate::scene::{Scene, copies, one_at_a_time};

/// Slow enough that at least two checkpoints fall into each copy.
const RATE: &str = "8MiB";

fn prove_copies(scene: Scene, count: usize, more: &[&str]) -> Result<()> {
    let service = scene.serve()?;
    let mut made = Vec::new();
    for index in 0..count {
        let copy = scene.back_up(&service, &format!("backup{index}"), more)?;
        ensure!(copy.crossed >= 2, "only {} checkpoints fell into the copy", copy.crossed);
        ensure!(copy.database("neo4j")["type"] == "full");
        made.push(copy);
    }
    drop(service);
    let (version, dir) = scene.end()?;
    for (index, copy) in made.iter().enumerate() {
        let home = dir.path().join(format!("restored{index}"));
        copy.prove(&version, &home)?;
        std::fs::remove_dir_all(&home)?;
        std::fs::remove_dir_all(&copy.backup)?;
    }
    Ok(())
}

/// Checkpoints every 3 to 5 s, everything else as users have it.
#[test]
fn copies_under_load_are_a_prefix_of_what_was_committed() -> Result<()> {
    let _guard = one_at_a_time();
    // Two hard copies in the ordinary run, each of another version.
    for version in versions::one_under_test("copies under load", versions::V5_26) {
        let scene = Scene::begin(&version, |server| server)?;
        prove_copies(scene, copies(1, 10), &["--limit-rate", RATE])?;
    }
    Ok(())
}

/// Logs rotate all the time and are pruned at each checkpoint: C's own log vanishes during the
/// copy.
#[test]
fn copies_survive_constant_rotation_and_pruning() -> Result<()> {
    let _guard = one_at_a_time();
    for version in versions::one_under_test("constant rotation", versions::V2026_08) {
        let scene = Scene::begin(&version, |server| {
            server
                .setting("db.tx_log.rotation.size", "128k")
                .setting("db.tx_log.rotation.retention_policy", "keep_none")
                .setting("db.checkpoint.interval.time", "2s")
        })?;
        prove_copies(scene, copies(1, 10), &["--limit-rate", RATE, "--parallel", "2"])?;
    }
    Ok(())
}
