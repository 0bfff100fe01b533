//! Goal: the bytes of each entry in each range of kernel versions. Method: written by hand from
//! the description, decoded and encoded.

use formats::txlog::{ChunkEnd, ChunkStart, Commit, Entry, Rollback, Start};

use crate::golden::check_entry;

fn start(additional_header: &[u8]) -> Start {
    Start {
        time: 0x0000_01A2_0899_6964,
        last_tx_id: 4,
        additional_header: additional_header.to_vec(),
        ..Start::default()
    }
}

#[test]
fn start_to_kernel_version_16_has_a_previous_checksum_only() {
    let text = |version: &str| {
        format!(
            "{version}                      ; kernel version
             01                      ; START
             64 69 99 08 a2 01 00 00 ; time started, ms
             04 00*7                 ; last committed transaction when started
             ed 5e ad de             ; previous checksum: base
             08 00 00 00             ; length of the additional header
             00*7 07                 ; consensus index, big-endian"
        )
    };
    let previous_checksum = 0xDEAD_5EED_u32.cast_signed();
    let entry = Entry::Start(Start { previous_checksum, ..start(&[0, 0, 0, 0, 0, 0, 0, 7]) });
    check_entry(&text("05"), &entry);
    check_entry(&text("10"), &entry);
}

#[test]
fn start_of_kernel_versions_17_to_21_has_a_previous_checksum_and_an_append_index() {
    let text = |version: &str| {
        format!(
            "{version}                      ; kernel version
             01                      ; START
             64 69 99 08 a2 01 00 00 ; time started, ms
             04 00*7                 ; last committed transaction when started
             78 56 34 12             ; previous checksum
             05 00*7                 ; append index
             00 00 00 00             ; length of the additional header"
        )
    };
    let entry =
        Entry::Start(Start { previous_checksum: 0x1234_5678, append_index: 5, ..start(&[]) });
    for version in ["11", "14", "15"] {
        check_entry(&text(version), &entry);
    }
}

#[test]
fn start_of_kernel_versions_22_to_29_has_an_append_index_only() {
    let text = |version: &str| {
        format!(
            "{version}                      ; kernel version
             01                      ; START
             64 69 99 08 a2 01 00 00 ; time started, ms
             04 00*7                 ; last committed transaction when started
             05 00*7                 ; append index
             00 00 00 00             ; length of the additional header"
        )
    };
    let entry = Entry::Start(Start { append_index: 5, ..start(&[]) });
    check_entry(&text("16"), &entry);
    check_entry(&text("1d"), &entry);
}

#[test]
fn start_from_kernel_version_30_on_has_an_append_index_and_a_sequence_number() {
    // The first START of a real database of 2026.08.1, apart from the version byte.
    let text = |version: &str| {
        format!(
            "{version}                      ; kernel version
             01                      ; START
             64 69 99 08 a2 01 00 00 ; time started, ms
             01 00*7                 ; last committed transaction when started
             02 00*7                 ; append index
             ff*8                    ; transaction sequence number: none
             00 00 00 00             ; length of the additional header"
        )
    };
    let entry =
        Entry::Start(Start { last_tx_id: 1, append_index: 2, sequence_number: -1, ..start(&[]) });
    for version in ["1e", "1f", "20"] {
        check_entry(&text(version), &entry);
    }
}

#[test]
fn commit_and_chunk_end_are_the_same_in_all_kernel_versions() {
    for version in ["05", "10", "11", "14", "16", "1e", "20"] {
        let commit = format!(
            "{version}                      ; kernel version
             05                      ; COMMIT
             39 30 00*6              ; transaction id 12345
             64 69 99 08 a2 01 00 00 ; commit time, ms
             ef be ad de             ; CRC-32C"
        );
        check_entry(
            &commit,
            &Entry::Commit(Commit {
                tx_id: 12345,
                time: 0x0000_01A2_0899_6964,
                checksum: 0xDEAD_BEEF_u32.cast_signed(),
            }),
        );
        let chunk_end = format!(
            "{version}          ; kernel version
             0b          ; CHUNK_END
             39 30 00*6  ; transaction id 12345
             02 00*7     ; chunk id
             04 03 02 01 ; CRC-32C"
        );
        let end = ChunkEnd { tx_id: 12345, chunk_id: 2, checksum: 0x0102_0304 };
        check_entry(&chunk_end, &Entry::ChunkEnd(end));
    }
}

#[test]
fn chunk_start_and_rollback_have_an_append_index_from_kernel_version_17_on() {
    let chunk_start = |version: &str, index: &str| {
        format!(
            "{version}                      ; kernel version
             0a                      ; CHUNK_START
             64 69 99 08 a2 01 00 00 ; time, ms
             02 00*7                 ; chunk id
             63 00*7                 ; previous batch's append index
             {index}                 ; append index"
        )
    };
    let rollback = |version: &str, index: &str| {
        format!(
            "{version}                      ; kernel version
             0c                      ; ROLLBACK
             39 30 00*6              ; transaction id 12345
             64 69 99 08 a2 01 00 00 ; time, ms
             {index}                 ; append index
             04 03 02 01             ; CRC-32C"
        )
    };
    let time = 0x0000_01A2_0899_6964;
    for (version, index, append_index) in
        [("06", "", 0), ("10", "", 0), ("11", "64 00*7", 100), ("20", "64 00*7", 100)]
    {
        let start = ChunkStart { time, chunk_id: 2, previous_append_index: 99, append_index };
        check_entry(&chunk_start(version, index), &Entry::ChunkStart(start));
        let entry = Rollback { tx_id: 12345, time, append_index, checksum: 0x0102_0304 };
        check_entry(&rollback(version, index), &Entry::Rollback(entry));
    }
}
