//! How far the task in hand is: two counters beside the state, never an event, never journalled.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The counters of the task in hand. They only inform; nothing decides by them.
#[derive(Default, Debug)]
pub struct Progress {
    done: AtomicU64,
    total: AtomicU64,
    written: AtomicU64,
    began_ms: AtomicU64,
}

impl Progress {
    /// A new task begins; `at` is the boot clock.
    pub fn begin(&self, at: Duration) {
        self.done.store(0, Ordering::Relaxed);
        self.total.store(0, Ordering::Relaxed);
        self.written.store(0, Ordering::Relaxed);
        self.began_ms.store(u64::try_from(at.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How much there is to do, in bytes; 0: not known.
    pub fn of(&self, total: u64) {
        self.total.store(total, Ordering::Relaxed);
    }

    /// So much more is done.
    pub fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many bytes had to be written; the rest was there already.
    pub fn wrote(&self, bytes: u64) {
        self.written.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes done.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Bytes to do; 0: not known.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Bytes that had to be written.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Boot clock when the task began.
    pub fn began(&self) -> Duration {
        Duration::from_millis(self.began_ms.load(Ordering::Relaxed))
    }
}
