//! Finding checkpoint C: the last entry of the newest checkpoint file that has one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use formats::LogVersion;
use formats::checkpoint::{Checkpoint, Tail, decode_file};

use crate::installation::Database;
use crate::read::Held;
use crate::{Error, Result};

/// Neo4j rotates a checkpoint file at 1 MiB; a much larger one is none of its.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// A torn last entry of a live server is an entry being written: a moment later it is whole.
const TORN_TRIES: u32 = 25;
const TORN_WAIT: Duration = Duration::from_millis(20);

/// Checkpoint C and where it stands.
pub struct FoundCheckpoint {
    pub checkpoint: Checkpoint,
    /// The checkpoint file, held open.
    pub file: Held,
    pub file_name: String,
    /// Offset after the entry: a copy of the file ends here.
    pub end_bytes: u64,
}

/// The numbered files `<prefix><N>` of a log directory, oldest first.
pub fn numbered_files(directory: &Path, prefix: &str) -> Result<Vec<(LogVersion, PathBuf)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(Error::io("list", directory))? {
        let path = entry.map_err(Error::io("list", directory))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(number) = name.strip_prefix(prefix) else { continue };
        // A sign or leading zeros would make two names of one number.
        match number.parse::<u64>() {
            Ok(version) if version.to_string() == number => {
                files.push((LogVersion(version), path));
            }
            _ => {
                let what = "a name that Neo4j itself fails on".to_owned();
                return Err(Error::Unsupported { what, path });
            }
        }
    }
    files.sort();
    Ok(files)
}

/// The last entry of the newest checkpoint file that has one, as Neo4j itself looks for it.
pub fn find_checkpoint(database: &Database) -> Result<FoundCheckpoint> {
    let files = match numbered_files(&database.log_dir, "checkpoint.") {
        Err(error) if error.is_not_found() => {
            return Err(
                database.not_there(format!("{} does not exist", database.log_dir.display()))
            );
        }
        listed => listed?,
    };
    for (version, path) in files.iter().rev() {
        // Gone since it was listed: pruned, so a newer one has entries.
        let Some(held) = Held::open_if_there(path)? else { continue };
        if let Some(found) = last_entry(held, *version)? {
            return Ok(found);
        }
    }
    Err(database.not_there(format!("no checkpoint in {}", database.log_dir.display())))
}

fn last_entry(held: Held, version: LogVersion) -> Result<Option<FoundCheckpoint>> {
    let path = held.path().to_owned();
    let mut tries = 0;
    let file = loop {
        let bytes = read_whole(&held)?;
        let Some(file) = decode_file(&bytes).map_err(Error::format(&path))? else {
            return Ok(None);
        };
        match file.tail {
            Tail::Torn(_) if tries < TORN_TRIES => {
                tries = tries.saturating_add(1);
                std::thread::sleep(TORN_WAIT);
            }
            Tail::Torn(error) => return Err(Error::format(&path)(error)),
            Tail::Clean => break file,
        }
    };
    if file.header.log_version != version {
        let what = format!("its header says that it is number {}", file.header.log_version);
        return Err(Error::Changed { path, what });
    }
    let file_name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(file.entries.into_iter().next_back().map(|(checkpoint, end_bytes)| FoundCheckpoint {
        checkpoint,
        file: held,
        file_name,
        end_bytes,
    }))
}

fn read_whole(held: &Held) -> Result<Vec<u8>> {
    let size = held.size_bytes()?;
    if size > FILE_BYTES_MAX {
        let what = format!("{size} bytes long: not a checkpoint file");
        return Err(Error::Changed { path: held.path().to_owned(), what });
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    let read = held.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}
