//! How fast logs are read: `cargo run --release -p formats --example throughput [LOG FILE]`.
//!
//! Reads a log from memory again and again, as batches (what a backup does) and as entries (what
//! tools do). Without a file: a log of small transactions and one of long strings, made up.

use std::time::{Duration, Instant};

use formats::txlog::{
    BatchReader, Change, Command, Commit, DynamicRecord, Entry, EntryReader, NodeRecord,
    PropertyBlock, PropertyRecord, Start,
};
use formats::{Error, KernelVersion};

const SECONDS: Duration = Duration::from_secs(2);
const VERSION: KernelVersion = KernelVersion(20);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Some(path) = std::env::args().nth(1) {
        let log = std::fs::read(&path)?;
        return Ok(report(&path, log.get(128..).unwrap_or_default())?);
    }
    report("small transactions", &log(0)?)?;
    report("long strings", &log(100)?)?;
    Ok(())
}

/// About 16 MiB of transactions that create a node with a property of so many dynamic records.
fn log(records: usize) -> Result<Vec<u8>, Error> {
    let data = vec![b'x'; 120];
    let record = DynamicRecord { id: 1, kind: 9, flags: 0x21, next: -1, data };
    let block = PropertyBlock { words: vec![1; 8], value_records: vec![record; records] };
    let property = PropertyRecord { flags: 0x41, blocks: vec![block; 2], ..Default::default() };
    let node = NodeRecord { flags: 1, ..NodeRecord::default() };
    let commands = [
        Command::Node { id: 1, change: Change::Create(node) },
        Command::Property { id: 1, change: Change::Create(property) },
        Command::NodeCounts { label: -1, delta: 1 },
    ];
    let mut log = Vec::new();
    for tx_id in 2.. {
        let mut batch = Entry::Start(Start { append_index: tx_id, ..Start::default() });
        let mut bytes = batch.encode(VERSION)?;
        for command in &commands {
            bytes.extend(Entry::Command(command.clone()).encode(VERSION)?);
        }
        batch = Entry::Commit(Commit { tx_id, ..Commit::default() });
        bytes.extend(batch.encode(VERSION)?);
        bytes.truncate(bytes.len().saturating_sub(4));
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        log.extend(bytes);
        if log.len() > 16 << 20 {
            break;
        }
    }
    Ok(log)
}

fn report(name: &str, log: &[u8]) -> Result<(), Error> {
    let mut batches = 0_u64;
    let (bytes, rate) = measure(|| {
        let mut reader = BatchReader::new(log, 128);
        batches = 0;
        while reader.next_batch()?.is_some() {
            batches += 1;
        }
        Ok(reader.boundary() - 128)
    })?;
    let (_, entries) = measure(|| {
        let mut reader = EntryReader::new(log, 128);
        while reader.next_entry()?.is_some() {}
        Ok(reader.offset_bytes() - 128)
    })?;
    let each = bytes.checked_div(batches).unwrap_or(0);
    println!("{name}: {batches} transactions of {each} bytes");
    println!("  batches {rate:.0} MB/s, entries {entries:.0} MB/s");
    Ok(())
}

/// Bytes of one run, and megabytes a second over some runs.
fn measure(mut run: impl FnMut() -> Result<u64, Error>) -> Result<(u64, f64), Error> {
    let start = Instant::now();
    let mut bytes = 0_u64;
    let mut runs = 0_u64;
    while start.elapsed() < SECONDS {
        bytes += run()?;
        runs += 1;
    }
    Ok((bytes / runs, bytes as f64 / 1e6 / start.elapsed().as_secs_f64()))
}
