//! A connection that is given up when its peer does nothing.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How many requests of a connection are being answered.
#[derive(Clone, Default)]
pub(crate) struct InFlight(Arc<AtomicUsize>);

/// One request that is being answered, until the last byte of the answer has been taken.
pub(crate) struct Request(Arc<AtomicUsize>);

impl InFlight {
    pub(crate) fn begin(&self) -> Request {
        self.0.fetch_add(1, Ordering::AcqRel);
        Request(Arc::clone(&self.0))
    }

    fn is_idle(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Fails when a write finds no room for `stall`, or when no request is being answered and no byte
/// arrives for `idle`.
pub(crate) struct Watched<S> {
    stream: S,
    in_flight: InFlight,
    idle: Alarm,
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

use std::future::Future;

impl<S> Watched<S> {
    pub(crate) fn new(stream: S, in_flight: InFlight, idle: Duration, stall: Duration) -> Self {
        Self { stream, in_flight, idle: Alarm::new(idle), stall: Alarm::new(stall) }
    }

    fn written<T>(
        &mut self,
        context: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stall.disarm();
            self.idle.disarm();
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
        let result = Pin::new(&mut self.stream).poll_read(context, buf);
        if result.is_ready() {
            self.idle.disarm();
            return result;
        }
        ready!(self.idle.poll(context));
        if self.in_flight.is_idle() {
            let error = io::Error::new(io::ErrorKind::TimedOut, "the connection is idle");
            return Poll::Ready(Err(error));
        }
        self.idle.disarm();
        let _ = self.idle.poll(context);
        Poll::Pending
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
