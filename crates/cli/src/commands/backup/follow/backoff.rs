//! Trying again, more and more slowly, and not all at the same moment.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
/// What may be over at any moment.
const PASSING_MAX: Duration = Duration::from_secs(5);
/// What somebody has to repair first.
const MAX: Duration = Duration::from_secs(60);

/// The pauses between tries.
#[derive(Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next pause: twice the last one, up to a limit, and of that a random part between half and
    /// all.
    pub fn next(&mut self, is_passing: bool) -> Duration {
        let longest = if is_passing { PASSING_MAX } else { MAX };
        let pause = FIRST.saturating_mul(1 << self.failures.min(16)).min(longest);
        self.failures = self.failures.saturating_add(1);
        // The standard library's only source of randomness.
        let random = RandomState::new().hash_one(self.failures) % 1000;
        pause.mul_f64(0.5 + random as f64 / 2000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_differ() {
        for (is_passing, longest) in [(true, PASSING_MAX), (false, MAX)] {
            let mut backoff = Backoff::default();
            let pauses: Vec<Duration> = (0..40).map(|_| backoff.next(is_passing)).collect();
            assert!(pauses[0] <= FIRST && pauses[0] >= FIRST / 2);
            let last = &pauses[20..];
            assert!(last.iter().all(|pause| *pause <= longest && *pause >= longest / 2));
            assert!(last.iter().any(|pause| *pause != last[0]));
        }
    }
}
