//! Checks of the source tree that no compiler makes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

const FILE_LINES_MAX: usize = 600;
const LINE_COLUMNS_MAX: usize = 100;

/// What each crate may depend on, besides crates of others: the arrows of the data flow.
const EDGES: &[(&str, &[&str])] = &[
    ("formats", &[]),
    ("source", &["formats"]),
    ("wire", &["formats"]),
    ("service", &["formats", "source", "wire"]),
    ("client", &["formats", "wire", "fs"]),
    ("fs", &[]),
    ("mirror", &["formats", "source", "wire", "client", "fs"]),
    ("restore", &["formats", "source", "fs", "mirror"]),
    ("cli", &["formats", "source", "wire", "service", "client", "fs", "mirror", "restore"]),
    ("testkit", &[]),
    ("xtask", &["testkit"]),
];

/// Only these may change files of others; everything else passes through `fs`.
const WRITERS: &[&str] = &["fs", "testkit", "xtask"];
const WRITES: &[&str] = &[
    "fs::write(",
    "fs::rename(",
    "fs::remove_file(",
    "fs::remove_dir",
    "fs::create_dir",
    "fs::set_permissions(",
    "File::create(",
    "File::create_new(",
    ".sync_all(",
    ".sync_data(",
];

/// What no line of source may have.
const LEFTOVERS: &[&str] = &["dbg!(", "todo!(", "unimplemented!(", "#[ignore", "should_panic"];

/// The root of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}

/// Runs every check and reports all findings.
pub fn run() -> Result<()> {
    let mut findings = Vec::new();
    let mut sources = 0_usize;
    for directory in ["crates", "xtask"] {
        visit(&root().join(directory), &mut |path| {
            if path.extension().is_some_and(|ending| ending == "rs") {
                sources += 1;
                check_source(path, &mut findings)?;
            }
            Ok(())
        })?;
    }
    check_edges(&mut findings)?;
    check_fixtures(&mut findings)?;
    if sources < 50 {
        findings.push(format!("only {sources} source files found: looked in the wrong place"));
    }
    if findings.is_empty() {
        println!("tidy: {sources} source files, no findings");
        return Ok(());
    }
    bail!("tidy: {} findings\n{}", findings.len(), findings.join("\n"))
}

fn visit(directory: &Path, file: &mut dyn FnMut(&Path) -> Result<()>) -> Result<()> {
    let list = std::fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    for entry in list {
        let path = entry?.path();
        if path.is_dir() {
            visit(&path, file)?;
        } else {
            file(&path)?;
        }
    }
    Ok(())
}

fn check_source(path: &Path, findings: &mut Vec<String>) -> Result<()> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let shown = path.strip_prefix(root()).unwrap_or(path).display().to_string();
    let is_test = shown.contains("/tests/") || shown.ends_with("tests.rs");
    let crate_name = shown.trim_start_matches("crates/").split('/').next().unwrap_or_default();
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = code.lines().count();
    if !is_test && lines > FILE_LINES_MAX {
        findings.push(format!("{shown}: {lines} lines, at most {FILE_LINES_MAX}"));
    }
    let itself = shown == "xtask/src/tidy.rs";
    for (index, line) in text.lines().enumerate() {
        let mut found = |what: &str| findings.push(format!("{shown}:{}: {what}", index + 1));
        // A string or a table in a comment may hold what cannot be broken.
        let unbreakable =
            line.contains('"') || line.ends_with('\\') || line.trim_start().starts_with("//");
        if line.chars().count() > LINE_COLUMNS_MAX && !unbreakable {
            found("longer than 100 columns");
        }
        if !line.is_ascii() && !is_test {
            found("not ASCII");
        }
        if !itself && LEFTOVERS.iter().any(|leftover| line.contains(leftover)) {
            found("a leftover");
        }
        let bare = line.trim_start();
        let begins = index == 0 || lines_before_end_statement(&text, index);
        if begins && bare.starts_with("matches!(") && bare.ends_with(");") {
            found("a check that cannot fail: `matches!` without an assert");
        }
    }
    if !is_test && !WRITERS.contains(&crate_name) {
        for (index, line) in code.lines().enumerate() {
            let own = |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric());
            if WRITES.iter().any(|write| line.find(write).is_some_and(own)) {
                findings.push(format!("{shown}:{}: writes files past crate fs", index + 1));
            }
        }
    }
    Ok(())
}

/// Whether a statement begins in line `index`.
fn lines_before_end_statement(text: &str, index: usize) -> bool {
    let before = text.lines().nth(index - 1).unwrap_or_default().trim_end();
    before.is_empty() || before.ends_with([';', '{', '}'])
}

fn check_edges(findings: &mut Vec<String>) -> Result<()> {
    let allowed: BTreeMap<&str, &[&str]> = EDGES.iter().copied().collect();
    for name in allowed.keys() {
        let folder = if *name == "xtask" { "xtask".to_owned() } else { format!("crates/{name}") };
        let path = root().join(&folder).join("Cargo.toml");
        let manifest = std::fs::read_to_string(&path).context(folder.clone())?;
        let normal = manifest.split("[dependencies]").nth(1).unwrap_or_default();
        let normal = normal.split("\n[").next().unwrap_or_default();
        for line in normal.lines() {
            let dependency = line.split(['.', ' ', '=']).next().unwrap_or_default();
            let ours = allowed.contains_key(dependency);
            if ours && !allowed.get(name).is_some_and(|edges| edges.contains(&dependency)) {
                findings.push(format!("{folder}/Cargo.toml: must not depend on {dependency}"));
            }
        }
    }
    for entry in std::fs::read_dir(root().join("crates"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !allowed.contains_key(name.as_str()) {
            findings
                .push(format!("crates/{name}: not in the table of crates in xtask/src/tidy.rs"));
        }
    }
    Ok(())
}

/// Each fixture says where it comes from and has checksums.
fn check_fixtures(findings: &mut Vec<String>) -> Result<()> {
    for version in std::fs::read_dir(root().join("fixtures"))? {
        let version = version?.path();
        if !version.is_dir() {
            continue;
        }
        for scenario in std::fs::read_dir(&version)? {
            let scenario = scenario?.path();
            for name in ["README.md", "SHA256SUMS", "facts.json"] {
                if scenario.is_dir() && !scenario.join(name).is_file() {
                    findings.push(format!("{}: has no {name}", scenario.display()));
                }
            }
        }
    }
    Ok(())
}
