//! Which names the two ends accept from each other.
//!
//! A client creates files under names that a server sends, so it takes only the known set.

use formats::record_store::{DERIVED_TREES, MANDATORY};
use formats::v3_0;

use crate::api::FileKind;

/// The deepest path that is accepted, in parts.
pub const MAX_DEPTH: usize = 8;
/// The longest part of a path.
pub const MAX_PART_BYTES: usize = 255;
/// The prefix of transaction log files: `neostore.transaction.db.N`.
pub const LOG_PREFIX: &str = "neostore.transaction.db.";
/// The longest name of a database, as Neo4j has it.
pub const MAX_DATABASE_BYTES: usize = 63;

/// A name that is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {name:?} is not accepted: {reason}")]
pub struct NameError {
    /// `path` or `database name`.
    pub what: &'static str,
    /// The name, cut to 300 characters.
    pub name: String,
    /// Why.
    pub reason: &'static str,
}

/// Checks the relative path of a file of that kind.
///
/// # Errors
/// When the path is not one that a database's files have.
pub fn check_path(kind: FileKind, path: &str) -> Result<(), NameError> {
    let refuse = |reason| Err(NameError { what: "path", name: cut(path), reason });
    let parts: Vec<&str> = path.split('/').take(MAX_DEPTH.saturating_add(1)).collect();
    if parts.len() > MAX_DEPTH {
        return refuse("it is too deep");
    }
    for part in &parts {
        // Legacy indexes have the names that users gave them.
        let fault = if kind == FileKind::LegacyIndex { name_fault(part) } else { part_fault(part) };
        if let Some(reason) = fault {
            return refuse(reason);
        }
    }
    let known = match kind {
        FileKind::Record => is_record_store(path),
        FileKind::Tree => is_store_tree(path) || is_index_file(&parts),
        FileKind::Lucene => is_index_file(&parts) || is_label_index_file(path),
        FileKind::Log => is_numbered(path, LOG_PREFIX),
        FileKind::Checkpoint => is_numbered(path, "checkpoint."),
        FileKind::Counts => v3_0::COUNTS.contains(&path),
        FileKind::LegacyIndex => path == v3_0::LEGACY_INDEX_CONFIG || is_legacy_index_file(&parts),
    };
    if known { Ok(()) } else { refuse("no file of that kind has such a name") }
}

/// Checks the name of a database: ASCII letters, digits, dots, dashes and underscores, at most 63 bytes.
///
/// # Errors
/// When the name could be anything but one directory's name.
pub fn check_database(name: &str) -> Result<(), NameError> {
    let refuse = |reason| Err(NameError { what: "database name", name: cut(name), reason });
    if name.is_empty() {
        return refuse("it is empty");
    }
    if name.len() > MAX_DATABASE_BYTES {
        return refuse("it is longer than 63 bytes");
    }
    if name.starts_with('.') {
        return refuse("it begins with a dot");
    }
    if name.contains("..") {
        return refuse("it has two dots in a row");
    }
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')) {
        return refuse(
            "it has a character other than ASCII letters, digits, dots, dashes and underscores",
        );
    }
    Ok(())
}

fn cut(name: &str) -> String {
    name.chars().take(300).collect()
}

/// What no part of a path may be, whoever gave it its name.
fn name_fault(part: &str) -> Option<&'static str> {
    if part.is_empty() {
        return Some("it is absolute or has an empty part");
    }
    if part.len() > MAX_PART_BYTES {
        return Some("a part of it is too long");
    }
    if part == "." || part == ".." {
        return Some("a part of it leads elsewhere");
    }
    part.chars().any(char::is_control).then_some("it has a character that no such file has")
}

fn part_fault(part: &str) -> Option<&'static str> {
    if let Some(fault) = name_fault(part) {
        return Some(fault);
    }
    if part.starts_with('.') {
        return Some("a part of it begins with a dot");
    }
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+');
    if !part.chars().all(fine) {
        return Some("it has a character that no such file has");
    }
    None
}

fn is_record_store(path: &str) -> bool {
    MANDATORY.iter().any(|store| store.file_name() == path)
}

fn is_store_tree(path: &str) -> bool {
    DERIVED_TREES.contains(&path) || path.strip_suffix(".id").is_some_and(is_record_store)
}

/// `schema/index/<provider>/<index id>/` and at least one more part.
fn is_index_file(parts: &[&str]) -> bool {
    match parts {
        ["schema", "index", _, id, _, ..] => is_decimal(id),
        _ => false,
    }
}

/// A file of 3.0's label index.
fn is_label_index_file(path: &str) -> bool {
    path.strip_prefix(v3_0::LABEL_SCAN_STORE).is_some_and(|rest| rest.starts_with('/'))
}

