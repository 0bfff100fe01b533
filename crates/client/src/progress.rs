//! What a person may want to see of a copy under way.

use wire::api::Finished;

/// The parts of a copy, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The store's files.
    Store,
    /// The transaction logs and the checkpoint file.
    Logs,
}

/// Is told how a copy gets on. Called from several threads; must not block.
pub trait Progress: Send + Sync + 'static {
    /// A part begins. `total_bytes` is all that is known to be copied, earlier parts included.
    fn phase(&self, phase: Phase, total_bytes: u64);
    /// Something has come, whether it is right or not.
    fn received(&self) {}
    /// The copy's end is known.
    fn finished(&self, _finished: &Finished) {}
    /// So many bytes have arrived and are right. Goes back when a file is fetched again.
    fn done(&self, done_bytes: u64);
}

/// No one looks.
impl Progress for () {
    fn phase(&self, _: Phase, _: u64) {}
    fn done(&self, _: u64) {}
}
