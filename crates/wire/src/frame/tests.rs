//! Golden bytes, every truncation, every flipped byte, hostile lengths, any split.

use bytes::{Bytes, BytesMut};
use expect_test::expect;
use proptest::prelude::*;

use super::{Decoder, Frame, FrameError, FrameErrorKind, HEADER_BYTES, MAX_DATA_BYTES, data_head};
use crate::api::{ErrorBody, ErrorCode, ErrorDetail};

fn sample() -> Vec<Frame> {
    vec![
        Frame::Data { offset_bytes: 0x0102_0304, bytes: Bytes::from_static(b"neo4j") },
        Frame::Block { offset_bytes: 1 << 20, hash: [7; 32] },
        Frame::End { offset_bytes: 9, end_of_file: true },
    ]
}

fn encode(frames: &[Frame]) -> Vec<u8> {
    let mut out = BytesMut::new();
    for frame in frames {
        frame.encode(&mut out).unwrap();
    }
    out.to_vec()
}

/// Decodes a stream that arrives in pieces of at most `piece` bytes.
fn decode(bytes: &[u8], piece: usize) -> Result<Vec<Frame>, FrameError> {
    let mut decoder = Decoder::new();
    let mut frames = Vec::new();
    for part in bytes.chunks(piece) {
        let mut input = Bytes::copy_from_slice(part);
        while let Some(frame) = decoder.decode(&mut input)? {
            frames.push(frame);
        }
        assert!(input.is_empty(), "the decoder takes all before it asks for more");
    }
    decoder.finish()?;
    Ok(frames)
}

fn hex(bytes: &[u8]) -> String {
    let line = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>() + "\n";
    bytes.chunks(32).map(line).collect()
}

/// Memory that is taken back is used again, at an address that direct I/O takes, and what it held
/// does not shine through.
#[test]
fn recycled_memory() {
    let data = |seed: u8, length: usize| Frame::Data {
        offset_bytes: u64::from(seed),
        bytes: (0..length).map(|at| (at as u8).wrapping_mul(seed)).collect(),
    };
    let frames =
        [data(3, 100_000), data(5, 70_000), data(7, MAX_DATA_BYTES), data(9, 1), data(11, 9000)];
    let mut stream = encode(&frames);
    stream.extend(encode(&[Frame::End { offset_bytes: 9, end_of_file: true }]));
    let mut decoder = Decoder::new();
    let (mut seen, mut addresses) = (0, Vec::new());
    for part in stream.chunks(30_000) {
        let mut input = Bytes::copy_from_slice(part);
        while let Some(frame) = decoder.decode(&mut input).unwrap() {
            let Frame::Data { bytes, .. } = &frame else { continue };
            assert_eq!(&frame, &frames[seen]);
            seen += 1;
            if bytes.len() > 30_000 {
                assert_eq!(bytes.as_ptr().align_offset(4096), 0);
                addresses.push(bytes.as_ptr());
            }
            let Frame::Data { bytes, .. } = frame else { continue };
            decoder.recycle(bytes);
        }
    }
    decoder.finish().unwrap();
    assert_eq!(seen, frames.len());
    assert_eq!((addresses.len(), addresses[1]), (3, addresses[0]), "the same memory");
}

