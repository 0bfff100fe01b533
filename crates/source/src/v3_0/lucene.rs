//! Whether an index is whole: nothing tells that it is being dropped but the files that it lacks.

use std::collections::BTreeMap;

use formats::v3_0::{LuceneCommit, lucene_commit, lucene_segment_files};

use crate::read::Held;
use crate::{Error, Result};

/// Commits and descriptions of segments are far smaller.
const META_BYTES_MAX: u64 = 16 << 20;

/// Whether all files are there that the newest commit of each directory consists of. Where an index is being
/// dropped, its files go one after the other.
pub(super) fn is_whole(index: &str, files: &[(String, Held)]) -> Result<bool> {
    let mut commits: BTreeMap<&str, (u64, &Held)> = BTreeMap::new();
    let mut found: BTreeMap<(&str, &str), &Held> = BTreeMap::new();
    for (path, held) in files {
        let (dir, name) = path.rsplit_once('/').unwrap_or((index, path));
        found.insert((dir, name), held);
        if let Some(number) = lucene_commit(name)
            && commits.get(dir).is_none_or(|(newest, _)| *newest < number)
        {
            commits.insert(dir, (number, held));
        }
    }
    for (dir, (_, commit)) in commits {
        let commit = LuceneCommit::decode(&whole(commit)?).map_err(Error::format(commit.path()))?;
        let mut named = commit.files;
        for segment in commit.segments {
            let info = format!("{segment}.si");
            let Some(info) = found.get(&(dir, info.as_str())) else { return Ok(false) };
            let info_bytes = whole(info)?;
            named.extend(lucene_segment_files(&info_bytes).map_err(Error::format(info.path()))?);
        }
        if named.iter().any(|name| !found.contains_key(&(dir, name.as_str()))) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// All of a small file's bytes.
fn whole(held: &Held) -> Result<Vec<u8>> {
    let length = held.size_bytes()?.min(META_BYTES_MAX);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    let read = held.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}
