//! What a server answers.

use bytes::{BufMut, Bytes, BytesMut};

use super::failure::Failure;
use super::frame::{Deframer, Piece, begin, body_bytes, frame, seal};
use super::{ProtocolError, STORE_ID_BYTES};
use crate::names::{MAX_DEPTH, MAX_PART_BYTES};

/// The longest path, in UTF-16 code units.
const MAX_PATH_UNITS: u16 = 2048;
/// More files than any store has.
const FILES_MAX: u32 = 1 << 20;
/// Bytes of a block that others follow, whose length is written as 0.
const BLOCK_BYTES: usize = 255;
/// What is kept of a failure's bytes.
const MAX_FAILURE_BYTES: usize = 1 << 20;
/// The body of a frame that we send. The real client reads one frame more for each value at most, so
/// it must be longer than any value; the real server sends 4 MiB.
const FRAME_BODY_BYTES: usize = 1 << 20;
/// The `u8` before the transactions.
const TRANSACTIONS: u8 = 1;

/// Which response is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// To [`Request::Full`](super::Request::Full).
    Full,
    /// To [`Request::Incremental`](super::Request::Incremental).
    Incremental,
}

/// A part of a response.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A file begins.
    File {
        /// Relative, with `/` between its parts, none of which is empty, `.` or `..`.
        path: String,
    },
    /// The next bytes of the file.
    Data(&'a [u8]),
    /// The file is complete.
    FileEnd,
    /// All files are complete; see [`STORE_ID_BYTES`].
    StoreId([u8; STORE_ID_BYTES]),
    /// The next bytes of log entries, cut anywhere.
    Transactions(&'a [u8]),
    /// The response is complete. Whether the last transaction is must be seen from its bytes.
    End,
    /// The server failed; what came before is worth nothing.
    Failure(Failure),
}

/// Where in a response the next byte belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    PathLength,
    Path,
    HasData,
    BlockLength,
    Block { left: usize, is_last: bool },
    StoreId,
    Kind,
    Transactions,
    Ended,
}

impl State {
    /// What is read, for errors.
    fn what(self) -> &'static str {
        match self {
            Self::PathLength | Self::Path | Self::HasData => "the head of a file",
            Self::BlockLength | Self::Block { .. } => "a file",
            Self::StoreId => "the store's id",
            Self::Kind | Self::Transactions => "the transactions",
            Self::Ended => "what follows its end",
        }
    }
}

/// Takes the bytes of one response as they arrive. Needs memory for a path or a failure at most.
#[derive(Debug)]
pub struct ResponseDecoder {
    frames: Deframer,
    state: State,
    /// What has come of the present field.
    field: Vec<u8>,
    /// Length of the present path in bytes.
    path_bytes: usize,
    files: u32,
    /// The bytes of a failure, once one has begun.
    failure: Option<Vec<u8>>,
}

impl ResponseDecoder {
    /// A decoder at the beginning of a response.
    #[must_use]
    pub fn new(expected: Expected) -> Self {
        let state = match expected {
            Expected::Full => State::PathLength,
            Expected::Incremental => State::StoreId,
        };
        Self {
            frames: Deframer::default(),
            state,
            field: Vec::new(),
            path_bytes: 0,
            files: 0,
            failure: None,
        }
    }

