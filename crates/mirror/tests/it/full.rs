use mirror::{Area, Backup, BackupType, FileKind, Mirror};

use crate::support::*;

/// A full backup of each fixture is in Neo4j's layout, byte for byte, and verifies; the manifest
/// says what the service said.
#[test]
fn a_full_backup_has_neo4js_layout() {
    for name in FIXTURES {
        let dir = tempfile::tempdir().unwrap();
        let copy = Copy::of(name, "neo4j");
        assert!(copy.finished.transactions > 0, "{name} has nothing after its checkpoint");
        let entry = copy.back_up(real(), dir.path()).unwrap();
        for (file, bytes) in &copy.bytes {
            let area = if file.kind.in_transactions() { "transactions" } else { "databases" };
            let path = dir.path().join(area).join("neo4j").join(&file.path);
            assert!(std::fs::read(&path).unwrap() == *bytes, "{}", path.display());
        }
        let backup = Backup::open(dir.path()).unwrap();
        assert_eq!(backup.manifest().databases, std::slice::from_ref(&entry));
        assert_eq!(entry.backup_type, BackupType::Full);
        assert_eq!(entry.store_id, copy.session.store_id);
        assert_eq!(entry.last_tx.tx_id, copy.finished.last_tx.tx_id);
        assert_eq!(entry.checkpoint.position, copy.session.checkpoint.as_ref().unwrap().position);
        assert_eq!(entry.left_out[0].path, "neostore.counts.db");
        assert_eq!(entry.bytes_transferred, 12345);
        let logs = entry.files.iter().filter(|file| file.kind == FileKind::Log);
        assert!(logs.clone().count() > 0);
        assert!(logs.clone().all(|file| file.area == Area::Transactions));
        let report = verify(dir.path());
        assert!(report.is_clean(), "{name}: {:?}", report.findings);
        assert_eq!(report.bytes, entry.size_bytes());
        let names: Vec<_> = fs::entries(dir.path()).unwrap().into_iter().map(|e| e.0).collect();
        let expected = [
            ".neo4j-backup.json",
            ".neo4j-backup.lock",
            ".neo4j-backup.pages",
            "databases",
            "transactions",
        ];
        assert_eq!(names, expected);
    }
}

/// A record store that became shorter during the copy, also one that had to begin anew for that: as
/// short as it came, and whole. Logs never shrink.
#[test]
fn a_record_store_may_shrink() {
    use client::Sink as _;
    let dir = tempfile::tempdir().unwrap();
    let mut copy = Copy::of(FIXTURES[0], "neo4j");
    let promised = copy.bytes_of("neostore.propertystore.db").0.clone();
    copy.bytes_of("neostore.propertystore.db").1.truncate(8192);
    let mirror = Mirror::open_for_write(real(), dir.path(), fs::Busy::Fail).unwrap();
    let staged = mirror.begin(&copy.session, mirror::Reason::FirstBackup).unwrap();
    staged.create(&promised).unwrap();
    staged.write_at(promised.id, 0, &[7; 5000]).unwrap();
    staged.discard(promised.id).unwrap();
    copy.feed(&staged).unwrap();
    let entry = staged.commit(&copy.outcome()).unwrap();
    drop(staged);
    let kept = entry.files.iter().find(|file| file.path == promised.path).unwrap();
    assert!(kept.size_bytes == 8192 && promised.size_bytes > 8192, "{promised:?}");
    drop(mirror);
    assert!(verify(dir.path()).is_clean());

    let mut copy = Copy::of(FIXTURES[0], "another");
    copy.bytes_of("neostore.transaction.db.0").1.truncate(8192);
    let mirror = Mirror::open_for_write(real(), dir.path(), fs::Busy::Fail).unwrap();
    assert!(matches!(copy.run(&mirror), Err(mirror::Error::Incomplete { .. })));
}

