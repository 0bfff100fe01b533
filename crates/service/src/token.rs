//! Tokens: made here, kept hashed.

use std::fmt;
use std::path::Path;

use crate::error::Error;

/// What the owner of a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    Backup,
    /// Only read the metrics.
    Metrics,
}

impl Scope {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "backup" => Some(Self::Backup),
            "metrics" => Some(Self::Metrics),
            _ => None,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Backup => "backup",
            Self::Metrics => "metrics",
        })
    }
}

/// A secret of 256 random bits. A slow hash would add nothing to that.
pub struct Token(String);

impl Token {
    /// A new token.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn generate() -> Result<Self, Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|e| Error::Random(e.to_string()))?;
        Ok(Self(format!("n4b_{}", hex(&bytes))))
    }

    /// What the client sends; shown once and kept nowhere.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// The line for the service's token file.
    #[must_use]
    pub fn line(&self, name: &str, scope: Scope) -> String {
        format!("{name} {scope} {}", blake3::hash(self.0.as_bytes()).to_hex())
    }
}

/// The tokens that a service knows.
#[derive(Clone, Debug, Default)]
pub struct TokenFile {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    name: String,
    scope: Scope,
    hash: blake3::Hash,
}

impl TokenFile {
    /// Reads a file with one line per token: name, scope, BLAKE3 in hex. `#` begins a comment.
    ///
    /// # Errors
    /// When the file cannot be read or a line is not of that form.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let refuse = |message| Error::Tokens { path: path.to_owned(), message };
        let text = std::fs::read_to_string(path).map_err(|e| refuse(e.to_string()))?;
        warn_if_world_readable(path);
        Self::parse(&text).map_err(refuse)
    }

    /// The same from the file's text.
    ///
    /// # Errors
    /// What is wrong, with the line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut entries: Vec<Entry> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            let line = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = line.split_whitespace().collect();
            let [name, scope, hash] = match words.as_slice() {
                [] => continue,
                [name, scope, hash] => [*name, *scope, *hash],
                _ => return Err(format!("line {number}: not three words")),
            };
            let scope = Scope::parse(scope)
                .ok_or_else(|| format!("line {number}: unknown scope {scope:?}"))?;
            // The word is not repeated in the message: it may be a token put here by mistake.
            let hash = blake3::Hash::from_hex(hash)
                .map_err(|_| format!("line {number}: the third word is no BLAKE3 in hex"))?;
            if entries.iter().any(|entry| entry.name == name) {
                return Err(format!("line {number}: the name {name:?} occurs twice"));
            }
            entries.push(Entry { name: name.to_owned(), scope, hash });
        }
        if entries.is_empty() {
            return Err("it has no token".to_owned());
        }
        Ok(Self { entries })
    }

    /// Whose token this is. Looks at all entries, each in constant time.
    pub(crate) fn find(&self, secret: &str) -> Option<(&str, Scope)> {
        let hash = blake3::hash(secret.as_bytes());
        let mut found = None;
        for entry in &self.entries {
            if entry.hash == hash {
                found = Some((entry.name.as_str(), entry.scope));
            }
        }
        found
    }
}

fn warn_if_world_readable(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path).map(|data| data.permissions().mode()).unwrap_or(0);
    if mode & 0o006 != 0 {
        tracing::warn!(path = %path.display(), "the token file is open to every user: chmod 640");
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_token_is_found_by_its_line() {
        let token = Token::generate().unwrap();
        let other = Token::generate().unwrap();
        let text = format!("# who\n\n{} # x\n", token.line("nightly", Scope::Backup));
        let file = TokenFile::parse(&text).unwrap();
        assert_eq!(file.find(token.secret()), Some(("nightly", Scope::Backup)));
        assert_eq!(file.find(other.secret()), None);
        assert_eq!(file.find(""), None);
    }

    #[test]
    fn a_bad_line_is_named_without_its_secret() {
        let line = Token::generate().unwrap().line("a", Scope::Metrics);
        for (text, expected) in [
            (String::new(), "it has no token"),
            ("a backup".to_owned(), "line 1: not three words"),
            (line.replace("metrics", "admin"), "line 1: unknown scope \"admin\""),
            ("a backup n4b_00".to_owned(), "line 1: the third word is no BLAKE3 in hex"),
            (format!("{line}\n{line}"), "line 2: the name \"a\" occurs twice"),
        ] {
            assert_eq!(TokenFile::parse(&text).unwrap_err(), expected);
        }
    }
}
