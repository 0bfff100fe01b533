//! A response as it comes from a socket.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use wire::api::ErrorCode;
use wire::v3_0::{
    Event, Expected, Failure, ProtocolError, Request, ResponseDecoder, STORE_ID_BYTES,
};

use super::{broken, refused};
use crate::error::{Error, Result};
use crate::options::ClientOptions;
use crate::rate::Rate;

const BUFFER_BYTES: usize = 256 << 10;

/// The socket of a conversation, so that somebody else can end it.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    stream: Mutex<Option<TcpStream>>,
    is_ended: AtomicBool,
    received_bytes: AtomicU64,
}

impl Connection {
    pub(super) fn shutdown(&self, how: Shutdown) {
        self.is_ended.store(true, Ordering::SeqCst);
        if let Some(stream) = &*self.stream.lock().unwrap_or_else(PoisonError::into_inner) {
            // It is closed already, else.
            let _ = stream.shutdown(how);
        }
    }

    pub(super) fn received_bytes(&self) -> u64 {
        self.received_bytes.load(Ordering::Relaxed)
    }

    /// A new socket in place of the last.
    fn open(&self, options: &ClientOptions) -> Result<TcpStream> {
        let refuse = |cause: &std::io::Error| Error::Connect {
            address: options.address(),
            cause: cause.to_string(),
        };
        let addresses = (options.host.as_str(), options.port).to_socket_addrs();
        let addresses = addresses.map_err(|error| refuse(&error))?;
        let mut last = std::io::Error::other("the name has no address");
        for address in addresses {
            match TcpStream::connect_timeout(&address, options.connect_timeout) {
                Ok(stream) => {
                    let shared = stream.try_clone().map_err(|error| refuse(&error))?;
                    *self.stream.lock().unwrap_or_else(PoisonError::into_inner) = Some(shared);
                    if self.is_ended.load(Ordering::SeqCst) {
                        return Err(Error::Cancelled);
                    }
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(refuse(&last))
    }
}

/// A part of a response; ranges are of [`Response::bytes`], until the next one.
pub(super) enum Part {
    File(String),
    Data(Range<usize>),
    FileEnd,
    StoreId([u8; STORE_ID_BYTES]),
    Transactions(Range<usize>),
    Failure(Failure),
    End,
}

/// A response under way.
pub(super) struct Response {
    stream: TcpStream,
    decoder: ResponseDecoder,
    address: String,
    buffer: Vec<u8>,
    /// What of the buffer was not taken yet.
    left: Range<usize>,
    received: std::sync::Arc<Connection>,
    rate: Option<Rate>,
}

impl Response {
    pub(super) fn ask(
        options: &ClientOptions,
        connection: &std::sync::Arc<Connection>,
        request: &Request,
        timeout: Duration,
    ) -> Result<Self> {
        let mut stream = connection.open(options)?;
        let address = options.address();
        let lost = |error: std::io::Error| lost(&address, &error);
        stream.set_read_timeout(Some(timeout)).map_err(lost)?;
        stream.set_write_timeout(Some(options.contact_timeout)).map_err(lost)?;
        stream.write_all(&request.encode()).map_err(lost)?;
        let expected = match request {
            Request::Full { .. } => Expected::Full,
            Request::Incremental { .. } => Expected::Incremental,
        };
        Ok(Self {
            stream,
            decoder: ResponseDecoder::new(expected),
            buffer: vec![0; BUFFER_BYTES],
            left: 0..0,
            received: std::sync::Arc::clone(connection),
            rate: options.limit_rate_bytes_per_s.map(Rate::new),
            address,
        })
    }

    /// The next part, of which the last is a failure or the end.
    pub(super) fn next(&mut self) -> Result<Part> {
        loop {
            if let Some(part) = self.decode()? {
                return Ok(part);
            }
            self.fill()?;
        }
    }

    /// The bytes of a part that has just come.
    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.buffer.get(range).unwrap_or_default()
    }

    fn decode(&mut self) -> Result<Option<Part>> {
        let mut input = self.buffer.get(self.left.clone()).unwrap_or_default();
        let filled = self.left.end;
        let event = self.decoder.next(&mut input).map_err(|error| self.misunderstood(&error))?;
        let end = filled.saturating_sub(input.len());
        // What it gives is what it has taken last.
        let range = |bytes: &[u8]| end.saturating_sub(bytes.len())..end;
        let part = event.map(|event| match event {
            Event::File { path } => Part::File(path),
            Event::Data(bytes) => Part::Data(range(bytes)),
            Event::FileEnd => Part::FileEnd,
            Event::StoreId(id) => Part::StoreId(id),
            Event::Transactions(bytes) => Part::Transactions(range(bytes)),
            Event::Failure(failure) => Part::Failure(failure),
            Event::End => Part::End,
        });
        self.left = end..filled;
        Ok(part)
    }

    fn misunderstood(&self, error: &ProtocolError) -> Error {
        match error {
            ProtocolError::Version { .. } => Error::NotOurService {
                address: self.address.clone(),
                what: format!("that of another version of Neo4j, it seems: {error}"),
            },
            _ => broken(error),
        }
    }

    fn fill(&mut self) -> Result<()> {
        let read = loop {
            match self.stream.read(&mut self.buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        if self.received.is_ended.load(Ordering::SeqCst) {
            return Err(Error::Cancelled);
        }
        let read = read.map_err(|error| lost(&self.address, &error))?;
        if read == 0 {
            let cause = match self.decoder.finish() {
                Err(error) => format!("the server closed it: {error}"),
                Ok(()) => "the server closed it".to_owned(),
            };
            return Err(Error::ConnectionLost { address: self.address.clone(), cause });
        }
        self.left = 0..read;
        self.received.received_bytes.fetch_add(read as u64, Ordering::Relaxed);
        if let Some(rate) = &self.rate {
            rate.take_blocking(read);
        }
        Ok(())
    }
}

fn lost(address: &str, error: &std::io::Error) -> Error {
    let cause = match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => "the server sends nothing".to_owned(),
        _ => error.to_string(),
    };
    Error::ConnectionLost { address: address.to_owned(), cause }
}

/// What a failure of the server's means.
pub(super) fn failed(failure: &Failure) -> Error {
    if failure.is_logs_pruned() {
        return refused(ErrorCode::LogsPruned, format!("the server's logs are gone: {failure}"));
    }
    if failure.is_version() {
        return broken(failure);
    }
    refused(ErrorCode::SourceUnreadable, format!("the server failed: {failure}"))
}
