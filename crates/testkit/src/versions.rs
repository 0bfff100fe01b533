//! The one table of server versions.

use std::io::Write as _;

/// A version of Neo4j and what it takes to run it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// As Maven names it: `5.26.30`.
    pub name: &'static str,
    /// Its settings, its words and its files.
    pub generation: Generation,
    /// What of it is run.
    pub edition: Edition,
    /// Java versions that it runs on, the preferred one first.
    pub java: &'static [u32],
    /// The class that starts the server.
    pub main_class: &'static str,
    /// Flags for the JVM; the opened packages are what makes Neo4j preallocate its logs.
    pub jvm_flags: &'static [&'static str],
    /// The kernel version byte that a new database writes; in 3.0 the byte at its place, which is
    /// the version of the log entry.
    pub kernel_version: u8,
}

/// What servers have in common that are driven alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// 3.0: one database with its logs beside its stores, no users in it, legacy indexes; Bolt 1 and
    /// the Cypher of its time.
    Three,
    /// Community from 5 on: a user database and `system`, Bolt 5.
    Five,
}

/// What is sold, and what is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edition {
    /// Without clusters, and in 3.0 without a backup service.
    Community,
    /// Only of 3.0 is it to be had from Maven.
    Enterprise,
}

impl Version {
    /// What Maven must fetch, with all that it needs: group and artifact. Enterprise 3.0 brings the
    /// backup tool and the consistency checker with it.
    pub const fn artifact(&self) -> (&'static str, &'static str) {
        match (self.generation, self.edition) {
            (Generation::Three, Edition::Enterprise) => {
                ("org.neo4j.app", "neo4j-server-enterprise")
            }
            (Generation::Three, Edition::Community) => ("org.neo4j.app", "neo4j-server"),
            (Generation::Five, _) => ("org.neo4j", "neo4j"),
        }
    }

    /// What has the tools for a server of 3.0.
    #[must_use]
    pub fn with_tools(&self) -> Version {
        if self.generation == Generation::Three { find(self.name).unwrap_or(*self) } else { *self }
    }

    /// A folder's name.
    pub(crate) fn folder(&self) -> String {
        match (self.generation, self.edition) {
            (Generation::Three, Edition::Community) => format!("neo4j-{}-community", self.name),
            _ => format!("neo4j-{}", self.name),
        }
    }
}

const OPENS: &[&str] = &[
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/java.io=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
];

/// The last two silence warnings of Java 25 and change nothing else.
const OPENS_JAVA_25: &[&str] = &[
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/java.io=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
    "--enable-native-access=ALL-UNNAMED",
];

/// What 3.0, made for Java 8, looks into: its page cache and its way to tell of errors.
const OPENS_3_0: &[&str] = &[
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/java.io=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
];

const fn three(name: &'static str, kernel_version: u8) -> Version {
    Version {
        name,
        generation: Generation::Three,
        edition: Edition::Enterprise,
        java: &[17],
        main_class: "org.neo4j.server.enterprise.EnterpriseEntryPoint",
        jvm_flags: OPENS_3_0,
        kernel_version,
    }
}

const fn five(name: &'static str, kernel_version: u8) -> Version {
    let generation = Generation::Five;
    let main_class = "org.neo4j.server.CommunityEntryPoint";
    Version {
        name,
        generation,
        edition: Edition::Community,
        java: &[17],
        main_class,
        jvm_flags: OPENS,
        kernel_version,
    }
}

const fn calendar(name: &'static str, kernel_version: u8) -> Version {
    let generation = Generation::Five;
    let main_class = "org.neo4j.server.Neo4jCommunity";
    let jvm_flags = OPENS_JAVA_25;
    Version {
        name,
        generation,
        edition: Edition::Community,
        java: &[25],
        main_class,
        jvm_flags,
        kernel_version,
    }
}

/// The long-term support version.
pub const V5_26: Version = five("5.26.30", 20);
/// The newest version.
pub const V2026_08: Version = calendar("2026.08.1", 32);

/// Versions that tests run.
pub const SUPPORTED: [Version; 2] = [V5_26, V2026_08];

/// The first 3.0.
pub const V3_0_0: Version = three("3.0.0", 0xfa);
/// The newest 3.0 that Maven has.
pub const V3_0_7: Version = three("3.0.7", 0xf7);

