//! Bytes written down field by field, each with a comment.

use formats::KernelVersion;
use formats::txlog::{Entry, EntryReader};

/// The bytes of a text: hexadecimal, what follows `;` in a line is a comment; `00*20` is a byte
/// 20 times.
pub fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in text.lines().flat_map(|line| line.split(';').next().unwrap().split_whitespace()) {
        let (word, times) = word.split_once('*').unwrap_or((word, "1"));
        for _ in 0..times.parse().unwrap() {
            for at in (0..word.len()).step_by(2) {
                bytes.push(u8::from_str_radix(&word[at..at + 2], 16).unwrap());
            }
        }
    }
    bytes
}

/// Checks that the bytes, of which the first is the kernel version, are this entry, and that the
/// entry is these bytes.
pub fn check_entry(text: &str, expected: &Entry) {
    let bytes = bytes(text);
    let version = KernelVersion(bytes[0]);
    let mut reader = EntryReader::new(&bytes[..], 128);
    let decoded = reader.next_entry().unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(decoded, Some((version, expected.clone())), "{text}");
    assert_eq!(reader.offset_bytes(), 128 + bytes.len() as u64, "{text}");
    assert_eq!(expected.encode(version).unwrap(), bytes, "{text}");
}

/// CRC-32C bit by bit: slow, and independent of the library that the crate uses.
pub fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82F6_3B78 } else { crc >> 1 };
        }
    }
    !crc
}
