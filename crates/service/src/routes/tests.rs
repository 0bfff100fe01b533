//! The OpenAPI document says what the code does.

use std::collections::BTreeSet;

use formats::{Checksum, KernelVersion, LogPosition, LogVersion, StoreId, TimestampMs, TxId};
use serde::Serialize;
use serde_json::Value;
use wire::api::*;

use super::{OPENAPI, ROUTES};

fn document() -> Value {
    serde_json::from_str(OPENAPI).unwrap()
}

#[test]
fn every_route_is_in_the_document_and_the_other_way_round() {
    let document = document();
    let routes: BTreeSet<(String, String)> =
        ROUTES.iter().map(|(method, path)| (method.to_string(), path.to_string())).collect();
    let mut documented = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            documented.insert((method.clone(), path.clone()));
        }
    }
    assert_eq!(routes, documented);
}

#[test]
fn every_reference_leads_somewhere() {
    let document = document();
    let mut open = vec![&document];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(reference)) = map.get("$ref") {
                    let pointer = reference.strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{reference}");
                }
                open.extend(map.values());
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
}

/// Compares the keys of an example that has every field with a schema's properties.
fn check(name: &str, example: &impl Serialize) {
    let document = document();
    let schema = &document["components"]["schemas"][name];
    let keys = |value: &Value| -> BTreeSet<String> {
        value.as_object().unwrap_or_else(|| panic!("{name}")).keys().cloned().collect()
    };
    let example = serde_json::to_value(example).unwrap();
    assert_eq!(keys(&example), keys(&schema["properties"]), "{name}");
}

/// The words of an enum.
fn check_enum(name: &str, values: &[impl Serialize]) {
    let values = serde_json::to_value(values).unwrap();
    assert_eq!(document()["components"]["schemas"][name]["enum"], values, "{name}");
}

#[test]
fn every_field_is_in_the_document() {
    let end = LogPosition { version: LogVersion(1), offset_bytes: 2 };
    let store_id = StoreId {
        creation_time: TimestampMs(1),
        random: 2,
        engine: String::new(),
        format_family: String::new(),
        major: 1,
        minor: 1,
        upgrade: None,
    };
    let checkpoint = CheckpointInfo {
        tx_id: TxId(1),
        position: end,
        time: TimestampMs(1),
        kernel_version: KernelVersion(20),
        reason: String::new(),
    };
    let last_tx = LastTx {
        tx_id: TxId(1),
        checksum: Checksum(1),
        commit_time: TimestampMs(1),
        start_bytes: Some(1),
        end,
    };
    let detail = ErrorDetail {
        code: ErrorCode::Internal,
        message: String::new(),
        hint: Some(String::new()),
    };
    let database = Database {
        name: String::new(),
        state: DatabaseState::Online,
        detail: Some(String::new()),
        store_id: Some(String::new()),
        size_bytes: Some(1),
    };
    check("Database", &database);
    check(
        "DatabaseList",
        &DatabaseList {
            service_version: String::new(),
            time: Some(TimestampMs(1)),
            databases: vec![],
        },
    );
    let file = LogFile {
        version: LogVersion(1),
        size_bytes: 1,
        first_tx_id: Some(TxId(1)),
        first_commit_time: Some(TimestampMs(1)),
    };
    check("LogFile", &file);
    let logs = Logs {
        retention_policy: Some(String::new()),
        rotation_size_bytes: Some(1),
        checkpoint_interval_ms: Some(1),
        checkpoint: checkpoint.clone(),
        time: TimestampMs(1),
        files_count: 1,
        files: vec![file],
    };
    check("Logs", &logs);
    let (state, files_count, size_bytes) = (DatabaseState::Online, 1, 1);
    check("CheckedDatabase", &CheckedDatabase { state, files_count, size_bytes });
    let after = After { store_id: store_id.clone(), external_uuid: Some(String::new()), last_tx };
    check("After", &after);
    check("CheckDatabase", &CheckDatabase { after: Some(after.clone()) });
    check("OpenSession", &OpenSession { database: String::new(), after: Some(after) });
    check("LogPosition", &end);
    check("StoreId", &store_id);
    check("CheckpointInfo", &checkpoint);
    check("LastTx", &last_tx);
    check("ErrorDetail", &detail);
    check("ErrorBody", &ErrorBody { error: detail });
    check("LeftOut", &LeftOut { path: String::new(), reason: String::new() });
    check("StaleFile", &StaleFile { id: 1, reason: String::new() });
    check("Checked", &Checked { whole: true, size_bytes: 1 });
    let (id, kind, path, size_bytes) = (1, FileKind::Log, String::new(), 1);
    check("FileInfo", &FileInfo { id, kind, path, size_bytes });
    let (session_id, lease_seconds, finished) = (String::new(), 1, true);
    check("SessionStatus", &SessionStatus { session_id, lease_seconds, finished });
    let finished = Finished {
        files: vec![],
        stale: vec![],
        first_consistent_tx_id: TxId(1),
        last_tx,
        transactions: 1,
        as_of: TimestampMs(1),
    };
    check("Finished", &finished);
    let session = Session {
        session_id: String::new(),
        lease_seconds,
        database: String::new(),
        state: DatabaseState::Online,
        store_id,
        external_uuid: Some(String::new()),
        checkpoint: Some(checkpoint),
        block_bytes: 1,
        files: vec![],
        left_out: vec![],
    };
    check("Session", &session);
}

#[test]
fn every_word_is_in_the_document() {
    use DatabaseState::*;
    check_enum(
        "DatabaseState",
        &[Online, Offline, Creating, Migrating, Unsupported, Unreadable, Corrupt],
    );
    use FileKind::*;
    check_enum("FileKind", &[Record, Tree, Lucene, Log, Checkpoint, Counts, LegacyIndex]);
    use ErrorCode::*;
    let codes = [
        BadRequest,
        Unauthorized,
        Forbidden,
        NotFound,
        Conflict,
        Busy,
        SourceUnusable,
        SourceUnreadable,
        SourceCorrupt,
        LogsPruned,
        OtherStore,
        StoreMigrated,
        Diverged,
        Internal,
        Unknown,
    ];
    check_enum("ErrorCode", &codes);
}
