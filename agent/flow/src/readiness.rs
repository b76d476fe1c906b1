//! Is this appliance ready for this bundle? Facts in, a report out.
//!
//! The agent gathers [`Facts`]; this module judges each check and says what was found, with numbers, and what to do.
//! *Unknown blocks like a failure*: what could not be found out is no reason to go on. Only checks whose failure a
//! person can answer for may be forced; never signature, model, platform, slot or boot state.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use bootloader_hooks::{BootState, Slot};
use bundle_format::{Kind, Manifest, Release};
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
        self.rows
            .iter()
            .filter(|row| row.blocks())
            .map(|row| row.id)
            .collect()
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

/// Judges every check that applies.
pub fn judge(facts: &Facts, forced: &BTreeSet<CheckId>) -> Report {
    let mut rows = Vec::new();
    if let Some(bundle) = &facts.bundle {
        rows.push(signature(bundle));
        rows.push(platform(facts, bundle));
        rows.extend(model(facts, bundle));
        rows.push(path(facts, bundle));
        rows.push(image(bundle));
        rows.push(slot_size(facts, bundle));
    }
    rows.push(space(facts));
    rows.push(clock(facts));
    rows.push(running_slot(facts));
    rows.push(boot_state(facts));
    rows.push(boot_counter(facts));
    for row in &mut rows {
        row.forced = row.forceable && row.blocks() && forced.contains(&row.id);
        row.found = clip(&row.found);
        row.advice = clip(&row.advice);
    }
    Report {
        rows,
        release: facts.bundle.as_ref().map(|b| b.manifest.release()),
        at: facts.at,
    }
}

fn row(id: CheckId, grade: Grade, found: impl Into<String>, advice: impl Into<String>) -> Row {
    Row {
        id,
        grade,
        found: found.into(),
        advice: advice.into(),
        forceable: false,
        forced: false,
    }
}

fn pass(id: CheckId, found: impl Into<String>) -> Row {
    row(id, Grade::Pass, found, "")
}

fn unknown(id: CheckId, why: &str, advice: &str) -> Row {
    row(id, Grade::Unknown, why, advice)
}

/// Makes a line one that a person may override.
fn forceable(row: Row) -> Row {
    Row {
        forceable: true,
        ..row
    }
}

fn signature(bundle: &BundleFacts) -> Row {
    let keys = if bundle.signers == 1 { "key" } else { "keys" };
    pass(
        CheckId::Signature,
        format!("signed by {} trusted {keys}", bundle.signers),
    )
}

fn platform(facts: &Facts, bundle: &BundleFacts) -> Row {
    let wanted = bundle.manifest.platform().to_string();
    if wanted == facts.platform {
        return pass(CheckId::Platform, wanted);
    }
    row(
        CheckId::Platform,
        Grade::Fail,
        format!(
            "the bundle is for {wanted}, this appliance is {}",
            facts.platform
        ),
        "take the bundle for this platform",
    )
}

fn model(facts: &Facts, bundle: &BundleFacts) -> Option<Row> {
    let models = bundle.manifest.models();
    if models.is_empty() {
        return None;
    }
    Some(match &facts.model {
        Some(Ok(model)) if models.contains(model) => pass(CheckId::Model, model.clone()),
        Some(Ok(model)) => row(
            CheckId::Model,
            Grade::Fail,
            format!(
                "this appliance is {model}, the bundle is for {}",
                models.join(", ")
            ),
            "take a bundle that names this model",
        ),
        Some(Err(why)) => unknown(
            CheckId::Model,
            why,
            "see [appliance] model_file in agent.toml",
        ),
        None => unknown(
            CheckId::Model,
            &format!(
                "the bundle is for {}; this appliance does not say its model",
                models.join(", ")
            ),
            "set [appliance] model_file in agent.toml",
        ),
    })
}

fn path(facts: &Facts, bundle: &BundleFacts) -> Row {
    let to = bundle.manifest.release();
    let from = match &facts.running_release {
        Ok(from) => *from,
        Err(why) => {
            return unknown(
                CheckId::Path,
                why,
                "the running slot's os-release must carry IMAGE_VERSION",
            );
        }
    };
    if from == to {
        let found = format!("{to} is what runs already");
        return forceable(row(
            CheckId::Path,
            Grade::Fail,
            found,
            "nothing to do, unless it is to be written again",
        ));
    }
    if to < from {
        let found = format!("{to} is older than {from}, which runs");
        return row(
            CheckId::Path,
            Grade::Fail,
            found,
            "upgrade revert goes back to the previous version",
        );
    }
    let a_patch_may = match bundle.manifest.kind() {
        Kind::Patch | Kind::Hotfix => from.version.maintenance() == to.version.maintenance(),
        Kind::Major | Kind::Maintenance => true,
    };
    if !a_patch_may {
        let (a, x, y) = to.version.maintenance();
        let found = format!("a patch for {a}.{x}.{y} does not fit {from}");
        return row(
            CheckId::Path,
            Grade::Fail,
            found,
            format!("go to {a}.{x}.{y} first"),
        );
    }
    if bundle
        .manifest
        .from()
        .iter()
        .any(|range| range.contains(from.version))
    {
        return pass(CheckId::Path, format!("{from} to {to}"));
    }
    let ranges: Vec<String> = bundle
        .manifest
        .from()
        .iter()
        .map(|range| {
            let except: Vec<String> = range.except.iter().map(ToString::to_string).collect();
            let but = if except.is_empty() {
                String::new()
            } else {
                format!(" (not {})", except.join(", "))
            };
            format!("{} to {}{but}", range.min, range.max)
        })
        .collect();
    row(
        CheckId::Path,
        Grade::Fail,
        format!(
            "no direct path from {from} to {to}; this bundle upgrades {}",
            ranges.join("; ")
        ),
        "upgrade to one of those first",
    )
}

