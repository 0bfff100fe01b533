//! The manifest as a file.
//!
//! JSON, whose last member is `checksum`, and whose last bytes are exactly 64 hex digits, `"`, a
//! line feed, `}` and a line feed. The digits are the BLAKE3 of all bytes of the file before them:
//! `head -c -68 .neo4j-backup.json | b3sum --no-names` prints what `tail -c 68` shows.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use fs::Disk;
use serde::Deserialize;

use super::{FORMAT_VERSION, Manifest};
use crate::layout::{FILE_MODE, MANIFEST_NAME};
use crate::{Error, Result};

/// More blocks than 50 databases of the largest size have; a larger file is none of ours.
const SIZE_BYTES_MAX: u64 = 256 << 20;
const DIGITS: u64 = 64;
const ENDING: &[u8] = b"\"\n}\n";
const TAIL_BYTES: u64 = DIGITS + ENDING.len() as u64;

/// Reads and checks a manifest. Memory is in proportion to its blocks, not to its text.
pub(crate) fn read(dir: &Path) -> Result<Manifest> {
    let path = dir.join(MANIFEST_NAME);
    // Anything else may be endless, or wait for ever.
    let opened = std::fs::metadata(&path).and_then(|found| match found.is_file() {
        true => File::open(&path).map(Some),
        false => Ok(None),
    });
    let file = match opened {
        Ok(Some(file)) => file,
        Ok(None) => return Err(Error::damaged(&path, "it is not a file")),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Err(Error::no_manifest(dir));
        }
        Err(e) => return Err(fs::Error::io("open", &path)(e).into()),
    };
    let mut reader = BufReader::with_capacity(64 << 10, file);
    let io = fs::Error::io("read", &path);
    let verdict = check_bytes(&mut reader).and_then(|whole| {
        reader.seek(SeekFrom::Start(0))?;
        Ok(whole)
    });
    let whole = verdict.map_err(io)?;
    if let Err(what) = whole {
        // A later version may end its file in another way.
        let newer = version_of(&mut reader).filter(|version| *version > FORMAT_VERSION);
        return Err(match newer {
            Some(version) => Error::ManifestNewer { path, version },
            None => Error::damaged(&path, what),
        });
    }
    match version_of(&mut reader) {
        Some(FORMAT_VERSION) => {}
        Some(version) if version > FORMAT_VERSION => {
            return Err(Error::ManifestNewer { path, version });
        }
        Some(_) | None => return Err(Error::damaged(&path, "it has no format version")),
    }
    reader.seek(SeekFrom::Start(0)).map_err(fs::Error::io("read", &path))?;
    let manifest: Manifest =
        serde_json::from_reader(reader).map_err(|e| Error::damaged(&path, e.to_string()))?;
    manifest.check().map_err(|what| Error::damaged(&path, what))?;
    Ok(manifest)
}

/// Puts a manifest in place of the old one, durably and at once: the commit of a backup.
pub(crate) fn write(disk: &dyn Disk, dir: &Path, manifest: &Manifest) -> Result<()> {
    let path = dir.join(MANIFEST_NAME);
    manifest.check().map_err(Error::untrusted)?;
    let bytes = encode(manifest).map_err(|e| Error::damaged(&path, e.to_string()))?;
    if bytes.len() as u64 > SIZE_BYTES_MAX {
        return Err(Error::untrusted("more blocks than a manifest can hold"));
    }
    disk.replace_file(&path, &bytes, FILE_MODE)?;
    Ok(())
}

fn encode(manifest: &Manifest) -> serde_json::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(manifest)?;
    let body = bytes.strip_suffix(b"\n}").map_or(bytes.len(), <[u8]>::len);
    bytes.truncate(body);
    bytes.extend_from_slice(b",\n  \"checksum\": \"");
    let checksum = blake3::hash(&bytes).to_hex();
    bytes.extend_from_slice(checksum.as_bytes());
    bytes.extend_from_slice(ENDING);
    Ok(bytes)
}

/// Whether the bytes fit the checksum at their end; if not, why.
fn check_bytes(reader: &mut BufReader<File>) -> std::io::Result<Result<(), String>> {
    let size = reader.get_ref().metadata()?.len();
    if size > SIZE_BYTES_MAX {
        return Ok(Err(format!("{size} bytes long")));
    }
    let Some(body) = size.checked_sub(TAIL_BYTES) else {
        return Ok(Err(format!("only {size} bytes long")));
    };
    let mut hasher = blake3::Hasher::new();
    std::io::copy(&mut reader.by_ref().take(body), &mut hasher)?;
    let mut tail = Vec::new();
    reader.by_ref().take(TAIL_BYTES).read_to_end(&mut tail)?;
    let found = hasher.finalize().to_hex();
    let expected = [found.as_bytes(), ENDING].concat();
    Ok(if tail == expected { Ok(()) } else { Err("its checksum does not fit".to_owned()) })
}

/// The format version, whatever else the document says.
fn version_of(reader: &mut BufReader<File>) -> Option<u64> {
    #[derive(Deserialize)]
    struct Head {
        format_version: u64,
    }
    reader.seek(SeekFrom::Start(0)).ok()?;
    let text = reader.by_ref().take(SIZE_BYTES_MAX);
    serde_json::from_reader::<_, Head>(text).ok().map(|head| head.format_version)
}

/// Bytes as lowercase hex.
pub(super) mod hex {
    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(bytes.len().saturating_mul(2));
        for byte in bytes {
            text.extend(
                [byte >> 4, byte & 15]
                    .map(|digit| char::from_digit(digit.into(), 16))
                    .iter()
                    .flatten(),
            );
        }
        serializer.serialize_str(&text)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Hex;
        impl Visitor<'_> for Hex {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an even number of hex digits")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Vec<u8>, E> {
                parse(text).ok_or_else(|| E::custom("not hex"))
            }
        }
        deserializer.deserialize_str(Hex)
    }

    fn parse(text: &str) -> Option<Vec<u8>> {
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
        pairs
            .iter()
            .map(|[high, low]| u8::try_from((digit(*high)? << 4) | digit(*low)?).ok())
            .collect()
    }
}
