//! What the documents say can be typed.

use std::path::{Path, PathBuf};

use crate::run::run;

/// Every command of ours in the README and the guides is understood: its words, not what they name.
#[test]
fn every_command_is_understood() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut documents = vec![root.join("README.md")];
    for entry in std::fs::read_dir(root.join("docs")).unwrap() {
        documents.push(entry.unwrap().path());
    }
    let mut count = 0;
    for path in documents.iter().filter(|path| path.extension().is_some_and(|end| end == "md")) {
        for words in commands(path) {
            // Asking for help, nothing is done; words that nobody knows are told before.
            let ran = run(words.iter().skip(1).map(String::as_str).chain(["--help"]));
            assert_eq!(ran.status, 0, "{}: {words:?}: {ran:?}", path.display());
            count += 1;
        }
    }
    assert!(count > 20, "only {count} commands were found");
}

/// The words of each command in the fenced blocks of a document.
fn commands(path: &PathBuf) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(path).unwrap().replace("\\\n", " ");
    let mut found = Vec::new();
    let mut is_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
            continue;
        }
        let line = line.trim_start().trim_start_matches("$ ");
        let line = line.strip_prefix("sudo ").unwrap_or(line);
        if is_code && line.starts_with("neo4j-backup ") {
            let ends = |word: &&str| !word.starts_with(['#', '(', '|', '>', '&', ';']);
            // What a shell puts in.
            let line = match (line.find("$("), line.find(')')) {
                (Some(from), Some(to)) => format!("{}x{}", &line[..from], &line[to + 1..]),
                _ => line.to_owned(),
            };
            let words = line.split_whitespace().take_while(ends);
            found.push(words.map(|word| word.replace(['\'', '"'], "")).collect());
        }
    }
    found
}
