//! A limit on bytes per second over all streams.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The slowest limit: below it the service would take the client for dead.
pub(crate) const MIN_BYTES_PER_S: u64 = 64 << 10;
/// How far behind its schedule a copy may be and still catch up.
const BURST: Duration = Duration::from_millis(200);

/// Hands out time slots for bytes.
pub(crate) struct Rate {
    bytes_per_s: u64,
    next: Mutex<Instant>,
}

impl Rate {
    pub(crate) fn new(bytes_per_s: u64) -> Self {
        let bytes_per_s = bytes_per_s.max(MIN_BYTES_PER_S);
        Self { bytes_per_s, next: Mutex::new(Instant::now()) }
    }

    /// Waits until so many bytes may have arrived.
    pub(crate) async fn take(&self, bytes: usize) {
        tokio::time::sleep_until(self.next(bytes)).await;
    }

    /// The same, on a thread that may wait.
    pub(crate) fn take_blocking(&self, bytes: usize) {
        std::thread::sleep(self.next(bytes).saturating_duration_since(Instant::now()));
    }

    /// When so many bytes may have arrived.
    fn next(&self, bytes: usize) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_s);
        let slot = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        *next = (*next).max(earliest) + slot;
        *next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bytes_take_their_time() {
        let rate = Rate::new(1 << 20);
        let begun = Instant::now();
        for _ in 0..40 {
            rate.take(256 << 10).await;
        }
        let seconds = begun.elapsed().as_secs_f64();
        assert!((9.7..10.1).contains(&seconds), "{seconds}");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_no_credit() {
        let rate = Rate::new(1 << 20);
        tokio::time::advance(Duration::from_mins(5)).await;
        let begun = Instant::now();
        for _ in 0..40 {
            rate.take(256 << 10).await;
        }
        let seconds = begun.elapsed().as_secs_f64();
        assert!((9.7..10.1).contains(&seconds), "{seconds}");
    }
}
