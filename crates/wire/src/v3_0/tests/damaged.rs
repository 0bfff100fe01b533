//! Captured responses that are cut off or changed, and responses without end.

use super::captures::{FAILED, failure, response, successes};
use super::{Got, bytes, read};
use crate::v3_0::{Event, Expected, Failure, ProtocolError, ResponseDecoder};

const HEAD_BYTES: usize = 6;

/// Claim: wherever the bytes of a response stop, that is an error of its own kind. Method: each
/// captured response, byte by byte; the decoder is asked after each.
#[test]
fn every_truncation_of_a_capture() {
    for (name, expected) in successes() {
        let all = response(name);
        let mut decoder = ResponseDecoder::new(expected);
        for (at, byte) in all.iter().enumerate() {
            let error = decoder.finish().unwrap_err();
            assert!(error.is_incomplete(), "{name} at {at}: {error}");
            let mut input = std::slice::from_ref(byte);
            while decoder.next(&mut input).unwrap().is_some() {}
        }
        assert_eq!(decoder.finish(), Ok(()), "{name}");
    }
}

/// Claim: a last frame that is too short is an error too, up to the transactions, whose end is
/// theirs to tell. Method: each place that is not inside a file's bytes, and some that are.
#[test]
fn every_message_that_ends_early() {
    for (name, expected) in successes() {
        let all = response(name);
        let end = all.len() - transactions_bytes(expected, &all);
        let places = structure(expected, &all).into_iter().chain((HEAD_BYTES..end).step_by(1009));
        for place in places.filter(|place| *place < end) {
            let mut short = all[..place].to_vec();
            let length = (place - 4) as u32;
            short[..4].copy_from_slice(&length.to_be_bytes());
            let error = read(expected, &short, 100_000).unwrap_err();
            assert!(error.is_incomplete(), "{name} at {place}: {error}");
        }
    }
}

/// Claim: no changed byte of the structure makes anything else of a response than an error, a
/// response of the same shape, or one of another store, which a client refuses. Method: each such
/// byte, changed in three ways.
#[test]
fn every_changed_byte_of_the_structure() {
    for (name, expected) in successes() {
        let all = response(name);
        let whole = read(expected, &all, all.len()).unwrap();
        let mut damaged = all.clone();
        for place in (0..HEAD_BYTES).chain(structure(expected, &all)) {
            for change in [1, 0x80, 0xFF] {
                damaged[place] = all[place] ^ change;
                match read(expected, &damaged, all.len()) {
                    Ok(got) if matches!(got.last(), Some(Got::Failure(_))) => {}
                    Ok(got) if store_id(&got) != store_id(&whole) => {}
                    Ok(got) => {
                        assert_eq!(shape(&got), shape(&whole), "{name} at {place} ^ {change}")
                    }
                    Err(_) => {}
                }
            }
            damaged[place] = all[place];
        }
    }
}

/// Lengths of all files and of the transactions.
fn shape(got: &[Got]) -> Vec<usize> {
    let length = |got: &Got| match got {
        Got::Data(bytes) | Got::Transactions(bytes) => bytes.len(),
        Got::File(_) | Got::FileEnd | Got::StoreId(_) | Got::End | Got::Failure(_) => 0,
    };
    got.iter().map(length).collect()
}

fn store_id(got: &[Got]) -> Option<&Got> {
    got.iter().find(|got| matches!(got, Got::StoreId(_)))
}

fn transactions_bytes(expected: Expected, all: &[u8]) -> usize {
    let got = read(expected, all, all.len()).unwrap();
    let found = got.iter().find_map(|got| match got {
        Got::Transactions(bytes) => Some(bytes.len()),
        _ => None,
    });
    found.unwrap_or(0)
}

/// The places that are neither in the head of the frame, of which there is one, nor in the bytes of
/// a file, nor in transactions.
fn structure(expected: Expected, all: &[u8]) -> Vec<usize> {
    let mut places = Vec::new();
    let mut decoder = ResponseDecoder::new(expected);
    for (place, byte) in all.iter().enumerate() {
        let mut input = std::slice::from_ref(byte);
        let mut is_content = place < HEAD_BYTES;
        while let Some(event) = decoder.next(&mut input).unwrap() {
            is_content |= matches!(event, Event::Data(_) | Event::Transactions(_));
        }
        places.extend((!is_content).then_some(place));
    }
    places
}

