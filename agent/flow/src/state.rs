//! What the agent remembers across a power cut: the phase, the job in hand, and how the last one ended.
//!
//! Everything here is journalled before it is acted on. Data that several phases share lives in [`Upgrade`], not in
//! the phases, so that a phase is one word. A job exists in every phase but [`Phase::Idle`]; lists have named limits,
//! so that the journal's fixed size always holds them.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use bootloader_hooks::Slot;
use bundle_format::{Digest, Release};
use serde::{Deserialize, Serialize};

use crate::cause::{Cause, Ended};
use crate::event::BootId;
use crate::readiness::{CheckId, Report};

/// Where an upgrade stands. What each phase owes is said by [`crate::duty`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Nothing is asked of the agent.
    Idle,
    /// The bundle is being brought into the spool.
    Fetching,
    /// Name, signature and manifest are being checked.
    Verifying,
    /// Readiness is being judged.
    Assessing,
    /// The image is being written into the other slot and read back.
    Writing,
    /// The image is written and read back; somebody must say go.
    Staged,
    /// The peer is asked for permission and holdoff.
    Holding,
    /// The boot state is being set to one try of the new slot.
    Arming,
    /// The reboot into the new slot was decided.
    Rebooting,
    /// The new slot runs and is judged.
    OnTrial,
    /// The new slot was well; the boot state is being set to good.
    Confirming,
    /// Something went wrong; the job waits for retry or cancel.
    Failed,
    /// The boot state goes back to the confirmed slot.
    Reverting,
}

impl Phase {
    /// Every phase, in the order in which an upgrade passes through them.
    pub const ALL: [Self; 13] = [
        Self::Idle,
        Self::Fetching,
        Self::Verifying,
        Self::Assessing,
        Self::Writing,
        Self::Staged,
        Self::Holding,
        Self::Arming,
        Self::Rebooting,
        Self::OnTrial,
        Self::Confirming,
        Self::Failed,
        Self::Reverting,
    ];

    /// The phase's word, as in the journal, the log, the command and the API.
    pub fn word(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Fetching => "fetching",
            Self::Verifying => "verifying",
            Self::Assessing => "assessing",
            Self::Writing => "writing",
            Self::Staged => "staged",
            Self::Holding => "holding",
            Self::Arming => "arming",
            Self::Rebooting => "rebooting",
            Self::OnTrial => "on-trial",
            Self::Confirming => "confirming",
            Self::Failed => "failed",
            Self::Reverting => "reverting",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// Everything the agent remembers.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct State {
    /// Where the job in hand stands.
    pub phase: Phase,
    /// The job in hand; none in [`Phase::Idle`] and only there.
    pub job: Option<Upgrade>,
    /// How the last upgrade or revert ended.
    pub last: Option<Outcome>,
    /// How the last fetch or check ended.
    pub errand: Option<Outcome>,
    /// The last readiness report.
    pub report: Option<Report>,
    /// The boot in which this state was last changed.
    pub boot: BootId,
    /// The slot that ran then.
    pub running: Slot,
    /// The number the next job gets; never reused.
    pub next_id: u64,
    /// The bundle in the spool.
    pub held: Option<Held>,
    /// What slot A is known to hold, by read-back.
    pub holds_a: Option<Holding>,
    /// What slot B is known to hold, by read-back.
    pub holds_b: Option<Holding>,
    /// Images with a stain, oldest first; at most [`State::MAX_JUDGED`].
    pub judged: Vec<Judged>,
    /// An armed try was seen unspent after a boot: the bootloader does not count. Until `repair` nothing is upgraded.
    pub counter_broken: bool,
}

impl State {
    /// How many stained images are remembered. An appliance sees a few releases a year; beyond this the oldest stain
    /// is forgotten, and the journal's fixed size is the reason for having a number at all.
    pub const MAX_JUDGED: usize = 64;

    /// The state of an appliance that never upgraded, as it runs now.
    pub fn new(boot: BootId, running: Slot) -> Self {
        Self {
            phase: Phase::Idle,
            job: None,
            last: None,
            errand: None,
            report: None,
            boot,
            running,
            next_id: 1,
            held: None,
            holds_a: None,
            holds_b: None,
            judged: Vec::new(),
            counter_broken: false,
        }
    }

    /// What `slot` is known to hold.
    pub fn holding(&self, slot: Slot) -> Option<&Holding> {
        match slot {
            Slot::A => self.holds_a.as_ref(),
            Slot::B => self.holds_b.as_ref(),
        }
    }

    /// The image in `slot` that was confirmed there once: what a revert may go back to.
    pub fn proven(&self, slot: Slot) -> Option<&Image> {
        self.holding(slot).filter(|holding| holding.proven).map(|holding| &holding.image)
    }

    /// Remembers (or forgets) what `slot` holds.
    pub(crate) fn hold(&mut self, slot: Slot, holding: Option<Holding>) {
        match slot {
            Slot::A => self.holds_a = holding,
            Slot::B => self.holds_b = holding,
        }
    }

    /// What is remembered about an image, if it has a stain.
    pub fn judgement(&self, digest: &Digest) -> Option<Judgement> {
        self.judged.iter().find(|j| j.digest == *digest).map(|j| j.judgement)
    }