/// Several databases live in one backup; a new backup of one leaves the others alone.
#[test]
fn databases_do_not_disturb_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let odd = "Ödd name.with-all\n'\"$ *";
    let mirror = Mirror::open_for_write(real(), dir.path(), fs::Busy::Fail).unwrap();
    let first = Copy::of(FIXTURES[0], "neo4j");
    first.run(&mirror).unwrap();
    let second = Copy::of(FIXTURES[1], odd).run(&mirror).unwrap();
    first.changed(7).run(&mirror).unwrap();
    drop(mirror);
    let backup = Backup::open(dir.path()).unwrap();
    assert_eq!(backup.manifest().databases.len(), 2);
    assert_eq!(backup.manifest().database(odd), Some(&second));
    let report = verify(dir.path());
    assert!(report.is_clean(), "{:?}", report.findings);
}

/// While a new backup is being made, the old one reads and verifies; a new one that is given up
/// leaves no trace.
#[test]
fn the_old_backup_stays_until_the_new_one_is_complete() {
    let dir = tempfile::tempdir().unwrap();
    let copy = Copy::of(FIXTURES[0], "neo4j");
    copy.back_up(real(), dir.path()).unwrap();
    let before = tree(dir.path());
    let mirror = Mirror::open_for_write(real(), dir.path(), fs::Busy::Fail).unwrap();
    let staged = mirror.begin(&copy.changed(1).session, mirror::Reason::FirstBackup).unwrap();
    copy.changed(1).feed(&staged).unwrap();
    assert!(verify(dir.path()).is_clean());
    drop(staged);
    drop(mirror);
    let mut after = tree(dir.path());
    after.retain(|(path, _)| path.as_os_str() != ".neo4j-backup.staged");
    let is_lock = |path: &std::path::Path| path.ends_with(".neo4j-backup.lock");
    let strip = |tree: Vec<(std::path::PathBuf, Vec<u8>)>| {
        tree.into_iter().filter(|(path, _)| !is_lock(path)).collect::<Vec<_>>()
    };
    assert!(strip(before) == strip(after));
}

/// A derived file may be fetched anew or given up; what is given up is named, and stale ones go.
#[test]
fn derived_files_may_be_given_up() {
    use client::Sink;
    let dir = tempfile::tempdir().unwrap();
    let mut copy = Copy::of(FIXTURES[0], "neo4j");
    let mirror = Mirror::open_for_write(real(), dir.path(), fs::Busy::Fail).unwrap();
    let staged = mirror.begin(&copy.session, mirror::Reason::FirstBackup).unwrap();
    copy.feed(&staged).unwrap();
    staged.discard(1000).unwrap();
    copy.finished.stale = vec![wire::api::StaleFile { id: 1001, reason: "dropped".into() }];
    let entry = staged.commit(&copy.outcome()).unwrap();
    let left_out: Vec<_> = entry.left_out.iter().map(|l| (&*l.path, &*l.reason)).collect();
    assert_eq!(
        left_out,
        [
            ("neostore.counts.db", "test"),
            ("schema/index/range-1.0/1000/some file", "it did not hold still"),
            ("schema/index/range-1.0/1001/some file", "dropped"),
        ]
    );
    assert!(verify(dir.path()).is_clean());
    // A record store is not to be given up.
    let staged = mirror.begin(&copy.session, mirror::Reason::FirstBackup).unwrap();
    copy.finished.stale.clear();
    copy.feed(&staged).unwrap();
    let record = copy.bytes_of("neostore.nodestore.db").0.id;
    staged.discard(record).unwrap();
    let error = staged.commit(&copy.outcome()).unwrap_err();
    assert!(matches!(error, mirror::Error::Incomplete { .. }), "{error}");
}