/// The bytes of each kind of frame, so that no later version changes them by accident.
#[test]
fn golden_bytes() {
    let check = |frame: Frame, expected: expect_test::Expect| {
        expected.assert_eq(&hex(&encode(&[frame])));
    };
    let [data, block, end]: [Frame; 3] = sample().try_into().unwrap();
    // length 13, DATA, crc, offset, the five bytes
    check(
        data,
        expect![[r#"
            0d000000010000002e2a307d04030201000000006e656f346a
        "#]],
    );
    // length 40, BLOCK, crc, offset, 32 bytes of hash
    check(
        block,
        expect![[r#"
            28000000020000002b18cef10000100000000000070707070707070707070707
            0707070707070707070707070707070707070707
        "#]],
    );
    // length 9, END, crc, offset, flag
    check(
        end,
        expect![[r#"
            0900000003000000df9fa79e090000000000000001
        "#]],
    );
    let detail = ErrorDetail { code: ErrorCode::Busy, message: "stop".into(), hint: None };
    // length, ERROR, crc, JSON
    check(
        Frame::Error(ErrorBody { error: detail }),
        expect![[r#"
            2a000000040000003f76d5737b226572726f72223a7b22636f6465223a226275
            7379222c226d657373616765223a2273746f70227d7d
        "#]],
    );
}

#[test]
fn data_head_is_the_start_of_the_frame() {
    let bytes = vec![3; 1000];
    let whole = encode(&[Frame::Data { offset_bytes: 5, bytes: bytes.clone().into() }]);
    assert_eq!(whole[..20], data_head(5, &bytes).unwrap());
    assert_eq!(whole[20..], bytes);
}

#[test]
fn refuses_to_encode_what_it_would_not_decode() {
    assert!(data_head(0, &[]).is_err());
    assert!(data_head(0, &vec![0; MAX_DATA_BYTES + 1]).is_err());
    assert_eq!(data_head(0, &vec![0; MAX_DATA_BYTES]).map(|head| head.len()), Ok(20));
}

/// A stream cut anywhere is incomplete, in pieces of any size.
#[test]
fn every_truncation() {
    let whole = encode(&sample());
    for piece in [1, 7, 4096] {
        assert_eq!(decode(&whole, piece), Ok(sample()));
        for end in 0..whole.len() {
            let error = decode(&whole[..end], piece).unwrap_err();
            assert!(error.is_incomplete(), "cut at {end}: {error}");
        }
    }
}

/// A byte that differs anywhere is an error, never another value.
#[test]
fn every_flipped_byte() {
    let whole = encode(&sample());
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            assert!(decode(&bytes, 4096).is_err(), "byte {at} bit {bit}");
        }
    }
}

/// A length is judged by the header alone: nothing is kept for a frame that cannot be.
#[test]
fn hostile_headers() {
    for (kind, length) in [
        (1, 8),
        (1, 9 + (1 << 20)),
        (1, u32::MAX),
        (2, 39),
        (2, 41),
        (3, 8),
        (3, 10),
        (4, 1),
        (4, 65_537),
    ] {
        let mut header = vec![0; HEADER_BYTES];
        header[..4].copy_from_slice(&u32::to_le_bytes(length));
        header[4] = kind;
        let error = decode(&header, 1).unwrap_err();
        assert_eq!(error.kind, FrameErrorKind::Length { kind, length });
    }
    for kind in [0, 5, b'H', 255] {
        let mut header = vec![0; HEADER_BYTES];
        header[4] = kind;
        assert_eq!(decode(&header, 12).unwrap_err().kind, FrameErrorKind::UnknownKind(kind));
    }
}

#[test]
fn names_the_offset_of_the_bad_frame() {
    let mut bytes = encode(&sample());
    let second = 12 + 8 + 5;
    bytes[second + 5] = 1;
    let error = decode(&bytes, 3).unwrap_err();
    assert_eq!(error, FrameError { at_bytes: 25, kind: FrameErrorKind::Reserved });
}

#[test]
fn nothing_follows_the_end() {
    let mut frames = sample();
    frames.push(Frame::Block { offset_bytes: 0, hash: [0; 32] });
    let error = decode(&encode(&frames), 4096).unwrap_err();
    assert_eq!(error.kind, FrameErrorKind::AfterEnd);
}

#[test]
fn an_error_frame_ends_the_stream() {
    let detail = ErrorDetail { code: ErrorCode::Conflict, message: "x".into(), hint: None };
    let frames = vec![Frame::Error(ErrorBody { error: detail })];
    assert_eq!(decode(&encode(&frames), 5), Ok(frames));
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let bytes = prop::collection::vec(any::<u8>(), 1..3000);
    prop_oneof![
        (any::<u64>(), bytes)
            .prop_map(|(offset_bytes, b)| Frame::Data { offset_bytes, bytes: b.into() }),
        (any::<u64>(), any::<[u8; 32]>())
            .prop_map(|(offset_bytes, hash)| Frame::Block { offset_bytes, hash }),
    ]
}

proptest! {
    #[test]
    fn decodes_what_was_encoded(
        mut frames in prop::collection::vec(any_frame(), 0..8),
        end in any::<u64>(),
        end_of_file: bool,
        piece in 1_usize..5000,
    ) {
        frames.push(Frame::End { offset_bytes: end, end_of_file });
        prop_assert_eq!(decode(&encode(&frames), piece), Ok(frames));
    }

    #[test]
    fn any_bytes_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(decode(&bytes, 64).is_err());
    }
}
