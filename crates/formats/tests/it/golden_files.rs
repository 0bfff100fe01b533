//! Goal: the bytes of headers, checkpoints, the metadata store and tree states. Method: written by
//! hand from the description, decoded and encoded.

use formats::checkpoint::{Checkpoint, Tail, decode_file};
use formats::metadata::MetadataStore;
use formats::tree::{State, StatePages};
use formats::txlog::{LogFormatVersion, LogHeader};
use formats::{
    AppendIndex, Checksum, KernelVersion, LogPosition, LogVersion, StoreId, TimestampMs, TxId,
};

use crate::golden::{bytes, crc32c};

const STORE_ID: &str = "
    01                      ; version of the block
    00 00 01 a2 09 16 b3 e5 ; creation time, ms
    97 19 09 90 9e 27 98 79 ; random
    06 72 65 63 6f 72 64    ; engine: 'record'
    07 61 6c 69 67 6e 65 64 ; format family: 'aligned'
    01                      ; major
    01                      ; minor
    00*30";

fn store_id() -> StoreId {
    StoreId {
        creation_time: TimestampMs(0x0000_01A2_0916_B3E5),
        random: 0x9719_0990_9E27_9879_u64.cast_signed(),
        engine: "record".to_owned(),
        format_family: "aligned".to_owned(),
        major: 1,
        minor: 1,
        upgrade: None,
    }
}

#[test]
fn log_headers_of_format_8_and_9() {
    let eight = format!(
        "08                   ; log format
         00 00 00 00 00 00 03 ; log version
         00*6 01 00           ; last transaction before this file
         {STORE_ID}
         00*48"
    );
    let nine = format!(
        "09                   ; log format
         01 00 00 00 00 00 03 ; log version
         00*6 01 00           ; last append index before this file
         00*6 01 00           ; again
         {STORE_ID}
         00*40"
    );
    let cases =
        [(eight, LogFormatVersion::V8, 3), (nine, LogFormatVersion::V9, 0x01_0000_0000_0003)];
    for (text, format, version) in cases {
        let expected = LogHeader {
            log_version: LogVersion(version),
            format,
            last_append_index: 256,
            store_id: Some(store_id()),
        };
        let bytes = bytes(&text);
        assert_eq!(LogHeader::decode(&bytes).unwrap().as_ref(), Some(&expected), "{text}");
        assert_eq!(expected.encode(), bytes[..], "{text}");
    }
    // Made, but its header is not written yet.
    assert_eq!(LogHeader::decode(&[0; 128]).unwrap(), None);
}

/// The fields that every entry has; `None` for those that the kernel version lacks.
fn checkpoint(version: u8) -> Checkpoint {
    let indexed = version >= 17;
    let position = LogPosition { version: LogVersion(2), offset_bytes: 0x0CA6 };
    let oldest = LogPosition { version: LogVersion(1), offset_bytes: 0x80 };
    Checkpoint {
        kernel_version: KernelVersion(version),
        position,
        oldest_not_completed: if version >= 18 { oldest } else { position },
        time: TimestampMs(0x0000_01A2_0916_B47B),
        store_id: store_id(),
        tx_id: TxId(300),
        append_index: indexed.then_some(AppendIndex(301)),
        tx_kernel_version: indexed.then_some(KernelVersion(19)),
        tx_checksum: Checksum(0x8AAD_568F),
        tx_commit_time: TimestampMs(0x0000_01A2_0916_B421),
        consensus_index: (version >= 6).then_some(-1),
        last_append_index: indexed.then_some(302),
        reason: "Why".to_owned(),
    }
}

/// Entry text, the offset at which the reason must stand, and the length of the entry.
fn check_checkpoint(text: &str, reason_at: usize, length: usize) {
    let mut bytes = bytes(text);
    assert_eq!(bytes.len(), reason_at + 3, "{text}");
    assert_eq!(&bytes[reason_at..], b"Why", "{text}");
    bytes.resize(length - 4, 0);
    let crc = crc32c(&bytes);
    bytes.extend(crc.to_le_bytes());
    let expected = checkpoint(bytes[0]);
    let decoded = Checkpoint::decode(&bytes, 128).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(decoded, (expected.clone(), length as u64), "{text}");
    assert_eq!(expected.encode(), bytes, "{text}");
}

