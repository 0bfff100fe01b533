//! Copies that succeed, whatever is in their way.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use client::{Client, Phase};
use wire::api::FileKind;

use crate::kit::{Memory, Watch, client, options, serve};
use crate::synthetic::Synthetic;

/// Everything arrives, in the right order of parts, and the session is gone afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_copy() {
    let knobs = Arc::new(Synthetic::small());
    let service = serve(&knobs, |_| {}).await;
    let (sink, watch) = (Arc::new(Memory::default()), Arc::new(Watch::default()));
    let list = client(service.address).databases().await.unwrap();
    assert_eq!(list.databases.len(), 2);
    let report = client(service.address).full("neo4j", sink.clone(), watch.clone()).await.unwrap();
    assert_eq!(sink.verified().len(), 10);
    let total: u64 = knobs.files.iter().chain(&knobs.logs).map(|file| file.2).sum();
    assert_eq!((report.bytes_transferred, report.files), (total, 10));
    assert_eq!(report.left_out.len(), 1);
    assert_eq!(report.finished.last_tx.tx_id.0, 12);
    let phases: Vec<Phase> = watch.phases.lock().unwrap().iter().map(|phase| phase.0).collect();
    assert_eq!(phases, [Phase::Store, Phase::Logs]);
    assert_eq!(*watch.done.lock().unwrap(), total);
    assert_eq!(knobs.late_reads.load(Ordering::SeqCst), 0);
    assert_eq!(knobs.live_copies.load(Ordering::SeqCst), 0);
}

/// A tree that comes to rest is fetched again; one that does not is left out; one that turns out
/// to be stale is taken back.
#[tokio::test]
async fn restless_and_stale_trees() {
    let mut knobs = Synthetic::small();
    knobs.files.push((FileKind::Tree, "neostore.indexstats.db".into(), 8192));
    knobs.stale = vec![8, 1];
    let knobs = Arc::new(knobs);
    knobs.restless.lock().unwrap().extend([(0, 2), (1, 3)]);
    let service = serve(&knobs, |_| {}).await;
    let (sink, watch) = (Arc::new(Memory::default()), Arc::new(Watch::default()));
    let report = client(service.address).full("neo4j", sink.clone(), watch.clone()).await.unwrap();
    let paths = sink.verified();
    assert!(paths.contains(&"neostore.counts.db".to_owned()));
    assert!(!paths.contains(&"neostore.nodestore.db.id".to_owned()));
    assert!(!paths.contains(&"neostore.indexstats.db".to_owned()));
    let left_out: Vec<_> = report.left_out.iter().map(|left_out| left_out.path.as_str()).collect();
    assert_eq!(left_out, ["schema/index/x", "neostore.nodestore.db.id", "neostore.indexstats.db"]);
    let kept: usize = sink.files.lock().unwrap().values().map(|kept| kept.bytes.len()).sum();
    assert_eq!(*watch.done.lock().unwrap(), kept as u64);
    assert!(report.bytes_transferred > kept as u64, "what came in vain went over the network");
    assert_eq!(report.files, 9);
}

/// Record stores that shrink: at the end, and in the middle, before ranges that have arrived.
#[tokio::test]
async fn shrunk_record_stores() {
    for (id, size) in [(5, 5 << 20), (5, 3), (6, 69 << 20), (6, 65 << 20), (6, 1000), (6, 0)] {
        let knobs = Arc::new(Synthetic::small());
        knobs.shrunk.lock().unwrap().insert(id, size);
        let service = serve(&knobs, |_| {}).await;
        let sink = Arc::new(Memory::default());
        client(service.address).full("neo4j", sink.clone(), Arc::new(())).await.unwrap();
        sink.verified();
        assert_eq!(sink.files.lock().unwrap()[&id].bytes.len() as u64, size);
    }
}

/// The limit holds over all streams together.
#[tokio::test]
async fn limited_rate() {
    let knobs = Arc::new(Synthetic::small());
    let service = serve(&knobs, |_| {}).await;
    let mut options = options(service.address);
    options.limit_rate_bytes_per_s = Some(40 << 20);
    let begun = Instant::now();
    let sink = Arc::new(Memory::default());
    let client = Client::new(options).unwrap();
    client.full("neo4j", sink.clone(), Arc::new(())).await.unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    assert!((1.6..4.0).contains(&seconds), "81 MiB at 40 MiB/s took {seconds}");
}

/// A sink that is slower than the lease does not lose the session.
#[tokio::test]
async fn slow_sink() {
    let mut knobs = Synthetic::small();
    knobs.files.truncate(6);
    let knobs = Arc::new(knobs);
    let service = serve(&knobs, |config| config.limits.lease = Duration::from_secs(1)).await;
    let sink = Arc::new(Memory { write_delay_ms: 300, ..Memory::default() });
    client(service.address).full("neo4j", sink.clone(), Arc::new(())).await.unwrap();
    sink.verified();
}

/// Dropping a copy ends its session at once.
#[tokio::test]
async fn dropped_copy() {
    let knobs = Arc::new(Synthetic::small());
    knobs.read_delay_ms.store(5, Ordering::SeqCst);
    let service = serve(&knobs, |_| {}).await;
    let mut copy = client(service.address).open("neo4j").await.unwrap();
    let run = copy.run(Arc::new(Memory::default()), Arc::new(()));
    assert!(tokio::time::timeout(Duration::from_millis(100), run).await.is_err());
    assert_eq!(knobs.live_copies.load(Ordering::SeqCst), 1);
    drop(copy);
    for _ in 0..100 {
        if knobs.live_copies.load(Ordering::SeqCst) == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the session was not ended");
}
