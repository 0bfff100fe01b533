//! Help for reading.

use std::fs::File;
use std::num::NonZeroU64;

use rustix::fs::{Advice, fadvise};

/// Asks the system to read a part of a file ahead. Only a wish: it cannot fail.
pub fn will_need(file: &File, offset_bytes: u64, length_bytes: u64) {
    if let Some(length) = NonZeroU64::new(length_bytes) {
        // Pipes and some file systems know no advice.
        let _ = fadvise(file, offset_bytes, Some(length), Advice::WillNeed);
    }
}
