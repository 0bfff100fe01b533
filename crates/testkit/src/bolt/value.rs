//! PackStream, the encoding of Bolt's values.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};

/// Named values.
pub type Map = BTreeMap<String, Value>;

/// A value as Bolt carries it; nodes, points and times are structs.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// No value.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A string.
    String(String),
    /// A list.
    List(Vec<Value>),
    /// A map.
    Map(Map),
    /// A tag and fields.
    Struct(u8, Vec<Value>),
}

impl Value {
    /// The integer, if it is one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(value) => Some(value),
            _ => None,
        }
    }

    pub(super) fn pack(&self, out: &mut Vec<u8>) {
        match self {
            Value::Null => out.push(0xc0),
            Value::Bool(value) => out.push(if *value { 0xc3 } else { 0xc2 }),
            Value::Int(value) => pack_int(*value, out),
            Value::Float(value) => {
                out.push(0xc1);
                out.extend(value.to_be_bytes());
            }
            Value::Bytes(value) => {
                pack_size(value.len(), None, 0xcc, out);
                out.extend(value);
            }
            Value::String(value) => {
                pack_size(value.len(), Some(0x80), 0xd0, out);
                out.extend(value.as_bytes());
            }
            Value::List(values) => {
                pack_size(values.len(), Some(0x90), 0xd4, out);
                values.iter().for_each(|value| value.pack(out));
            }
            Value::Map(values) => {
                pack_size(values.len(), Some(0xa0), 0xd8, out);
                for (key, value) in values {
                    pack_size(key.len(), Some(0x80), 0xd0, out);
                    out.extend(key.as_bytes());
                    value.pack(out);
                }
            }
            Value::Struct(tag, fields) => {
                let count = u8::try_from(fields.len()).expect("a struct has at most 15 fields");
                out.extend([0xb0 | count, *tag]);
                fields.iter().for_each(|field| field.pack(out));
            }
        }
    }

    pub(super) fn unpack(from: &mut &[u8]) -> Result<Value> {
        let marker = byte(from)?;
        let small = usize::from(marker & 0x0f);
        Ok(match marker {
            0x00..=0x7f | 0xf0..=0xff => Value::Int(i64::from(marker.cast_signed())),
            0x80..=0x8f => string(from, small)?,
            0x90..=0x9f => list(from, small)?,
            0xa0..=0xaf => map(from, small)?,
            0xb0..=0xbf => {
                let tag = byte(from)?;
                Value::Struct(tag, values(from, small)?)
            }
            0xc0 => Value::Null,
            0xc1 => Value::Float(f64::from_be_bytes(array(from)?)),
            0xc2 => Value::Bool(false),
            0xc3 => Value::Bool(true),
            0xc8 => Value::Int(i8::from_be_bytes(array(from)?).into()),
            0xc9 => Value::Int(i16::from_be_bytes(array(from)?).into()),
            0xca => Value::Int(i32::from_be_bytes(array(from)?).into()),
            0xcb => Value::Int(i64::from_be_bytes(array(from)?)),
            0xcc..=0xce => {
                let size = size(from, marker - 0xcc)?;
                Value::Bytes(take(from, size)?.to_vec())
            }
            0xd0..=0xd2 => {
                let size = size(from, marker - 0xd0)?;
                string(from, size)?
            }
            0xd4..=0xd6 => {
                let size = size(from, marker - 0xd4)?;
                list(from, size)?
            }
            0xd8..=0xda => {
                let size = size(from, marker - 0xd8)?;
                map(from, size)?
            }
            other => bail!("unknown PackStream marker {other:#x}"),
        })
    }
}

fn pack_int(value: i64, out: &mut Vec<u8>) {
    if let Ok(tiny @ -16..) = i8::try_from(value) {
        out.push(tiny.cast_unsigned());
    } else {
        out.push(0xcb);
        out.extend(value.to_be_bytes());
    }
}

/// `tiny` is the marker for sizes below 16, `marker` the one for a size of one byte.
fn pack_size(size: usize, tiny: Option<u8>, marker: u8, out: &mut Vec<u8>) {
    match (u8::try_from(size), tiny) {
        (Ok(small @ 0..16), Some(tiny)) => out.push(tiny | small),
        (Ok(small), _) => out.extend([marker, small]),
        _ => {
            let size = u32::try_from(size).expect("a value is smaller than 4 GiB");
            out.push(marker + 2);
            out.extend(size.to_be_bytes());
        }
    }
}

