//! Neo4j 3.0's own tool, and a server that answers with what was captured and with our failures.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testkit::versions::{self, Version};
use testkit::{backup_tool, process::Finished};
use wire::v3_0::{Encoder, Failure, Request};

use crate::peer::{Answer, serve};
use crate::scene::one_at_a_time;

const TOOL_LIMIT: Duration = Duration::from_secs(120);

/// Claim: what our service says when it cannot give what is asked is what the original tool depends
/// on. Logs that are gone make it take a full backup; anything else it shows, and fails. Method: a
/// server that replays a captured full backup, and has our failures for increments; what the tool
/// asks, its exit status and what it prints.
#[test]
fn the_tool_and_our_failures() {
    let _guard = one_at_a_time();
    if !versions::is_long_run() {
        eprintln!("LONG RUN ONLY the original tool and our failures");
        return;
    }
    for version in versions::under_test_3_0("the original tool and our failures") {
        if let Err(error) = examine(&version) {
            panic!("{}: {error:#}", version.name);
        }
    }
}

fn examine(version: &Version) -> Result<()> {
    let scene = Scene::begin(version)?;
    // Nothing but a captured answer: it is a whole backup.
    let full = scene.back_up(&captured("full-with-transactions.response")?)?;
    ensure!(full.status.success(), "{}", full.output);
    let [Request::Full { forensics: false }] = scene.asked()[..] else {
        anyhow::bail!("{:?}", scene.asked())
    };

    let pruned = Failure::logs_pruned("they are no longer there");
    let fallen_back = scene.back_up(&Encoder::new().fail(&pruned))?;
    ensure!(fallen_back.status.success(), "{}", fallen_back.output);
    let [_, Request::Incremental { last_tx_id: 2.. }, Request::Full { .. }] = scene.asked()[..]
    else {
        anyhow::bail!("{:?}", scene.asked())
    };

    let other = Failure::other("the disk says no");
    let failed = scene.back_up(&Encoder::new().fail(&other))?;
    ensure!(failed.status.code() == Some(1), "{}", failed.output);
    ensure!(failed.output.contains("the disk says no"), "{}", failed.output);
    ensure!(scene.asked().len() == 4, "{:?}", scene.asked());

    let other_store = scene.back_up(&captured("other-store.response")?)?;
    ensure!(other_store.status.code() == Some(1), "{}", other_store.output);
    Ok(())
}

fn captured(name: &str) -> Result<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/3.0.0/captures");
    std::fs::read(dir.join(name)).with_context(|| name.to_owned())
}

/// A server that gives what was captured to a full request, and something else to others.
struct Scene {
    version: Version,
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Request>>>,
    increments: Arc<Mutex<Vec<u8>>>,
    dir: tempfile::TempDir,
}

impl Scene {
    fn begin(version: &Version) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("neo4j-backup-test-").tempdir()?;
        let asked: Arc<Mutex<Vec<Request>>> = Arc::default();
        let increments: Arc<Mutex<Vec<u8>>> = Arc::default();
        let full = captured("full-with-transactions.response")?;
        let (noted, others) = (Arc::clone(&asked), Arc::clone(&increments));
        let address = serve(move |request| {
            noted.lock().unwrap().push(request);
            Answer::Bytes(match request {
                Request::Full { .. } => full.clone(),
                Request::Incremental { .. } => others.lock().unwrap().clone(),
            })
        })?;
        Ok(Self { version: *version, address, asked, increments, dir })
    }

    fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }

    fn to(&self) -> PathBuf {
        self.dir.path().join("backup")
    }

    /// The tool's backup, full or an increment that is answered with these bytes.
    fn back_up(&self, increment: &[u8]) -> Result<Finished> {
        *self.increments.lock().unwrap() = increment.to_vec();
        let dir = self.dir.path();
        backup_tool::back_up(&self.version, dir, self.address, &self.to(), TOOL_LIMIT)
    }
}
