//! One description of each layout, three uses: decode, encode and skip.
//!
//! A layout is a function that visits its fields in order, each by mutable reference. A [`Decoder`]
//! fills the fields from bytes (or, to skip, keeps only one scratch item of a list), an [`Encoder`]
//! writes them. Integers are little-endian in entries and commands of kernel versions from 5 on
//! (`ReadableChannel` in 5.26), and big-endian in those of 3.0: each codec is of one order, so
//! that a layout which both share is described once.

use std::io::Read;

use crate::{Error, ErrorKind, Result};

/// A value whose bytes are described by a visit of its fields.
pub trait Layout {
    /// Visits every field in the order of the bytes.
    fn visit<C: Codec>(&mut self, codec: &mut C) -> Result<()>;
}

/// What visits fields.
pub trait Codec: Sized {
    /// The order of an integer's bytes.
    const BIG_ENDIAN: bool;

    /// Visits a field of fixed size.
    fn fixed<const N: usize>(&mut self, field: &mut [u8; N]) -> Result<()>;
    /// Visits `length` bytes. `length` has been capped.
    fn blob(&mut self, length: u64, field: &mut Vec<u8>) -> Result<()>;
    /// Visits `count` items.
    fn items<T: Layout + Default>(&mut self, count: u64, items: &mut Vec<T>) -> Result<()>;
    /// Where the next field stands; 0 while encoding.
    fn offset(&self) -> u64;

    /// Visits a byte.
    #[inline]
    fn u8(&mut self, field: &mut u8) -> Result<()> {
        let mut bytes = [*field];
        self.fixed(&mut bytes)?;
        let [byte] = bytes;
        *field = byte;
        Ok(())
    }

    /// Visits a 16-bit integer.
    #[inline]
    fn i16(&mut self, field: &mut i16) -> Result<()> {
        let ordered = |bytes: i16| if Self::BIG_ENDIAN { bytes.to_be() } else { bytes.to_le() };
        let mut bytes = ordered(*field).to_ne_bytes();
        self.fixed(&mut bytes)?;
        *field = ordered(i16::from_ne_bytes(bytes));
        Ok(())
    }

    /// Visits a 32-bit integer.
    #[inline]
    fn i32(&mut self, field: &mut i32) -> Result<()> {
        let ordered = |bytes: i32| if Self::BIG_ENDIAN { bytes.to_be() } else { bytes.to_le() };
        let mut bytes = ordered(*field).to_ne_bytes();
        self.fixed(&mut bytes)?;
        *field = ordered(i32::from_ne_bytes(bytes));
        Ok(())
    }

    /// Visits a 64-bit integer.
    #[inline]
    fn i64(&mut self, field: &mut i64) -> Result<()> {
        let ordered = |bytes: i64| if Self::BIG_ENDIAN { bytes.to_be() } else { bytes.to_le() };
        let mut bytes = ordered(*field).to_ne_bytes();
        self.fixed(&mut bytes)?;
        *field = ordered(i64::from_ne_bytes(bytes));
        Ok(())
    }

    /// Visits the 32-bit length of something that has `present` items now. The result is the
    /// length: what was read, or `present` while encoding.
    fn length(&mut self, what: &'static str, present: usize, max: u32) -> Result<u64> {
        let at = self.offset();
        // -1 while encoding more than fits: refused below.
        let mut length = i32::try_from(present).unwrap_or(-1);
        self.i32(&mut length)?;
        match u32::try_from(length) {
            Ok(length) if length <= max => Ok(u64::from(length)),
            _ => Err(Error::corrupt(at, what, format_args!("0 to {max}"), length)),
        }
    }

    /// Visits a list: a 32-bit count, then the items.
    fn list<T: Layout + Default>(&mut self, what: &'static str, items: &mut Vec<T>) -> Result<()> {
        let max = u32::try_from(i32::MAX).unwrap_or(u32::MAX);
        let count = self.length(what, items.len(), max)?;
        self.items(count, items)
    }

    /// Visits a byte string: a 32-bit length, then the bytes.
    fn string(&mut self, what: &'static str, field: &mut Vec<u8>, max: u32) -> Result<()> {
        let length = self.length(what, field.len(), max)?;
        self.blob(length, field)
    }
}

/// Bytes from a reader through a fixed buffer, with a running CRC-32C.
pub struct Input<R> {
    reader: R,
    buf: Vec<u8>,
    position: usize,
    filled: usize,
    /// Offset in the file of the buffer's first byte.
    base: u64,
    crc: u32,
    /// Bytes before this place in the buffer are in `crc` already.
    crc_from: usize,
}

impl<R: Read> Input<R> {
    pub fn new(reader: R, offset_bytes: u64, buf_bytes: usize) -> Self {
        Self {
            reader,
            buf: vec![0; buf_bytes],
            position: 0,
            filled: 0,
            base: offset_bytes,
            crc: 0,
            crc_from: 0,
        }
    }

    /// Offset in the file of the next byte.
    pub fn offset(&self) -> u64 {
        self.base.saturating_add(u64::try_from(self.position).unwrap_or(u64::MAX))
    }

    /// The next byte, still to be taken; `None` at the end.
    pub fn peek(&mut self) -> Result<Option<u8>> {
        if self.position == self.filled {
            self.refill()?;
        }
        Ok(self.buf.get(self.position..self.filled).and_then(|rest| rest.first().copied()))
    }

    /// From here on the running CRC begins anew.
    pub fn start_crc(&mut self) {
        self.crc = 0;
        self.crc_from = self.position;
    }

