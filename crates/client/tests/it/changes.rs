//! Copies of which the sink has an older version: only what has changed comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use wire::pages::{GROUP_BYTES, Group};

use crate::hostile::{Next, Tamper, proxy};
use crate::kit::{Memory, Old, client, options, serve};
use crate::synthetic::{Knobs, Synthetic, fill};

const PAGE: usize = wire::pages::PAGE_BYTES;
/// Its number and size.
const STORE: (u32, usize) = (6, 70 << 20);

/// An older version of every file, the right bytes but for what `change` makes of them.
fn old(knobs: &Knobs, stays: bool, change: impl Fn(u32, &mut Vec<u8>)) -> Memory {
    let mut memory = Memory::default();
    for (id, (_, path, size)) in (0..).zip(knobs.files.iter().chain(&knobs.logs)) {
        let mut bytes = vec![0; *size as usize];
        fill(id, 0, &mut bytes);
        change(id, &mut bytes);
        memory.old.insert(path.clone(), Old { bytes, stays });
    }
    memory
}

/// Copies with a sink that has an older version; what went over the network.
async fn copy(knobs: Knobs, sink: Memory) -> u64 {
    let service = serve(&Arc::new(knobs), |_| {}).await;
    let sink = Arc::new(sink);
    let report = client(service.address).full("neo4j", sink.clone(), Arc::new(())).await.unwrap();
    assert_eq!(sink.verified().len(), 10);
    report.bytes_transferred
}

/// Nothing has changed: only hashes of pages move. Then a page here and there, first and last ones
/// among them: these move, and no others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_changed_pages_come() {
    for stays in [true, false] {
        let knobs = Synthetic::small();
        let sizes = knobs.files.iter().chain(&knobs.logs).map(|file| file.2);
        let hashes: u64 = sizes.map(|size| size.div_ceil(PAGE as u64) * 4).sum();
        let sink = old(&knobs, stays, |_, _| ());
        assert_eq!(copy(knobs, sink).await, hashes);

        let knobs = Synthetic::small();
        let last = STORE.1 / PAGE - 1;
        let changed = [0, 1, 100, 127, 128, 5000, last];
        let sink = old(&knobs, stays, |id, bytes| {
            for page in changed.iter().filter(|_| id == STORE.0) {
                bytes[page * PAGE + page % PAGE] ^= 1;
            }
        });
        let pages = (changed.len() * PAGE) as u64;
        assert_eq!(copy(knobs, sink).await, hashes + pages);
    }
}

/// Files that were shorter or longer then, or empty; every byte is right all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_another_length() {
    for stays in [true, false] {
        for length in
            [0, 1, PAGE - 1, PAGE + 1, 5_000_000, STORE.1 - 1, STORE.1 + 1, STORE.1 + PAGE]
        {
            let knobs = Synthetic::small();
            let sink = old(&knobs, stays, |id, bytes| match id == STORE.0 {
                true => bytes.resize(length, 7),
                false => bytes.truncate(bytes.len() / 2),
            });
            let moved = copy(knobs, sink).await;
            let missing = STORE.1.saturating_sub(length) as u64;
            let expected = missing..missing + (6 << 20);
            assert!(expected.contains(&moved), "{length}, {stays}: {moved}, not {expected:?}");
        }
    }
}

/// A store that becomes shorter while it is copied: the range in which it ends comes whole.
#[tokio::test]
async fn a_shrinking_store() {
    for size in [65 << 20, (64 << 20) + 5000, 1000, 0] {
        for stays in [true, false] {
            let knobs = Synthetic::small();
            knobs.shrunk.lock().unwrap().insert(STORE.0, size);
            let sink = old(&knobs, stays, |_, _| ());
            copy(knobs, sink).await;
        }
    }
}

