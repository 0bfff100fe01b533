//! The one table of server versions.

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

const ENTRY_POINT: &str = "org.neo4j.server.CommunityEntryPoint";
const COMMUNITY: &str = "org.neo4j.server.Neo4jCommunity";

const fn five(name: &'static str, kernel_version: u8) -> Version {
    Version { name, java: &[17], main_class: ENTRY_POINT, jvm_flags: OPENS, kernel_version }
}

const fn calendar(name: &'static str, main_class: &'static str, kernel_version: u8) -> Version {
    Version { name, java: &[25], main_class, jvm_flags: OPENS_JAVA_25, kernel_version }
}

/// The long-term support version.
pub const V5_26: Version = five("5.26.30", 20);
/// The newest version.
pub const V2026_08: Version = calendar("2026.08.1", COMMUNITY, 32);

/// Versions that tests run.
pub const SUPPORTED: [Version; 2] = [V5_26, V2026_08];

/// Versions that only `make-fixtures` runs, one for each layout of a log entry.
pub const FIXTURES_ONLY: [Version; 0] = [];

/// The version of that name, of both tables.
pub fn find(name: &str) -> Option<Version> {
    SUPPORTED.iter().chain(&FIXTURES_ONLY).find(|version| version.name == name).copied()
}
