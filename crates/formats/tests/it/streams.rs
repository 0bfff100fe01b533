//! Goal: how bytes arrive makes no difference, and memory does not grow with what they hold.
//! Method: readers that give a few bytes at a time, and one command of over 100 MB that is made
//! up while it is read, of records that are many or large.

use std::io::Read;

use formats::txlog::{Batch, BatchReader, DynamicRecord};
use formats::{Error, KernelVersion, TxId};

use crate::fixtures::{batches, log_dirs, numbered};
use crate::golden::bytes;
use crate::values::{batch, start};

/// Gives at most so many bytes a read, by turns; now and then it is interrupted.
struct Chopped<'a> {
    bytes: &'a [u8],
    sizes: Vec<usize>,
    reads: usize,
}

impl Read for Chopped<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.reads += 1;
        if self.reads.is_multiple_of(7) {
            return Err(std::io::ErrorKind::Interrupted.into());
        }
        let size = self.sizes[self.reads % self.sizes.len()].min(buf.len());
        self.bytes.read(&mut buf[..size])
    }
}

fn read(reader: impl Read) -> Result<Vec<Batch>, Error> {
    let mut reader = BatchReader::new(reader, 128);
    let mut found = Vec::new();
    while let Some(batch) = reader.next_batch()? {
        found.push(batch);
    }
    Ok(found)
}

#[test]
fn chopped_readers_give_the_same_batches() {
    for dir in log_dirs() {
        let log = std::fs::read(&numbered(&dir, "neostore.transaction.db.")[0].1).unwrap();
        let whole = batches(&log).unwrap();
        for sizes in [vec![1], vec![2], vec![3, 1, 22], vec![8191, 1], vec![65_537], vec![1 << 20]]
        {
            let chopped = Chopped { bytes: &log[128..], sizes: sizes.clone(), reads: 0 };
            assert_eq!(read(chopped).unwrap(), whole, "{} by {sizes:?}", dir.display());
        }
    }
}

#[test]
fn batches_at_every_place_of_the_buffers_border_are_read() {
    // The buffer is 256 KiB: batches of odd length make every kind of field cross its border.
    let mut log = Vec::new();
    let mut count = 0;
    while log.len() < 3 << 20 {
        count += 1;
        log.extend(batch(KernelVersion(20), count, &[]));
    }
    let found = read(&log[..]).unwrap();
    assert_eq!(found.len() as i64, count);
    assert!(found.iter().zip(1..).all(|(batch, id)| batch.tx_id == TxId(id)));
}

/// A transaction with one command that creates a property of many dynamic records, made while it
/// is read; notes the largest buffer that it was asked to fill.
struct LargeCommand {
    /// What is to come, last piece first.
    head: Vec<u8>,
    record: Vec<u8>,
    records: u32,
    tail: Vec<u8>,
    pending: Vec<u8>,
    at: usize,
    crc: u32,
    given: u64,
    largest_read: usize,
}

impl LargeCommand {
    fn new(records: u32, data_bytes: i32) -> Self {
        let version = KernelVersion(20);
        let mut head = start(5).encode(version).unwrap();
        head.extend(bytes(
            "14 03 18         ; version, COMMAND, property create
             0d 00*7          ; id
             41               ; flags: in use, of a node
             ff*8 ff*8        ; next and previous record: none
             2a 00*7          ; owner
             01               ; one block
             08 00*8          ;   of 8 bytes",
        ));
        head.extend(records.to_le_bytes());
        let data = vec![0x61; usize::try_from(data_bytes).unwrap()];
        let record = DynamicRecord { id: 99, kind: 9, flags: 1, next: 100, data };
        let mut record_bytes = record.id.to_le_bytes().to_vec();
        record_bytes.extend(record.kind.to_le_bytes());
        record_bytes.push(record.flags);
        record_bytes.extend(data_bytes.to_le_bytes());
        record_bytes.extend(record.next.to_le_bytes());
        record_bytes.extend(record.data);
        // No deleted records, then COMMIT without its checksum.
        let mut tail = vec![0; 4];
        tail.extend(bytes("14 05 05 00*7 64 69 99 08 a2 01 00 00"));
        Self {
            head,
            record: record_bytes,
            records,
            tail,
            pending: Vec::new(),
            at: 0,
            crc: 0,
            given: 0,
            largest_read: 0,
        }
    }

    fn next_piece(&mut self) -> Vec<u8> {
        if !self.head.is_empty() {
            return std::mem::take(&mut self.head);
        }
        let count = self.records.min(64);
        self.records -= count;
        match count {
            0 => std::mem::take(&mut self.tail),
            count => self.record.repeat(count as usize),
        }
    }
}

impl Read for LargeCommand {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.largest_read = self.largest_read.max(buf.len());
        if self.at == self.pending.len() {
            let had_tail = !self.tail.is_empty();
            self.pending = self.next_piece();
            self.at = 0;
            self.crc = crc32c::crc32c_append(self.crc, &self.pending);
            if had_tail && self.tail.is_empty() {
                self.pending.extend(self.crc.to_le_bytes());
            }
        }
        let count = buf.len().min(self.pending.len() - self.at);
        buf[..count].copy_from_slice(&self.pending[self.at..self.at + count]);
        self.at += count;
        self.given += count as u64;
        Ok(count)
    }
}

/// This process's peak resident size. Other tests run beside this one, but none needs much.
fn peak_resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

#[test]
fn a_command_larger_than_memory_is_read_in_constant_memory() {
    for (records, data_bytes) in [(800_000, 120), (4_000_000, 8)] {
        let mut source = LargeCommand::new(records, data_bytes);
        let mut reader = BatchReader::new(&mut source, 0);
        let batch = reader.next_batch().unwrap().unwrap();
        assert_eq!((batch.tx_id, batch.commands), (TxId(5), 1));
        assert_eq!(reader.next_batch().unwrap(), None);
        assert!(batch.end > 110_000_000, "{batch:?}");
        assert_eq!(source.given, batch.end);
        assert!(source.largest_read <= 256 << 10, "{}", source.largest_read);
        let peak = peak_resident_bytes();
        assert!(peak < 100 << 20, "{peak} bytes resident");
    }
}