/// Claim: a failure that is cut off or changed is a failure all the same; it says what the server
/// said or nothing, and never that logs are pruned where the server did not. Method: each captured
/// failure, cut and changed at each byte.
#[test]
fn damaged_failures() {
    for name in FAILED {
        let (all, whole) = (response(name), failure(name));
        for place in HEAD_BYTES..all.len() {
            let cut = Failure::decode(&all[HEAD_BYTES..place]);
            assert!(cut.classes.is_empty() || cut.classes == whole.classes, "{name} at {place}");
            assert!(cut.message.is_none() || cut.message == whole.message, "{name} at {place}");
            for change in [1, 0x80, 0xFF] {
                let mut damaged = all.clone();
                damaged[place] ^= change;
                let got = read(Expected::Incremental, &damaged, 1000);
                let Ok([Got::Failure(failure)]) = got.as_deref() else {
                    // Without its first bytes it is no failure where it is not marked as one.
                    let is_unmarked = name.starts_with("other-") && place < HEAD_BYTES + 2;
                    assert!(is_unmarked, "{name} at {place}: {got:?}");
                    continue;
                };
                assert!(!failure.is_logs_pruned() || whole.is_logs_pruned(), "{name} at {place}");
            }
        }
    }
}

/// Claim: lengths that no honest server sends are refused by themselves, before what they announce.
/// Method: the captured full response up to its first path's length, and then another one; frames
/// of such lengths.
#[test]
fn lengths_are_refused_before_what_they_announce() {
    let all = response("full");
    for length in [2049_u16, 0x7FFF, 0x8000, 0xFFFF] {
        let mut begun = all[..HEAD_BYTES].to_vec();
        begun.extend(length.to_be_bytes());
        let error = read(Expected::Full, &begun, 100).unwrap_err();
        let refused = matches!(error, ProtocolError::Value { what: "the length of a path", .. });
        assert!(refused, "{length}: {error}");
    }
    for length in [0x0040_0001_u32, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 0, 1] {
        let frame = [&length.to_be_bytes()[..], &[8, 1]].concat();
        let error = read(Expected::Full, &frame, 100).unwrap_err();
        assert!(matches!(error, ProtocolError::FrameLength { .. }), "{length}: {error}");
    }
}

/// Claim: files without end are refused, and an exception without end is one at some time. Method:
/// one message that goes on and on.
#[test]
fn what_has_no_end_is_ended() {
    let frame = |body: &[u8]| {
        let mut frame = (body.len() as u32 + 2).to_be_bytes().to_vec();
        frame.extend([9, 1]);
        frame.extend(body);
        frame
    };
    let files = frame(&bytes("0001 0061 00").repeat(10_000));
    let mut decoder = ResponseDecoder::new(Expected::Full);
    let error = (0..200).find_map(|_| {
        let mut input = files.as_slice();
        std::iter::repeat_with(|| decoder.next(&mut input).map(|event| event.is_some()))
            .take_while(|next| !matches!(next, Ok(false)))
            .find_map(Result::err)
    });
    let error = error.expect("an error");
    let refused = matches!(error, ProtocolError::Value { what: "the number of files", .. });
    assert!(refused, "{error}");

    for first in [bytes("aced0005 73"), bytes("aced")] {
        let mut decoder = ResponseDecoder::new(Expected::Incremental);
        let more = frame(&[0x72; 1 << 16]);
        let frames = std::iter::once(frame(&first)).chain(std::iter::repeat_n(more, 100));
        let failed = frames.into_iter().any(|frame| {
            let mut input = frame.as_slice();
            std::iter::from_fn(|| {
                decoder.next(&mut input).unwrap().map(|event| format!("{event:?}"))
            })
            .any(|event| event.starts_with("Failure"))
        });
        assert!(failed);
    }
}