    /// Remembers a stain; a worse one replaces a milder one, never the other way round.
    pub(crate) fn stain(&mut self, digest: Digest, judgement: Judgement) {
        if let Some(known) = self.judged.iter_mut().find(|j| j.digest == digest) {
            known.judgement = known.judgement.max(judgement);
            return;
        }
        if self.judged.len() >= Self::MAX_JUDGED {
            self.judged.remove(0);
        }
        self.judged.push(Judged { digest, judgement });
    }
}

/// One job: an upgrade, or a part of one, that somebody asked for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Upgrade {
    /// The job's number, as in the history.
    pub id: u64,
    /// How far it is meant to go.
    pub goal: Goal,
    /// Where its bytes come from.
    pub source: Source,
    /// The release that ran when it was asked for, as far as the running slot said one.
    pub from: Option<Release>,
    /// The image it brings; known once the manifest was verified.
    pub image: Option<Image>,
    /// The slot it writes or boots: the one that did not run when it was asked for.
    pub target: Slot,
    /// Who asked, for the history.
    pub by: String,
    /// The boot in which a person or plane last said go. The agent reboots by itself in that boot only.
    pub decided: BootId,
    /// Failed checks that the asker chose to override.
    pub forced: BTreeSet<CheckId>,
    /// On a sick trial go back by itself (true), or stay for a person (false).
    pub auto_cancel: bool,
    /// The target may have been given its try: only the boot state can tell.
    pub armed: bool,
    /// Set when the target was first seen running on trial.
    pub trial: Option<Trial>,
    /// Why the job is in [`Phase::Failed`] or [`Phase::Reverting`].
    pub cause: Option<Cause>,
}

/// How far a job goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Goal {
    /// Bring a bundle into the spool and verify it.
    Fetch,
    /// Say whether the appliance is ready.
    Check,
    /// Write it, then wait for `activate`.
    Stage,
    /// All the way to a confirmed new system.
    Upgrade,
    /// Back to the system in the other slot, which is a trial too.
    Revert,
    /// Write the boot state anew for the running slot.
    Repair,
}

impl Goal {
    /// The goal's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Check => "check",
            Self::Stage => "stage",
            Self::Upgrade => "upgrade",
            Self::Revert => "revert",
            Self::Repair => "repair",
        }
    }

    /// An errand leaves the appliance's system as it is, so its end must not hide how the last upgrade ended.
    pub fn is_errand(self) -> bool {
        match self {
            Self::Fetch | Self::Check | Self::Repair => true,
            Self::Stage | Self::Upgrade | Self::Revert => false,
        }
    }
}

/// Where a job's bundle comes from.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// No bundle: a general check, a revert, a repair.
    Nothing,
    /// An open file or stream that a client handed over. It does not survive the service.
    Handed {
        /// The bundle's file name.
        name: String,
    },
    /// A side of the spool, which survives a reboot.
    Spool(Held),
}

/// A bundle in the spool.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Held {
    /// The bundle's file name.
    pub name: String,
    /// Its length in bytes.
    pub len: u64,
    /// The side of the spool it lies on.
    pub side: Side,
}

/// The spool has two sides: a new bundle is brought to the side that is not held, so the held one stays whole until
/// the new one was verified.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The first side.
    Left,
    /// The second side.
    Right,
}

impl std::ops::Not for Side {
    type Output = Self;
    fn not(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }
}

/// A system image, by what its signed manifest says of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Image {
    /// Its release.
    pub release: Release,
    /// SHA-256 of the raw image.
    pub digest: Digest,
    /// Its raw length in bytes.
    pub raw_size: u64,
}

/// What a slot is known to hold.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Holding {
    /// The image, every byte of which was read back.
    pub image: Image,
    /// It was booted there, was healthy, and was confirmed.
    pub proven: bool,
}

/// What is known about a trial.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Trial {
    /// Boot clock when the agent first saw the trial.
    pub since: Duration,
    /// How often the agent was started within it.
    pub starts: u32,
    /// Soaked and well; waits for a person (manual confirm only).
    pub well: bool,
}

/// An image with a stain.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Judged {
    /// SHA-256 of the raw image, so that signing it again does not help.
    pub digest: Digest,
    /// What it did.
    pub judgement: Judgement,
}

/// What a stained image did. The order is from mild to bad.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Judgement {
    /// Its trial once ended without a verdict.
    Interrupted,
    /// It was sick, or its trial ended twice without a verdict: refused until forgiven.
    Condemned,
}

/// How a job ended. One word, one cause.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// The job's number.
    pub id: u64,
    /// What was asked.
    pub goal: Goal,
    /// The one word.
    pub ended: Ended,
    /// Why, unless it went as asked.
    pub cause: Option<Cause>,
    /// The release it started from.
    pub from: Option<Release>,
    /// The release it was to bring.
    pub to: Option<Release>,
    /// The slot it was about.
    pub target: Slot,
    /// SHA-256 of the raw image it was about.
    pub digest: Option<Digest>,
    /// Who asked.
    pub by: String,
    /// Wall clock at the end, seconds since 1970; as wrong as the appliance's clock was.
    pub at: u64,
}

/// How long a text in the state may be, in bytes. Probe output and paths come from outside; the journal's size is fixed.
pub const MAX_TEXT: usize = 480;

/// Makes a text one that can be kept and shown: no control characters (they would move a terminal's cursor, and JSON
/// writes each as six bytes), and at most [`MAX_TEXT`] bytes, cut at a character with a mark that says so.
pub(crate) fn clip(text: impl AsRef<str>) -> String {
    const MARK: &str = " ...";
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let mut text: String = text.as_ref().chars().map(plain).collect();
    if text.len() <= MAX_TEXT {
        return text;
    }
    let mut end = MAX_TEXT - MARK.len();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.push_str(MARK);
    text
}
