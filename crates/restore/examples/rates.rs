//! How fast verify and restore are, beside the tools that everybody has.
//!
//! `rates make DIR MIB` makes a backup with so much in it; `rates verify DIR` and
//! `rates restore DIR TO` do what they say, and print seconds and MiB/s.

#[allow(dead_code, reason = "shared with the tests of mirror")]
#[path = "../../mirror/tests/it/support.rs"]
mod support;

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use restore::{Destination, Options};
use wire::api::{FileInfo, FileKind};

const FILES: u32 = 6;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(|arg| &**arg).collect();
    let start = Instant::now();
    let bytes = match args.as_slice() {
        ["make", dir, mib] => make(Path::new(dir), mib.parse().expect("a number")),
        ["verify", dir] => {
            let report = support::verify(Path::new(dir));
            assert!(report.is_clean(), "{:?}", report.findings);
            report.bytes
        }
        ["restore", dir, to] => {
            let to = Destination::from_data(Path::new(to));
            let options = Options { to, databases: Vec::new(), force: false, until: None };
            let report = restore::restore(
                &support::real(),
                Path::new(dir),
                &options,
                &|_| (),
                &AtomicBool::new(false),
            )
            .unwrap();
            report.databases.iter().map(|db| db.entry.size_bytes()).sum()
        }
        _ => panic!("see the top of the source"),
    };
    let seconds = start.elapsed().as_secs_f64();
    let mib = bytes as f64 / f64::from(1 << 20);
    println!("{} {mib:.0} MiB in {seconds:.2} s: {:.0} MiB/s", args[0], mib / seconds);
}

/// Record stores with bytes that no file system compresses, over several threads.
fn make(dir: &Path, mib: u64) -> u64 {
    use client::Sink;
    let mut copy = support::Copy::of(support::FIXTURES[0], "neo4j");
    let size_bytes = (mib << 20) / u64::from(FILES);
    copy.session.block_bytes = 256 << 10;
    let big = |index: u32| FileInfo {
        id: 2000 + index,
        kind: FileKind::Record,
        path: format!("neostore.big.{index}"),
        size_bytes,
    };
    copy.session.files.extend((0..FILES).map(big));
    let mirror = mirror::Mirror::open_for_write(support::real(), dir, fs::Busy::Fail).unwrap();
    let staged = mirror.begin(&copy.session, mirror::Reason::FirstBackup).unwrap();
    for (file, bytes) in &copy.bytes {
        staged.create(file).unwrap();
        staged.write_at(file.id, 0, bytes).unwrap();
        for (index, block) in bytes.chunks(256 << 10).enumerate() {
            let hash = *blake3::hash(block).as_bytes();
            staged.block(file.id, (index as u64) << 18, hash).unwrap();
        }
        staged.complete(file.id, file.size_bytes).unwrap();
    }
    std::thread::scope(|scope| {
        for half in 0..2 {
            let staged = &staged;
            scope.spawn(move || {
                for file in (0..FILES).filter(|index| index % 2 == half).map(big) {
                    staged.create(&file).unwrap();
                    let mut random =
                        blake3::Hasher::new().update(&file.id.to_le_bytes()).finalize_xof();
                    let mut block = vec![0; 256 << 10];
                    for offset in (0..size_bytes).step_by(256 << 10) {
                        let length = block.len().min((size_bytes - offset) as usize);
                        random.fill(&mut block[..length]);
                        let hash = *blake3::hash(&block[..length]).as_bytes();
                        staged.write_at(file.id, offset, &block[..length]).unwrap();
                        staged.block(file.id, offset, hash).unwrap();
                    }
                    staged.complete(file.id, size_bytes).unwrap();
                }
            });
        }
    });
    staged.commit(&copy.outcome()).unwrap().size_bytes()
}
