//! Failures: serialised Java exceptions, of which only classes and message matter.

use bytes::{Buf, BufMut};

/// `java.io.ObjectStreamConstants`: magic and version of a stream.
const MAGIC: u32 = 0xACED_0005;
const TC_NULL: u8 = 0x70;
const TC_REFERENCE: u8 = 0x71;
const TC_CLASSDESC: u8 = 0x72;
const TC_OBJECT: u8 = 0x73;
const TC_STRING: u8 = 0x74;
const TC_ENDBLOCKDATA: u8 = 0x78;
/// Flags of a class: serialisable; and with a method of its own that writes.
const SERIALIZABLE: u8 = 2;
const WRITE_METHOD: u8 = 3;
/// More classes than this no exception has.
const CLASSES_MAX: usize = 32;
const FIELDS_MAX: u16 = 64;
/// What is kept of a message.
const MESSAGE_CHARS_MAX: usize = 2000;

const MISSING_LOG_DATA: &str = "org.neo4j.kernel.impl.transaction.log.MissingLogDataException";
const NO_SUCH_TRANSACTION: &str =
    "org.neo4j.kernel.impl.transaction.log.NoSuchTransactionException";
const VERSION: &str = "org.neo4j.com.IllegalProtocolVersionException";

/// An exception of the peer's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// Its class and that class's superclasses; none where the bytes could not be understood.
    pub classes: Vec<String>,
    /// What it says, of the innermost cause.
    pub message: Option<String>,
}

/// A class as it is written: name, `serialVersionUID`, flags.
type Class = (&'static str, u64, u8);

const EXCEPTION: Class = ("java.lang.Exception", 0xD0FD_1F3E_1A3B_1CC4, SERIALIZABLE);
const THROWABLE: Class = ("java.lang.Throwable", 0xD5C6_3527_3977_B8CB, WRITE_METHOD);
const FIELDS: [(u8, &str, &str); 4] = [
    (b'L', "cause", "Ljava/lang/Throwable;"),
    (b'L', "detailMessage", "Ljava/lang/String;"),
    (b'[', "stackTrace", "[Ljava/lang/StackTraceElement;"),
    (b'L', "suppressedExceptions", "Ljava/util/List;"),
];

impl Failure {
    /// The bytes of an exception that makes the real tool fall back to a full backup: the logs do not reach
    /// back any more.
    #[must_use]
    pub fn logs_pruned(message: &str) -> Vec<u8> {
        let missing = (MISSING_LOG_DATA, 0xC6F9_54BE_2BC1_05A9, SERIALIZABLE);
        let io = ("java.io.IOException", 0x6C80_7364_6525_F0AB, SERIALIZABLE);
        let none = (NO_SUCH_TRANSACTION, 0xB442_D56E_1D9E_1016, SERIALIZABLE);
        write(&[none, missing, io, EXCEPTION, THROWABLE], message)
    }

    /// The bytes of an exception that just says something.
    #[must_use]
    pub fn other(message: &str) -> Vec<u8> {
        let runtime = ("java.lang.RuntimeException", 0x9E5F_0647_0A34_83E5, SERIALIZABLE);
        write(&[runtime, EXCEPTION, THROWABLE], message)
    }

    /// Whether these first bytes of a message are those of an object, not of a path's length or a time.
    pub(super) fn begins(bytes: &[u8]) -> bool {
        let magic = MAGIC.to_be_bytes();
        bytes.get(..2) == magic.get(..2)
    }

    /// Reads what can be understood.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        let mut rest = bytes;
        let classes = read_classes(&mut rest).unwrap_or_default();
        let message = if classes.is_empty() { None } else { first_text(rest) };
        Self { classes, message }
    }

    /// Whether the server's logs do not reach back to the transaction that was asked for.
    #[must_use]
    pub fn is_logs_pruned(&self) -> bool {
        self.classes.iter().any(|class| class == MISSING_LOG_DATA)
    }

    /// Whether the peer speaks another version of the protocol.
    #[must_use]
    pub fn is_version(&self) -> bool {
        self.classes.iter().any(|class| class == VERSION)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(class) = self.classes.first() else {
            return f.write_str("an exception that cannot be understood");
        };
        let class = class.rsplit('.').next().unwrap_or(class);
        match &self.message {
            Some(message) => write!(f, "{class}: {message}"),
            None => f.write_str(class),
        }
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    // Modified UTF-8 is the same but for NUL and what lies beyond 16 bits, which are left out.
    let fits = |c: &char| *c != '\0' && u32::from(*c) <= 0xFFFF;
    let mut kept: String = text.chars().filter(fits).take(MESSAGE_CHARS_MAX).collect();
    while kept.len() > usize::from(u16::MAX) {
        kept.pop();
    }
    out.put_u16(u16::try_from(kept.len()).unwrap_or(u16::MAX));
    out.put_slice(kept.as_bytes());
}

fn write(classes: &[Class], message: &str) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u32(MAGIC);
    out.put_u8(TC_OBJECT);
    for class in classes {
        let (name, uid, flags) = *class;
        out.put_u8(TC_CLASSDESC);
        put_text(&mut out, name);
        out.put_u64(uid);
        out.put_u8(flags);
        let fields: &[_] = if *class == THROWABLE { &FIELDS } else { &[] };
        out.put_u16(u16::try_from(fields.len()).unwrap_or(0));
        for (kind, name, class) in fields {
            out.put_u8(*kind);
            put_text(&mut out, name);
            out.put_u8(TC_STRING);
            put_text(&mut out, class);
        }
        out.put_u8(TC_ENDBLOCKDATA);
    }
    // No superclass; no cause; the message; neither stack trace nor suppressed exceptions.
    out.put_slice(&[TC_NULL, TC_NULL, TC_STRING]);
    put_text(&mut out, message);
    out.put_slice(&[TC_NULL, TC_NULL, TC_ENDBLOCKDATA]);
    out
}

