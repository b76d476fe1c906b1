//! The built-in checks, one function each: facts in, one line of the report out.
//!
//! A line says what was found with its numbers and, unless it is good, what to do. [`forceable`] stands only where a
//! person can answer for going on all the same.

use super::{BundleFacts, CheckId, Facts, Grade, MAX_CLOCK_ERROR_US, Row};
use crate::state::Judgement;
use bundle_format::Kind;

fn row(id: CheckId, grade: Grade, found: impl Into<String>, advice: impl Into<String>) -> Row {
    Row { id, grade, found: found.into(), advice: advice.into(), forceable: false, forced: false }
}

fn pass(id: CheckId, found: impl Into<String>) -> Row {
    row(id, Grade::Pass, found, "")
}

fn unknown(id: CheckId, why: &str, advice: &str) -> Row {
    row(id, Grade::Unknown, why, advice)
}

/// Makes a line one that a person may override.
fn forceable(row: Row) -> Row {
    Row { forceable: true, ..row }
}

pub(super) fn signature(bundle: &BundleFacts) -> Row {
    let keys = if bundle.signers == 1 { "key" } else { "keys" };
    pass(CheckId::Signature, format!("signed by {} trusted {keys}", bundle.signers))
}

pub(super) fn platform(facts: &Facts, bundle: &BundleFacts) -> Row {
    let wanted = bundle.manifest.platform().to_string();
    if wanted == facts.platform {
        return pass(CheckId::Platform, wanted);
    }
    row(
        CheckId::Platform,
        Grade::Fail,
        format!("the bundle is for {wanted}, this appliance is {}", facts.platform),
        "take the bundle for this platform",
    )
}

pub(super) fn model(facts: &Facts, bundle: &BundleFacts) -> Option<Row> {
    let models = bundle.manifest.models();
    if models.is_empty() {
        return None;
    }
    Some(match &facts.model {
        Some(Ok(model)) if models.contains(model) => pass(CheckId::Model, model.clone()),
        Some(Ok(model)) => row(
            CheckId::Model,
            Grade::Fail,
            format!("this appliance is {model}, the bundle is for {}", models.join(", ")),
            "take a bundle that names this model",
        ),
        Some(Err(why)) => unknown(CheckId::Model, why, "see [appliance] model_file in agent.toml"),
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

pub(super) fn path(facts: &Facts, bundle: &BundleFacts) -> Row {
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
        return row(CheckId::Path, Grade::Fail, found, format!("go to {a}.{x}.{y} first"));
    }
    if bundle.manifest.from().iter().any(|range| range.contains(from.version)) {
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
        format!("no direct path from {from} to {to}; this bundle upgrades {}", ranges.join("; ")),
        "upgrade to one of those first",
    )
}

pub(super) fn image(bundle: &BundleFacts) -> Row {
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

pub(super) fn slot_size(facts: &Facts, bundle: &BundleFacts) -> Row {
    let raw = bundle.manifest.image().raw_size;
    let slot = !facts.running;
    match &facts.slot_len {
        Ok(len) if raw <= *len => {
            pass(CheckId::SlotSize, format!("{raw} bytes fit into slot {slot} of {len}"))
        }
        Ok(len) => row(
            CheckId::SlotSize,
            Grade::Fail,
            format!("the image has {raw} bytes, slot {slot} only {len}"),
            "take a bundle made for this disk layout",
        ),
        Err(why) => unknown(CheckId::SlotSize, why, "see [slots] in agent.toml"),
    }
}

pub(super) fn space(facts: &Facts) -> Row {
    match &facts.space {
        Ok(space) if space.free >= space.needed => {
            pass(CheckId::Space, format!("{} bytes free, {} needed", space.free, space.needed))
        }
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

pub(super) fn clock(facts: &Facts) -> Row {
    let advice = "start chrony or systemd-timesyncd, and wait until it is synchronised";
    forceable(match &facts.clock {
        Ok(clock) if clock.synchronised && clock.max_error_us <= MAX_CLOCK_ERROR_US => pass(
            CheckId::Clock,
            format!("synchronised, error at most {}", seconds(clock.max_error_us)),
        ),
        Ok(clock) => row(
            CheckId::Clock,
            Grade::Fail,
            format!(
                "{}, error up to {}, {} allowed",
                if clock.synchronised { "synchronised" } else { "unsynchronised" },
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

pub(super) fn running_slot(facts: &Facts) -> Row {
    match &facts.boot_state {
        Ok(Some(state)) if state.confirmed == facts.running => {
            pass(CheckId::RunningSlot, format!("slot {} runs and is confirmed", facts.running))
        }
        Ok(Some(state)) => row(
            CheckId::RunningSlot,
            Grade::Fail,
            format!("slot {} runs, but {} is the confirmed one", facts.running, state.confirmed),
            "reboot into the confirmed slot; the other slot is not written while the running one is unconfirmed",
        ),
        Ok(None) => unknown(
            CheckId::RunningSlot,
            "neither copy of the boot state can be read",
            "upgrade repair writes it anew for the running slot",
        ),
        Err(why) => unknown(CheckId::RunningSlot, why, "see [boot] environment in agent.toml"),
    }
}

pub(super) fn boot_state(facts: &Facts) -> Row {
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
        (Err(why), _) => unknown(CheckId::BootState, why, "see [boot] environment in agent.toml"),
    }
}

pub(super) fn boot_counter(facts: &Facts) -> Row {
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
