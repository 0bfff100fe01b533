//! The files under `packaging/` fit the program.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{Service, data_directory, run};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Not captured by the test harness: what is not checked must not look like what passed.
fn tell(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what}");
}

/// What a tool says; `None` if it is not there.
fn tool(name: &str, args: &[&str], dir: &str) -> Option<std::process::Output> {
    let mut command = Command::new(name);
    let output = command.args(args).env("NEO4J_PASSWORD", "x").current_dir(root().join(dir));
    output.output().map_err(|error| tell(&format!("SKIPPED {name} on {dir}: {error}"))).ok()
}

fn units() -> Vec<(PathBuf, String)> {
    let paths = std::fs::read_dir(root().join("packaging/systemd")).unwrap();
    let paths = paths.map(|entry| entry.unwrap().path());
    let mut units: Vec<_> =
        paths.map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect();
    units.sort();
    units
}

/// The arguments that the program gets from units and compose files.
fn command_lines() -> Vec<Vec<String>> {
    let mut lines = Vec::new();
    for (path, text) in units() {
        for line in text.lines().filter_map(|line| line.strip_prefix("ExecStart=")) {
            let mut words = line.split(' ').map(str::to_owned);
            assert_eq!(words.next().as_deref(), Some("/usr/local/bin/neo4j-backup"), "{path:?}");
            lines.push(words.collect());
        }
    }
    assert_eq!(lines.len(), 3);
    let compose = read("packaging/docker/compose.yaml");
    let commands = compose.lines().filter_map(|line| line.trim().strip_prefix("command: "));
    lines.extend(commands.map(|command| serde_json::from_str(command).unwrap()));
    assert_eq!(lines.len(), 8);
    lines
}

/// Every flag is one of its command; and every command line but the follower's, which would go on
/// trying, fails on what is not there and not on its flags.
#[test]
fn command_lines_are_understood() {
    for line in command_lines() {
        let name = line.first().filter(|word| !word.starts_with('-'));
        let help = run([name.map_or("backup", String::as_str), "--help"]).stdout;
        let flags = line.iter().filter(|word| word.starts_with('-'));
        for flag in flags.map(|flag| format!("--{}", flag.trim_start_matches('-'))) {
            let there = help.split_whitespace().any(|word| word == flag);
            assert!(there, "{flag} of {line:?}");
        }
        if line.contains(&"--follow".to_owned()) {
            continue;
        }
        let missing = tempfile::tempdir().unwrap().path().join("missing");
        let mut words = line.clone();
        for word in &mut words {
            if word == "${NEO4J_BACKUP_HOST}" {
                "host.invalid".clone_into(word);
            } else if word == "${NEO4J_BACKUP_TO}" || word.starts_with('/') {
                missing.to_str().unwrap().clone_into(word);
            }
            assert!(!word.contains('$'), "{line:?}");
        }
        if name.is_some_and(|name| name == "backup") {
            words.extend(["--host", "host.invalid"].map(str::to_owned));
        }
        let ran = run(&words);
        assert!(matches!(ran.status, 3 | 10 | 20 | 34), "{words:?}: {ran:?}");
    }
}

/// systemd itself has nothing to say against them, but that the program is not installed here.
#[test]
fn systemd_understands_the_units() {
    let paths: Vec<_> = units().into_iter().map(|(path, _)| path).collect();
    let paths = paths.iter().map(|path| path.to_str().unwrap());
    let args: Vec<_> = std::iter::once("verify").chain(paths).collect();
    let Some(output) = tool("systemd-analyze", &args, "packaging/systemd") else { return };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let ours = said.lines().filter(|line| line.contains("neo4j-backup"));
    let ours: Vec<_> = ours
        .filter(|line| !line.contains("/usr/local/bin/neo4j-backup is not executable"))
        .collect();
    assert!(ours.is_empty(), "{ours:?}");
}

/// Tokens of a text that begin in this way.
fn names(text: &str, prefix: &str) -> BTreeSet<String> {
    let tokens = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    tokens
        .filter(|token| token.starts_with(prefix) && *token != prefix)
        .map(str::to_owned)
        .collect()
}

