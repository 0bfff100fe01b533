//! `neo4j.conf`, read leniently: we look for a few directories and pass over everything else.
//!
//! Syntax (Neo4j operations manual 5, "The neo4j.conf file"): a `key=value` a line, `#` begins a
//! comment, a backslash at a line's end continues it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The settings of a configuration file, each with the line that it stands in.
pub struct Config {
    path: PathBuf,
    settings: HashMap<String, (String, usize)>,
}

/// No sane configuration is larger; a path that is not one may be.
const CONFIG_BYTES_MAX: u64 = 4 << 20;

impl Config {
    /// Reads a configuration file.
    pub fn read(path: &Path) -> Result<Self> {
        let length = std::fs::metadata(path).map_err(Error::io("read", path))?.len();
        if length > CONFIG_BYTES_MAX {
            let message = format!("{length} bytes long: not a configuration file");
            return Err(Error::Config { path: path.to_owned(), message });
        }
        let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
        Ok(Self { path: path.to_owned(), settings: parse(&String::from_utf8_lossy(&bytes)) })
    }

    /// The value of a setting, if it is there and not empty.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.settings.get(key).map(|(value, _)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// A setting that names a directory; a relative one starts at `base`.
    pub fn directory(&self, key: &str, base: &Path) -> Result<Option<PathBuf>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        if value.contains("$(") {
            let line = self.settings.get(key).map_or(0, |(_, line)| *line);
            let message = format!("line {line}: {key}: command expansion is not supported");
            return Err(Error::Config { path: self.path.clone(), message });
        }
        Ok(Some(base.join(value)))
    }

    /// Neo4j's home: the setting, else the parent of a directory named `conf`, else `NEO4J_HOME`,
    /// else the directory of the file.
    pub fn home(&self) -> Result<PathBuf> {
        let absolute = std::path::absolute(&self.path).map_err(Error::io("resolve", &self.path))?;
        let directory = absolute.parent().unwrap_or(Path::new("/")).to_owned();
        if let Some(home) = self.directory("server.directories.neo4j_home", &directory)? {
            return Ok(home);
        }
        if directory.file_name().is_some_and(|name| name == "conf")
            && let Some(parent) = directory.parent()
        {
            return Ok(parent.to_owned());
        }
        Ok(std::env::var_os("NEO4J_HOME").map_or(directory, PathBuf::from))
    }
}

fn parse(text: &str) -> HashMap<String, (String, usize)> {
    let mut settings = HashMap::new();
    let mut logical = String::new();
    let mut first_line = 1;
    for (index, line) in text.lines().enumerate() {
        if logical.is_empty() {
            first_line = index.saturating_add(1);
        }
        let line = line.trim();
        if logical.is_empty() && (line.starts_with('#') || line.starts_with('!')) {
            continue;
        }
        if let Some(continued) = line.strip_suffix('\\') {
            logical.push_str(continued);
            continue;
        }
        logical.push_str(line);
        if let Some((key, value)) = logical.split_once('=') {
            settings.insert(key.trim().to_owned(), (value.trim().to_owned(), first_line));
        }
        logical.clear();
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_blanks_continuations_and_junk_are_read_as_neo4j_does() {
        let text = "# a comment\n\nserver.directories.data = /var/lib/x \r\nno equals sign\n\
                    db.a=b\\\n  c\nempty=\nserver.jvm.additional=-Dx=y\n";
        let settings = parse(text);
        assert_eq!(settings["server.directories.data"], ("/var/lib/x".to_owned(), 3));
        assert_eq!(settings["db.a"], ("bc".to_owned(), 5));
        assert_eq!(settings["server.jvm.additional"].0, "-Dx=y");
        assert_eq!(settings["empty"].0, "");
        assert_eq!(settings.len(), 4);
    }

    #[test]
    fn a_directory_by_command_expansion_is_refused_with_its_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("neo4j.conf");
        std::fs::write(&path, "\nserver.directories.data=$(cmd)\n").unwrap();
        let config = Config::read(&path).unwrap();
        let error = config.directory("server.directories.data", Path::new("/")).unwrap_err();
        assert!(error.to_string().contains("line 2: server.directories.data"), "{error}");
    }
}
