//! Goal: every type of value round trips, and passing over it keeps nothing. Method: bytes of each
//! tag, alone and in arrays, decoded with and without keeping.

use super::*;
use crate::codec::{Decoder, Encoder, Input};

fn decode(bytes: &[u8], keep: bool) -> Result<SchemaValue> {
    let mut input = Input::new(bytes, 0, 16);
    let mut value = SchemaValue::default();
    value.visit(&mut Decoder { input: &mut input, keep })?;
    assert_eq!(input.offset(), bytes.len() as u64);
    Ok(value)
}

/// The bytes of every value: the tag's, then those of some numbers of elements.
fn samples() -> Vec<Vec<u8>> {
    let mut samples = vec![vec![TRUE], vec![FALSE], vec![STRING, 2, 0, 0, 0, b'h', b'i']];
    for tag in [2, 3, 4, 5, 6, 7, 8, 10] {
        let size = usize::from(element_bytes(tag).unwrap());
        if tag != 2 {
            samples.push([vec![tag], vec![0x5A; size]].concat());
        }
        for count in [0, 1, 7] {
            samples.push([vec![ARRAY, count, 0, 0, 0, tag], vec![0xA5; size * 7]].concat());
            samples.last_mut().unwrap().truncate(6 + size * usize::from(count));
        }
    }
    samples.push([vec![ARRAY, 2, 0, 0, 0, STRING], vec![0; 4], vec![1, 0, 0, 0, b'x']].concat());
    samples
}

#[test]
fn every_type_round_trips_and_is_passed_over() {
    for bytes in samples() {
        let mut value = decode(&bytes, true).unwrap();
        let mut encoder = Encoder::default();
        value.visit(&mut encoder).unwrap();
        assert_eq!(encoder.bytes, bytes);
        let skipped = decode(&bytes, false).unwrap();
        assert!(skipped.bytes.capacity() == 0 && skipped.strings.capacity() == 0, "{bytes:?}");
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length], false).unwrap_err().is_incomplete());
        }
    }
}

#[test]
fn only_strings_have_text() {
    assert_eq!(SchemaValue::string("name").as_str(), Some("name"));
    assert_eq!(SchemaValue::strings(&["name"]).as_str(), None);
    assert_eq!(decode(&[STRING, 1, 0, 0, 0, 0xFF], true).unwrap().as_str(), None);
}

/// No element may be free: a count could then keep the reader busy for as long as it likes.
#[test]
fn an_array_of_elements_without_bytes_is_refused_before_they_are_counted() {
    for tag in [TRUE, FALSE, ARRAY, 12] {
        let bytes = [ARRAY, 0xFF, 0xFF, 0xFF, 0x7F, tag];
        assert_eq!(decode(&bytes, false).unwrap_err().offset_bytes, 5);
    }
}
