//! Golden bytes of real peers, every truncation, any split, hostile messages.

mod captures;
mod damaged;

use proptest::prelude::*;

use super::{
    Encoder, Event, Expected, Failure, MAX_FRAME_BYTES, ProtocolError, Request, RequestDecoder,
    ResponseDecoder, STORE_ID_BYTES,
};

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// An event with bytes of its own; neighbours of one kind are joined.
#[derive(Clone, Debug, PartialEq)]
enum Got {
    File(String),
    Data(Vec<u8>),
    FileEnd,
    StoreId([u8; STORE_ID_BYTES]),
    Transactions(Vec<u8>),
    End,
    Failure(Failure),
}

/// Reads a response that arrives in pieces of at most that many bytes.
fn read(expected: Expected, bytes: &[u8], piece: usize) -> Result<Vec<Got>, ProtocolError> {
    let mut decoder = ResponseDecoder::new(expected);
    let mut all = Vec::new();
    for mut input in bytes.chunks(piece) {
        while let Some(event) = decoder.next(&mut input)? {
            match (event, all.last_mut()) {
                (Event::Data(new), Some(Got::Data(old))) => old.extend(new),
                (Event::Transactions(new), Some(Got::Transactions(old))) => old.extend(new),
                (Event::Data(new), _) => all.push(Got::Data(new.to_vec())),
                (Event::Transactions(new), _) => all.push(Got::Transactions(new.to_vec())),
                (Event::File { path }, _) => all.push(Got::File(path)),
                (Event::FileEnd, _) => all.push(Got::FileEnd),
                (Event::StoreId(id), _) => all.push(Got::StoreId(id)),
                (Event::End, _) => all.push(Got::End),
                (Event::Failure(failure), _) => all.push(Got::Failure(failure)),
            }
        }
        assert!(input.is_empty(), "the decoder takes all before it asks for more");
    }
    decoder.finish()?;
    Ok(all)
}

/// As the Java tool sends them.
#[test]
fn requests_of_the_real_client() {
    let full = bytes(
        "00000024 0801 00 ffffffffffffffff ffffffff ffffffff ffffffffffffffff ffffffffffffffff 00",
    );
    let incremental = bytes(
        "00000023 0801 01 ffffffffffffffff ffffffff ffffffff 0000000000000322 ffffffffffffffff",
    );
    let requests = [Request::Full { forensics: false }, Request::Incremental { last_tx_id: 0x322 }];
    for (request, golden) in requests.iter().zip([full, incremental]) {
        assert_eq!(request.encode(), golden);
        for piece in 1..=golden.len() {
            let mut decoder = RequestDecoder::new();
            // Three on one connection.
            for _ in 0..3 {
                let mut found = None;
                for mut input in golden.chunks(piece) {
                    assert!(found.is_none());
                    found = decoder.next(&mut input).unwrap();
                    assert!(input.is_empty());
                }
                assert_eq!(found.as_ref(), Some(request));
                decoder.finish().unwrap();
            }
        }
        for cut in 1..golden.len() {
            let mut decoder = RequestDecoder::new();
            assert_eq!(decoder.next(&mut &golden[..cut]), Ok(None));
            assert!(decoder.finish().unwrap_err().is_incomplete());
        }
    }
    assert_ne!(Request::Full { forensics: true }.encode(), requests[0].encode());
}

#[test]
fn requests_that_are_none() {
    let refused = |hex: &str, text: &str| {
        let error = RequestDecoder::new().next(&mut bytes(hex).as_slice()).unwrap_err();
        assert!(error.to_string().contains(text), "{hex}: {error}");
    };
    let rest = "ffffffffffffffff ffffffff ffffffff ffffffffffffffff ffffffffffffffff";
    refused(&format!("00000023 0801 02 {rest}"), "the type of a request cannot be 2");
    refused(&format!("00000024 0801 00 {rest} 02"), "forensics cannot be 2");
    refused(&format!("00000024 0801 01 {rest} 00"), "1 bytes longer");
    refused(&format!("00000027 0801 01 {rest} 00000000"), "longer than 34 bytes");
    refused("00000004 0801 00 00", "ends inside a request");
    refused("00000004 0a01 00 00", "a failure");
    refused("00000004 0802 00 00", "protocol version 2 (internal 2)");
    refused("00000004 0c01 00 00", "protocol version 1 (internal 3)");
    refused("00000001 0801", "a frame of 1 bytes");
    refused("00400001 0801", "a frame of 4194305 bytes");
    refused("474554202f20", "a frame of 1195725856 bytes");
}

