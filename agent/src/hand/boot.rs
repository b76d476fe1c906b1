//! Changing what boots: arm, reboot, confirm, and the way back.
//!
//! These are the only four tasks that touch the boot state (a staging gives its slot up by itself). Each reads it first,
//! and writes nothing when both copies already say what they should.

use std::time::Duration;

use bootloader_hooks::{BootState, Other, Reach, Slot};
use flow::{Cause, End, Goal, Upgrade};

use super::trouble;
use crate::device::{Device, Place, Stop};
use crate::disk::boot_state::{self, BootStateError};
use crate::disk::staging::Written;
use crate::disk::{Fault, Storage};

/// A reboot that was asked for happens within this time, or it is trouble. An orderly shutdown of a busy appliance takes
/// a minute or two.
const REBOOT_WITHIN: Duration = Duration::from_secs(300);

/// Gives the written slot its one try. The proof is not looked at here; without one this cannot be called.
pub(super) fn arm(device: &dyn Device, job: &Upgrade, _proof: &Written) -> End {
    let armed = on_boot_state(device, |storage| {
        let copies = boot_state::read(storage)?;
        let state = copies.state().ok_or(BootStateError::Unreadable)?;
        if state.confirmed != !job.target {
            return Ok(false);
        }
        // Only the older copy: the newer one still says "the confirmed slot" should this write be torn.
        if state.other != Other::Armed {
            boot_state::change(storage, &copies, state.arm(), Reach::OlderCopy)?;
        }
        Ok(true)
    });
    match armed {
        Ok(true) => End::Armed,
        Ok(false) => trouble("slot-confirmed", "the slot to be armed is the confirmed one"),
        Err(error) => trouble(error.code(), &error.to_string()),
    }
}

/// Takes back a try that an earlier job left behind, armed or spent: from the arming on, what the boot state says must be
/// about this job.
pub(super) fn clear_old_try(device: &dyn Device, job: &Upgrade) -> Result<(), BootStateError> {
    on_boot_state(device, |storage| {
        let copies = boot_state::read(storage)?;
        let state = copies.state().ok_or(BootStateError::Unreadable)?;
        let has_a_try =
            state.confirmed != job.target && matches!(state.other, Other::Armed | Other::Spent);
        if has_a_try {
            boot_state::change(storage, &copies, state.disarm(), Reach::BothCopies)
        } else {
            Ok(())
        }
    })
}

/// Asks for the reboot and waits for the world to end.
pub(super) fn reboot(device: &dyn Device, stop: &Stop) -> End {
    if let Err(e) = device.reboot() {
        return trouble("reboot", &format!("the reboot was not taken: {e}"));
    }
    let patience = device.now().boottime.saturating_add(REBOOT_WITHIN);
    while device.now().boottime < patience && !stop.is_stopped() {
        device.pause(patience.saturating_sub(device.now().boottime), stop);
    }
    trouble("reboot", &format!("the reboot did not happen within {} s", REBOOT_WITHIN.as_secs()))
}

/// Makes the running slot the confirmed one. One proven copy is enough: it is the newest from then on.
pub(super) fn confirm(device: &dyn Device, job: &Upgrade) -> End {
    let running = match device.this_boot() {
        Ok(boot) => boot.running,
        Err(e) => {
            return trouble("running-slot", &format!("cannot ask for the running slot: {e}"));
        }
    };
    if running != job.target {
        return trouble("running-slot", &format!("slot {running} runs, not the one on trial"));
    }
    let settled = on_boot_state(device, |storage| {
        let copies = boot_state::read(storage)?;
        let next = match copies.state() {
            Some(state) => state.confirm(running),
            None => BootState { confirmed: running, other: Other::Whole },
        };
        settle(storage, next)
    });
    match settled {
        Ok(()) => End::Confirmed,
        Err(error) => trouble(error.code(), &error.to_string()),
    }
}

/// Brings the boot state back to the confirmed slot, and reboots if the other one runs.
pub(super) fn revert(device: &dyn Device, job: &Upgrade, stop: &Stop) -> End {
    let home = !job.target;
    let settled = on_boot_state(device, |storage| match boot_state::read(storage)?.state() {
        // The job found the other slot confirmed and changed nothing: neither does the way back.
        Some(state)
            if state.confirmed == job.target && job.trial.is_none() && job.goal != Goal::Repair =>
        {
            Ok(())
        }
        state => settle(storage, back(state, home, job)),
    });
    if let Err(error) = settled {
        return trouble(error.code(), &error.to_string());
    }
    match device.this_boot() {
        Ok(boot) if boot.running == home => End::Reverted,
        Ok(_) => reboot(device, stop),
        Err(e) => trouble("running-slot", &format!("cannot ask for the running slot: {e}")),
    }
}

/// The boot state that the way back ends in. A slot with a condemned image is given up; one that is merely not wanted
/// now stays whole, which serves it only as the last resort.
fn back(state: Option<BootState>, home: Slot, job: &Upgrade) -> BootState {
    let Some(state) = state else {
        return BootState { confirmed: home, other: Other::GivenUp };
    };
    let state = state.confirm(home);
    if job.cause.as_ref().is_some_and(Cause::condemns) { state.give_up() } else { state }
}

fn settle(storage: &dyn Storage, next: BootState) -> Result<(), BootStateError> {
    let copies = boot_state::read(storage)?;
    if boot_state::both_say(&copies, next) {
        return Ok(());
    }
    if let Some(error) = boot_state::settle(storage, &copies, next)? {
        tracing::warn!(%error, "one copy of the boot state could not be written; the other one is proven");
    }
    Ok(())
}

fn on_boot_state<T>(
    device: &dyn Device,
    deed: impl FnOnce(&dyn Storage) -> Result<T, BootStateError>,
) -> Result<T, BootStateError> {
    let storage =
        device.open(Place::BootState).map_err(|e| Fault::new("open", "the boot state", e))?;
    deed(&*storage)
}