/// `index/lucene/node/<name>/` or `index/lucene/relationship/<name>/`, and one more part.
fn is_legacy_index_file(parts: &[&str]) -> bool {
    matches!(parts, ["index", "lucene", "node" | "relationship", _, _])
}

fn is_numbered(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(is_decimal)
}

/// Decimal as Java writes a `long`: no sign, no leading zero.
fn is_decimal(text: &str) -> bool {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits && (text == "0" || !text.starts_with('0')) && text.parse::<i64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names that real databases have.
    #[test]
    fn accepts_what_real_databases_have() {
        for (kind, path) in [
            (FileKind::Record, "neostore"),
            (FileKind::Record, "neostore.propertystore.db.index.keys"),
            (FileKind::Tree, "neostore.nodestore.db.labels.id"),
            (FileKind::Tree, "neostore.counts.db"),
            (FileKind::Tree, "schema/index/token-lookup-1.0/1/index-1"),
            (FileKind::Lucene, "schema/index/text-2.0/12/1/segments_2"),
            (FileKind::Lucene, "schema/index/fulltext-1.0/3/failure-message"),
            (FileKind::Log, "neostore.transaction.db.0"),
            (FileKind::Log, "neostore.transaction.db.9223372036854775807"),
            (FileKind::Checkpoint, "checkpoint.17"),
            (FileKind::Counts, "neostore.counts.db.b"),
            (FileKind::Lucene, "schema/label/lucene/labelStore/1/_0.cfs"),
            (FileKind::Lucene, "schema/index/lucene/7/1/segments_4"),
            (FileKind::LegacyIndex, "index.db"),
            (FileKind::LegacyIndex, "index/lucene/node/Gr\u{f6}\u{df}e von \u{1f600}/segments_1"),
        ] {
            assert_eq!(check_path(kind, path), Ok(()), "{path}");
        }
    }

    /// What a hostile server may send, each as every kind.
    #[test]
    fn refuses_what_could_leave_the_directory() {
        let long = format!("schema/index/a/1/{}", "x".repeat(256));
        let deep = format!("schema/index/a/1/{}", ["x"; 5].join("/"));
        for path in [
            "",
            "/",
            ".",
            "..",
            "/etc/passwd",
            "../neostore",
            "neostore/../../x",
            "neostore/",
            "/neostore",
            "neostore\0",
            "neostore\n",
            "schema/index/a/1/../../../../../x",
            "schema/index/a/1/..",
            "schema/index/a/1/.hidden",
            "schema/index/a/1//x",
            "schema/index/a/1",
            "schema/index/a/x/index-1",
            "schema/index/a/1/b\\c",
            "schema/index/a/1/b c",
            "schema/index/a/1/\u{202e}",
            "schema/other/a/1/b",
            "database_lock",
            ".neo4j-backup.json",
            "neostore.id",
            "Neostore",
            "neostore.transaction.db.",
            "neostore.transaction.db.00",
            "neostore.transaction.db.0.tmp",
            "neostore.transaction.db.-1",
            "neostore.transaction.db.9223372036854775808",
            "checkpoint.",
            "checkpoint.+1",
            "index/lucene/node/../x",
            "index/lucene/node/a/..",
            "index/lucene/node/a",
            "index/lucene/node//x",
            "index/lucene/node/a\0/x",
            "index/lucene/node/a/b/c",
            "index/lucene/other/a/b",
            "schema/label/lucene/labelStore",
            "schema/label/lucene/labelStorex/1",
            "neostore.counts.db.c",
            &long,
            &deep,
        ] {
            for kind in [
                FileKind::Record,
                FileKind::Tree,
                FileKind::Lucene,
                FileKind::Log,
                FileKind::Checkpoint,
                FileKind::Counts,
                FileKind::LegacyIndex,
            ] {
                if path == "neostore.id" && kind == FileKind::Tree {
                    continue; // harmless: one plain file of the store directory
                }
                assert!(check_path(kind, path).is_err(), "{kind:?} {path:?}");
            }
        }
        assert!(check_path(FileKind::Record, "checkpoint.0").is_err());
        assert!(check_path(FileKind::Log, "checkpoint.0").is_err());
    }

    /// Neo4j's rules, and the underscore.
    #[test]
    fn database_names() {
        let longest = "a".repeat(MAX_DATABASE_BYTES);
        for name in ["neo4j", "system", "a.b-c", "my_db", "1a", &longest] {
            assert_eq!(check_database(name), Ok(()), "{name}");
        }
        let too_long = "a".repeat(MAX_DATABASE_BYTES + 1);
        for name in [
            "Gr\u{f6}\u{df}e",
            "",
            ".",
            "..",
            ".a",
            "a..b",
            "a/b",
            "a\\b",
            "a\0",
            "a b",
            "a\n",
            "a%2f",
            "*",
            &too_long,
        ] {
            assert!(check_database(name).is_err(), "{name:?}");
        }
    }
}
