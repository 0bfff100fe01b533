use std::path::Path;

use mirror::{Backup, Error, FindingKind, MANIFEST_NAME};

use crate::support::*;

fn backup() -> (tempfile::TempDir, Copy) {
    let dir = tempfile::tempdir().unwrap();
    let copy = Copy::of(FIXTURES[0], "neo4j");
    copy.back_up(real(), dir.path()).unwrap();
    (dir, copy)
}

fn kinds(dir: &Path) -> Vec<(String, FindingKind, Option<u64>)> {
    let name = |path: &Path| path.strip_prefix(dir).unwrap().display().to_string();
    let findings = verify(dir).findings;
    findings.iter().map(|f| (name(&f.path), f.kind, f.offset_bytes)).collect()
}

/// One flipped byte in any file is found, with the file and the block that it is in; in all files
/// at once, all are found.
#[test]
fn a_flipped_byte_is_found_in_every_file() {
    let (dir, _) = backup();
    let entry = Backup::open(dir.path()).unwrap().manifest().databases[0].clone();
    let mut expected = Vec::new();
    for file in entry.files.iter().filter(|file| file.size_bytes > 0) {
        let name = format!("{}/neo4j/{}", file.area.root_name(), file.path);
        let path = dir.path().join(&name);
        let good = std::fs::read(&path).unwrap();
        for at in [0, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, &bad).unwrap();
            let offset = at as u64 / BLOCK_BYTES * BLOCK_BYTES;
            let found = kinds(dir.path());
            let wanted = (name.clone(), FindingKind::Block, Some(offset));
            assert!(found.contains(&wanted), "{name} at {at}: {found:?}");
        }
        expected.push(name);
    }
    let found = kinds(dir.path());
    let blocks = found.iter().filter(|(_, kind, _)| *kind == FindingKind::Block);
    let blocks: Vec<_> = blocks.map(|(name, _, _)| name.clone()).collect();
    expected.sort();
    assert_eq!(blocks, expected);
}

/// Truncated, longer, missing, replaced by a link, extra: each is found by its kind, all at once.
#[test]
fn all_kinds_of_damage_are_found_at_once() {
    let (dir, _) = backup();
    let store = dir.path().join("databases/neo4j");
    let edit = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = std::fs::read(store.join(name)).unwrap();
        change(&mut bytes);
        std::fs::write(store.join(name), bytes).unwrap();
    };
    edit("neostore.nodestore.db", &|bytes| bytes.truncate(5000));
    edit("neostore.schemastore.db", &|bytes| bytes.push(0));
    std::fs::remove_file(store.join("neostore.propertystore.db")).unwrap();
    let link = store.join("neostore.relationshipstore.db");
    std::fs::rename(&link, dir.path().join("databases/elsewhere")).unwrap();
    std::os::unix::fs::symlink("../elsewhere", &link).unwrap();
    std::fs::write(store.join("neostore.counts.db"), b"stale").unwrap();
    std::fs::write(dir.path().join("server_id"), b"").unwrap();
    let found = kinds(dir.path());
    let has = |name: &str, kind| {
        assert!(found.iter().any(|f| f.0.ends_with(name) && f.1 == kind), "{name}: {found:?}");
    };
    has("neostore.nodestore.db", FindingKind::Size);
    has("neostore.schemastore.db", FindingKind::Size);
    has("neostore.propertystore.db", FindingKind::Missing);
    has("neostore.relationshipstore.db", FindingKind::NotAFile);
    has("neo4j/neostore.counts.db", FindingKind::Extra);
    has("databases/elsewhere", FindingKind::Extra);
    has("server_id", FindingKind::Extra);
}

