//! The fixtures are the files that were made.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Goal: no fixture has changed, is unlisted, or has files without a checksum.
/// Method: `sha256sum --check` in each folder, and the names in each list.
#[test]
fn fixtures_are_as_they_were_made() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    let overview = fs::read_to_string(root.join("README.md")).unwrap();
    let mut seen = 0;
    for folder in folders(&root).iter().flat_map(|version| folders(version)) {
        let name = folder.strip_prefix(&root).unwrap().display().to_string();
        // Others keep their own kinds of fixtures here, without our sums.
        let Ok(sums) = fs::read_to_string(folder.join("SHA256SUMS")) else { continue };
        assert!(overview.contains(&format!("`{name}`")), "{name} is not in fixtures/README.md");
        let mut check = Command::new("sha256sum");
        let check = check.args(["--check", "--strict", "--quiet", "SHA256SUMS"]);
        let checked = check.current_dir(&folder).output().unwrap();
        assert!(checked.status.success(), "{name}: {}", String::from_utf8_lossy(&checked.stdout));
        let files = count_files(&folder);
        assert_eq!(sums.lines().count() + 1, files, "{name}: files without a checksum");
        seen += 1;
    }
    assert!(seen >= 10, "only {seen} fixtures");
}

fn folders(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_dir()).collect()
}

fn count_files(dir: &Path) -> usize {
    let files = fs::read_dir(dir).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_file());
    files.count() + folders(dir).iter().map(|folder| count_files(folder)).sum::<usize>()
}
