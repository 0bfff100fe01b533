//! The table of scenarios.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, Value as Json};
use testkit::server::{Builder, Server};
use testkit::versions::{self, Version};

use crate::files::{self, Keep};
use crate::{captures, facts, three, workload};

/// One folder of fixtures and how it is made.
pub struct Scenario {
    /// `<version>/<scenario>`, relative to `fixtures`.
    pub path: &'static str,
    /// What it shows.
    pub about: &'static str,
    /// What of the database is kept.
    pub keep: Keep,
    /// Makes a home and ends its server; returns the facts.
    pub run: fn(&Path) -> Result<Facts>,
}

type Facts = Map<String, Json>;
type Work = fn(&Server) -> Result<()>;

const V3: &Version = &versions::V3_0_0;
const V3_0_7: &Version = &versions::V3_0_7;
const V5: &Version = &versions::V5_26;
const V2026: &Version = &versions::V2026_08;

const MIXED: &str = "\
Creations, updates and deletions of nodes, relationships and properties of all types, long strings\n\
and arrays, many labels, dense nodes, tokens, all kinds of indexes and a constraint; checkpoints in\n\
between; cleanly stopped, so that the logs replayed from the start give the record stores.";
const TREES: &str = "\
The same transactions as in `mixed`, and trees instead of the record stores; cleanly stopped.";
const KILLED: &str = "\
The same transactions as in `mixed`, but the server was killed: the last transactions come after\n\
the last checkpoint, and the stores may lack them.";
const ROTATED: &str = "\
Long strings until the transaction log went on to a second file; cleanly stopped.";
const STANDARD: &str = "\
The same transactions as in `mixed`, in the store format `standard`; cleanly stopped.";
const UPGRADED: &str = "\
A database of 5.26.30, cleanly stopped, that 2026.08.1 then wrote to: log and checkpoint files of\n\
both kernel versions in one folder, with the upgrade transaction at the end of the older log.";
const UPGRADED_HEADER: &str = "\
A database of 5.19.0, the last that writes log headers of format 8, cleanly stopped, that 5.26.30\n\
then wrote to: both header formats in one folder, and entries without and with an append index.";
const LITTLE: &str = "\
A few transactions and checkpoints, for the layout of this version's log and checkpoint entries;\n\
cleanly stopped.";

const MIXED_3_0: &str = "\
Creations, updates and deletions of nodes, relationships and properties of all types that Cypher and\n\
REST make, long strings and arrays, many labels, dense nodes, tokens, schema indexes, all kinds of\n\
constraints, legacy indexes; checkpoints in between; cleanly stopped.";
const KILLED_3_0: &str = "\
The same transactions as in `mixed`, but the server was killed: the last transaction comes after the\n\
last checkpoint, and the stores and indexes may lack it.";
const KILLED_3_0_7: &str = "\
The same transactions as in `mixed` of 3.0.0, and one with more names of legacy indexes than 3.0.0\n\
can read; the server was killed: the last transaction comes after the last checkpoint, and the\n\
stores and indexes may lack it.";
const UPGRADED_3_0: &str = "\
A database of 3.0.0, cleanly stopped, that 3.0.7 then wrote to: entries of both versions in one log\n\
file, legacy indexes among them; cleanly stopped.";