const POSITION: &str = "
    09                      ; checkpoint
    02 00*7                 ; position: log version
    a6 0c 00*6              ;   offset";
const TIME: &str = "7b b4 16 09 a2 01 00 00 ; time, ms";
const TX_ID: &str = "2c 01 00*6 ; transaction id";
const CHECKSUM_AND_TIME: &str = "
    8f 56 ad 8a             ; its checksum
    21 b4 16 09 a2 01 00 00 ; its commit time, ms";
const REASON: &str = "03 00 57 68 79 ; reason: 'Why'";

#[test]
fn checkpoints_of_kernel_version_5() {
    let text = format!("05 {POSITION}\n{TIME}\n{STORE_ID}\n{TX_ID}\n{CHECKSUM_AND_TIME}\n{REASON}");
    check_checkpoint(&text, 112, 232);
}

#[test]
fn checkpoints_of_kernel_versions_6_to_16_have_a_consensus_index() {
    for version in ["06", "10"] {
        let text = format!(
            "{version} {POSITION}\n{TIME}\n{STORE_ID}\n{TX_ID}\n{CHECKSUM_AND_TIME}
             ff*8 ; its consensus index
             {REASON}"
        );
        check_checkpoint(&text, 120, 232);
    }
}

fn indexed(version: &str, oldest: &str) -> String {
    format!(
        "{version} {POSITION}\n{oldest}\n{TIME}\n{STORE_ID}\n{TX_ID}
         2d 01 00*6 ; its append index
         13         ; its kernel version
         {CHECKSUM_AND_TIME}
         ff*8       ; its consensus index
         2e 01 00*6 ; last append index
         {REASON}"
    )
}

#[test]
fn checkpoints_of_kernel_version_17_have_append_indexes() {
    check_checkpoint(&indexed("11", ""), 137, 232);
}

#[test]
fn checkpoints_from_kernel_version_18_on_have_an_oldest_position_and_from_32_on_are_longer() {
    let oldest = "
        01 00*7 ; oldest not completed position: log version
        80 00*7 ;   offset";
    for version in ["12", "14", "15", "1f"] {
        check_checkpoint(&indexed(version, oldest), 153, 232);
    }
    check_checkpoint(&indexed("20", oldest), 153, 486);
}

#[test]
fn a_checkpoint_file_may_change_its_kernel_version_and_end_in_zeros_or_torn() {
    let header = LogHeader {
        log_version: LogVersion(0),
        format: LogFormatVersion::V9,
        last_append_index: 0,
        store_id: Some(store_id()),
    };
    let mut file = header.encode().to_vec();
    file.extend(checkpoint(20).encode());
    file.extend(checkpoint(32).encode());
    let end = file.len() as u64;
    assert_eq!(end, 128 + 232 + 486);
    let entries = vec![(checkpoint(20), 360), (checkpoint(32), end)];
    for zeros in [0, 1, 4096] {
        let mut file = file.clone();
        file.resize(file.len() + zeros, 0);
        let decoded = decode_file(&file).unwrap().unwrap();
        assert_eq!(decoded.entries, entries);
        assert!(matches!(decoded.tail, Tail::Clean));
    }
    let mut torn = checkpoint(32).encode();
    torn[300..].fill(0);
    file.extend(torn);
    let decoded = decode_file(&file).unwrap().unwrap();
    assert_eq!(decoded.entries, entries);
    let Tail::Torn(error) = decoded.tail else { panic!("{:?}", decoded.tail) };
    assert!(error.is_checksum() && error.offset_bytes == end, "{error}");
    assert!(decode_file(&[]).unwrap().is_none());
    assert!(decode_file(&[0; 4096]).unwrap().is_none());
}

#[test]
fn a_reason_is_cut_to_its_room_and_never_reaches_into_the_checksum() {
    let long = Checkpoint { reason: "\u{e4}".repeat(100), ..checkpoint(20) };
    let (decoded, _) = Checkpoint::decode(&long.encode(), 0).unwrap();
    assert_eq!(decoded.reason, "\u{e4}".repeat(37));
    for (version, room) in [(5, 116_i16), (16, 108), (17, 91), (31, 75), (32, 329)] {
        for (length, good) in [(room, true), (room + 1, false), (i16::MAX, false), (-1, false)] {
            let mut bytes = checkpoint(version).encode();
            let crc_at = bytes.len() - 4;
            let reason_at = crc_at - usize::try_from(room).unwrap();
            bytes[reason_at - 2..reason_at].copy_from_slice(&length.to_le_bytes());
            let crc = crc32c(&bytes[..crc_at]);
            bytes[crc_at..].copy_from_slice(&crc.to_le_bytes());
            let decoded = Checkpoint::decode(&bytes, 128);
            assert_eq!(decoded.is_ok(), good, "version {version}, length {length}");
            if let Err(error) = decoded {
                assert_eq!(error.offset_bytes, 128 + reason_at as u64 - 2, "{error}");
                assert!(!error.is_incomplete(), "{error}");
            }
        }
    }
}

