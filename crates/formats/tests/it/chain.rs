//! Goal: no transaction is missing and none is from another history. Method: chains in which one
//! link is wrong, and headers that say what came before.

use formats::txlog::{Batch, BatchReader, Chain, Link, LogFormatVersion, LogHeader};
use formats::{AppendIndex, Checksum, KernelVersion, LogVersion, TxId};

use crate::values::{batch, store_id};

/// The batch with this id, with the checksum before it put right.
fn follow(version: u8, tx_id: i64, previous: Option<&Batch>) -> Batch {
    let bytes = batch(KernelVersion(version), tx_id, &[]);
    let mut batch = BatchReader::new(&bytes[..], 1000).next_batch().unwrap().unwrap();
    if let (Some(previous), Some(_)) = (previous, batch.previous_checksum) {
        batch.previous_checksum = Some(previous.checksum);
    }
    batch
}

#[test]
fn a_chain_holds_over_an_upgrade() {
    let mut chain = Chain::start_anywhere();
    let mut last: Option<Batch> = None;
    for (version, tx_id) in [(16, 5), (16, 6), (17, 7), (21, 8), (22, 9), (30, 10), (32, 11)] {
        let next = follow(version, tx_id, last.as_ref());
        chain.check(&next).unwrap();
        assert_eq!(chain.last().unwrap().tx_id, TxId(tx_id.cast_unsigned()));
        last = Some(next);
    }
    // And after a known batch, as in a file of its own.
    let next = follow(32, 12, last.as_ref());
    Chain::after(Link::from(&last.unwrap())).check(&next).unwrap();
}

#[test]
fn a_wrong_link_is_an_error_and_leaves_the_chain_as_it_was() {
    for version in [16, 20, 22, 32] {
        let first = follow(version, 5, None);
        let good = follow(version, 6, Some(&first));
        let mut wrong = vec![
            Batch { tx_id: TxId(5), ..good },
            Batch { tx_id: TxId(7), ..good },
            Batch { kernel_version: KernelVersion(version - 1), ..good },
        ];
        if version >= 17 {
            wrong.push(Batch { append_index: Some(AppendIndex(5)), ..good });
            wrong.push(Batch { append_index: Some(AppendIndex(7)), ..good });
        }
        if version <= 21 {
            wrong.push(Batch { previous_checksum: Some(Checksum(1)), ..good });
        }
        let mut chain = Chain::after(Link::from(&first));
        for batch in wrong {
            let error = chain.check(&batch).expect_err(&format!("{batch:?}"));
            assert_eq!(error.offset_bytes, 1000, "{error}");
            assert_eq!(chain.last(), Some(&Link::from(&first)));
        }
        chain.check(&good).unwrap();
    }
}

#[test]
fn a_header_says_what_came_before_its_file() {
    let header = |format, last_append_index| LogHeader {
        log_version: LogVersion(3),
        format,
        last_append_index,
        store_id: Some(store_id()),
    };
    let (eight, nine) = (LogFormatVersion::V8, LogFormatVersion::V9);
    Chain::start_anywhere().check_header(&header(nine, 77)).unwrap();
    let mut link = Link::from(&follow(20, 5, None));
    link.append_index = Some(AppendIndex(9));
    let chain = Chain::after(link);
    chain.check_header(&header(eight, 5)).unwrap();
    chain.check_header(&header(nine, 9)).unwrap();
    for wrong in [header(eight, 9), header(nine, 5), header(nine, 8)] {
        assert_eq!(chain.check_header(&wrong).unwrap_err().offset_bytes, 8);
    }
}
