//! Trying again for a while, more and more slowly.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Error, Result};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Tries again for a while, more and more slowly.
pub(crate) struct Patience {
    for_at_most: Duration,
    until: Option<Instant>,
    pause: Duration,
}

impl Patience {
    pub(crate) fn new(for_at_most: Duration) -> Self {
        Self { for_at_most, until: None, pause: FIRST_PAUSE }
    }

    /// Something worked: the time begins anew with the next failure.
    pub(crate) fn reset(&mut self) {
        self.until = None;
        self.pause = FIRST_PAUSE;
    }

    /// Pauses, unless the time is over: then the error is final.
    pub(crate) async fn pause(&mut self, error: Error) -> Result<()> {
        let now = Instant::now();
        let until = *self.until.get_or_insert(now + self.for_at_most);
        if now + self.pause > until {
            return Err(error);
        }
        tracing::warn!(%error, "trying again");
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}