#[test]
fn the_metadata_store() {
    let text = "
        01 06 67 19 54 5a ae 40 c0 ; external store UUID, high half
        01 97 b1 ef f1 dd 71 e1 ff ;   low half
        00 00*8                    ; database UUID: not in use
        00 00*8
        01 cf 1b bc dc b7 a5 64 63 ; mark of the layout
        01 01 00 00 01 a2 09 16 b3 ; StoreId: version, creation time
        01 e5 97 19 09 90 9e 27 98 ;   random
        01 79 06 72 65 63 6f 72 64 ;   engine
        01 07 61 6c 69 67 6e 65 64 ;   format family
        01 01 01 00*6              ;   major, minor
        01 00*8
        01 00*8
        01 00*8
        00*8075                    ; the rest of the page";
    let expected = MetadataStore {
        external_uuid: 0x0667_1954_5AAE_40C0_97B1_EFF1_DD71_E1FF_u128.to_be_bytes(),
        database_uuid: None,
        store_id: store_id(),
    };
    let file = bytes(text);
    assert_eq!(file.len(), MetadataStore::FILE_BYTES);
    assert_eq!(MetadataStore::decode(&file).unwrap(), expected);
    assert_eq!(expected.encode(), file);
    let with_uuid = MetadataStore { database_uuid: Some([0xA5; 16]), ..expected };
    assert_eq!(MetadataStore::decode(&with_uuid.encode()).unwrap(), with_uuid);
}

#[test]
fn tree_states() {
    let state = |generations: &str, clean: &str| {
        let copy = format!(
            "{generations} ; stable generation, unstable generation
             00*7 03 ; root
             00*7 08 ; root's generation
             00*7 05 ; last page
             00*7 04 ; free list: write page
             00*7 04 ;   read page
             00*3 04 ;   write position
             00*3 03 ;   read position
             {clean} ; clean"
        );
        let mut page = bytes(&format!("{copy}\n{copy}\n00*3 08 00*7 7d ; header"));
        page.resize(8192, 0);
        page
    };
    let expected = |stable_generation, clean| State {
        stable_generation,
        unstable_generation: stable_generation + 1,
        root_id: 3,
        last_id: 5,
        clean,
    };
    let file = |states: [Vec<u8>; 2]| [vec![0; 8192], states.concat()].concat();
    let (eight, nine) = ("00*3 08 00*3 09", "00*3 09 00*3 0a");

    // Of equal generations the clean one is newest, wherever it stands; else the higher one.
    let pages = StatePages::decode(&file([state(eight, "01"), state(eight, "00")])).unwrap();
    assert_eq!(pages.states, [Some(expected(8, true)), Some(expected(8, false))]);
    assert_eq!(pages.newest(), Some(expected(8, true)));
    let pages = StatePages::decode(&file([state(eight, "00"), state(eight, "01")])).unwrap();
    assert_eq!(pages.newest(), Some(expected(8, true)));
    let pages = StatePages::decode(&file([state(nine, "00"), state(eight, "01")])).unwrap();
    assert_eq!(pages.newest(), Some(expected(9, false)));

    // A torn or blank state is none.
    let mut torn = state(nine, "00");
    torn[57 + 30] ^= 1;
    let pages = StatePages::decode(&file([state(eight, "01"), torn])).unwrap();
    assert_eq!(pages.states, [Some(expected(8, true)), None]);
    let pages = StatePages::decode(&file([vec![0; 8192], vec![0; 8192]])).unwrap();
    assert_eq!(pages.newest(), None);
    let short = StatePages::decode(&vec![0; 3 * 8192 - 1]).unwrap_err();
    assert!(short.is_incomplete() && short.offset_bytes == 24_575, "{short}");
}
