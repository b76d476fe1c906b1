//! The simulated appliance as the agent sees it: a [`Device`], and a [`Storage`] behind every place.
//!
//! Each call is one numbered operation. A fault of the plan happens there: the call answers badly, or the power or the
//! process is gone ([`Halt`]). The code of a process that is gone still returns to [`crate::run`], because an ended
//! process cannot be unwound where panics abort; until then it is a ghost: every call fails and nothing changes, but for
//! its own clock, so that each of its loops ends.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bootloader_hooks::Slot;
use flow::readiness::Clock;
use flow::trial::Look;
use flow::{Command, Now};
use upgrade_agent::device::{Device, Place, Stop, ThisBoot};
use upgrade_agent::disk::Storage;
use upgrade_agent::driver::Driver;

use crate::fault::{Deed, Fault, Part};
use crate::image::{Holding, PLATFORM, Temper};
use crate::invariants;
use crate::machine::{Machine, OPERATIONS_MAX};
use crate::storage::Twist;

/// A probe takes this long to answer.
const PROBE_TIME: Duration = Duration::from_millis(100);

/// Room on the data partition.
const FREE_SPACE: u64 = 1 << 30;

/// The wall clock when a run begins: some day in 2026.
const WALL: u64 = 1_790_000_000;

/// Why a process is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Halt {
    /// The power went.
    Cut,
    /// The process was killed.
    Killed,
    /// The system went down in order.
    Rebooted,
    /// The run is longer than any should be.
    Endless,
}

/// A ghost's calls take this long, on its own clock.
const GHOST_TIME: Duration = Duration::from_millis(1);

fn gone() -> io::Error {
    io::Error::other("the process is gone")
}

/// The appliance. Clones are the same appliance.
#[derive(Clone)]
pub struct World {
    machine: Arc<Mutex<Machine>>,
    driver: Arc<Mutex<Weak<Driver>>>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

impl World {
    /// This machine, switched on or off as it is.
    pub fn new(machine: Machine) -> Self {
        Self { machine: Arc::new(Mutex::new(machine)), driver: Arc::new(Mutex::new(Weak::new())) }
    }

    /// The inside. Do not hold it over a call of the agent.
    pub fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The agent that runs, so that a command can come in the middle of its work.
    pub fn agent_runs(&self, driver: &Arc<Driver>) {
        *self.driver.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(driver);
        self.machine().can_ask = true;
    }

    /// One operation.
    pub(crate) fn op<T>(
        &self,
        deed: Deed,
        act: impl FnOnce(&mut Machine, Twist) -> io::Result<T>,
    ) -> io::Result<T> {
        let begun = self.machine().begin(deed);
        let Some((n, fault)) = begun else { return Err(gone()) };
        match fault {
            Some(Fault::CutBefore(landing)) => {
                self.machine().cut(landing);
                return Err(self.halt(Halt::Cut));
            }
            Some(Fault::KillBefore) => return Err(self.halt(Halt::Killed)),
            Some(Fault::Cancel) if !deed.part().is_some_and(Part::is_turning) => self.cancel(),
            _ if n >= OPERATIONS_MAX => return Err(self.halt(Halt::Endless)),
            _ => {}
        }
        let mut machine = self.machine();
        if machine.gone.is_some() {
            return Err(gone()); // It was gone while it answered the cancel.
        }
        let before = machine.unsynced();
        let result = if let Some(error) = machine.refuses(deed, fault) {
            Err(error)
        } else {
            invariants::before(&mut machine, deed);
            let result = act(&mut machine, twist(fault));
            invariants::after(&mut machine, deed);
            result
        };
        machine.seen(n, deed, before);
        drop(machine);
        match fault {
            Some(Fault::CutAfter(landing)) => {
                self.machine().cut(landing);
                Err(self.halt(Halt::Cut))
            }
            Some(Fault::KillAfter) => Err(self.halt(Halt::Killed)),
            _ => result,
        }
    }

    fn halt(&self, why: Halt) -> io::Error {
        self.machine().gone = Some(why);
        gone()
    }

    /// Somebody says cancel while the agent is at work.
    fn cancel(&self) {
        let driver = self.driver.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        let Some(driver) = driver else { return };
        let job = driver.look().state.job.map(|job| job.id);
        let answer = driver.ask(Command::Cancel, None);
        let mut machine = self.machine();
        if answer.is_ok() {
            machine.cancelled = job;
        }
        machine.tell(match answer {
            Ok(_) => "somebody said cancel, and it was taken".to_owned(),
            Err(refusal) => format!("somebody said cancel, and it was refused: {refusal}"),
        });
    }

    fn temper(&self) -> io::Result<(Temper, String)> {
        let machine = self.machine();
        let running = machine.boot.running;
        match machine.holding(running) {
            Holding::Whole(place) => {
                let image = machine.images.at(place);
                let mut text = vec![0; 1024];
                image.bytes.read(0, &mut text)?;
                text.retain(|byte| *byte != 0);
                let text = String::from_utf8(text).map_err(io::Error::other)?;
                Ok((image.temper, text))
            }
            Holding::Broken(_) | Holding::Nothing => {
                Err(io::Error::other(format!("slot {running} is broken")))
            }
        }
    }
}

fn twist(fault: Option<Fault>) -> Twist {
    match fault {
        Some(Fault::Flip) => Twist::Flip,
        Some(Fault::FlipEarly) => Twist::FlipEarly,
        Some(Fault::Lose) => Twist::Lose,
        _ => Twist::None,
    }
}

impl Device for World {
    fn now(&self) -> Now {
        let machine = self.machine();
        Now {
            boot_id: machine.boot.id,
            boottime: machine.clock.saturating_sub(machine.boot.began) + machine.ghost,
            wall: WALL + machine.clock.as_secs(),
            wall_is_trusted: true,
        }
    }