/// Copies of several databases at the same time: the commit of one leaves the others' alone.
#[test]
fn copies_may_be_under_way_at_the_same_time() {
    let dir = tempfile::tempdir().unwrap();
    let mirror = Mirror::open_for_write(real(), dir.path(), fs::Busy::Fail).unwrap();
    let copies = [Copy::of(FIXTURES[0], "neo4j"), Copy::of(FIXTURES[1], "system")];
    for _ in 0..2 {
        let staged = copies
            .each_ref()
            .map(|copy| mirror.begin(&copy.session, mirror::Reason::FirstBackup).unwrap());
        copies.iter().zip(&staged).for_each(|(copy, staged)| copy.feed(staged).unwrap());
        for (copy, staged) in copies.iter().zip(&staged) {
            staged.commit(&copy.outcome()).unwrap();
        }
        assert!(verify(dir.path()).is_clean());
        assert_eq!(fs::entries(dir.path()).unwrap().len(), 5);
    }
}

/// What is known of a store's pages is kept beside it, so that a renewal need not read it; whoever asks for
/// a full backup has it read. It belongs to its generation, and is nothing that a backup needs.
#[test]
fn a_renewal_does_not_read_what_is_known() {
    use client::Sink;
    let dir = tempfile::tempdir().unwrap();
    let mut copy = Copy::of(FIXTURES[0], "neo4j");
    copy.session.block_bytes = 128 << 10;
    let (file, bytes) = copy.bytes_of("1000/some file").clone();
    let known = groups(&bytes, copy.session.block_bytes);
    let pages = dir.path().join(".neo4j-backup.pages");
    let names = || {
        let names = std::fs::read_dir(&pages).unwrap();
        names.map(|e| e.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    let first = copy.back_up(real(), dir.path()).unwrap();
    assert_eq!(names(), std::slice::from_ref(&first.generation));
    assert!(verify(dir.path()).is_clean());

    let mirror = Mirror::open_for_write(real(), dir.path(), fs::Busy::Fail).unwrap();
    let of = |reason, range: std::ops::Range<u64>| {
        let staged = mirror.begin(&copy.session, reason).unwrap();
        staged.create(&file).unwrap();
        assert!(staged.base(file.id).is_some(), "there is a base");
        staged.base_groups(file.id, range).unwrap()
    };
    let all = 0..MARKED_BYTES;
    assert_eq!(of(mirror::Reason::Requested, all.clone()), known);
    assert_eq!(of(mirror::Reason::Renewal, all.clone()), known);
    assert_eq!(of(mirror::Reason::Renewal, 64 << 10..MARKED_BYTES), known[1..]);
    // What is kept is what a renewal goes by.
    let kept = pages.join(&first.generation);
    let right = std::fs::read(&kept).unwrap();
    std::fs::write(&kept, vec![7; right.len()]).unwrap();
    assert_ne!(of(mirror::Reason::Renewal, all.clone()), known);
    assert_eq!(of(mirror::Reason::Requested, all.clone()), known);
    // Without it, or cut off, the store is read; and with blocks of another length.
    std::fs::write(&kept, &right[..right.len() / 1000]).unwrap();
    assert_eq!(of(mirror::Reason::Renewal, all.clone()), known);
    std::fs::remove_file(&kept).unwrap();
    assert_eq!(of(mirror::Reason::LogsPruned, all.clone()), known);
    std::fs::write(&kept, vec![7; right.len()]).unwrap();
    let mut other = copy.clone();
    other.session.block_bytes = 64 << 10;
    let staged = mirror.begin(&other.session, mirror::Reason::Renewal).unwrap();
    staged.create(&file).unwrap();
    assert_eq!(staged.base_groups(file.id, all).unwrap(), groups(&bytes, 64 << 10));
    drop(staged);
    assert_eq!(names(), std::slice::from_ref(&first.generation), "given up: nothing is left");

    let second = copy.changed(3).run(&mirror).unwrap();
    assert_eq!(names(), std::slice::from_ref(&second.generation));
    drop(mirror);
    std::fs::write(pages.join("of a run that was killed"), b"").unwrap();
    drop(Mirror::open_for_write(real(), dir.path(), fs::Busy::Fail).unwrap());
    assert_eq!(names(), [second.generation]);
    std::fs::remove_dir_all(&pages).unwrap();
    assert!(verify(dir.path()).is_clean());
}