fn take<'a>(from: &mut &'a [u8], size: usize) -> Result<&'a [u8]> {
    let (taken, rest) = from.split_at_checked(size).context("a Bolt message ends early")?;
    *from = rest;
    Ok(taken)
}

fn array<const N: usize>(from: &mut &[u8]) -> Result<[u8; N]> {
    Ok(take(from, N)?.try_into()?)
}

fn byte(from: &mut &[u8]) -> Result<u8> {
    let [byte] = array(from)?;
    Ok(byte)
}

fn size(from: &mut &[u8], log2_width: u8) -> Result<usize> {
    Ok(match log2_width {
        0 => u8::from_be_bytes(array(from)?).into(),
        1 => u16::from_be_bytes(array(from)?).into(),
        _ => u32::from_be_bytes(array(from)?).try_into()?,
    })
}

fn string(from: &mut &[u8], size: usize) -> Result<Value> {
    Ok(Value::String(String::from_utf8(take(from, size)?.to_vec())?))
}

fn values(from: &mut &[u8], count: usize) -> Result<Vec<Value>> {
    (0..count).map(|_| Value::unpack(from)).collect()
}

fn list(from: &mut &[u8], count: usize) -> Result<Value> {
    Ok(Value::List(values(from, count)?))
}

fn map(from: &mut &[u8], count: usize) -> Result<Value> {
    let entry = |_| match Value::unpack(from)? {
        Value::String(key) => Ok((key, Value::unpack(from)?)),
        other => bail!("not a key: {other:?}"),
    };
    Ok(Value::Map((0..count).map(entry).collect::<Result<_>>()?))
}

macro_rules! from {
    ($($type:ty => $variant:ident),*) => {$(
        impl From<$type> for Value {
            fn from(value: $type) -> Value {
                Value::$variant(value.into())
            }
        }
    )*};
}

from!(bool => Bool, i64 => Int, i32 => Int, u32 => Int, f64 => Float, &str => String,
    String => String, Map => Map);

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(values: Vec<T>) -> Value {
        Value::List(values.into_iter().map(Into::into).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params;

    /// Every kind of value and every width of a size comes back as it went.
    #[test]
    fn packed_values_come_back() {
        let ints = [0, 1, -1, -16, -17, 127, 128, -128, -129, 70_000, i64::MIN, i64::MAX];
        let sizes = [0, 15, 16, 255, 256, 65_535, 65_536];
        let strings = sizes.map(|size| "x".repeat(size));
        let lists = sizes.map(|size| vec![1; size]);
        let maps = sizes.map(|size| (0..size).map(|i| (i.to_string(), Value::Null)).collect());
        let bytes = sizes.map(|size| Value::Bytes(vec![7; size]));
        let all = params! {
            "ints" => ints.to_vec(), "strings" => strings.to_vec(), "lists" => lists.to_vec(),
            "maps" => maps.to_vec() as Vec<Map>, "bytes" => bytes.to_vec(), "float" => 1.5,
            "bools" => vec![true, false], "struct" => Value::Struct(0x58, vec![Value::Null]),
        };
        let mut packed = Vec::new();
        Value::Map(all.clone()).pack(&mut packed);
        let mut rest = &packed[..];
        assert_eq!(Value::unpack(&mut rest).unwrap(), Value::Map(all));
        assert!(rest.is_empty());
        assert!(Value::unpack(&mut &packed[..packed.len() - 1]).is_err());
    }

    /// Golden bytes from the PackStream specification: widths that we read but never write.
    #[test]
    fn narrow_integers() {
        let cases: [(&[u8], i64); 4] = [
            (&[0xf0], -16),
            (&[0xc8, 0x80], -128),
            (&[0xc9, 1, 0], 256),
            (&[0xca, 0, 1, 0, 0], 65_536),
        ];
        for (mut bytes, expected) in cases {
            assert_eq!(Value::unpack(&mut bytes).unwrap(), Value::Int(expected));
        }
    }
}