/// A page that has changed arrives, the connection breaks before its block is complete, and when it is
/// asked for again the page is what it was: then it is not sent, but must be what it was here too.
#[tokio::test]
async fn a_page_that_changes_back_between_two_tries() {
    for stays in [true, false] {
        let mut knobs = Synthetic::small();
        knobs.files.remove(6);
        *knobs.flicker.lock().unwrap() = Some(5);
        let sink = Arc::new(old(&knobs, stays, |_, _| ()));
        let knobs = Arc::new(knobs);
        let service = serve(&knobs, |_| {}).await;
        let (seen, broken) = (Arc::clone(&knobs), AtomicBool::new(false));
        let tamper: Tamper = Arc::new(move |_, bytes| {
            // The head of a BLOCK frame: 40 bytes of kind 2.
            let block = bytes.windows(8).position(|head| head == [40, 0, 0, 0, 2, 0, 0, 0]);
            match block {
                Some(at)
                    if seen.flicker.lock().unwrap().is_none() && !broken.swap(true, SeqCst) =>
                {
                    bytes.truncate(at);
                    Next::Break
                }
                _ => Next::Pass,
            }
        });
        let mut options = options(proxy(service.address, tamper).await);
        options.parallel = 1;
        let client = client::Client::new(options).unwrap();
        client.full("neo4j", sink.clone(), Arc::new(())).await.unwrap();
        assert!(knobs.flicker.lock().unwrap().is_none());
        assert_eq!(sink.verified().len(), 9);
    }
}

/// A tree that changes while it is copied is fetched again, and a stale one is taken back.
#[tokio::test]
async fn restless_trees() {
    let mut knobs = Synthetic::small();
    knobs.stale = vec![1];
    knobs.restless.lock().unwrap().insert(0, 2);
    let sink = Arc::new(old(&knobs, true, |_, _| ()));
    let service = serve(&Arc::new(knobs), |_| {}).await;
    let report = client(service.address).full("neo4j", sink.clone(), Arc::new(())).await.unwrap();
    assert_eq!((report.files, sink.verified().len()), (9, 9));
}

/// What the sink knows of its older version may be wrong: then more comes, and every byte is right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_knowledge() {
    let wrong_pages = |at: u64, mut group: Group| {
        group.pages[at as usize / GROUP_BYTES % 8] ^= 1;
        group
    };
    let wrong_subtrees = |at: u64, mut group: Group| {
        group.subtree[at as usize / GROUP_BYTES % 32] ^= 1;
        group
    };
    let nothing = |_, _| Group::default();
    for is_known_as in [wrong_pages, wrong_subtrees, nothing] {
        for stays in [true, false] {
            let knobs = Synthetic::small();
            let mut sink = old(&knobs, stays, |_, bytes| {
                bytes.chunks_mut(PAGE * 100).for_each(|part| part[0] ^= 1);
            });
            sink.old_is_known_as = Some(is_known_as);
            copy(knobs, sink).await;
        }
    }
    // What it takes for the right bytes are others.
    let knobs = Synthetic::small();
    let mut sink = old(&knobs, true, |_, bytes| bytes.iter_mut().take(PAGE).for_each(|b| *b = 7));
    sink.old_is_known_as = Some(|at, group| match at {
        0 => Group { pages: [checksum_of_first(); 8], ..group },
        _ => group,
    });
    copy(knobs, sink).await;
}

/// Of the first page of the store.
fn checksum_of_first() -> u32 {
    let mut page = [0; PAGE];
    fill(STORE.0, 0, &mut page);
    wire::pages::checksum(&page)
}

/// What cannot be read of the older version comes over the network, and nothing else does.
#[tokio::test]
async fn an_unreadable_older_version() {
    for stays in [true, false] {
        let knobs = Synthetic::small();
        let mut sink = old(&knobs, stays, |_, _| ());
        sink.old_fails_from = Some(64 << 20);
        let moved = copy(knobs, sink).await;
        assert!((6 << 20..7 << 20).contains(&moved), "{moved}");
    }
}
