//! Renewal: what comes over the network, and how long it takes beside a full backup, when one page of a
//! hundred has changed.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use testkit::params;
use testkit::random::Random;
use testkit::server::Server;

use super::ratios::{backup_command, median};
use super::table::Table;
use super::{Bench, VERSION, database, text, timed};

const PAGE_BYTES: usize = 8192;
/// How many pages the store has for one node whose text is changed; measured: a node's text takes
/// several records, in two or three pages.
const PAGES_PER_CHANGE: u64 = 280;
const CHECKPOINT_LIMIT: Duration = Duration::from_secs(120);

/// On a copy of the big database, whose server writes.
pub fn measure(bench: &Bench<'_>, table: &mut Table) -> Result<()> {
    let home = database::copy(&bench.home, bench.path("live"))?;
    let server = Server::builder(VERSION)
        .home(&home)
        .setting("db.checkpoint.interval.time", "5s")
        .start()?;
    let service = bench.program.serve(&["--config", &text(&server.conf())])?;
    let (renewed, full) = (bench.path("renewed"), bench.path("target"));
    timed::remove(&renewed)?;
    let only: &[&str] = &["--database", "neo4j"];
    timed::run(&mut backup_command(bench, service.port, &renewed, only))?;
    let mut random = Random::new(7);
    let (mut shares, mut moved) = (Vec::new(), Vec::new());
    let (mut ratios, mut requests) = (Vec::new(), Vec::new());
    for round in 1..=bench.options.rounds {
        change(&server, &mut random)?;
        let store = server.data_dir().join("databases/neo4j");
        let (pages, changed) = compare(&store, &renewed.join("databases/neo4j"))?;
        let tree = timed::tree(&store)?;
        timed::remove(&full)?;
        timed::warm(&tree.files)?;
        timed::own_memory(tree.bytes)?;
        let of_full = timed::run(&mut backup_command(bench, service.port, &full, only))?;
        timed::remove(&full)?;
        timed::warm(&tree.files)?;
        let options = [only, &["--renew-after", "1"]].concat();
        let of_renewal = timed::run(&mut backup_command(bench, service.port, &renewed, &options))?;
        let (info, _) = bench.program.json(&["info", "--from", &text(&renewed), "--json"])?;
        ensure!(info["databases"][0]["reason"] == "renewal", "no renewal: {info}");
        let bytes = info["databases"][0]["bytes_transferred"].as_u64().unwrap_or(0);
        let (share, part) =
            (changed as f64 / pages as f64, bytes as f64 / (pages * PAGE_BYTES as u64) as f64);
        eprintln!(
            "xtask bench: round {round}: {:.2} % of the pages changed: {:.2} % of the bytes moved, \
             {of_renewal:.2?}; full {of_full:.2?}",
            share * 100.0,
            part * 100.0
        );
        // The same once more by hand: then the old backup is read.
        timed::warm(&tree.files)?;
        let options = [only, &["--full"]].concat();
        let of_request = timed::run(&mut backup_command(bench, service.port, &renewed, &options))?;
        eprintln!("xtask bench: round {round}: asked for, without a change: {of_request:.2?}");
        requests.push(of_request.as_secs_f64() / of_full.as_secs_f64());
        shares.push(share);
        moved.push(part);
        ratios.push(of_renewal.as_secs_f64() / of_full.as_secs_f64());
    }
    let (share, part, ratio) = (median(&mut shares), median(&mut moved), median(&mut ratios));
    ensure!((0.005..0.02).contains(&share), "{:.2} % of the pages changed", share * 100.0);
    table.figure("renewal: pages that changed", format!("{:.2} %", share * 100.0));
    let shown = format!("{:.2} %", part * 100.0);
    table.bar("renewal: of the store's bytes over the network", shown, "<= 2 %", part <= 0.02);
    let shown = format!("{:.0} %", ratio * 100.0);
    table.bar("renewal: of a full backup's time", shown, "<= 60 %", ratio <= 0.6);
    let shown = format!("{:.0} %", median(&mut requests) * 100.0);
    table.figure("the same asked for by --full, without a change", shown);
    drop((service, server));
    timed::remove(&renewed)?;
    timed::remove(&home)
}

/// Changes the texts of nodes at random, about one page in a hundred, and waits for a checkpoint.
fn change(server: &Server, random: &mut Random) -> Result<()> {
    let store = server.data_dir().join("databases/neo4j");
    let pages = timed::tree(&store)?.bytes / PAGE_BYTES as u64;
    let mut connection = server.connect()?;
    let count = u64::try_from(connection.number("MATCH (p:Person) RETURN count(p)")?)?;
    let query = "MATCH (p:Person {number: $number}) SET p.text = $text";
    connection.begin()?;
    for _ in 0..pages / PAGES_PER_CHANGE {
        let number = i64::try_from(random.next() % count)?;
        let text = format!("{:016x} ", random.next()).repeat(44);
        connection.run(query, params! { "number" => number, "text" => text.as_str() })?;
    }
    connection.commit()?;
    let (before, since) = (checkpoints(server)?, Instant::now());
    while checkpoints(server)? == before {
        ensure!(since.elapsed() < CHECKPOINT_LIMIT, "no checkpoint");
        // An idle server takes none.
        connection.query("MERGE (t:Tick) SET t.n = coalesce(t.n, 0) + 1")?;
        std::thread::sleep(Duration::from_millis(500));
    }
    Ok(())
}

/// What distinguishes the checkpoint files from those with one checkpoint more.
fn checkpoints(server: &Server) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(server.data_dir().join("transactions/neo4j"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("checkpoint.") {
            found.insert(name, std::fs::read(entry.path())?);
        }
    }
    Ok(found)
}

/// The pages of a store, and how many of them are others in an older copy of it.
fn compare(new: &Path, old: &Path) -> Result<(u64, u64)> {
    let (mut pages, mut changed) = (0, 0);
    for path in timed::tree(new)?.files {
        let other = old.join(path.strip_prefix(new)?);
        let (Ok(file), other) = (File::open(&path), File::open(other).ok()) else { continue };
        let (mut page, mut old_page) = (vec![0; PAGE_BYTES], vec![0; PAGE_BYTES]);
        let mut at = 0;
        loop {
            let read = file.read_at(&mut page, at)?;
            if read == 0 {
                break;
            }
            let had = match &other {
                Some(other) => other.read_at(&mut old_page, at)?,
                None => 0,
            };
            pages += 1;
            changed += u64::from(page[..read] != old_page[..had]);
            at += read as u64;
        }
    }
    Ok((pages, changed))
}
