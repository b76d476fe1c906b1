//! What can happen to the machine: a closed set.
//!
//! Five kinds of event. A command may be refused; everything else is a fact and is always answered by a state.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bootloader_hooks::{BootState, Slot};
use bundle_format::{Digest, Release};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::readiness::{CheckId, Report};
use crate::state::{Goal, Held, Image, Phase};

/// The name the kernel gave this boot (`/proc/sys/kernel/random/boot_id`, a UUID).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BootId(pub u128);

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = format!("{:032x}", self.0);
        for (n, digit) in hex.chars().enumerate() {
            let dash = if matches!(n, 8 | 12 | 16 | 20) { "-" } else { "" };
            write!(f, "{dash}{digit}")?;
        }
        Ok(())
    }
}

/// A text that is no boot id.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}` is no boot id; one looks like 0f5c6a1e-8d0b-4b1e-9c55-1f3a2b7c9d10")]
pub struct NoBootId(String);

impl FromStr for BootId {
    type Err = NoBootId;
    fn from_str(text: &str) -> Result<Self, NoBootId> {
        let hex: String = text.chars().filter(|c| *c != '-').collect();
        let plain = hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_hexdigit());
        match u128::from_str_radix(&hex, 16) {
            Ok(id) if plain => Ok(Self(id)),
            Ok(_) | Err(_) => Err(NoBootId(text.to_owned())),
        }
    }
}

impl Serialize for BootId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BootId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The clocks at the moment of an event. Only the boot clock decides; wall time is for people and for `--at`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Now {
    /// Which boot this is.
    pub boot_id: BootId,
    /// `CLOCK_BOOTTIME`: since this boot, sleep included.
    pub boottime: Duration,
    /// Seconds since 1970, as far as the appliance knows.
    pub wall: u64,
    /// Something vouches for the wall clock.
    pub wall_is_trusted: bool,
}

/// Something happened.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Event {
    /// The agent started: the first event of every life.
    Booted(Boot),
    /// Somebody asks for something.
    Asked(Command),
    /// The owed task ended.
    Ended(End),
    /// The duty's `until` came.
    Due,
    /// The peer answered.
    PeerSays(Verdict),
}

/// What the agent finds when it starts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Boot {
    /// This boot.
    pub id: BootId,
    /// The slot that runs.
    pub running: Slot,
    /// The kernel's command line says that this boot is a trial.
    pub trial: bool,
    /// The boot state; none when neither copy can be read.
    pub state: Option<BootState>,
    /// What the platform tells about the end of the boot before this one.
    pub evidence: Evidence,
}

/// What is known about how the last boot ended, beside the boot state.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// Nothing: a plug and a hang look alike.
    None,
    /// The kernel left its last words.
    Panic,
    /// The hardware watchdog says that it reset the appliance.
    Watchdog,
}

/// What somebody may ask for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Command {
    /// Begin a job.
    Start(Request),
    /// Stop the job and go back.
    Cancel,
    /// Go on after a failure.
    Retry,
    /// Reboot into what is staged.
    Activate,
    /// Accept a trial that waits for a person.
    Confirm,
    /// Back to the system in the other slot.
    Revert(Origin),
    /// Let the bundle in the spool go.
    Discard,
    /// Take an image off the list of stained ones.
    Forgive(Digest),
    /// Write the boot state anew for the running slot, and trust the bootloader's counter again.
    Repair(Origin),
}

/// Who asks, and in which release.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Origin {
    /// Who asks, for the history.
    pub by: String,
    /// The release that runs, as far as the running slot says one.
    pub from: Option<Release>,
}

/// What a job is asked to do.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Request {
    /// How far to go: `Fetch`, `Check`, `Stage` or `Upgrade`.
    pub goal: Goal,
    /// The name of the file that the client handed over; none means the bundle in the spool.
    pub file: Option<String>,
    /// Checks to override.
    pub forced: BTreeSet<CheckId>,
    /// Go back by itself when the trial is sick.
    pub auto_cancel: bool,
    /// Who asks.
    pub origin: Origin,
}

/// How a task ended.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum End {
    /// The bundle lies in the spool.
    Fetched(Held),
    /// Name, signature and manifest are good.
    Verified(Image),
    /// The bundle is not accepted.
    NotAccepted {
        /// The stable code.
        code: String,
        /// What was found.
        text: String,
        /// What to do next.
        advice: String,
    },
    /// Readiness was judged.
    Assessed(Report),
    /// Every byte of the other slot was read back equal to the signed digest.
    Written,
    /// The peer permits (or there is none).
    Granted,
    /// One try of the new slot is durable.
    Armed,
    /// Healthy for the whole soak.
    Well,
    /// Not healthy.
    Sick(String),
    /// The boot state says good.
    Confirmed,
    /// The boot state is back and the confirmed slot runs.
    Reverted,
    /// The task could not be done.
    Trouble {
        /// A stable code.
        code: String,
        /// What happened, with numbers.
        text: String,
    },
}

/// What the peer says. Without a pair it never comes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Verdict {
    /// You may leave service.
    Granted,
    /// You may not.
    Denied,
}

/// Why a command was not taken.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, thiserror::Error)]
#[error("{text}")]
pub struct Refusal {
    /// A stable code in words.
    pub code: &'static str,
    /// The sentence for a person.
    pub text: String,
    /// The phases in which the command would be taken.
    pub possible: Vec<Phase>,
}
