//! What ties batches together: transaction ids and append indexes without a gap, and, where the
//! kernel version still has it (to 21), the checksum of the batch before.

use super::batch::Batch;
use super::header::{LogFormatVersion, LogHeader};
use crate::{AppendIndex, Checksum, Error, KernelVersion, Result, TxId};

/// The last batch of a chain, as far as the next one must fit to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its transaction.
    pub tx_id: TxId,
    /// Its number, where it has one.
    pub append_index: Option<AppendIndex>,
    /// Its checksum.
    pub checksum: Checksum,
    /// Its kernel version.
    pub kernel_version: KernelVersion,
}

impl From<&Batch> for Link {
    fn from(batch: &Batch) -> Self {
        Self {
            tx_id: batch.tx_id,
            append_index: batch.append_index,
            checksum: batch.checksum,
            kernel_version: batch.kernel_version,
        }
    }
}

/// Checks batch after batch that none is missing and none is from another history.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    last: Option<Link>,
}

impl Chain {
    /// A chain whose first batch may be any.
    #[must_use]
    pub fn start_anywhere() -> Self {
        Self::default()
    }

    /// A chain that goes on after a known batch.
    #[must_use]
    pub fn after(last: Link) -> Self {
        Self { last: Some(last) }
    }

    /// The last batch.
    #[must_use]
    pub fn last(&self) -> Option<&Link> {
        self.last.as_ref()
    }

    /// Takes the next batch.
    ///
    /// # Errors
    /// `Corrupt` if it does not follow the one before.
    pub fn check(&mut self, batch: &Batch) -> Result<()> {
        if let Some(last) = &self.last {
            let at = batch.start;
            let next = last.tx_id.0.saturating_add(1);
            if batch.tx_id.0 != next {
                return Err(Error::corrupt(at, "transaction id", next, batch.tx_id));
            }
            if let (Some(before), Some(index)) = (last.append_index, batch.append_index)
                && index.0 != before.0.saturating_add(1)
            {
                let next = before.0.saturating_add(1);
                return Err(Error::corrupt(at, "append index", next, index));
            }
            if let Some(previous) = batch.previous_checksum
                && previous != last.checksum
            {
                let what = "checksum of the previous transaction";
                return Err(Error::corrupt(at, what, last.checksum, previous));
            }
            if !batch.kernel_version.follows(last.kernel_version) {
                let expected = format_args!("{} or newer", last.kernel_version);
                return Err(Error::corrupt(at, "kernel version", expected, batch.kernel_version));
            }
        }
        self.last = Some(batch.into());
        Ok(())
    }

    /// Checks the header of the next file.
    ///
    /// # Errors
    /// `Corrupt` if it says that other batches came before it.
    pub fn check_header(&self, header: &LogHeader) -> Result<()> {
        let Some(last) = &self.last else { return Ok(()) };
        let expected = match header.format {
            // A 3.0 server takes what it has committed so far, which may lag.
            LogFormatVersion::V6 if header.last_append_index <= last.tx_id.0 => None,
            LogFormatVersion::V6 | LogFormatVersion::V8 => Some(last.tx_id.0),
            LogFormatVersion::V9 => last.append_index.map(|index| index.0),
        };
        match expected {
            Some(expected) if expected != header.last_append_index => {
                let found = header.last_append_index;
                Err(Error::corrupt(8, "last append index before the file", expected, found))
            }
            _ => Ok(()),
        }
    }
}
