//! Lucene indexes of Neo4j 3.0 that are not whole: one that is being dropped loses its files one by one.

use std::path::{Path, PathBuf};

use source::LiveCopy as _;
use source::v3_0::HotCopy;

use crate::home::ThreeHome;

const SCHEMA: &str = "schema/index/lucene/5";

fn home() -> ThreeHome {
    ThreeHome::of("mixed")
}

/// The files of an index.
fn files(home: &ThreeHome, index: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![home.path(index)];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// Whichever file an index of the schema lacks, and whatever is wrong with its commit: nothing of it is
/// copied, and the copy says so. Without its commits nothing of it counts. What no commit names may be missing.
#[test]
fn a_schema_index_that_is_not_whole_is_left_out() {
    let names: Vec<_> = files(&home(), SCHEMA).into_iter().map(|p| name(&p)).collect();
    assert!(names.len() > 3 && names.iter().any(|name| name.starts_with("segments_")), "{names:?}");
    for lost in names.iter().filter(|name| *name != "write.lock" && *name != "failure-message") {
        for is_damaged in [false, true] {
            let home = home();
            let path = files(&home, SCHEMA).into_iter().find(|path| name(path) == *lost).unwrap();
            let is_read = lost.starts_with("segments_") || lost.ends_with(".si");
            match is_damaged {
                // What is in other files nobody looks at.
                true if !is_read => continue,
                true => std::fs::write(&path, b"\x3f\xd7\x6c\x17\x08other").unwrap(),
                false => std::fs::remove_file(&path).unwrap(),
            }
            let copy = HotCopy::begin(&home.database()).unwrap();
            assert_eq!(left_out(&copy), [SCHEMA], "{lost}");
            assert!(copy.files().iter().all(|file| !file.path.starts_with(SCHEMA)), "{lost}");
        }
    }
    let home = home();
    std::fs::write(home.path(SCHEMA).join("1/_zz.cfs"), b"").unwrap();
    assert!(left_out(&HotCopy::begin(&home.database()).unwrap()).is_empty());
}

/// Indexes that are not copied.
fn left_out(copy: &HotCopy) -> Vec<&str> {
    let paths = copy.left_out().iter().map(|left_out| left_out.path.as_str());
    paths.filter(|path| path.contains('/')).collect()
}

/// A legacy index holds user data: without a file of it there is no copy.
#[test]
fn a_legacy_index_that_is_not_whole_is_an_error() {
    let index = "index/lucene/node/people";
    for lost in files(&home(), index).into_iter().map(|path| name(&path)) {
        let is_needed = lost.starts_with('_');
        let home = home();
        let path = files(&home, index).into_iter().find(|path| name(path) == lost).unwrap();
        std::fs::remove_file(path).unwrap();
        let begun = HotCopy::begin(&home.database()).map(|_| ());
        assert_eq!(begun.is_err(), is_needed, "{lost}: {begun:?}");
        assert!(begun.is_ok() || begun.unwrap_err().to_string().contains("legacy index"), "{lost}");
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}
