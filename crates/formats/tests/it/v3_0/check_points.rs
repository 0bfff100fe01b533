//! Goal: recovery begins where it is safe. Method: the wrong positions that 3.0.0 writes, and every
//! place of a log.

use std::convert::Infallible;

use formats::txlog::{BatchReader, LogFormatVersion, LogHeader};
use formats::v3_0::{
    CheckPoint, Place, RecoveryStart, Refused, newest_check_points, place_in_log, recovery_start,
};
use formats::{LogPosition, LogVersion};

use super::values::{batch, position};

#[test]
fn an_entry_tells_a_position() {
    let entry = CheckPoint::encode(position(3, 0x0102_0304_0506));
    assert_eq!(
        entry,
        [0xFA, 7, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 1, 2, 3, 4, 5, 6],
        "version, type, log version, offset"
    );
    // No reader would take a larger one.
    assert_eq!(CheckPoint::encode(position(u64::MAX, 0))[2..10], i64::MAX.to_be_bytes());
}

#[test]
fn the_newest_check_points_of_a_log_come_first_and_are_so_many() {
    let mut log = Vec::new();
    for number in 0..3000 {
        if number % 100 == 0 {
            log.extend(batch(2 + number / 100, &[]));
        }
        log.extend(CheckPoint::encode(position(0, number.cast_unsigned())));
    }
    let newest = |log: &[u8]| newest_check_points(&mut BatchReader::new(log, 16));
    let tells = |found: Vec<CheckPoint>| -> Vec<u64> {
        found.iter().map(|found| found.position.offset_bytes).collect()
    };
    assert_eq!(tells(newest(&log).unwrap()), (1976..3000).rev().collect::<Vec<_>>());
    // A live log may end anywhere, and a check point counts once it is whole.
    assert_eq!(tells(newest(&log[..log.len() - 1]).unwrap())[0], 2998);
    assert_eq!(tells(newest(&[&log[..], &[0; 99]].concat()).unwrap())[0], 2999);
    assert_eq!(newest(&[]).unwrap(), []);
    // The server would not start on that.
    let error = newest(&[&log[..], &[0x55; 99]].concat()).unwrap_err();
    assert_eq!(error.offset_bytes, 16 + log.len() as u64, "{error}");
}

#[test]
fn a_position_is_a_boundary_behind_the_header_a_transaction_or_a_check_point() {
    let pieces = [batch(2, &[]), CheckPoint::encode(position(0, 0)).to_vec(), batch(3, &[])];
    let log = pieces.concat();
    let mut boundaries = vec![16];
    for piece in &pieces {
        boundaries.push(boundaries.last().unwrap() + piece.len() as u64);
    }
    for torn in [&[][..], &[0xFA], &[0xFA, 1, 0, 0], &[0; 200]] {
        let log = [&log[..], torn].concat();
        for offset in 0..300 {
            let expected = match offset {
                0..16 => Place::Header,
                offset if boundaries.contains(&offset) => Place::Boundary,
                _ => Place::Inside,
            };
            assert_eq!(place_in_log(&log[..], 16, offset).unwrap(), expected, "{offset}");
        }
    }
    // Damage matters only before the position.
    let log = [&log[..], &[0x55; 99]].concat();
    let end = *boundaries.last().unwrap();
    assert_eq!(place_in_log(&log[..], 16, end).unwrap(), Place::Boundary);
    assert_eq!(place_in_log(&log[..], 16, end + 1).unwrap_err().offset_bytes, end);
}

fn check_point(start: u64, position: LogPosition) -> CheckPoint {
    CheckPoint { start, end: start + 18, position }
}

fn header(log_version: u64, last_append_index: u64) -> LogHeader {
    let log_version = LogVersion(log_version);
    LogHeader { log_version, format: LogFormatVersion::V6, last_append_index, store_id: None }
}

/// Logs 4 and 5 are there; transactions end at each hundred.
fn place(position: LogPosition) -> Result<Place, Infallible> {
    Ok(match (position.version.0, position.offset_bytes) {
        (0..=3 | 6.., _) => Place::NoLog,
        (_, 0..16) => Place::Header,
        (_, 16) => Place::Boundary,
        (_, offset) if offset % 100 == 0 => Place::Boundary,
        _ => Place::Inside,
    })
}

fn choose(positions: &[(u64, u64)], first: Option<LogHeader>) -> RecoveryStart {
    let check_points =
        positions.iter().map(|(version, offset)| check_point(1000, position(*version, *offset)));
    let Ok(start) = recovery_start(check_points, first.as_ref(), place);
    start
}

#[test]
fn the_newest_check_point_that_can_be_believed_is_taken() {
    for (positions, expected, refused) in [
        (&[(5, 700), (5, 600)][..], (5, 700), &[][..]),
        (&[(4, 700)], (4, 700), &[]),
        (&[(5, 16)], (5, 16), &[]),
        // What 3.0.0 writes: log 0, offset 0, with and without a log of that number.
        (&[(0, 0), (5, 600)], (5, 600), &[Place::NoLog]),
        (&[(4, 0), (0, 0), (4, 300), (4, 200)], (4, 300), &[Place::Header, Place::NoLog]),
        (
            &[(5, 15), (5, 650), (6, 16), (4, 900)],
            (4, 900),
            &[Place::Header, Place::Inside, Place::NoLog],
        ),
    ] {
        // Whatever the first log is.
        for first in [None, Some(header(0, 1))] {
            let start = choose(positions, first);
            assert_eq!(start.position, Some(position(expected.0, expected.1)), "{positions:?}");
            let places: Vec<Place> = start.refused.iter().map(|refused| refused.place).collect();
            assert_eq!(places, refused, "{positions:?}");
        }
    }
}

#[test]
fn without_any_the_first_log_of_a_database_is_begun_with() {
    for positions in [&[][..], &[(0, 0)], &[(5, 1), (0, 0)]] {
        let start = choose(positions, Some(header(0, 1)));
        assert_eq!(start.position, Some(position(0, 16)), "{positions:?}");
        assert_eq!(start.refused.len(), positions.len());
        // Log 0 of a backup, and a first log that is not 0, begin later.
        for first in [None, Some(header(0, 794)), Some(header(1, 1))] {
            assert_eq!(choose(positions, first).position, None, "{positions:?}");
        }
    }
}

#[test]
fn what_stands_at_a_position_may_be_unknown() {
    let error = recovery_start([check_point(0, position(0, 16))], None, |_| Err("not readable"));
    assert_eq!(error, Err("not readable"));
}

#[test]
fn a_recovery_start_tells_what_was_not_believed() {
    let text = |positions: &[(u64, u64)]| choose(positions, None).to_string();
    assert_eq!(text(&[(5, 700)]), "recovery may begin at 5:700");
    assert_eq!(
        text(&[(0, 0), (5, 700)]),
        "recovery may begin at 5:700; not believed: the check point at offset 1000 that tells 0:0, \
         where no log is"
    );
    assert_eq!(
        text(&[(5, 1), (0, 0), (0, 0)]),
        "recovery may begin nowhere until the next check point; not believed: the check point at \
         offset 1000 that tells 5:1, inside the log's header, and 2 more"
    );
    let refused =
        |place| Refused { check_point: check_point(7, position(1, 2)), place }.to_string();
    assert!(refused(Place::Inside).ends_with("where no transaction ends"));
}
