//! What docs/cluster.md needs of a backup, as far as Community has it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use testkit::versions::{self, Version};
use testkit::{admin, process};

use crate::increments::wait_for_commits;
use crate::scene::{Scene, arg, one_at_a_time, program, start_and_examine};

const ADMIN_LIMIT: Duration = Duration::from_secs(300);

/// A backup under load, an increment on top, restored and started by a real server: then Neo4j's own
/// tool makes dumps of it, which another server is loaded from. A seed from a URI is such a dump, and
/// so is a `system` that is put on each member. Before the first start there is no dump to be had.
#[test]
fn a_restored_backup_can_be_dumped_and_loaded_elsewhere() -> Result<()> {
    let _guard = one_at_a_time();
    if !versions::is_long_run() {
        eprintln!("LONG RUN ONLY dump and load");
        return Ok(());
    }
    for version in versions::under_test("dump and load") {
        let scene = Scene::begin(&version, |server| server)?;
        let service = scene.serve()?;
        scene.back_up(&service, "backup", &[])?;
        wait_for_commits(&scene.load)?;
        let copy = scene.back_up(&service, "backup", &[])?;
        ensure!(copy.database("neo4j")["type"] == "incremental", "{}", copy.report);
        drop(service);
        let (version, dir) = scene.end()?;
        let dumps = dir.path().join("dumps");
        std::fs::create_dir(&dumps)?;

        let unstarted = home_of(dir.path(), "unstarted")?;
        let data = unstarted.join("data");
        program().json(&["restore", "--from", arg(&copy.backup), "--to", arg(&data), "--json"])?;
        let refused = dump(&version, &unstarted, &dumps, "neo4j")?;
        eprintln!("{}: before the first start: {}", version.name, refused.output.trim());
        ensure!(!refused.status.success() && refused.output.contains("recover"), "{refused:?}");

        let restored = dir.path().join("restored");
        copy.prove(&version, &restored)?;
        let other = home_of(dir.path(), "other")?;
        for database in ["neo4j", "system"] {
            let dumped = dump(&version, &restored, &dumps, database)?;
            ensure!(dumped.status.success(), "{dumped:?}");
            let from = format!("--from-path={}", dumps.display());
            let load = ["database", "load", &from, database];
            let loaded = admin::run(&version, &other, &load, ADMIN_LIMIT)?;
            ensure!(loaded.status.success(), "{loaded:?}");
        }
        let figures = start_and_examine(&version, &other, &copy.expected, true)?;
        eprintln!("{}: loaded elsewhere: {figures:?}", version.name);
    }
    Ok(())
}

/// A home that Neo4j's tool works on before a server was started there.
fn home_of(dir: &Path, name: &str) -> Result<PathBuf> {
    let home = dir.join(name);
    std::fs::create_dir_all(home.join("conf"))?;
    std::fs::write(home.join("conf/neo4j.conf"), "")?;
    Ok(home)
}

fn dump(version: &Version, home: &Path, dumps: &Path, database: &str) -> Result<process::Finished> {
    let to = format!("--to-path={}", dumps.display());
    admin::run(version, home, &["database", "dump", &to, database], ADMIN_LIMIT)
}