/// As the Java server sends them: nothing new; one small transaction behind a file.
#[test]
fn responses_of_the_real_server() {
    let id = "000001a2068956661e41f9c9200f02f400372e412e307606000001a2068956660000000000000001";
    let golden = bytes(&format!("0000002b 0801 {id} 01"));
    let id = Got::StoreId(bytes(id).try_into().unwrap());
    for piece in 1..=golden.len() {
        assert_eq!(read(Expected::Incremental, &golden, piece).unwrap(), [id.clone(), Got::End]);
    }
    let mut encoder = Encoder::new();
    let Got::StoreId(raw) = &id else { panic!() };
    encoder.store_id(raw);
    assert_eq!(encoder.finish(), golden);

    // A page of a store, as it stands in a captured full response.
    let mut body = bytes("0017");
    body.extend("neostore.schemastore.db".encode_utf16().flat_map(u16::to_be_bytes));
    body.push(1);
    for _ in 0..32 {
        body.push(0);
        body.extend([7; 255]);
    }
    body.push(0x20);
    body.extend([7; 32]);
    body.extend(bytes("0000"));
    body.extend(raw);
    body.extend(bytes("01 fa01 ffffffff"));
    let mut golden = bytes("00002133 0801");
    golden[..4].copy_from_slice(&(body.len() as u32 + 2).to_be_bytes());
    golden.extend(&body);
    let expected = [
        Got::File("neostore.schemastore.db".to_owned()),
        Got::Data(vec![7; 8192]),
        Got::FileEnd,
        id.clone(),
        Got::Transactions(bytes("fa01 ffffffff")),
        Got::End,
    ];
    for piece in [1, 2, 255, 256, 257, 100_000] {
        assert_eq!(read(Expected::Full, &golden, piece).unwrap(), expected);
    }
    let mut encoder = Encoder::new();
    assert!(encoder.file("neostore.schemastore.db"));
    encoder.data(&[7; 8192]);
    encoder.file_end();
    encoder.files_end();
    encoder.store_id(raw);
    encoder.transactions(&bytes("fa01 ffffffff"));
    assert_eq!(encoder.finish(), golden);
    for cut in 0..golden.len() {
        let error = read(Expected::Full, &golden[..cut], 1000).unwrap_err();
        assert!(error.is_incomplete(), "{cut}: {error}");
        // The same in a frame that says that it is the last: the message ends too early. Within the
        // transactions that must be seen from their entries.
        let mut short = golden[..cut.max(6)].to_vec();
        let length = short.len() as u32 - 4;
        short[..4].copy_from_slice(&length.to_be_bytes());
        if cut < golden.len() - 6 {
            assert!(read(Expected::Full, &short, 1000).unwrap_err().is_incomplete(), "{cut}");
        }
    }
}

