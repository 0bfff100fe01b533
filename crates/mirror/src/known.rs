//! Bytes that a backup has and that come once more with an increment, to show that both are of one history.
//!
//! They are the same, byte for byte, but in Neo4j 3.0. There the commands that create and name legacy indexes hold maps,
//! which are written in the order that a hash map in memory has, and that is not always the order in which they
//! were read. So a transaction may lie in a log in one order and come from the same server's backup service, or
//! lie in the log of a slave, in another (seen on 3.0.0: `provider` and `type` of an automatic index). All its
//! bytes are there, as many of each. So for 3.0 that is what is asked for; id, checksum and commit time of the
//! backup's last transaction are compared besides, by whoever reads what comes.
//!
//! A server that has been upgraded writes what its log has in its own version, also what the older one logged. Then
//! nothing can be compared.

use formats::KernelVersion;

/// What came so far in the place of bytes that the backup has.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// The first byte that differs.
    differs_at: Option<u64>,
    /// By its value, how many more of a byte the backup has than came.
    missing: [i64; 256],
}

impl Known {
    pub(crate) fn new() -> Self {
        Self { differs_at: None, missing: [0; 256] }
    }

    /// Takes note of bytes that came, and of the backup's own in their place. What comes a second time is taken
    /// note of twice: where only a part of another order does, the next run has to do.
    pub(crate) fn compare(&mut self, offset: u64, own: &[u8], sent: &[u8]) {
        for ((own, sent), at) in own.iter().zip(sent).zip(offset..) {
            if own == sent {
                continue;
            }
            self.differs_at.get_or_insert(at);
            for (byte, change) in [(own, 1), (sent, -1)] {
                if let Some(missing) = self.missing.get_mut(usize::from(*byte)) {
                    *missing = missing.saturating_add(change);
                }
            }
        }
    }

    /// The first byte that differs.
    pub(crate) fn differs_at(&self) -> Option<u64> {
        self.differs_at
    }

    /// Whether entries came in another version of 3.0's log than the backup has: of the one byte there are too many, of
    /// the other as many too few or fewer.
    pub(crate) fn is_other_version(&self) -> bool {
        let missing = |version: KernelVersion| {
            self.missing.get(usize::from(version.0)).copied().unwrap_or_default().signum()
        };
        missing(KernelVersion::V3_0) * missing(KernelVersion::V3_0_2) < 0
    }

    /// The first byte that differs, unless all that differ are there in another order.
    pub(crate) fn lacks_at(&self) -> Option<u64> {
        self.differs_at.filter(|_| self.missing.iter().any(|missing| *missing != 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(parts: &[(u64, &str, &str)]) -> Known {
        let mut known = Known::new();
        for (offset, own, sent) in parts {
            known.compare(*offset, own.as_bytes(), sent.as_bytes());
        }
        known
    }

    /// Another order is told from other bytes, in however many parts they come, and if they come twice.
    #[test]
    fn another_order_is_not_other_bytes() {
        let same = compared(&[(10, "type", "type")]);
        assert_eq!((same.differs_at(), same.lacks_at()), (None, None));
        let other = compared(&[(10, "type", "tape")]);
        assert_eq!((other.differs_at(), other.lacks_at()), (Some(11), Some(11)));
        for parts in [
            &[(10, ".a=1b=2.", ".b=2a=1.")][..],
            &[(10, ".a=1", ".b=2"), (14, "b=2.", "a=1.")],
            &[(10, ".a=1b=2.", ".b=2a=1."), (10, ".a=1b=2.", ".b=2a=1.")],
        ] {
            let reordered = compared(parts);
            assert_eq!((reordered.differs_at(), reordered.lacks_at()), (Some(11), None));
        }
        let cut = compared(&[(10, ".a=1", ".b=2")]);
        assert_eq!(cut.lacks_at(), Some(11));
    }

    /// Versions of log entries are told from other bytes.
    #[test]
    fn another_version_is_told() {
        for (own, sent, is_other) in [
            (&[0xFA, 1, 2, 0xFA, 3][..], &[0xF7, 1, 2, 0xF7, 3][..], true),
            (&[0xF7, 1, 2, 0xF7, 3], &[0xFA, 1, 2, 0xFA, 3], true),
            // Of another length.
            (&[0xF7, 1, 0, 0xF7, 3], &[0xFA, 1, 0xFA, 3, 0xFA], true),
            (&[0xFA, 1, 0xF7], &[0xF7, 1, 0xFA], false),
            (&[0xFA, 1], &[0xFA, 2], false),
            (&[0xFA, 1], &[0, 1], false),
            (&[0x10, 1], &[0xFA, 1], false),
        ] {
            let mut known = Known::new();
            known.compare(10, own, sent);
            assert_eq!(known.is_other_version(), is_other, "{own:?} {sent:?}");
        }
    }
}