    fn this_boot(&self) -> io::Result<ThisBoot> {
        self.op(Deed::ThisBoot, |machine, _| {
            let boot = machine.boot;
            Ok(ThisBoot { running: boot.running, trial: boot.trial, evidence: boot.evidence })
        })
    }

    fn open(&self, place: Place) -> io::Result<Arc<dyn Storage>> {
        let part = Part::behind(place);
        let target = matches!(place, Place::Target(_));
        self.op(Deed::Open(part), |machine, _| {
            if target && part.slot() == Some(machine.boot.running) {
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, "it is the running slot"));
            }
            if target && machine.targets > 0 {
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, "somebody holds it"));
            }
            machine.targets += u32::from(target);
            Ok(())
        })?;
        Ok(Arc::new(Opened { world: self.clone(), part, target }))
    }

    fn os_release(&self) -> io::Result<String> {
        self.op(Deed::OsRelease, |_, _| Ok(()))?;
        self.temper().map(|(_, text)| text)
    }

    fn model(&self) -> Option<io::Result<String>> {
        Some(self.op(Deed::Model, |_, _| Ok(PLATFORM.to_owned())))
    }

    fn free_space(&self) -> io::Result<u64> {
        self.op(Deed::FreeSpace, |_, _| Ok(FREE_SPACE))
    }

    fn clock(&self) -> io::Result<Clock> {
        self.op(Deed::Clock, |_, _| Ok(Clock { synchronised: true, max_error_us: 1000 }))
    }

    fn probe(&self, _: &[String], _: Duration, _: &Stop) -> Look {
        let done = self.op(Deed::Probe, |machine, _| {
            machine.clock += PROBE_TIME;
            Ok(())
        });
        match done.and_then(|()| self.temper()) {
            Ok((Temper::Good, _)) => Look::Good,
            Ok((temper, _)) => Look::Bad(format!("the system is {temper:?}")),
            Err(error) => Look::Bad(error.to_string()),
        }
    }

    fn reboot(&self) -> io::Result<()> {
        let (n, plan) = {
            let machine = self.machine();
            (machine.count, machine.plan.clone())
        };
        let comes = !plan.contains(&(n, Fault::NoReboot));
        self.op(Deed::Reboot, |machine, _| {
            machine.rebooting = comes;
            Ok(())
        })
    }

    fn pause(&self, time: Duration, stop: &Stop) {
        // A pause has no answer, so it cannot fail.
        drop(self.op(Deed::Pause, |machine, _| {
            if !stop.is_stopped() {
                machine.clock += time;
            }
            Ok(())
        }));
        let mut machine = self.machine();
        if machine.gone.is_some() {
            machine.ghost += time + GHOST_TIME;
        } else if machine.rebooting {
            machine.shut_down();
            machine.gone = Some(Halt::Rebooted);
        }
    }
}

/// An opened place.
struct Opened {
    world: World,
    part: Part,
    target: bool,
}

impl Drop for Opened {
    fn drop(&mut self) {
        if self.target {
            let mut machine = self.world.machine();
            machine.targets = machine.targets.saturating_sub(1);
        }
    }
}

impl Opened {
    /// The only way to write to a slot is to have taken it.
    fn may_write(&self) -> io::Result<()> {
        if self.part.slot().is_some() && !self.target {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "it was opened to be read",
            ));
        }
        Ok(())
    }
}

impl Storage for Opened {
    fn len(&self) -> io::Result<u64> {
        self.world.op(Deed::Len(self.part), |machine, _| Ok(machine.medium(self.part).live().len()))
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let deed = Deed::Read(self.part, offset, bytes.len());
        self.world.op(deed, |machine, twist| machine.read(self.part, offset, bytes, twist))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.may_write()?;
        let deed = Deed::Write(self.part, offset, bytes.len());
        self.world.op(deed, |machine, twist| machine.write(self.part, offset, bytes, twist))
    }

    fn sync(&self) -> io::Result<()> {
        self.world.op(Deed::Sync(self.part), |machine, _| {
            machine.medium_mut(self.part).sync();
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.may_write()?;
        self.world.op(Deed::SetLen(self.part, len), |machine, _| {
            if !self.part.grows() {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "a partition's length is fixed",
                ));
            }
            machine.medium_mut(self.part).set_len(len);
            Ok(())
        })
    }
}

/// The slot that runs, for people who look from outside.
impl World {
    /// Slot and image that run; none while nothing does.
    pub fn running(&self) -> Option<(Slot, usize)> {
        let machine = self.machine();
        let slot = machine.boot.running;
        match machine.holding(slot) {
            Holding::Whole(place) if machine.power == crate::machine::Power::On => {
                Some((slot, place))
            }
            Holding::Whole(_) | Holding::Broken(_) | Holding::Nothing => None,
        }
    }
}