    /// The next part; `None` once all of `input` is taken.
    ///
    /// # Errors
    /// When the bytes are no such response. The decoder cannot be used after that.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Event<'a>>, ProtocolError> {
        loop {
            if self.state == (State::Block { left: 0, is_last: true }) {
                self.state = State::PathLength;
                return Ok(Some(Event::FileEnd));
            }
            if self.state == State::Ended {
                return match input.is_empty() {
                    true => Ok(None),
                    false => Err(self.refuse("what follows its end", "there")),
                };
            }
            let Some(piece) = self.frames.next(input, self.wanted())? else { return Ok(None) };
            let event = match piece {
                Piece::Body(bytes) if self.failure.is_none() => self.body(bytes)?,
                Piece::Body(bytes) | Piece::Failure(bytes) => {
                    let failure = self.failure.get_or_insert_default();
                    let left = MAX_FAILURE_BYTES.saturating_sub(failure.len());
                    failure.extend_from_slice(bytes.get(..left).unwrap_or(bytes));
                    // More of it would tell nothing; it may have no end.
                    let is_enough = failure.len() == MAX_FAILURE_BYTES;
                    is_enough.then(|| self.end(true)).transpose()?
                }
                Piece::End { failed } => Some(self.end(failed)?),
            };
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    /// Says that the server sends no more.
    ///
    /// # Errors
    /// When the response was not complete.
    pub fn finish(&self) -> Result<(), ProtocolError> {
        if self.state == State::Ended { Ok(()) } else { Err(self.truncated()) }
    }

    /// How many bytes at most belong to what comes next.
    fn wanted(&self) -> usize {
        let field = |bytes: usize| bytes.saturating_sub(self.field.len());
        match self.state {
            _ if self.failure.is_some() => usize::MAX,
            State::PathLength => field(size_of::<u16>()),
            State::Path => field(self.path_bytes),
            State::HasData | State::BlockLength | State::Kind => 1,
            State::Block { left, .. } => left,
            State::StoreId => field(STORE_ID_BYTES),
            State::Transactions | State::Ended => usize::MAX,
        }
    }

    /// Takes bytes that all belong to what comes next.
    fn body<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<Event<'a>>, ProtocolError> {
        let first = bytes.first().copied().unwrap_or(0);
        match self.state {
            State::PathLength | State::Path | State::StoreId => {
                let is_whole = self.wanted() == bytes.len();
                self.field.extend_from_slice(bytes);
                return if is_whole { self.field() } else { Ok(None) };
            }
            State::HasData => {
                self.state = match first {
                    1 => State::BlockLength,
                    _ => State::Block { left: 0, is_last: true },
                };
            }
            State::BlockLength => {
                self.state = match first {
                    0 => State::Block { left: BLOCK_BYTES, is_last: false },
                    last => State::Block { left: usize::from(last), is_last: true },
                };
            }
            State::Block { left, is_last } => {
                self.state = match left.saturating_sub(bytes.len()) {
                    0 if !is_last => State::BlockLength,
                    left => State::Block { left, is_last },
                };
                return Ok(Some(Event::Data(bytes)));
            }
            State::Kind if first == TRANSACTIONS => self.state = State::Transactions,
            State::Kind => return Err(self.refuse("the kind of a response", first)),
            State::Transactions => return Ok(Some(Event::Transactions(bytes))),
            State::Ended => return Err(self.refuse("what follows its end", "there")),
        }
        Ok(None)
    }

    /// A field is complete.
    fn field<'a>(&mut self) -> Result<Option<Event<'a>>, ProtocolError> {
        let field = std::mem::take(&mut self.field);
        // No path is so long, and no store so old. Answers under the flags of a success to a client of
        // another version look like that.
        if self.files == 0 && self.state != State::Path && Failure::begins(&field) {
            self.failure = Some(field);
            return Ok(None);
        }
        match (self.state, field.as_slice()) {
            (State::PathLength, [0, 0]) => self.state = State::StoreId,
            (State::PathLength, [high, low]) => {
                let units = u16::from_be_bytes([*high, *low]);
                if units > MAX_PATH_UNITS {
                    return Err(self.refuse("the length of a path", units));
                }
                self.files = self.files.saturating_add(1);
                if self.files > FILES_MAX {
                    return Err(self.refuse("the number of files", self.files));
                }
                self.path_bytes = usize::from(units).saturating_mul(2);
                self.state = State::Path;
            }
            (State::Path, path) => {
                let path = decode_path(path).map_err(|found| self.refuse("a path", found))?;
                self.state = State::HasData;
                return Ok(Some(Event::File { path }));
            }
            (State::StoreId, id) => {
                let Some(id) = id.first_chunk() else { return Err(self.truncated()) };
                self.state = State::Kind;
                return Ok(Some(Event::StoreId(*id)));
            }
            _ => return Err(self.truncated()),
        }
        Ok(None)
    }

    fn end<'a>(&mut self, failed: bool) -> Result<Event<'a>, ProtocolError> {
        let event = match self.failure.take() {
            Some(failure) => Event::Failure(Failure::decode(&failure)),
            None if failed => Event::Failure(Failure::default()),
            None if self.state == State::Transactions => Event::End,
            None => return Err(self.truncated()),
        };
        self.state = State::Ended;
        Ok(event)
    }

    fn truncated(&self) -> ProtocolError {
        ProtocolError::Truncated { at_bytes: self.frames.at_bytes(), what: self.state.what() }
    }

