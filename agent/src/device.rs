//! The outside world, as one blocking trait on one page.
//!
//! Everything that the agent does to an appliance goes through [`Device`] and [`Storage`]. There are three
//! worlds: a real appliance, one that lives in a directory ([`crate::directory`]), and the simulator's. The driver and
//! the hand are the same code in all of them; nothing above this line asks which world it is in.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use bootloader_hooks::Slot;
use flow::readiness::Clock;
use flow::trial::Look;
use flow::{Evidence, Now, Side};

/// A place that the agent reads or writes. Each is opened anew for each task, so that a changed world is noticed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Place {
    /// A slot, to be read.
    Slot(Slot),
    /// A slot, to be written: taken for this process alone, refused when it runs or is held by anybody.
    Target(Slot),
    /// The boot-state partition.
    BootState,
    /// One of the two copies of the journal.
    Journal(JournalCopy),
    /// The history.
    History,
    /// A side of the spool.
    Spool(Side),
}

/// The journal's two copies lie in two places, so that no single write touches both.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum JournalCopy {
    /// The first.
    One,
    /// The second.
    Two,
}

/// What the kernel says about this boot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ThisBoot {
    /// The slot that runs (`upgrade.slot=` on the command line).
    pub running: Slot,
    /// The bootloader said that this boot is a trial (`upgrade.trial=1`).
    pub trial: bool,
    /// What the platform tells about the end of the boot before.
    pub evidence: Evidence,
}

/// The world, one blocking question or deed at a time.
pub trait Device: Send + Sync {
    /// The clocks.
    fn now(&self) -> Now;

    /// Which slot runs, and whether it is on trial.
    fn this_boot(&self) -> io::Result<ThisBoot>;

    /// Opens a place.
    fn open(&self, place: Place) -> io::Result<Arc<dyn Storage>>;

    /// The text of the running slot's os-release.
    fn os_release(&self) -> io::Result<String>;

    /// The appliance's model, where the integrator says where it stands.
    fn model(&self) -> Option<io::Result<String>>;

    /// Free bytes where the state lies.
    fn free_space(&self) -> io::Result<u64>;

    /// What the kernel says of its clock.
    fn clock(&self) -> io::Result<Clock>;

    /// Runs one health probe of the running system; no answer within `limit` is a bad look.
    fn probe(&self, command: &[String], limit: Duration, stop: &Stop) -> Look;

    /// Asks for a reboot and returns. The world ends some time later.
    fn reboot(&self) -> io::Result<()>;

    /// Lets time pass, until a stop ends the waiting.
    fn pause(&self, time: Duration, stop: &Stop);
}

/// Bytes that survive a reboot.
pub trait Storage: Send + Sync {
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Nothing is stored.
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// Fills `bytes` from `offset`. After a sync this reads what the medium holds, not what a cache remembers.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`. It is durable only after [`Storage::sync`].
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Everything written before is durable when this returns.
    fn sync(&self) -> io::Result<()>;

    /// Cuts or lengthens a spool side or a file that is made at first start; slots and partitions refuse it.
    fn set_len(&self, len: u64) -> io::Result<()>;
}

/// Tells a running task that its end is no longer wanted. Cheap to ask; a task asks at least once a chunk.
#[derive(Clone, Default, Debug)]
pub struct Stop(Arc<StopInner>);

#[derive(Default, Debug)]
struct StopInner {
    asked: AtomicBool,
    door: Mutex<()>,
    bell: Condvar,
}

impl Stop {
    /// Asks the task to stop.
    pub fn stop(&self) {
        self.0.asked.store(true, Ordering::SeqCst);
        // Taken so that a waiter between its check and its wait cannot miss the bell.
        drop(self.0.door.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.bell.notify_all();
    }

    /// The task should stop.
    pub fn is_stopped(&self) -> bool {
        self.0.asked.load(Ordering::SeqCst)
    }

    /// Waits for `time`, or until the stop.
    pub fn wait(&self, time: Duration) {
        let guard = self.0.door.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_stopped() {
            // A wake-up without cause only shortens one pause; every caller looks at its clock again.
            drop(self.0.bell.wait_timeout(guard, time));
        }
    }
}
