//! The only code that creates, renames, syncs, locks or deletes
