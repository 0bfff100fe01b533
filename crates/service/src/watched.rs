//! A connection that is given up when its peer asks nothing or takes nothing.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// So much of an answer hyper is given at once: an answer counts as taken when hyper has its end.
const PIECE_BYTES: usize = 2 << 20;

/// The requests of a connection that are being answered.
#[derive(Clone)]
pub(crate) struct InFlight(Arc<Mutex<Requests>>);

struct Requests {
    count: usize,
    /// When the last one ended, or the connection began.
    idle_since: Instant,
}

/// One request that is being answered.
pub(crate) struct Request(InFlight);

impl InFlight {
    /// Those of a connection that begins now.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Requests { count: 0, idle_since: Instant::now() })))
    }

    pub(crate) fn begin(&self) -> Request {
        self.requests().count += 1;
        Request(self.clone())
    }

    /// Since when no request is being answered.
    fn idle_since(&self) -> Option<Instant> {
        let requests = self.requests();
        (requests.count == 0).then_some(requests.idle_since)
    }

    fn requests(&self) -> MutexGuard<'_, Requests> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Request {
    /// The answer: the request ends once hyper has taken the last byte of it.
    pub(crate) fn answer(self, body: Body) -> Body {
        Body::new(Answer { body, rest: Bytes::new(), _request: self })
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        let mut requests = self.0.requests();
        requests.count = requests.count.saturating_sub(1);
        requests.idle_since = Instant::now();
    }
}

struct Answer {
    body: Body,
    /// What is left of the last piece of the body.
    rest: Bytes,
    _request: Request,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => self.rest = bytes,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                end => return Poll::Ready(end),
            }
        }
        let length = self.rest.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    /// Known before the first piece: that is when hyper asks for it.
    fn size_hint(&self) -> SizeHint {
        if self.rest.is_empty() { self.body.size_hint() } else { SizeHint::default() }
    }
}

/// Fails when a write finds no room for `stall`, or when no request has been answered for `idle`.
/// Bytes alone are no sign of life: HTTP/2 has answers to pings that need no request.
pub(crate) struct Watched<S> {
    stream: S,
    in_flight: InFlight,
    idle: Duration,
    look: Pin<Box<Sleep>>,
    stall: Alarm,
}

struct Alarm {
    after: Duration,
    sleep: Pin<Box<Sleep>>,
    armed: bool,
}

impl Alarm {
    fn new(after: Duration) -> Self {
        Self { after, sleep: Box::pin(tokio::time::sleep(after)), armed: false }
    }

    fn disarm(&mut self) {
        self.armed = false;
    }

    /// Whether it has been armed for its whole time.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.armed {
            self.sleep.as_mut().reset(Instant::now() + self.after);
            self.armed = true;
        }
        self.sleep.as_mut().poll(context)
    }
}

impl<S> Watched<S> {
    pub(crate) fn new(stream: S, in_flight: InFlight, idle: Duration, stall: Duration) -> Self {
        let look = Box::pin(tokio::time::sleep(idle));
        Self { stream, in_flight, idle, look, stall: Alarm::new(stall) }
    }

    /// Ready once the connection has been idle for too long. The next look is never later than
    /// that can be.
    fn poll_idle(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.look.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            let end = self.in_flight.idle_since().unwrap_or(now) + self.idle;
            if end <= now {
                return Poll::Ready(());
            }
            self.look.as_mut().reset(end);
        }
        Poll::Pending
    }

    fn written<T>(
        &mut self,
        context: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stall.disarm();
            return result;
        }
        ready!(self.stall.poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes no bytes")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.poll_idle(context).is_ready() {
            let error = io::Error::new(io::ErrorKind::TimedOut, "the connection is idle");
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.stream).poll_read(context, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, buf);
        self.written(context, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, bufs);
        self.written(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(context);
        self.written(context, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_shutdown(context);
        self.written(context, result)
    }
}
