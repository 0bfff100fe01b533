//! Are the files of a store the ones that the manifest says: all that a store has, of that store?

use std::io::Read;
use std::path::Path;

use formats::metadata::MetadataStore;
use formats::record_store;

use crate::DatabaseEntry;
use crate::layout::Area;
use crate::verify::{Finding, FindingKind};

const METADATA_STORE: &str = "neostore";

/// Everything that is wrong with the store in a directory.
pub(crate) fn findings(store_dir: &Path, entry: &DatabaseEntry) -> Vec<Finding> {
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
    if is_listed(METADATA_STORE)
        && let Err(what) = compare(&store_dir.join(METADATA_STORE), entry)
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
    let found = MetadataStore::decode(&page).map_err(|error| error.to_string())?;
    if found.store_id != entry.store_id {
        return Err(format!("of store {}, not {}", found.store_id, entry.store_id_text));
    }
    let uuid = u128::from_str_radix(&entry.external_uuid, 16).map(u128::to_be_bytes);
    if uuid != Ok(found.external_uuid) {
        return Err(format!("its external UUID is not {}", entry.external_uuid));
    }
    Ok(())
}
