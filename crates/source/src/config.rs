//! `neo4j.conf`, read leniently: we look for a few directories and pass over everything else.
//!
//! Neo4j reads it as `java.util.Properties` does (`Config.Builder`, 5.26 and 2026.08), whose
//! documentation has the syntax: `key=value`, `key: value` or `key value` a line; `#` or `!` begins a
//! comment; a backslash at a line's end continues it, before another character it escapes it; `\uXXXX`.
//! 2026.08 takes the bytes for UTF-8, 5.26 for ISO 8859-1; here what is not UTF-8 is the latter.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The settings of a configuration file, each with the line that it stands in.
pub struct Config {
    path: PathBuf,
    settings: HashMap<String, (String, usize)>,
}

/// A setting as it stands in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting<'a> {
    /// Its value; may be blank.
    pub value: &'a str,
    /// The line that it begins in, from 1.
    pub line: usize,
}

/// No sane configuration is larger; a path that is not one may be.
const CONFIG_BYTES_MAX: u64 = 4 << 20;

const BLANK: [char; 3] = [' ', '\t', '\u{c}'];

impl Config {
    /// Reads a configuration file.
    pub fn read(path: &Path) -> Result<Self> {
        let refuse = |message: String| Error::Config { path: path.to_owned(), message };
        let found = std::fs::metadata(path).map_err(|error| refuse(error.to_string()))?;
        // What is no file may be endless, or wait for ever.
        if !found.is_file() || found.len() > CONFIG_BYTES_MAX {
            return Err(refuse("not a configuration file".to_owned()));
        }
        let bytes = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
        let latin_1 = |bytes: &[u8]| bytes.iter().copied().map(char::from).collect();
        let text = String::from_utf8(bytes).unwrap_or_else(|e| latin_1(e.as_bytes()));
        Ok(Self { path: path.to_owned(), settings: parse(&text).map_err(refuse)? })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A setting, if it is there.
    #[must_use]
    pub fn setting(&self, key: &str) -> Option<Setting<'_>> {
        self.settings.get(key).map(|(value, line)| Setting { value, line: *line })
    }

    /// Refuses a setting's value.
    #[must_use]
    pub fn bad_value(&self, key: &str, what: &str) -> Error {
        let line = self.settings.get(key).map_or(0, |(_, line)| *line);
        let message = format!("line {line}: {key}: {what}");
        Error::Config { path: self.path.clone(), message }
    }

    /// The value of a setting, if it is there and not empty.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.settings.get(key).map(|(value, _)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// A setting that names a directory; a relative one starts at `base`.
    pub fn directory(&self, key: &str, base: &Path) -> Result<Option<PathBuf>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        if value.contains("$(") {
            return Err(self.bad_value(key, "command expansion is not supported"));
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

fn parse(text: &str) -> Result<HashMap<String, (String, usize)>, String> {
    let mut settings = HashMap::new();
    let text = text.replace("\r\n", "\n");
    let mut lines = text.split(['\n', '\r']).zip(1_usize..);
    while let Some((line, number)) = lines.next() {
        let mut logical = line.trim_start_matches(BLANK).to_owned();
        if logical.is_empty() || logical.starts_with(['#', '!']) {
            continue;
        }
        while is_continued(&logical) {
            logical.pop();
            let Some((next, _)) = lines.next() else { break };
            logical.push_str(next.trim_start_matches(BLANK));
        }
        let (key, value) = split(&logical);
        let read = |text: &str| unescape(text).map_err(|what| format!("line {number}: {what}"));
        settings.insert(read(key)?, (read(value)?.trim().to_owned(), number));
    }
    Ok(settings)
}

/// Whether a line ends with a backslash that is not itself escaped.
fn is_continued(line: &str) -> bool {
    let backslashes = line.bytes().rev().take_while(|byte| *byte == b'\\').count();
    !backslashes.is_multiple_of(2)
}

/// Key and value: the key ends at the first `=`, `:` or blank that is not escaped.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.find(|c: char| {
        let ends = !escaped && (BLANK.contains(&c) || c == '=' || c == ':');
        escaped = c == '\\' && !escaped;
        ends
    });
    let (key, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start_matches(BLANK);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, value.trim_start_matches(BLANK))
}

fn unescape(text: &str) -> Result<String, String> {
    let mut plain = String::with_capacity(text.len());
    let mut units = Vec::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let escaped = if c == '\\' { rest.next() } else { None };
        if escaped == Some('u') {
            let digits: String = rest.by_ref().take(4).collect();
            let unit = u16::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 4);
            units.push(unit.ok_or_else(|| format!("\\u{digits} is no character"))?);
            continue;
        }
        flush(&mut units, &mut plain)?;
        plain.push(match escaped {
            None => c,
            Some('t') => '\t',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('f') => '\u{c}',
            Some(other) => other,
        });
    }
    flush(&mut units, &mut plain)?;
    Ok(plain)
}

/// Escapes are UTF-16: two of them may make one character.
fn flush(units: &mut Vec<u16>, plain: &mut String) -> Result<(), String> {
    let text = String::from_utf16(units).map_err(|_| "half a character in \\u".to_owned())?;
    plain.push_str(&text);
    units.clear();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_neo4j_reads_them() {
        let text = "# a comment\n\nserver.directories.data = /var/lib/x \r\nno equals sign\n\
                    db.a=b\\\n  c\n  ! another\nempty=\nserver.jvm.additional=-Dx=y\n\
                    colon: a:b\nblank\tvalue of it\nescaped\\ key = c\\:\\\\d\\te\n\
                    unicode=\\u00e4\\ud83d\\ude00\u{e9}\nlast=even\\\\\nthe=end\\";
        let settings = parse(text).unwrap();
        let expected = [
            ("server.directories.data", "/var/lib/x", 3),
            ("no", "equals sign", 4),
            ("db.a", "bc", 5),
            ("empty", "", 8),
            ("server.jvm.additional", "-Dx=y", 9),
            ("colon", "a:b", 10),
            ("blank", "value of it", 11),
            ("escaped key", "c:\\d\te", 12),
            ("unicode", "\u{e4}\u{1f600}\u{e9}", 13),
            ("last", "even\\", 14),
            ("the", "end", 15),
        ];
        for (key, value, line) in expected {
            assert_eq!(settings[key], (value.to_owned(), line), "{key}");
        }
        assert_eq!(settings.len(), expected.len());
        assert!(parse("a=1\nb=\\u12").unwrap_err().starts_with("line 2: "));
        assert!(parse("b=\\ud83d").is_err());
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