    /// CRC-32C of the bytes taken since [`start_crc`](Self::start_crc).
    pub fn crc(&mut self) -> u32 {
        let taken = self.buf.get(self.crc_from..self.position).unwrap_or_default();
        self.crc = crc32c::crc32c_append(self.crc, taken);
        self.crc_from = self.position;
        self.crc
    }

    #[inline]
    fn take<const N: usize>(&mut self, field: &mut [u8; N]) -> Result<()> {
        let end = self.position.saturating_add(N);
        if end <= self.filled
            && let Some(bytes) = self.buf.get(self.position..end)
        {
            field.copy_from_slice(bytes);
            self.position = end;
            return Ok(());
        }
        self.take_over_border(field)
    }

    /// Takes a field that ends behind what the buffer holds.
    #[cold]
    fn take_over_border(&mut self, field: &mut [u8]) -> Result<()> {
        let start = self.offset();
        for byte in field {
            *byte = self.peek()?.ok_or_else(|| Error::incomplete(start, "an entry"))?;
            self.position = self.position.saturating_add(1);
        }
        Ok(())
    }

    /// Takes `length` bytes in pieces.
    #[inline]
    fn take_pieces(&mut self, length: u64, mut piece: impl FnMut(&[u8])) -> Result<()> {
        let whole = usize::try_from(length).unwrap_or(usize::MAX);
        let end = self.position.saturating_add(whole);
        if end <= self.filled
            && let Some(bytes) = self.buf.get(self.position..end)
        {
            piece(bytes);
            self.position = end;
            return Ok(());
        }
        let start = self.offset();
        let mut left = length;
        while left > 0 {
            if self.peek()?.is_none() {
                return Err(Error::incomplete(start, "an entry"));
            }
            let there = self.filled.saturating_sub(self.position);
            let take = usize::try_from(left).unwrap_or(usize::MAX).min(there);
            let end = self.position.saturating_add(take);
            piece(self.buf.get(self.position..end).unwrap_or_default());
            self.position = end;
            left = left.saturating_sub(u64::try_from(take).unwrap_or(u64::MAX));
        }
        Ok(())
    }

    /// Called only when every byte of the buffer has been taken.
    fn refill(&mut self) -> Result<()> {
        self.crc();
        self.base = self.offset();
        (self.position, self.filled, self.crc_from) = (0, 0, 0);
        loop {
            match self.reader.read(&mut self.buf) {
                Ok(read) => {
                    self.filled = read.min(self.buf.len());
                    return Ok(());
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(Error { kind: ErrorKind::Io(error), offset_bytes: self.base });
                }
            }
        }
    }
}

/// Fills fields from little-endian bytes.
pub type Decoder<'a, R> = OrderedDecoder<'a, R, false>;
/// Fills fields from big-endian bytes.
pub type BigEndianDecoder<'a, R> = OrderedDecoder<'a, R, true>;
/// Appends fields to little-endian bytes.
pub type Encoder = OrderedEncoder<false>;
/// Appends fields to big-endian bytes.
pub type BigEndianEncoder = OrderedEncoder<true>;

/// Fills fields from bytes.
pub struct OrderedDecoder<'a, R, const BIG_ENDIAN: bool> {
    pub input: &'a mut Input<R>,
    /// Whether lists and byte strings are kept, or passed over in constant memory.
    pub keep: bool,
}

impl<R: Read, const BIG_ENDIAN: bool> Codec for OrderedDecoder<'_, R, BIG_ENDIAN> {
    const BIG_ENDIAN: bool = BIG_ENDIAN;

    #[inline]
    fn fixed<const N: usize>(&mut self, field: &mut [u8; N]) -> Result<()> {
        self.input.take(field)
    }

    fn blob(&mut self, length: u64, field: &mut Vec<u8>) -> Result<()> {
        field.clear();
        let keep = self.keep;
        self.input.take_pieces(length, |piece| {
            if keep {
                field.extend_from_slice(piece);
            }
        })
    }

    fn items<T: Layout + Default>(&mut self, count: u64, items: &mut Vec<T>) -> Result<()> {
        items.clear();
        let mut scratch = T::default();
        for _ in 0..count {
            if self.keep {
                scratch = T::default();
            }
            scratch.visit(self)?;
            if self.keep {
                items.push(std::mem::take(&mut scratch));
            }
        }
        Ok(())
    }

    fn offset(&self) -> u64 {
        self.input.offset()
    }
}

/// Appends fields to bytes.
#[derive(Default)]
pub struct OrderedEncoder<const BIG_ENDIAN: bool> {
    pub bytes: Vec<u8>,
}

impl<const BIG_ENDIAN: bool> Codec for OrderedEncoder<BIG_ENDIAN> {
    const BIG_ENDIAN: bool = BIG_ENDIAN;

    fn fixed<const N: usize>(&mut self, field: &mut [u8; N]) -> Result<()> {
        self.bytes.extend_from_slice(field);
        Ok(())
    }

    fn blob(&mut self, length: u64, field: &mut Vec<u8>) -> Result<()> {
        let present = u64::try_from(field.len()).unwrap_or(u64::MAX);
        if present != length {
            return Err(Error::corrupt(0, "length of a value", length, present));
        }
        self.bytes.extend_from_slice(field);
        Ok(())
    }

    fn items<T: Layout + Default>(&mut self, _: u64, items: &mut Vec<T>) -> Result<()> {
        items.iter_mut().try_for_each(|item| item.visit(self))
    }

    fn offset(&self) -> u64 {
        0
    }
}
