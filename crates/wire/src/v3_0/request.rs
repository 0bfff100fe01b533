//! What a client asks.

use bytes::{Buf, BufMut, Bytes};

use super::ProtocolError;
use super::frame::{Deframer, Piece, frame};

/// A request's body, without the last byte of a full one: `u8` type, `i64` session, `i32` machine, `i32`
/// event, `i64` last transaction, `i64` checksum. All but type and transaction are -1 and are not
/// looked at.
const BODY_BYTES: usize = 33;
const FULL: u8 = 0;
const INCREMENTAL: u8 = 1;

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// All files, and the transactions since the check point before them.
    Full {
        /// The log files as well.
        forensics: bool,
    },
    /// The transactions behind one.
    Incremental {
        /// The last that the client has. 0 or less brings nothing but the store's id.
        last_tx_id: i64,
    },
}

impl Request {
    /// The whole message.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut body = Vec::with_capacity(BODY_BYTES.saturating_add(1));
        let (kind, last_tx_id) = match self {
            Self::Full { .. } => (FULL, -1),
            Self::Incremental { last_tx_id } => (INCREMENTAL, *last_tx_id),
        };
        body.put_u8(kind);
        body.put_i64(-1);
        body.put_i32(-1);
        body.put_i32(-1);
        body.put_i64(last_tx_id);
        body.put_i64(-1);
        if let Self::Full { forensics } = self {
            body.put_u8(u8::from(*forensics));
        }
        frame(&body, false, false)
    }

    fn decode(mut body: &[u8], at_bytes: u64) -> Result<Self, ProtocolError> {
        let short = ProtocolError::Truncated { at_bytes, what: "a request" };
        if body.len() < BODY_BYTES {
            return Err(short);
        }
        let kind = body.try_get_u8().map_err(|_| short.clone())?;
        body.advance(16.min(body.len()));
        let last_tx_id = body.try_get_i64().map_err(|_| short)?;
        body.advance(8.min(body.len()));
        let refuse = |what, found: String| Err(ProtocolError::Value { at_bytes, what, found });
        match (kind, body) {
            // The server takes a missing byte for 0.
            (FULL, []) => Ok(Self::Full { forensics: false }),
            (FULL, [forensics @ (0 | 1)]) => Ok(Self::Full { forensics: *forensics == 1 }),
            (FULL, [other]) => refuse("forensics", other.to_string()),
            (INCREMENTAL, []) => Ok(Self::Incremental { last_tx_id }),
            (FULL | INCREMENTAL, more) => {
                refuse("a request", format!("{} bytes longer", more.len()))
            }
            (other, _) => refuse("the type of a request", other.to_string()),
        }
    }
}

/// Takes the bytes of a connection as they arrive and gives requests.
#[derive(Debug, Default)]
pub struct RequestDecoder {
    frames: Deframer,
    body: Vec<u8>,
}

impl RequestDecoder {
    /// A decoder at the beginning of a connection.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes from `input` until a request is complete, or all of them.
    ///
    /// # Errors
    /// When the bytes are no request. The decoder cannot be used after that.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Request>, ProtocolError> {
        while let Some(piece) = self.frames.next(input, usize::MAX)? {
            let at_bytes = self.frames.at_bytes();
            match piece {
                Piece::Body(bytes)
                    if self.body.len().saturating_add(bytes.len()) <= BODY_BYTES + 1 =>
                {
                    self.body.extend_from_slice(bytes);
                }
                Piece::Body(_) => {
                    let found = format!("longer than {} bytes", BODY_BYTES + 1);
                    return Err(ProtocolError::Value { at_bytes, what: "a request", found });
                }
                Piece::Failure(_) | Piece::End { failed: true } => {
                    let found = "a failure".to_owned();
                    return Err(ProtocolError::Value { at_bytes, what: "a request", found });
                }
                Piece::End { failed: false } => {
                    return Request::decode(&std::mem::take(&mut self.body), at_bytes).map(Some);
                }
            }
        }
        Ok(None)
    }

    /// Whether nothing of a request has come since the last one.
    #[must_use]
    pub fn is_between(&self) -> bool {
        self.frames.is_between() && self.body.is_empty()
    }

    /// Says that the client sends no more.
    ///
    /// # Errors
    /// When it ended inside a request.
    pub fn finish(&self) -> Result<(), ProtocolError> {
        if self.is_between() {
            return Ok(());
        }
        Err(ProtocolError::Truncated { at_bytes: self.frames.at_bytes(), what: "a request" })
    }
}