/// What makes the real tool fall back to a full backup; and what it says itself.
#[test]
fn failures() {
    let golden = bytes(
        "ACED0005 73
         72 0040 6f72672e6e656f346a2e6b65726e656c2e696d706c2e7472616e73616374696f6e2e6c6f672e
                 4e6f537563685472616e73616374696f6e457863657074696f6e B442D56E1D9E1016 02 0000 78
         72 003D 6f72672e6e656f346a2e6b65726e656c2e696d706c2e7472616e73616374696f6e2e6c6f672e
                 4d697373696e674c6f6744617461457863657074696f6e C6F954BE2BC105A9 02 0000 78
         72 0013 6a6176612e696f2e494f457863657074696f6e 6C8073646525F0AB 02 0000 78
         72 0013 6a6176612e6c616e672e457863657074696f6e D0FD1F3E1A3B1CC4 02 0000 78
         72 0013 6a6176612e6c616e672e5468726f7761626c65 D5C635273977B8CB 03 0004
           4C 0005 6361757365 74 0015 4c6a6176612f6c616e672f5468726f7761626c653b
           4C 000D 64657461696c4d657373616765 74 0012 4c6a6176612f6c616e672f537472696e673b
           5B 000A 737461636b5472616365 74 001E
              5b4c6a6176612f6c616e672f537461636b5472616365456c656d656e743b
           4C 0014 73757070726573736564457863657074696f6e73 74 0010
              4c6a6176612f7574696c2f4c6973743b
         78 70 70 74 0004 676f6e65 70 70 78",
    );
    assert_eq!(Failure::logs_pruned("gone"), golden);
    let failure = Failure::decode(&golden);
    assert!(failure.is_logs_pruned() && !failure.is_version());
    assert_eq!(failure.to_string(), "NoSuchTransactionException: gone");
    assert_eq!(failure.classes.len(), 5);
    let other = Failure::decode(&Failure::other("no: \u{1F600} \0 ä"));
    assert!(!other.is_logs_pruned());
    assert_eq!(other.to_string(), "RuntimeException: no:   ä");

    // In the middle of a response, at a border.
    let mut encoder = Encoder::new();
    assert!(encoder.file("neostore"));
    encoder.data(&[1; 300]);
    let failed = encoder.fail(&golden);
    let got = read(Expected::Full, &failed, 7).unwrap();
    assert_eq!(got.last(), Some(&Got::Failure(failure.clone())));
    assert_eq!(got[..2], [Got::File("neostore".into()), Got::Data(vec![1; 255])]);
    let alone = Encoder::new().fail(&golden);
    assert_eq!(read(Expected::Incremental, &alone, 7).unwrap(), [Got::Failure(failure)]);
    // As the real server answers a client of another version: not marked as a failure.
    let mut unmarked = alone.to_vec();
    unmarked[4] = 8;
    for expected in [Expected::Full, Expected::Incremental] {
        assert!(matches!(read(expected, &unmarked, 7).unwrap()[..], [Got::Failure(_)]));
    }
    // What cannot be understood is a failure all the same.
    for cut in 0..golden.len() - 7 {
        let failure = Failure::decode(&golden[..cut]);
        assert!(failure.message.is_none(), "{cut}: {failure:?}");
    }
    assert_eq!(Failure::decode(b"junk").to_string(), "an exception that cannot be understood");
}

#[test]
fn hostile_responses() {
    let path = |path: &str| {
        let mut encoder = Encoder::new();
        assert!(encoder.file(path));
        encoder.file_end();
        encoder.files_end();
        encoder.store_id(&[0; STORE_ID_BYTES]);
        read(Expected::Full, &encoder.finish(), 100)
    };
    for good in ["neostore", r"index\lucene\node\a b", "index/lucene/node/.a"] {
        let got = path(good).unwrap();
        assert_eq!(got[0], Got::File(good.replace('\\', "/")));
    }
    let long = "x".repeat(256);
    for bad in ["..", "../x", "a/../b", "/etc", r"\x", "a//b", "a/", ".", "a/./b", "a\0b", &long] {
        let error = path(bad).unwrap_err();
        assert!(matches!(error, ProtocolError::Value { what: "a path", .. }), "{bad}: {error}");
    }
    assert!(path(&"x/".repeat(2000)).is_err());
    for length in [0, 1, MAX_FRAME_BYTES as u32 + 1, u32::MAX] {
        let mut frame = length.to_be_bytes().to_vec();
        frame.extend([8, 1]);
        let error = read(Expected::Full, &frame, 100).unwrap_err();
        assert!(matches!(error, ProtocolError::FrameLength { at_bytes: 0, .. }), "{error}");
    }
    // An obligation is never sent by a backup's service.
    let mut body = bytes("00000033 0801");
    body.extend([0; STORE_ID_BYTES]);
    body.extend(bytes("ff 0000000000000001"));
    assert!(read(Expected::Incremental, &body, 100).is_err());
    // Lone surrogate.
    assert!(read(Expected::Full, &bytes("00000006 0801 0001 d800"), 100).is_err());
    // Something behind the end.
    let mut twice = bytes("0000002b 0801");
    twice.extend([0; STORE_ID_BYTES]);
    twice.push(1);
    read(Expected::Incremental, &twice, 100).unwrap();
    twice.push(0);
    assert!(read(Expected::Incremental, &twice, 100).is_err());
}

