//! The HTTP API's types and the frames of its streams
