//! Derived files: whole or not in the copy.

use std::os::unix::fs::FileExt;

use source::{CopyFile, FileKind, HotCopy, LiveCopy as _};

use crate::home::{Home, read};

fn tree(copy: &HotCopy, name: &str) -> CopyFile {
    copy.files().into_iter().find(|file| file.path == name).unwrap()
}

const COUNTS: &str = "neostore.counts.db";

#[test]
fn a_tree_that_held_still_is_whole_and_one_that_was_never_read_is_not() {
    let home = Home::of("5.26.30/trees");
    let copy = home.begin();
    let file = tree(&copy, COUNTS);
    assert_eq!(file.kind, FileKind::Tree);
    assert!(!copy.check_whole(file.id).unwrap().whole);
    assert_eq!(read(&copy, file.id), std::fs::read(home.store(COUNTS)).unwrap());
    assert!(copy.check_whole(file.id).unwrap().whole);
}

/// A checkpoint of the tree between the first and the last byte: the next try is whole again.
#[test]
fn a_tree_with_a_checkpoint_in_between_is_not_whole() {
    let home = Home::of("5.26.30/trees");
    let copy = home.begin();
    let file = tree(&copy, COUNTS);
    read(&copy, file.id);
    let on_disk = std::fs::File::options().write(true).read(true).open(home.store(COUNTS)).unwrap();
    // Both copies of page 2's state get a new unstable generation.
    for at in [2 * 8192 + 4, 2 * 8192 + 57 + 4] {
        on_disk.write_all_at(&99_u32.to_be_bytes(), at).unwrap();
    }
    assert!(!copy.check_whole(file.id).unwrap().whole);
    read(&copy, file.id);
    assert!(copy.check_whole(file.id).unwrap().whole);
}

/// The state refers to pages that came after the copy's size was taken.
#[test]
fn a_tree_that_grew_is_not_whole_until_it_is_read_to_its_new_end() {
    let home = Home::of("5.26.30/trees");
    let bytes = std::fs::read(home.store(COUNTS)).unwrap();
    std::fs::write(home.store(COUNTS), &bytes[..3 * 8192]).unwrap();
    let copy = home.begin();
    let file = tree(&copy, COUNTS);
    assert_eq!(read(&copy, file.id).len(), 3 * 8192);
    let on_disk = std::fs::File::options().write(true).open(home.store(COUNTS)).unwrap();
    on_disk.write_all_at(&bytes[3 * 8192..], 3 * 8192).unwrap();
    let checked = copy.check_whole(file.id).unwrap();
    assert!(!checked.whole);
    assert_eq!(checked.size_bytes, bytes.len() as u64);
    assert_eq!(read(&copy, file.id), bytes);
    assert!(copy.check_whole(file.id).unwrap().whole);
}

#[test]
fn a_tree_that_was_replaced_is_not_whole_and_stale_at_the_end() {
    let home = Home::of("5.26.30/trees");
    let copy = home.begin();
    let file = tree(&copy, COUNTS);
    read(&copy, file.id);
    let bytes = std::fs::read(home.store(COUNTS)).unwrap();
    std::fs::remove_file(home.store(COUNTS)).unwrap();
    std::fs::write(home.store(COUNTS), bytes).unwrap();
    assert!(!copy.check_whole(file.id).unwrap().whole);
    let stale = copy.finish().unwrap().stale;
    assert_eq!(stale.iter().map(|stale| stale.id).collect::<Vec<_>>(), [file.id]);
}

fn lucene(home: &Home, index: &str, files: &[&str]) {
    for file in files {
        let path = home.store(index).join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, file.as_bytes()).unwrap();
    }
}

#[test]
fn lucene_files_are_held_as_one_commit_without_locks_and_what_is_no_commit_is_left_out() {
    let home = Home::of("5.26.30/mixed");
    let text = "schema/index/text-2.0/6";
    lucene(
        &home,
        text,
        &[
            "1/segments_2",
            "1/_0.cfs",
            "1/_0.si",
            "1/write.lock",
            "1/pending_segments_3",
            "failure-message",
        ],
    );
    lucene(&home, "schema/index/fulltext-1.0/8", &["1/_0.cfs"]);
    lucene(&home, "schema/index/novel-9.0/9", &["x"]);
    let copy = home.begin();
    let paths: Vec<String> =
        copy.files().into_iter().filter(|f| f.kind == FileKind::Lucene).map(|f| f.path).collect();
    let expected = ["1/_0.cfs", "1/_0.si", "1/segments_2", "failure-message"];
    assert_eq!(paths, expected.map(|file| format!("{text}/{file}")));
    let left: Vec<&str> = copy.left_out().iter().map(|left| left.path.as_str()).collect();
    assert_eq!(left, ["schema/index/fulltext-1.0/8", "schema/index/novel-9.0/9"]);
    // A merge deletes files of the held commit: they stay readable, and belong to the copy.
    std::fs::remove_file(home.store(text).join("1/_0.cfs")).unwrap();
    let cfs = copy.files().into_iter().find(|file| file.path.ends_with("_0.cfs")).unwrap();
    assert_eq!(read(&copy, cfs.id), b"1/_0.cfs");
    assert!(copy.finish().unwrap().stale.is_empty());
}

#[test]
fn an_index_that_was_dropped_and_made_anew_is_stale() {
    let home = Home::of("5.26.30/mixed");
    let text = "schema/index/text-2.0/6";
    lucene(&home, text, &["1/segments_2", "1/_0.cfs"]);
    let copy = home.begin();
    // Another inode in its place, as after DROP INDEX and CREATE INDEX with the id used again.
    std::fs::rename(home.store(text), home.store("schema/index/text-2.0/gone")).unwrap();
    lucene(&home, text, &["1/segments_1"]);
    let ids: Vec<u32> =
        copy.files().iter().filter(|f| f.kind == FileKind::Lucene).map(|f| f.id).collect();
    let stale: Vec<u32> = copy.finish().unwrap().stale.iter().map(|stale| stale.id).collect();
    assert_eq!(stale, ids);
    assert_eq!(stale.len(), 2);
}
