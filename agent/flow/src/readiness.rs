//! Is this appliance ready for this bundle? Facts in, a report out.
//!
//! The agent gathers [`Facts`]; this module judges each check and says what was found, with numbers, and what to do.
//! *Unknown blocks like a failure*: what could not be found out is no reason to go on. Only checks whose failure a
//! person can answer for may be forced; never signature, model, platform, slot or boot state.

mod checks;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use bootloader_hooks::{BootState, Slot};
use bundle_format::{Manifest, Release};
use serde::{Deserialize, Serialize};

use crate::state::{Judgement, clip};

/// The checks, in the order in which they are shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckId {
    /// Enough trusted signatures over the manifest.
    Signature,
    /// The bundle is for this platform.
    Platform,
    /// The bundle is for this model.
    Model,
    /// The running release may go to the bundle's release.
    Path,
    /// The image has no stain.
    Image,
    /// The image fits into the other slot.
    SlotSize,
    /// There is room on the data partition.
    Space,
    /// The clock is synchronised.
    Clock,
    /// The running slot is the confirmed one.
    RunningSlot,
    /// Both copies of the boot state are whole.
    BootState,
    /// The bootloader counts tries.
    BootCounter,
}

impl CheckId {
    /// Every check.
    pub const ALL: [Self; 11] = [
        Self::Signature,
        Self::Platform,
        Self::Model,
        Self::Path,
        Self::Image,
        Self::SlotSize,
        Self::Space,
        Self::Clock,
        Self::RunningSlot,
        Self::BootState,
        Self::BootCounter,
    ];

    /// The check's word, as `--force` takes it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Signature => "signature",
            Self::Platform => "platform",
            Self::Model => "model",
            Self::Path => "path",
            Self::Image => "image",
            Self::SlotSize => "slot-size",
            Self::Space => "space",
            Self::Clock => "clock",
            Self::RunningSlot => "running-slot",
            Self::BootState => "boot-state",
            Self::BootCounter => "boot-counter",
        }
    }
}

impl fmt::Display for CheckId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// A word that names no check.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{word}` is no check; the checks are {}", CheckId::ALL.map(CheckId::word).join(", "))]
pub struct NoCheck {
    word: String,
}

impl FromStr for CheckId {
    type Err = NoCheck;
    fn from_str(word: &str) -> Result<Self, NoCheck> {
        let found = Self::ALL.into_iter().find(|id| id.word() == word);
        found.ok_or_else(|| NoCheck { word: clip(word) })
    }
}

/// How a check went.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grade {
    /// Good.
    Pass,
    /// Not good, but no reason to stop.
    Warn,
    /// Not good.
    Fail,
    /// Could not be found out; it blocks like a failure.
    Unknown,
}

impl Grade {
    /// The grade's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Unknown => "unknown",
        }
    }
}

/// One check's line.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Row {
    /// Which check.
    pub id: CheckId,
    /// How it went.
    pub grade: Grade,
    /// What was found, with numbers.
    pub found: String,
    /// What to do; empty when there is nothing to do.
    pub advice: String,
    /// `--force` may override it.
    pub forceable: bool,
    /// `--force` did override it.
    pub forced: bool,
}

impl Row {
    /// This line stands in the way.
    pub fn blocks(&self) -> bool {
        !self.forced
            && match self.grade {
                Grade::Pass | Grade::Warn => false,
                Grade::Fail | Grade::Unknown => true,
            }
    }
}

/// All checks of one time.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Report {
    /// One line a check.
    pub rows: Vec<Row>,
    /// The bundle's release, if a bundle was looked at.
    pub release: Option<Release>,
    /// Wall clock, seconds since 1970.
    pub at: u64,
}

impl Report {
    /// The checks that stand in the way.
    pub fn blocking(&self) -> Vec<CheckId> {
        self.rows.iter().filter(|row| row.blocks()).map(|row| row.id).collect()
    }

    /// Nothing stands in the way.
    pub fn is_ready(&self) -> bool {
        !self.rows.iter().any(Row::blocks)
    }
}

/// What the agent found out. Anything that could not be found out carries the reason instead.
#[derive(Clone, Debug)]
pub struct Facts {
    /// This appliance's platform.
    pub platform: String,
    /// This appliance's model, if the integrator says where it stands.
    pub model: Option<Result<String, String>>,
    /// The running release, from the running slot's os-release.
    pub running_release: Result<Release, String>,
    /// The slot that runs.
    pub running: Slot,
    /// The bundle, after its signature was verified.
    pub bundle: Option<BundleFacts>,
    /// Length of the other slot in bytes.
    pub slot_len: Result<u64, String>,
    /// Free and needed bytes where the agent keeps its state.
    pub space: Result<Space, String>,
    /// The clock.
    pub clock: Result<Clock, String>,
    /// The boot state; none when neither copy can be read.
    pub boot_state: Result<Option<BootState>, String>,
    /// Copies of the boot state that cannot be read.
    pub damaged_copies: u32,
    /// The bootloader was seen not to count.
    pub counter_broken: bool,
    /// Wall clock, seconds since 1970.
    pub at: u64,
}

/// What is known of a bundle.
#[derive(Clone, Debug)]
pub struct BundleFacts {
    /// Its verified manifest.
    pub manifest: Manifest,
    /// How many distinct trusted keys signed it.
    pub signers: usize,
    /// What is remembered about its image.
    pub judgement: Option<Judgement>,
}

/// Room on the data partition, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Space {
    /// Free for this service.
    pub free: u64,
    /// Needed by what will still be written there.
    pub needed: u64,
}

/// What the kernel says of its clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clock {
    /// Some time source disciplines it.
    pub synchronised: bool,
    /// The kernel's estimate of the largest error, in microseconds.
    pub max_error_us: u64,
}

/// A clock may be this wrong, in microseconds: logs of both units of a pair must be comparable, and TLS dates need no
/// more.
pub const MAX_CLOCK_ERROR_US: u64 = 1_000_000;

/// Judges what a revert needs: it brings no bundle and writes no slot, and a wrong clock must not keep an appliance from
/// going back.
pub fn judge_revert(facts: &Facts) -> Report {
    let rows =
        vec![checks::running_slot(facts), checks::boot_state(facts), checks::boot_counter(facts)];
    Report { rows, release: None, at: facts.at }
}

/// Judges every check that applies.
pub fn judge(facts: &Facts, forced: &BTreeSet<CheckId>) -> Report {
    let mut rows = Vec::new();
    if let Some(bundle) = &facts.bundle {
        rows.push(checks::signature(bundle));
        rows.push(checks::platform(facts, bundle));
        rows.extend(checks::model(facts, bundle));
        rows.push(checks::path(facts, bundle));
        rows.push(checks::image(bundle));
        rows.push(checks::slot_size(facts, bundle));
    }
    rows.push(checks::space(facts));
    rows.push(checks::clock(facts));
    rows.push(checks::running_slot(facts));
    rows.push(checks::boot_state(facts));
    rows.push(checks::boot_counter(facts));
    for row in &mut rows {
        row.forced = row.forceable && row.blocks() && forced.contains(&row.id);
        row.found = clip(&row.found);
        row.advice = clip(&row.advice);
    }
    Report { rows, release: facts.bundle.as_ref().map(|b| b.manifest.release()), at: facts.at }
}