fn take_text(rest: &mut &[u8]) -> Option<String> {
    let length = usize::from(rest.try_get_u16().ok()?);
    let (text, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    Some(String::from_utf8_lossy(text).into_owned())
}

/// The names of the first object's class and its superclasses; `rest` is what follows.
fn read_classes(rest: &mut &[u8]) -> Option<Vec<String>> {
    if rest.try_get_u32().ok()? != MAGIC || rest.try_get_u8().ok()? != TC_OBJECT {
        return None;
    }
    let mut classes = Vec::new();
    while rest.try_get_u8().ok()? == TC_CLASSDESC {
        if classes.len() == CLASSES_MAX {
            return None;
        }
        classes.push(take_text(rest)?);
        rest.try_get_u64().ok()?;
        rest.try_get_u8().ok()?;
        let fields = rest.try_get_u16().ok().filter(|fields| *fields <= FIELDS_MAX)?;
        for _ in 0..fields {
            let kind = rest.try_get_u8().ok()?;
            take_text(rest)?;
            if matches!(kind, b'L' | b'[') {
                match rest.try_get_u8().ok()? {
                    TC_STRING => drop(take_text(rest)?),
                    TC_REFERENCE => drop(rest.try_get_u32().ok()?),
                    _ => return None,
                }
            }
        }
        if rest.try_get_u8().ok()? != TC_ENDBLOCKDATA {
            return None;
        }
    }
    Some(classes)
}

/// The first string that is no name of a field's type: the message of the innermost cause, since a cause
/// is written before the message of what it caused.
fn first_text(mut rest: &[u8]) -> Option<String> {
    while !rest.is_empty() {
        if rest.try_get_u8().ok()? != TC_STRING {
            continue;
        }
        let mut behind = rest;
        // What only looks like the mark of a string is mostly not followed by text.
        let Some(text) = take_text(&mut behind).filter(|text| is_text(text)) else { continue };
        if text.starts_with('[') || (text.starts_with('L') && text.ends_with(';')) {
            rest = behind;
            continue;
        }
        return Some(text.chars().take(MESSAGE_CHARS_MAX).collect());
    }
    None
}

fn is_text(text: &str) -> bool {
    let fine = |c: char| c != char::REPLACEMENT_CHARACTER && (!c.is_control() || c.is_whitespace());
    !text.is_empty() && text.chars().all(fine)
}