/// Frames without end, and a failure without end, need no memory that grows.
#[test]
fn endless_responses_need_bounded_memory() {
    let endless = |head: &str, first: &[u8]| {
        let mut frame = bytes(head);
        frame.extend(first);
        frame.resize(6 + (1 << 20), 0);
        let length = frame.len() as u32 - 4;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        frame
    };
    let mut id = [1; STORE_ID_BYTES + 1];
    id[STORE_ID_BYTES] = 1;
    for (first, next, most) in [
        (endless("00000000 0901", &id), endless("00000000 0901", &[]), 1000),
        (endless("00000000 0a01", &[]), endless("00000000 0901", &[]), 1000),
        (endless("00000000 0901", &bytes("aced")), endless("00000000 0901", &[]), 8 << 20),
    ] {
        let mut decoder = ResponseDecoder::new(Expected::Incremental);
        for frame in std::iter::once(&first).chain(std::iter::repeat_n(&next, 64)) {
            let mut input = frame.as_slice();
            while let Ok(Some(_)) = decoder.next(&mut input) {}
            assert!(format!("{decoder:?}").len() < most);
        }
    }
}

fn file() -> impl Strategy<Value = (String, Vec<u8>)> {
    let name = "[a-zäß]{1,20}(/[a-z \u{1F600}]{1,9}){0,2}";
    let length = prop_oneof![
        0..3_usize,
        253..258_usize,
        508..513_usize,
        Just(8192_usize),
        1_000_000..1_100_000_usize
    ];
    (name, length, any::<u8>()).prop_map(|(name, length, seed)| {
        (name, (0..length).map(|at| (at as u8).wrapping_mul(seed)).collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever is written is read, however it is cut; and a file takes as many bytes as the real
    /// server needs.
    #[test]
    fn what_is_written_is_read(
        files in prop::collection::vec(file(), 0..4),
        id: [u8; 32],
        log in prop::collection::vec(any::<u8>(), 0..2000),
        at_once in 1..300_000_usize,
        piece in 1..100_000_usize,
    ) {
        let mut store_id = [1; STORE_ID_BYTES];
        store_id[8..].copy_from_slice(&id);
        let (mut sent, mut expected) = (Vec::new(), Vec::new());
        let mut body = 2 + STORE_ID_BYTES + 1 + log.len();
        let mut encoder = Encoder::new();
        for (path, content) in &files {
            prop_assert!(encoder.file(path));
            for part in content.chunks(at_once) {
                encoder.data(part);
                sent.extend(encoder.take());
            }
            encoder.file_end();
            let blocks = content.len().div_ceil(255);
            body += 3 + path.encode_utf16().count() * 2 + content.len() + blocks;
            expected.push(Got::File(path.clone()));
            expected.extend((!content.is_empty()).then(|| Got::Data(content.clone())));
            expected.push(Got::FileEnd);
        }
        encoder.files_end();
        encoder.store_id(&store_id);
        encoder.transactions(&log);
        sent.push(encoder.finish());
        expected.push(Got::StoreId(store_id));
        expected.extend((!log.is_empty()).then_some(Got::Transactions(log)));
        expected.push(Got::End);
        let frames = sent.len();
        for frame in &sent {
            prop_assert!(frame.len() - 4 <= MAX_FRAME_BYTES);
        }
        let sent = sent.concat();
        prop_assert_eq!(sent.len(), body + frames * 6);
        prop_assert_eq!(read(Expected::Full, &sent, piece).unwrap(), expected);
    }

    /// Whatever arrives is an error or not, and nothing else.
    #[test]
    fn any_bytes_are_survived(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        piece in 1..50_usize,
    ) {
        let mut framed = vec![0, 0, 1, 0x2e, 8, 1];
        framed.extend(&bytes);
        for input in [&bytes, &framed] {
            for expected in [Expected::Full, Expected::Incremental] {
                let _ = read(expected, input, piece);
            }
            let _ = RequestDecoder::new().next(&mut input.as_slice());
        }
        let _ = Failure::decode(&bytes);
        let _ = Failure::decode(&[&[0xAC, 0xED, 0, 5, 0x73, 0x72][..], &bytes].concat());
    }
}