fn image(bundle: &BundleFacts) -> Row {
    let digest = bundle.manifest.image().raw_sha256;
    match bundle.judgement {
        None => pass(CheckId::Image, "nothing is held against this image"),
        Some(Judgement::Interrupted) => row(
            CheckId::Image,
            Grade::Warn,
            "a trial of this image was once cut short without a verdict",
            "a second time refuses it",
        ),
        Some(Judgement::Condemned) => row(
            CheckId::Image,
            Grade::Fail,
            "this image failed its trial on this appliance",
            format!("take another release, or upgrade forgive {digest}"),
        ),
    }
}

fn slot_size(facts: &Facts, bundle: &BundleFacts) -> Row {
    let raw = bundle.manifest.image().raw_size;
    let slot = !facts.running;
    match &facts.slot_len {
        Ok(len) if raw <= *len => pass(
            CheckId::SlotSize,
            format!("{raw} bytes fit into slot {slot} of {len}"),
        ),
        Ok(len) => row(
            CheckId::SlotSize,
            Grade::Fail,
            format!("the image has {raw} bytes, slot {slot} only {len}"),
            "take a bundle made for this disk layout",
        ),
        Err(why) => unknown(CheckId::SlotSize, why, "see [slots] in agent.toml"),
    }
}

fn space(facts: &Facts) -> Row {
    match &facts.space {
        Ok(space) if space.free >= space.needed => pass(
            CheckId::Space,
            format!("{} bytes free, {} needed", space.free, space.needed),
        ),
        Ok(space) => row(
            CheckId::Space,
            Grade::Fail,
            format!(
                "{} bytes free, {} needed, {} missing",
                space.free,
                space.needed,
                space.needed - space.free
            ),
            "free that much on the data partition",
        ),
        Err(why) => unknown(CheckId::Space, why, "see state in agent.toml"),
    }
}

fn clock(facts: &Facts) -> Row {
    let advice =
        "start the time service (chrony, systemd-timesyncd) and wait until it is synchronised";
    forceable(match &facts.clock {
        Ok(clock) if clock.synchronised && clock.max_error_us <= MAX_CLOCK_ERROR_US => pass(
            CheckId::Clock,
            format!(
                "synchronised, error at most {}",
                seconds(clock.max_error_us)
            ),
        ),
        Ok(clock) => row(
            CheckId::Clock,
            Grade::Fail,
            format!(
                "{}, error up to {}, {} allowed",
                if clock.synchronised {
                    "synchronised"
                } else {
                    "unsynchronised"
                },
                seconds(clock.max_error_us),
                seconds(MAX_CLOCK_ERROR_US)
            ),
            advice,
        ),
        Err(why) => unknown(CheckId::Clock, why, advice),
    })
}

fn seconds(us: u64) -> String {
    if us.is_multiple_of(1_000_000) {
        return format!("{} s", us / 1_000_000);
    }
    format!("{}.{:03} s", us / 1_000_000, us / 1_000 % 1_000)
}

fn running_slot(facts: &Facts) -> Row {
    match &facts.boot_state {
        Ok(Some(state)) if state.confirmed == facts.running => pass(
            CheckId::RunningSlot,
            format!("slot {} runs and is confirmed", facts.running),
        ),
        Ok(Some(state)) => row(
            CheckId::RunningSlot,
            Grade::Fail,
            format!(
                "slot {} runs, but {} is the confirmed one",
                facts.running, state.confirmed
            ),
            "reboot into the confirmed slot; the other slot is not written while the running one is unconfirmed",
        ),
        Ok(None) => unknown(
            CheckId::RunningSlot,
            "neither copy of the boot state can be read",
            "upgrade repair writes it anew for the running slot",
        ),
        Err(why) => unknown(
            CheckId::RunningSlot,
            why,
            "see [boot] environment in agent.toml",
        ),
    }
}

fn boot_state(facts: &Facts) -> Row {
    match (&facts.boot_state, facts.damaged_copies) {
        (Ok(Some(_)), 0) => pass(CheckId::BootState, "both copies are whole"),
        (Ok(Some(_)), damaged) => row(
            CheckId::BootState,
            Grade::Warn,
            format!("{damaged} of 2 copies cannot be read"),
            "the next change writes it anew; if this comes back, look at the disk",
        ),
        (Ok(None), _) => row(
            CheckId::BootState,
            Grade::Fail,
            "neither copy of the boot state can be read",
            "upgrade repair writes it anew for the running slot",
        ),
        (Err(why), _) => unknown(
            CheckId::BootState,
            why,
            "see [boot] environment in agent.toml",
        ),
    }
}

fn boot_counter(facts: &Facts) -> Row {
    if facts.counter_broken {
        return row(
            CheckId::BootCounter,
            Grade::Fail,
            "after the last arming the bootloader did not take the try",
            "mend the bootloader's script or its partition, then upgrade repair",
        );
    }
    pass(CheckId::BootCounter, "no boot was seen that did not count")
}
