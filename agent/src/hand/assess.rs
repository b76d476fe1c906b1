//! Gathering the facts that readiness is judged by. What cannot be found out is said so; it blocks like a failure.

use std::io;

use bundle_format::Release;
use flow::readiness::{self, BundleFacts, Facts, Space};
use flow::{End, Goal, Source, Upgrade};

use super::{Hand, Order, not_accepted};
use crate::device::{Device, Place};
use crate::disk::boot_state;
use crate::{os_release, source};

/// What an upgrade itself still writes to the data partition. Journal and history have their full length from the
/// first start on, so this is only a margin.
const STATE_NEEDS: u64 = 1 << 20;

pub(super) fn assess(hand: &Hand, device: &dyn Device, order: &Order<'_>, job: &Upgrade) -> End {
    let bundle = match &job.source {
        Source::Nothing => None,
        Source::Handed { .. } | Source::Spool(_) => {
            match source::open(device, &hand.settings().trust, &job.source, order.handed) {
                Ok(opened) => Some(BundleFacts {
                    judgement: order.state.judgement(&opened.manifest().image().raw_sha256),
                    signers: opened.signers().len(),
                    manifest: opened.manifest().clone(),
                }),
                Err(refusal) => return not_accepted(&refusal),
            }
        }
    };
    let boot_state = device
        .open(Place::BootState)
        .map_err(|e| format!("cannot open the boot state: {e}"))
        .and_then(|storage| boot_state::read(&*storage).map_err(|e| e.to_string()));
    let now = device.now();
    let facts = Facts {
        platform: hand.settings().platform.clone(),
        model: device.model().map(|model| model.map_err(|e| format!("cannot read the model: {e}"))),
        running_release: running_release(device),
        running: order.state.running,
        bundle,
        slot_len: slot_len(device, job)
            .map_err(|e| format!("cannot measure slot {}: {e}", job.target)),
        space: device
            .free_space()
            .map(|free| Space { free, needed: STATE_NEEDS })
            .map_err(|e| format!("cannot ask for free space: {e}")),
        clock: device.clock().map_err(|e| format!("cannot ask the kernel for its clock: {e}")),
        damaged_copies: boot_state
            .as_ref()
            .map_or(0, |copies| u32::try_from(copies.damaged().count()).unwrap_or(u32::MAX)),
        boot_state: boot_state.map(|copies| copies.state()),
        counter_broken: order.state.counter_broken,
        at: now.wall,
    };
    End::Assessed(match job.goal {
        Goal::Revert => readiness::judge_revert(&facts),
        Goal::Fetch | Goal::Check | Goal::Stage | Goal::Upgrade | Goal::Repair => {
            readiness::judge(&facts, &job.forced)
        }
    })
}

fn slot_len(device: &dyn Device, job: &Upgrade) -> io::Result<u64> {
    device.open(Place::Slot(job.target))?.len()
}

/// The running release, from the running slot's os-release.
pub fn running_release(device: &dyn Device) -> Result<Release, String> {
    let text = device
        .os_release()
        .map_err(|e| format!("cannot read the running slot's os-release: {e}"))?;
    os_release::release(&text)
}