/// All that is written under `crates/*/src` in files of the follower, or in all others.
fn sources(of_follower: bool) -> String {
    let crates = std::fs::read_dir(root().join("crates")).unwrap();
    let mut open: Vec<_> = crates.map(|entry| entry.unwrap().path().join("src")).collect();
    let mut text = String::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if name_in_tree(&path).contains("follow") == of_follower {
            text.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
    text
}

fn name_in_tree(path: &Path) -> &str {
    let root = root();
    path.strip_prefix(&root).unwrap().to_str().unwrap()
}

/// Every metric that an alert or the guide speaks of is made somewhere: its whole name stands in the
/// sources, or the rest of it as a string, behind `neo4j_backup_` or `neo4j_backup_follow_`.
#[test]
fn metrics_in_alerts_are_there() {
    let rules = read("packaging/prometheus/neo4j-backup.rules.yaml");
    let guide = read("docs/operating.md");
    let of_service = (sources(false), "neo4j_backup_");
    let of_follower = (sources(true), "neo4j_backup_follow_");
    let spoken_of = names(&format!("{rules}{guide}"), of_service.1);
    assert!(spoken_of.len() >= 20, "{spoken_of:?}");
    for name in &spoken_of {
        let follows = name.starts_with(of_follower.1);
        let (sources, prefix) = if follows { &of_follower } else { &of_service };
        let rest = format!("\"{}\"", name.strip_prefix(prefix).unwrap());
        let there = sources.contains(&rest) || names(sources, prefix).contains(name);
        assert!(there, "nothing makes {name}");
    }
}

/// Prometheus's own tool reads the rules, and they say what they should in made-up cases.
#[test]
fn prometheus_understands_the_alerts() {
    for args in [
        ["check", "rules", "neo4j-backup.rules.yaml"],
        ["test", "rules", "neo4j-backup.rules.test.yaml"],
    ] {
        let Some(output) = tool("promtool", &args, "packaging/prometheus") else { return };
        assert!(output.status.success(), "{output:?}");
    }
}

/// Compose reads its file; where there is no Compose, a parser of YAML does.
#[test]
fn compose_understands_its_file() {
    let args = ["compose", "--file", "compose.yaml", "--profile", "once", "config", "--quiet"];
    let there = tool("docker", &["compose", "version"], "packaging/docker");
    let output = if there.is_some_and(|output| output.status.success()) {
        tool("docker", &args, "packaging/docker")
    } else {
        tell("SKIPPED docker compose config: no Compose; read as YAML");
        let program = "import sys\ntry: import yaml\nexcept ImportError: sys.exit(3)\n\
                       yaml.safe_load(open('compose.yaml'))['services']['backup-service']";
        tool("python3", &["-c", program], "packaging/docker")
    };
    match output {
        Some(output) if output.status.code() == Some(3) => tell("SKIPPED compose.yaml as YAML"),
        Some(output) => assert!(output.status.success(), "{output:?}"),
        None => {}
    }
}

/// The variables in it are some that the program reads, and the secrets are those that are made.
#[test]
fn variables_and_secrets_of_compose() {
    let compose = read("packaging/docker/compose.yaml");
    let help = format!("{}{}", run(["serve", "--help"]).stdout, run(["backup", "--help"]).stdout);
    let variables = names(&compose, "NEO4J_BACKUP_");
    assert!(variables.len() >= 5, "{variables:?}");
    assert!(variables.is_subset(&names(&help, "NEO4J_BACKUP_")), "{variables:?}");

    let script = root().join("packaging/docker/make-secrets");
    let dir = tempfile::tempdir().unwrap();
    let made = dir.path().join("secrets");
    if tool("openssl", &["version"], "packaging/docker").is_none() {
        return;
    }
    let mut command = Command::new(script);
    command.arg(&made).env("NEO4J_BACKUP", env!("CARGO_BIN_EXE_neo4j-backup"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let files = compose.lines().filter_map(|line| line.split_once("file: ./secrets/"));
    let files: Vec<_> = files.map(|(_, rest)| rest.trim_end_matches(" }")).collect();
    assert_eq!(files.len(), 5);
    for file in files {
        assert!(made.join(file).is_file(), "{file} is not made");
    }
    let path = |name: &str| made.join(name).to_str().unwrap().to_owned();
    let (cert, key, tokens) = (path("service.pem"), path("service.key"), path("tokens"));
    let data = data_directory(dir.path());
    let flags = ["--tls-cert", &cert, "--tls-key", &key, "--token-file", &tokens];
    let service = Service::start(&data, &flags);
    // The certificate is for another host: `backup-service`.
    let (to, ca, token) = (dir.path().join("backup"), path("ca.pem"), path("token"));
    let line = ["-host", &service.address, "-to", to.to_str().unwrap(), "--ca", &ca];
    let ran = run(line.into_iter().chain(["--token-file", &token]));
    assert_eq!(ran.status, 10, "{ran:?}");
    assert_eq!(service.stop().status, 0);
}

/// The image is built with the workspace's Rust, opens the port that the service has by itself, and
/// begins with the program.
#[test]
fn the_image_is_of_this_program() {
    let dockerfile = read("packaging/docker/Dockerfile");
    let manifest = read("Cargo.toml");
    let version = manifest.lines().find_map(|line| line.strip_prefix("rust-version = "));
    let image = format!("FROM rust:{}-", version.unwrap().trim_matches('"'));
    let lines = [image.as_str(), "EXPOSE 6362", "ENTRYPOINT [\"/usr/local/bin/neo4j-backup\"]"];
    for line in lines.iter().chain(&["FROM scratch", "USER 7474:7474"]) {
        assert!(dockerfile.lines().any(|found| found.starts_with(line)), "{line} is missing");
    }
    assert!(run(["serve", "--help"]).stdout.contains("127.0.0.1:6362"));
}