/// Damage that hides behind right hashes: the manifest was made over logs that do not lead to E,
/// as an old or hostile service might have sent them. Verify parses the logs itself.
#[test]
fn logs_are_parsed_and_not_only_hashed() {
    let (dir, _) = backup();
    let log = dir.path().join("transactions/neo4j/neostore.transaction.db.0");
    let checkpoint = dir.path().join("transactions/neo4j/checkpoint.0");
    let logs_only = |found: &[(String, FindingKind, Option<u64>)], kind| {
        found.iter().any(|(_, found, _)| *found == kind)
    };
    let good = std::fs::read(&log).unwrap();
    std::fs::write(&log, &good[..good.len() - 10]).unwrap();
    assert!(logs_only(&kinds(dir.path()), FindingKind::Logs), "cut in a transaction");
    let mut longer = good.clone();
    longer.extend([0; 100]);
    longer.extend([1; 100]);
    std::fs::write(&log, &longer).unwrap();
    // Of an increment that was never committed: not part of the backup, but told.
    let report = verify(dir.path());
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!(report.unfinished, [(log.clone(), 200)]);
    std::fs::write(&log, &good).unwrap();
    let good = std::fs::read(&checkpoint).unwrap();
    std::fs::write(&checkpoint, &good[..good.len() - 232]).unwrap();
    assert!(logs_only(&kinds(dir.path()), FindingKind::Checkpoint), "an older checkpoint");
    std::fs::remove_file(&checkpoint).unwrap();
    assert!(logs_only(&kinds(dir.path()), FindingKind::Checkpoint), "no checkpoint");
}

/// Every flipped byte and every truncation of a manifest is refused, as damaged or as newer.
#[test]
fn a_damaged_manifest_is_refused() {
    let (dir, _) = backup();
    let path = dir.path().join(MANIFEST_NAME);
    let good = std::fs::read(&path).unwrap();
    let refused = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        match Backup::open(dir.path()) {
            Err(Error::ManifestDamaged { .. }) => "damaged",
            Err(Error::ManifestNewer { .. }) => "newer",
            other => panic!("{other:?}"),
        }
    };
    for at in (0..good.len()).step_by(7).chain([good.len() - 1]) {
        let mut bad = good.clone();
        bad[at] ^= 4;
        refused(&bad);
    }
    for length in (0..good.len()).step_by(97) {
        assert_eq!(refused(&good[..length]), "damaged");
    }
    let text = String::from_utf8(good.clone()).unwrap();
    let newer = text.replace("\"format_version\": 1", "\"format_version\": 2");
    assert_eq!(refused(newer.as_bytes()), "newer");
    std::fs::write(&path, &good).unwrap();
    assert!(Backup::open(dir.path()).is_ok_and(|backup| backup.is_current().unwrap()));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(Backup::open(dir.path()), Err(Error::NotABackup { .. })));
}

/// Whoever can write a checksum can write any names: a manifest that leads out of its directory
/// is refused although its checksum is right.
#[test]
fn a_manifest_cannot_lead_out_of_its_directory() {
    let (dir, _) = backup();
    let path = dir.path().join(MANIFEST_NAME);
    let good = std::fs::read_to_string(&path).unwrap();
    for (from, to) in [
        ("\"path\": \"neostore\"", "\"path\": \"../../../etc/passwd\""),
        ("\"path\": \"neostore\"", "\"path\": \"/etc/passwd\""),
        ("\"path\": \"neostore\"", "\"path\": \"neostore.nodestore.db\""),
        ("\"name\": \"neo4j\"", "\"name\": \"..\""),
        ("\"name\": \"neo4j\"", "\"name\": \"a/b\""),
        ("\"generation\": \"", "\"generation\": \"../"),
        ("\"block_bytes\": 4096", "\"block_bytes\": 0"),
        ("\"block_bytes\": 4096", "\"block_bytes\": 8192"),
    ] {
        let changed = good.replace(from, to);
        assert_ne!(changed, good, "{from}");
        let body = &changed[..changed.len() - 68];
        let text = format!("{body}{}\"\n}}\n", blake3::hash(body.as_bytes()).to_hex());
        std::fs::write(&path, text).unwrap();
        let error = Backup::open(dir.path()).unwrap_err();
        assert!(matches!(error, Error::ManifestDamaged { .. }), "{to}: {error}");
    }
}
