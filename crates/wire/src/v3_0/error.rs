//! What can be wrong with a message.

/// A message that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// No frame is so short or so long.
    #[error("byte {at_bytes}: a frame of {length} bytes")]
    FrameLength {
        /// Offset of the frame in what was received.
        at_bytes: u64,
        /// Its length field.
        length: u32,
    },
    /// The peer speaks another version.
    #[error(
        "byte {at_bytes}: protocol version {application} (internal {internal}), not 1 (internal 2)"
    )]
    Version {
        /// Offset of the frame in what was received.
        at_bytes: u64,
        /// The protocol's version.
        application: u8,
        /// The version of its frames.
        internal: u8,
    },
    /// A field has a value that it cannot have.
    #[error("byte {at_bytes}: {what} cannot be {found}")]
    Value {
        /// Offset behind the field in what was received.
        at_bytes: u64,
        /// The field.
        what: &'static str,
        /// What was found.
        found: String,
    },
    /// The message ends where more must come.
    #[error("byte {at_bytes}: the message ends inside {what}")]
    Truncated {
        /// How much was received.
        at_bytes: u64,
        /// What is not complete.
        what: &'static str,
    },
}

impl ProtocolError {
    /// Whether the peer just stopped too early, as after a broken connection.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        matches!(self, Self::Truncated { .. })
    }
}
