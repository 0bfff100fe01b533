//! The table of exit codes and its document.

use std::path::Path;

use crate::run::run_line;

/// docs/errors.md is what the table says. `UPDATE=1` rewrites it.
#[test]
fn the_document_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors.md");
    let ran = run_line("generate errors");
    assert_eq!(ran.status, 0);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &ran.stdout).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, ran.stdout, "run `UPDATE=1 cargo test -p cli`");
}

/// Scripts depend on these: a change here is a break of the contract.
#[test]
fn status_and_word_are_stable() {
    let document = run_line("generate errors").stdout;
    let rows: Vec<(u8, &str)> = document
        .lines()
        .filter_map(|line| {
            let mut cells = line.split('|').map(str::trim).skip(1);
            let status = cells.next()?.parse().ok()?;
            Some((status, cells.next()?.trim_matches('`')))
        })
        .collect();
    let expected = [
        (0, "ok"),
        (2, "usage"),
        (3, "bad_configuration"),
        (4, "cannot_listen"),
        (5, "disabled"),
        (10, "cannot_connect"),
        (11, "wrong_service"),
        (12, "not_authorised"),
        (13, "connection_lost"),
        (14, "service_busy"),
        (15, "service_failed"),
        (20, "source_unusable"),
        (21, "no_such_database"),
        (22, "logs_pruned"),
        (23, "other_store"),
        (24, "diverged"),
        (25, "store_migrated"),
        (30, "target_unusable"),
        (31, "target_exists"),
        (32, "target_in_use"),
        (33, "no_space"),
        (34, "no_backup"),
        (35, "database_running"),
        (36, "backup_changed"),
        (37, "out_of_range"),
        (38, "not_a_backup"),
        (39, "backup_too_new"),
        (40, "corrupt_data"),
        (41, "check_failed"),
        (50, "partial"),
        (70, "internal"),
        (130, "interrupted"),
    ];
    assert_eq!(rows, expected);
}
