//! Are the files of a store the ones that the manifest says: all that a store has, of that store?

use std::io::Read;
use std::path::Path;

use formats::metadata::{Identity, MetadataStore};
use formats::record_store;

use crate::DatabaseEntry;
use crate::backup::Located;
use crate::layout::Area;
use crate::verify::{Finding, FindingKind};

pub(crate) const METADATA_STORE: &str = "neostore";

/// Everything that is wrong with the store in a directory.
pub(crate) fn findings(located: &Located, entry: &DatabaseEntry) -> Vec<Finding> {
    let store_dir = located.dir(Area::Store);
    let finding =
        |name: &str, kind, what: &str| Finding::new(&entry.name, store_dir.join(name), kind, what);
    let is_listed =
        |name: &str| entry.files.iter().any(|file| file.area == Area::Store && file.path == name);
    let mut findings = Vec::new();
    for store in record_store::MANDATORY {
        if !is_listed(store.file_name()) {
            let what = "the backup lacks a file that every store has";
            findings.push(finding(store.file_name(), FindingKind::Missing, what));
        }
    }
    if let Some(file) = entry.files.iter().find(|file| file.path == METADATA_STORE)
        && let Err(what) = compare(&located.file(file), entry)
    {
        findings.push(finding(METADATA_STORE, FindingKind::Metadata, &what));
    }
    findings
}

fn compare(path: &Path, entry: &DatabaseEntry) -> Result<(), String> {
    let mut page = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MetadataStore::FILE_BYTES as u64).read_to_end(&mut page))
        .map_err(|error| error.to_string())?;
    let found = Identity::decode(&page).map_err(|error| error.to_string())?;
    if found.store_id != entry.store_id {
        return Err(format!("of store {}, not {}", found.store_id, entry.store_id_text));
    }
    let uuid = found.external_uuid.map(|uuid| format!("{:032x}", u128::from_be_bytes(uuid)));
    if uuid != entry.external_uuid {
        let expected = entry.external_uuid.as_deref().unwrap_or("none");
        return Err(format!("its external UUID is not {expected}"));
    }
    match found.log_version {
        Some(version) if version != entry.last_tx.end.version => {
            let end = entry.last_tx.end.version;
            Err(format!("recovery looks at log {version}, the backup ends in log {end}"))
        }
        _ => Ok(()),
    }
}