const CAPTURES_3_0: &str = "\
What the BackupTool and the backup service of a server say to each other, both unchanged, over a small\n\
database with a schema index and legacy indexes, one of them with a name that is not ASCII:\n\
`full` with nothing behind it, `full-with-transactions` that were committed meanwhile,\n\
`full-forensics`, which has the log files too; `incremental-0`, `-1` and `-several` transactions;\n\
`other-store`, where the server has another one than the backup; `logs-pruned`, and\n\
`logs-pruned-full`, which the tool then takes. `full` and the three increments are of one backup, in\n\
this order; the others of the same store, but for `other-store`.\n\
\n\
The requests of these were sent by the script, in the tool's form: `incremental-from-last`, which asks\n\
for the last transaction of `full-with-transactions` and all behind it; `store-id`, for what is behind\n\
transaction 0; `other-version` and `other-internal-version` in the head of the frame;\n\
`unknown-type`; `bad-forensics`, a byte 2; `short-request`, without its last two fields.";

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    scenario("3.0.0/mixed", MIXED_3_0, Keep::Directory, |home| {
        three::stopped(V3, home, three::everything)
    }),
    scenario("3.0.0/rotated", ROTATED, Keep::LogsInDirectory, |home| {
        three::stopped(V3, home, workload::fill_a_log)
    }),
    scenario("3.0.0/killed", KILLED_3_0, Keep::Directory, |home| {
        three::killed(V3, home, three::everything)
    }),
    scenario("3.0.0/captures", CAPTURES_3_0, Keep::Captures, |home| captures::record(V3, home)),
    scenario("3.0.7/killed", KILLED_3_0_7, Keep::Directory, |home| {
        three::killed(V3_0_7, home, three::everything_and_many_names)
    }),
    scenario("3.0.0-upgraded-to-3.0.7/upgrade", UPGRADED_3_0, Keep::LogsInDirectory, |home| {
        three::upgraded(V3, V3_0_7, home)
    }),
    scenario("5.26.30/mixed", MIXED, Keep::Records, |home| mixed(V5, home, &[])),
    scenario("2026.08.1/mixed", MIXED, Keep::Records, |home| mixed(V2026, home, &[])),
    scenario("5.26.30-upgraded-to-2026.08.1/upgrade", UPGRADED, Keep::Records, |home| {
        upgrade(V5, V2026, home)
    }),
    scenario("5.19.0-upgraded-to-5.26.30/upgrade", UPGRADED_HEADER, Keep::Records, |home| {
        upgrade(&versions::find("5.19.0").context("not in the table of versions")?, V5, home)
    }),
    scenario("5.26.30/rotated", ROTATED, Keep::Logs, |home| rotated(V5, home)),
    scenario("2026.08.1/rotated", ROTATED, Keep::Logs, |home| rotated(V2026, home)),
    scenario("5.26.30/trees", TREES, Keep::Trees, |home| mixed(V5, home, &[])),
    scenario("2026.08.1/trees", TREES, Keep::Trees, |home| mixed(V2026, home, &[])),
    scenario("5.26.30/killed", KILLED, Keep::Records, |home| killed(V5, home)),
    scenario("2026.08.1/killed", KILLED, Keep::Records, |home| killed(V2026, home)),
    scenario("5.26.30/standard", STANDARD, Keep::Records, |home| {
        mixed(V5, home, &[("db.format", "standard")])
    }),
    scenario("5.20.0/little", LITTLE, Keep::Logs, |home| little("5.20.0", home)),
    scenario("5.22.0/little", LITTLE, Keep::Logs, |home| little("5.22.0", home)),
    scenario("5.23.0/little", LITTLE, Keep::Logs, |home| little("5.23.0", home)),
    scenario("2025.04.0/little", LITTLE, Keep::Logs, |home| little("2025.04.0", home)),
    scenario("2025.05.0/little", LITTLE, Keep::Logs, |home| little("2025.05.0", home)),
    scenario("2025.07.1/little", LITTLE, Keep::Logs, |home| little("2025.07.1", home)),
    scenario("2025.08.0/little", LITTLE, Keep::Logs, |home| little("2025.08.0", home)),
    scenario("2025.09.0/little", LITTLE, Keep::Logs, |home| little("2025.09.0", home)),
    scenario("2025.10.1/little", LITTLE, Keep::Logs, |home| little("2025.10.1", home)),
    scenario("2025.11.2/little", LITTLE, Keep::Logs, |home| little("2025.11.2", home)),
    scenario("2026.01.4/little", LITTLE, Keep::Logs, |home| little("2026.01.4", home)),
    scenario("2026.02.3/little", LITTLE, Keep::Logs, |home| little("2026.02.3", home)),
    scenario("2026.07.1/little", LITTLE, Keep::Logs, |home| little("2026.07.1", home)),
];

const fn scenario(
    path: &'static str,
    about: &'static str,
    keep: Keep,
    run: fn(&Path) -> Result<Facts>,
) -> Scenario {
    Scenario { path, about, keep, run }
}

fn mixed(version: &Version, home: &Path, settings: &[(&str, &str)]) -> Result<Facts> {
    one_server(version, home, settings, workload::everything)
}

fn rotated(version: &Version, home: &Path) -> Result<Facts> {
    one_server(version, home, &[], workload::fill_a_log)
}

fn little(version: &str, home: &Path) -> Result<Facts> {
    let version = versions::find(version).context("not in the table of versions")?;
    one_server(&version, home, &[], workload::little)
}

fn upgrade(from: &Version, to: &Version, home: &Path) -> Result<Facts> {
    // 5.19 does not know all settings of ours yet.
    let lenient = [("server.config.strict_validation.enabled", "false")];
    let older = one_server(from, home, &lenient, workload::little)?;
    let mut all = one_server(to, home, &[], workload::a_little_more)?;
    all.insert("before_upgrade".to_owned(), Json::Object(older));
    Ok(all)
}

/// Facts of the graph come from a copy that the server has recovered: asking the first server
/// would give it time for one more checkpoint.
fn killed(version: &Version, home: &Path) -> Result<Facts> {
    let mut server = builder(version, home, &[]).start()?;
    workload::everything(&server)?;
    server.kill()?;
    let before = finish(version, home, Facts::new())?;
    let recovered = tempfile::tempdir()?;
    files::copy_tree(home, recovered.path())?;
    let mut all = one_server(version, recovered.path(), &[], |_| Ok(()))?;

    // Before recovery `database info` tells of the last checkpoint's transaction, not the last.
    let at_checkpoint = before["last_transaction_id"].clone();
    ensure!(at_checkpoint != all["last_transaction_id"], "nothing came after the last checkpoint");
    all.insert("last_transaction_id_at_checkpoint".to_owned(), at_checkpoint);
    for name in ["database_info", "checkpoints"] {
        all.insert(name.to_owned(), before[name].clone());
    }
    Ok(all)
}

/// A new or an existing home, `work`, a clean stop.
fn one_server(
    version: &Version,
    home: &Path,
    settings: &[(&str, &str)],
    work: Work,
) -> Result<Facts> {
    let mut server = builder(version, home, settings).start()?;
    work(&server)?;
    let all = facts::from_server(&server)?;
    server.stop()?;
    finish(version, home, all)
}

fn builder(version: &Version, home: &Path, settings: &[(&str, &str)]) -> Builder {
    let mut builder = Server::builder(version).home(home);
    builder = builder.setting("db.checkpoint.interval.time", "2s");
    builder = builder.setting("db.tx_log.rotation.size", "128k");
    for (name, value) in settings {
        builder = builder.setting(name, value);
    }
    builder
}

fn finish(version: &Version, home: &Path, mut all: Facts) -> Result<Facts> {
    all.extend(facts::from_admin_tool(version, home).context("admin tool")?);
    all.insert("checkpoints".to_owned(), facts::checkpoints(home)?);
    all.insert("kernel_version".to_owned(), facts::kernel_version(version, home)?);
    Ok(all)
}
