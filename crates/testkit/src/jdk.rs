//! Finds a Java of a wanted version among those installed.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// The home of a Java whose version is one of `wanted`; earlier ones are preferred.
///
/// Looks at `JAVA_HOME_<version>`, `JAVA_HOME`, the `java` on `PATH` and whatever is installed
/// beside those two.
pub fn find(wanted: &[u32]) -> Result<PathBuf> {
    for &version in wanted {
        let named = env::var_os(format!("JAVA_HOME_{version}")).map(PathBuf::from);
        let near = [env::var_os("JAVA_HOME").map(PathBuf::from), java_on_path()];
        let beside = near.iter().flatten().flat_map(|home| siblings(home)).collect::<Vec<_>>();
        let all = named.into_iter().chain(near.into_iter().flatten()).chain(beside);
        if let Some(home) = all.into_iter().find(|home| version_of(home) == Some(version)) {
            return Ok(home);
        }
    }
    let first = wanted.first().copied().unwrap_or(17);
    let package = match first {
        17 => "openjdk-17-jre-headless (Debian)".to_owned(),
        other => format!("temurin-{other}-jdk (Debian, from the Adoptium repository)"),
    };
    bail!("no Java {first} found: install {package}, or set JAVA_HOME_{first} to its home")
}

fn java_on_path() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let java = env::split_paths(&path).map(|dir| dir.join("java")).find(|java| java.is_file())?;
    // `<home>/bin/java`, behind links
    Some(java.canonicalize().ok()?.parent()?.parent()?.to_path_buf())
}

fn siblings(home: &Path) -> Vec<PathBuf> {
    let entries = home.parent().and_then(|parent| fs::read_dir(parent).ok());
    let mut homes: Vec<_> =
        entries.into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    homes.sort();
    homes
}

/// Every JDK since 9 says its version in the file `release`: `JAVA_VERSION="17.0.15"`.
fn version_of(home: &Path) -> Option<u32> {
    if !home.join("bin/java").is_file() {
        return None;
    }
    let release = fs::read_to_string(home.join("release")).ok()?;
    let version = release.lines().find_map(|line| line.strip_prefix("JAVA_VERSION=\""))?;
    version.split(['.', '"', '-', '+']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A home is recognised by its `release` file, and an absent version names what to install.
    #[test]
    fn version_from_release_file() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("bin")).unwrap();
        fs::write(home.path().join("bin/java"), "").unwrap();
        fs::write(home.path().join("release"), "X=\"1\"\nJAVA_VERSION=\"25.0.1\"\n").unwrap();
        assert_eq!(version_of(home.path()), Some(25));
        fs::remove_file(home.path().join("bin/java")).unwrap();
        assert_eq!(version_of(home.path()), None);
        let error = find(&[9999]).unwrap_err().to_string();
        assert!(error.contains("JAVA_HOME_9999"), "{error}");
    }
}
