//! The files under `packaging/` fit the program.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::run;

fn units() -> Vec<(PathBuf, String)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/systemd");
    let paths = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut units: Vec<_> =
        paths.map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect();
    units.sort();
    units
}

/// Every command line is one that the program takes: it fails on what is not there, not on its flags.
#[test]
fn the_units_command_lines_are_understood() {
    let mut count = 0;
    for (path, text) in units() {
        for line in text.lines().filter_map(|line| line.strip_prefix("ExecStart=")) {
            let mut words = line.split(' ');
            assert_eq!(words.next(), Some("/usr/local/bin/neo4j-backup"), "{path:?}");
            let missing = tempfile::tempdir().unwrap().path().join("missing");
            let missing = missing.to_str().unwrap();
            let words = words.map(|word| match word {
                "${NEO4J_BACKUP_HOST}" => "host.invalid",
                "${NEO4J_BACKUP_TO}" | "/etc/neo4j/neo4j.conf" => missing,
                word => word,
            });
            let words: Vec<_> = words.collect();
            assert!(!words.iter().any(|word| word.contains('$')), "{words:?}");
            let ran = run(&words);
            assert!(matches!(ran.status, 3 | 10), "{words:?}: {ran:?}");
            count += 1;
        }
    }
    assert_eq!(count, 2);
}

/// systemd itself has nothing to say against them, but that the program is not installed here.
#[test]
fn systemd_understands_the_units() {
    let mut verify = Command::new("systemd-analyze");
    verify.arg("verify").args(units().into_iter().map(|(path, _)| path));
    let output = match verify.output() {
        Ok(output) => output,
        Err(error) => return eprintln!("SKIPPED systemd_understands_the_units: {error}"),
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let ours = said.lines().filter(|line| line.contains("neo4j-backup"));
    let ours: Vec<_> = ours
        .filter(|line| !line.contains("/usr/local/bin/neo4j-backup is not executable"))
        .collect();
    assert!(ours.is_empty(), "{ours:?}");
}