    fn refuse(&self, what: &'static str, found: impl ToString) -> ProtocolError {
        let (at_bytes, found) = (self.frames.at_bytes(), found.to_string());
        ProtocolError::Value { at_bytes, what, found }
    }
}

/// A path of ours from one in UTF-16, whose separators are those of the server's system.
fn decode_path(bytes: &[u8]) -> Result<String, String> {
    let (units, _) = bytes.as_chunks::<2>();
    let units = units.iter().map(|unit| u16::from_be_bytes(*unit));
    let path: Result<String, _> = char::decode_utf16(units).collect();
    let path = path.map_err(|_| "no UTF-16".to_owned())?.replace('\\', "/");
    let good = |part: &str| {
        !matches!(part, "" | "." | "..") && part.len() <= MAX_PART_BYTES && !part.contains('\0')
    };
    let parts = path.split('/').take(MAX_DEPTH.saturating_add(1)).collect::<Vec<_>>();
    if parts.len() <= MAX_DEPTH && parts.into_iter().all(good) {
        return Ok(path);
    }
    Err(format!("{:?}", path.chars().take(300).collect::<String>()))
}

/// Writes a response. Frames end where a client can have taken everything, so that a failure may
/// follow: behind a block, behind a field.
#[derive(Debug)]
pub struct Encoder {
    frame: BytesMut,
    /// Bytes of the present file that may be its last.
    block: Vec<u8>,
    is_empty: bool,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// At the beginning of a response.
    #[must_use]
    pub fn new() -> Self {
        Self { frame: begin(0), block: Vec::with_capacity(BLOCK_BYTES), is_empty: true }
    }

    /// Begins a file; `false` if the path is too long for the protocol.
    #[must_use]
    pub fn file(&mut self, path: &str) -> bool {
        let units: Vec<u16> = path.encode_utf16().collect();
        let Some(length) = u16::try_from(units.len()).ok().filter(|units| *units > 0) else {
            return false;
        };
        self.frame.put_u16(length);
        units.iter().for_each(|unit| self.frame.put_u16(*unit));
        self.is_empty = true;
        true
    }

    /// The next bytes of the file.
    pub fn data(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.is_empty {
                self.frame.put_u8(1);
                self.is_empty = false;
            }
            if self.block.len() == BLOCK_BYTES {
                self.frame.put_u8(0);
                self.frame.put_slice(&self.block);
                self.block.clear();
            }
            let taken = BLOCK_BYTES.saturating_sub(self.block.len()).min(bytes.len());
            let (part, rest) = bytes.split_at_checked(taken).unwrap_or((bytes, &[]));
            self.block.extend_from_slice(part);
            bytes = rest;
        }
    }

    /// The file is complete.
    pub fn file_end(&mut self) {
        if self.is_empty {
            self.frame.put_u8(0);
        } else {
            // 1 to 255 of them.
            self.frame.put_u8(u8::try_from(self.block.len()).unwrap_or(u8::MAX));
            self.frame.put_slice(&self.block);
            self.block.clear();
        }
    }

    /// All files are complete.
    pub fn files_end(&mut self) {
        self.frame.put_u16(0);
    }

    /// What comes before the transactions.
    pub fn store_id(&mut self, id: &[u8; STORE_ID_BYTES]) {
        self.frame.put_slice(id);
        self.frame.put_u8(TRANSACTIONS);
    }

    /// The next bytes of log entries, at most 1 MiB at a time.
    pub fn transactions(&mut self, bytes: &[u8]) {
        self.frame.put_slice(bytes);
    }

    /// A frame, when enough has been written for one. To be asked after each call, each with 1 MiB of a
    /// file at most.
    pub fn take(&mut self) -> Option<Bytes> {
        if body_bytes(&self.frame) < FRAME_BODY_BYTES {
            return None;
        }
        let whole = std::mem::replace(&mut self.frame, begin(FRAME_BODY_BYTES));
        Some(seal(whole, true, false))
    }

    /// The last frame.
    #[must_use]
    pub fn finish(self) -> Bytes {
        seal(self.frame, false, false)
    }

    /// The last frames of a response that fails, with the bytes of a [`Failure`]. Not once transactions were
    /// written: a client could be inside one.
    #[must_use]
    pub fn fail(self, failure: &[u8]) -> Bytes {
        let last = frame(failure, false, true);
        if body_bytes(&self.frame) == 0 {
            return last;
        }
        let mut both = BytesMut::from(seal(self.frame, true, false));
        both.put_slice(&last);
        both.freeze()
    }
}
