//! Everything durable, and the order in which it becomes so.
//!
//! One small trait, [`crate::device::Storage`], stands between the agent and every byte it keeps: slots, boot state, journal, history,
//! spool. So all of them can be cut off at any operation by the simulator. *Durable* means here: written, synced, and
//! read back where a wrong byte would boot or would be believed later.
//!
//! Invariants:
//! * Writes are in place, at offsets, into places whose length does not change (only a spool side grows and shrinks):
//!   there is no rename and no directory to be made durable.
//! * What has two copies ([`journal`], [`boot_state`]) is written one copy at a time.
//! * The dangerous order of a staging stands in one function, [`staging::stage`].

pub mod boot_state;
mod buffer;
pub mod history;
pub mod journal;
pub mod staging;

use std::fmt;
use std::io;

pub use buffer::Buffer;

pub use crate::device::Storage;

/// An operation on a place that did not work: what was tried, where, and why.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} {what}: {source}")]
pub struct Fault {
    verb: &'static str,
    what: String,
    source: io::Error,
}

impl Fault {
    /// Says what was tried where.
    pub fn new(verb: &'static str, what: impl fmt::Display, source: io::Error) -> Self {
        Self { verb, what: what.to_string(), source }
    }

    /// A stable code in words: `no-space`, or `storage` for everything else.
    pub fn code(&self) -> &'static str {
        match self.source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "no-space",
            _ => "storage",
        }
    }
}