/// The first 3.0 without a backup service.
pub const V3_0_0_COMMUNITY: Version = Version {
    edition: Edition::Community,
    main_class: "org.neo4j.server.CommunityEntryPoint",
    ..V3_0_0
};

/// Versions that tests of 3.0 run; a list of their own, since little that is tested of the others
/// is true of them.
pub const SUPPORTED_3_0: [Version; 2] = [V3_0_0, V3_0_7];

/// Versions that only `make-fixtures` runs, one for each layout of a log entry.
pub const FIXTURES_ONLY: [Version; 14] = [
    five("5.19.0", 16),
    five("5.20.0", 17),
    five("5.22.0", 18),
    five("5.23.0", 19),
    calendar("2025.04.0", 21),
    calendar("2025.05.0", 22),
    calendar("2025.07.1", 23),
    calendar("2025.08.0", 24),
    calendar("2025.09.0", 25),
    calendar("2025.10.1", 26),
    calendar("2025.11.2", 27),
    calendar("2026.01.4", 28),
    calendar("2026.02.3", 29),
    calendar("2026.07.1", 31),
];

/// The version of that name, of all tables.
pub fn find(name: &str) -> Option<Version> {
    let mut all = SUPPORTED.iter().chain(&SUPPORTED_3_0).chain(&FIXTURES_ONLY);
    all.find(|version| version.name == name).copied()
}

/// Names the versions that tests with real servers run: `3.0.0,5.26.30,2026.08.1`, or `none`.
pub const VERSIONS_VARIABLE: &str = "NEO4J_BACKUP_TEST_VERSIONS";

/// Set for the long run: all versions in every test, and many copies of each.
pub const LONG_VARIABLE: &str = "NEO4J_BACKUP_TEST_LONG";

/// Whether this is the long run.
pub fn is_long_run() -> bool {
    std::env::var_os(LONG_VARIABLE).is_some()
}

/// The versions [`under_test`] in the long run, else none.
pub fn long_run_only(test: &str) -> Vec<Version> {
    only_if_long(test, under_test(test))
}

/// The versions of 3.0 that a test runs in the long run; else none.
pub fn long_run_only_3_0(test: &str) -> Vec<Version> {
    only_if_long(test, chosen(test, &SUPPORTED_3_0))
}

fn only_if_long(test: &str, mut versions: Vec<Version>) -> Vec<Version> {
    if !is_long_run() {
        for version in versions.drain(..) {
            let _ = writeln!(std::io::stderr(), "LONG RUN ONLY {test} on Neo4j {}", version.name);
        }
    }
    versions
}

/// Of the versions [`under_test`], only `ordinary` unless this is the long run.
pub fn one_under_test(test: &str, ordinary: Version) -> Vec<Version> {
    only(test, ordinary, under_test(test))
}

/// The versions of 3.0 that a test with real servers runs, chosen as those [`under_test`]: the
/// first, and the newest in the long run.
pub fn under_test_3_0(test: &str) -> Vec<Version> {
    only(test, V3_0_0, chosen(test, &SUPPORTED_3_0))
}

fn only(test: &str, ordinary: Version, versions: Vec<Version>) -> Vec<Version> {
    let (run, later): (Vec<_>, Vec<_>) =
        versions.into_iter().partition(|version| is_long_run() || *version == ordinary);
    for version in later {
        let _ = writeln!(std::io::stderr(), "LONG RUN ONLY {test} on Neo4j {}", version.name);
    }
    run
}

/// The versions that a test with real servers runs: all supported, or those that the
/// environment names.
///
/// A version left out is said on standard error in a line that begins with `SKIPPED`, since a
/// test that ran nothing looks just like one that passed.
pub fn under_test(test: &str) -> Vec<Version> {
    chosen(test, &SUPPORTED)
}

fn chosen(test: &str, versions: &[Version]) -> Vec<Version> {
    let chosen = std::env::var(VERSIONS_VARIABLE).ok();
    let wanted = |version: &Version| match &chosen {
        Some(names) => names.split(',').any(|name| name.trim() == version.name),
        None => true,
    };
    let (run, skipped) = versions.iter().copied().partition::<Vec<_>, _>(wanted);
    for version in skipped {
        // Not captured by the test harness, unlike `eprintln!`.
        let _ = writeln!(std::io::stderr(), "SKIPPED {test} on Neo4j {}", version.name);
    }
    run
}
