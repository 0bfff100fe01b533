//! Makes `fixtures/` by driving real servers: `make-fixtures [--out DIR] [<version>/<scenario>]...`
//!
//! Without names it makes all. Each scenario's folder is replaced as a whole, once it is made.

mod captures;
mod facts;
mod files;
mod scenarios;
mod three;
mod workload;

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context as _, Result, ensure};

use scenarios::{SCENARIOS, Scenario};

fn main() -> Result<()> {
    let mut out = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    let mut wanted = Vec::new();
    let mut args = env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--out" => out = PathBuf::from(args.next().context("--out wants a folder")?),
            _ => wanted.push(arg),
        }
    }
    let known = |name: &String| SCENARIOS.iter().any(|scenario| scenario.path == name);
    let unknown = wanted.iter().filter(|name| !known(name)).collect::<Vec<_>>();
    ensure!(unknown.is_empty(), "no such scenario: {unknown:?}");
    for scenario in SCENARIOS {
        if wanted.is_empty() || wanted.iter().any(|name| name == scenario.path) {
            make(scenario, &out).with_context(|| scenario.path)?;
        }
    }
    fs::write(out.join("README.md"), overview())?;
    Ok(())
}

fn overview() -> String {
    let line = |scenario: &Scenario| {
        format!("- `{}`:\n  {}\n", scenario.path, scenario.about.replace('\n', "\n  "))
    };
    format!(
        "# Fixtures\n\n\
         Files of real Neo4j servers (3.0 Enterprise, Community from 5 on), made by\n\
         `cargo run -p testkit --bin make-fixtures` (or with the names of some). Each folder has the\n\
         facts, as the server tells them, and checksums.\n\n{}",
        SCENARIOS.iter().map(line).collect::<String>()
    )
}

fn make(scenario: &Scenario, out: &Path) -> Result<()> {
    let work = tempfile::tempdir()?;
    let home = work.path().join("home");
    let fixture = work.path().join("fixture");
    fs::create_dir(&fixture)?;
    println!("{} ...", scenario.path);
    let facts = (scenario.run)(&home)?;
    files::collect(&home, &fixture, scenario.keep)?;
    fs::write(fixture.join("facts.json"), facts::text(&facts))?;
    fs::write(fixture.join("README.md"), readme(scenario))?;
    files::write_sums(&fixture)?;

    let target = out.join(scenario.path);
    if target.exists() {
        fs::remove_dir_all(&target)?;
    }
    files::copy_tree(&fixture, &target)?;
    println!("{}: {} KiB", scenario.path, files::size_of_tree(&target)? / 1024);
    Ok(())
}

fn readme(scenario: &Scenario) -> String {
    format!(
        "# {path}\n\n{about}\n\n\
         Made by a real server: `cargo run -p testkit --bin make-fixtures -- {path}`.\n\n\
         - {keep}.\n\
         - {cut}\n\
         - `facts.json`: what the server and its tools say about them.\n\
         - `SHA256SUMS`: check with `sha256sum --check SHA256SUMS`.\n",
        path = scenario.path,
        about = scenario.about,
        keep = scenario.keep.about(),
        cut = scenario.keep.cut(),
    )
}
