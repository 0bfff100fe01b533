//! The one table of server versions.

use std::io::Write as _;

/// A version of Neo4j Community and what it takes to run it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// As Maven names it: `5.26.30`.
    pub name: &'static str,
    /// Java versions that it runs on, the preferred one first.
    pub java: &'static [u32],
    /// The class that starts the server.
    pub main_class: &'static str,
    /// Flags for the JVM; the opened packages are what makes Neo4j preallocate its logs.
    pub jvm_flags: &'static [&'static str],
    /// The kernel version byte that a new database writes.
    pub kernel_version: u8,
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

const fn five(name: &'static str, kernel_version: u8) -> Version {
    let main_class = "org.neo4j.server.CommunityEntryPoint";
    Version { name, java: &[17], main_class, jvm_flags: OPENS, kernel_version }
}

const fn calendar(name: &'static str, kernel_version: u8) -> Version {
    let main_class = "org.neo4j.server.Neo4jCommunity";
    Version { name, java: &[25], main_class, jvm_flags: OPENS_JAVA_25, kernel_version }
}

/// The long-term support version.
pub const V5_26: Version = five("5.26.30", 20);
/// The newest version.
pub const V2026_08: Version = calendar("2026.08.1", 32);

/// Versions that tests run.
pub const SUPPORTED: [Version; 2] = [V5_26, V2026_08];

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

/// The version of that name, of both tables.
pub fn find(name: &str) -> Option<Version> {
    SUPPORTED.iter().chain(&FIXTURES_ONLY).find(|version| version.name == name).copied()
}

/// Names the versions that tests with real servers run: `5.26.30,2026.08.1`, or `none`.
pub const VERSIONS_VARIABLE: &str = "NEO4J_BACKUP_TEST_VERSIONS";

/// Set for the long run: all versions in every test, and many copies of each.
pub const LONG_VARIABLE: &str = "NEO4J_BACKUP_TEST_LONG";

/// Whether this is the long run.
pub fn is_long_run() -> bool {
    std::env::var_os(LONG_VARIABLE).is_some()
}

/// Of the versions [`under_test`], only `ordinary` unless this is the long run.
pub fn one_under_test(test: &str, ordinary: Version) -> Vec<Version> {
    let (run, later): (Vec<_>, Vec<_>) =
        under_test(test).into_iter().partition(|version| is_long_run() || *version == ordinary);
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
    let chosen = std::env::var(VERSIONS_VARIABLE).ok();
    let wanted = |version: &Version| match &chosen {
        Some(names) => names.split(',').any(|name| name.trim() == version.name),
        None => true,
    };
    let (run, skipped) = SUPPORTED.into_iter().partition::<Vec<_>, _>(wanted);
    for version in skipped {
        // Not captured by the test harness, unlike `eprintln!`.
        let _ = writeln!(std::io::stderr(), "SKIPPED {test} on Neo4j {}", version.name);
    }
    run
}
