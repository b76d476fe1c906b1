//! What must never be, as functions named as sentences.
//!
//! `before` looks at an operation that is about to be done, `after` at what it left: at the durable images, at the
//! live ones, and at what a cut could leave of a write that is under way. `on_boot` looks at each start of a system.
//! What can only be judged over a whole run (the agent's state and history) stands in `judge`.

use bootloader_hooks::{BLOCK_LEN, Block, BootState, Copies, Copy, Other, Slot};

use crate::fault::{Deed, Part};
use crate::image::{Holding, IMAGE_LEN, Temper};
use crate::machine::Machine;
use crate::storage::{Bytes, PAGE};

/// An invariant's sentence, and what was found instead.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The sentence.
    pub invariant: &'static str,
    /// What was found.
    pub found: String,
}

type Verdict = Result<(), String>;

/// Gives each function its own name as the sentence.
macro_rules! check {
    ($machine:ident, $($name:ident($($given:expr),*)),+ $(,)?) => {
        $(if let Err(found) = $name(&*$machine $(, $given)*) {
            $machine.violated(stringify!($name), found);
        })+
    };
}

/// What the copies in these bytes say.
pub fn copies(bytes: &Bytes) -> Copies {
    let block = |copy: Copy| {
        let mut block: Block = [0; BLOCK_LEN];
        bytes.read(copy.offset(), &mut block).expect("OK because the partition is never cut short");
        block
    };
    Copies::decode(&block(Copy::One), &block(Copy::Two))
}

/// Looks at what is about to be done.
pub(crate) fn before(machine: &mut Machine, deed: Deed) {
    match deed {
        Deed::Write(part, ..) | Deed::SetLen(part, _) => {
            if let Some(slot) = part.slot() {
                check!(
                    machine,
                    the_running_slot_is_never_written(slot),
                    the_confirmed_slot_is_never_written(slot),
                    no_slot_is_written_while_the_running_one_is_unconfirmed(),
                    a_slot_is_unbootable_before_its_first_byte_is_written(slot),
                );
            }
        }
        Deed::Reboot => check!(machine, after_a_stale_decision_nothing_reboots()),
        Deed::Open(_)
        | Deed::Len(_)
        | Deed::Read(..)
        | Deed::Sync(_)
        | Deed::ThisBoot
        | Deed::OsRelease
        | Deed::Model
        | Deed::FreeSpace
        | Deed::Clock
        | Deed::Probe
        | Deed::Pause
        | Deed::Spend(..) => {}
    }
}

/// Looks at what was done, if it touched what boots.
pub(crate) fn after(machine: &mut Machine, deed: Deed) {
    let boots = deed.part().is_some_and(|part| part.slot().is_some() || part == Part::BootState);
    if !boots || !deed.changes() {
        return;
    }
    let survivors: Vec<Option<BootState>> = machine
        .medium(Part::BootState)
        .survivors()
        .iter()
        .map(|bytes| copies(bytes).state())
        .collect();
    let armed = survivors.iter().flatten().any(|state| state.other == Other::Armed);
    let newly = armed && !machine.armed;
    machine.armed = armed;
    for state in &survivors {
        check!(
            machine,
            the_boot_state_always_has_a_whole_copy(*state),
            some_slot_always_boots(*state),
            a_slot_on_trial_is_a_whole_image(*state),
        );
        if newly && let Some(state) = state.filter(|state| state.other == Other::Armed) {
            check!(
                machine,
                a_slot_is_armed_only_after_its_image_was_read_back(!state.confirmed),
                a_slot_is_armed_only_in_the_boot_in_which_somebody_said_go(),
            );
        }
    }
    if !machine.lied {
        check!(
            machine,
            no_half_written_slot_can_be_loaded(),
            even_without_a_boot_state_something_boots()
        );
    }
}

/// Looks at a system that was started.
pub(crate) fn on_boot(machine: &mut Machine) {
    check!(
        machine,
        one_go_makes_at_most_one_trial(),
        at_most_one_automatic_rollback_for_one_upgrade()
    );
}

fn durable_state(machine: &Machine) -> Option<BootState> {
    copies(machine.medium(Part::BootState).durable()).state()
}

/// What the slot holds if nothing unsynced lands, and if everything does.
fn holdings(machine: &Machine, slot: Slot) -> [Holding; 2] {
    let medium = machine.medium(Part::of(slot));
    let durable = machine.images.holding(medium.durable());
    if medium.unsynced() == 0 {
        [durable; 2]
    } else {
        [durable, machine.images.holding(medium.live())]
    }
}

fn the_running_slot_is_never_written(machine: &Machine, slot: Slot) -> Verdict {
    if machine.boot.running == slot { Err(format!("slot {slot} runs")) } else { Ok(()) }
}

fn the_confirmed_slot_is_never_written(machine: &Machine, slot: Slot) -> Verdict {
    match durable_state(machine) {
        Some(state) if state.confirmed == slot => Err(format!("slot {slot} is the confirmed one")),
        Some(_) | None => Ok(()),
    }
}

fn no_slot_is_written_while_the_running_one_is_unconfirmed(machine: &Machine) -> Verdict {
    let running = machine.boot.running;
    match durable_state(machine) {
        Some(state) if state.confirmed == running => Ok(()),
        state => Err(format!("slot {running} runs, the boot state says {state:?}")),
    }
}

fn a_slot_is_unbootable_before_its_first_byte_is_written(machine: &Machine, slot: Slot) -> Verdict {
    let copies = copies(machine.medium(Part::BootState).durable());
    for copy in Copy::ALL {
        if let Ok((_, state)) = copies.says(copy)
            && (state.confirmed == slot || state.other != Other::GivenUp)
        {
            return Err(format!("{} still says {state:?}", copy.file_name()));
        }
    }
    Ok(())
}

fn the_boot_state_always_has_a_whole_copy(_: &Machine, state: Option<BootState>) -> Verdict {
    state.map(|_| ()).ok_or_else(|| "neither copy counts".to_owned())
}

/// The confirmed slot holds a whole good image; or it cannot be loaded, and the last resort holds one. Whatever is on
/// trial falls back to that.
fn some_slot_always_boots(machine: &Machine, state: Option<BootState>) -> Verdict {
    let first = state.map_or(Slot::A, |state| state.confirmed);
    let second = state.is_none_or(|state| state.other != Other::GivenUp).then_some(!first);
    // Without a boot state nothing tells a bad image from a good one; then it is enough that one is whole.
    let good = |place| state.is_none() || machine.images.at(place).temper == Temper::Good;
    for (nth, way) in ["if nothing unsynced lands", "if everything lands"].into_iter().enumerate() {
        let holds = holdings(machine, first)[nth];
        let last = second.map(|slot| holdings(machine, slot)[nth]);
        let boots = match (holds, last) {
            (Holding::Whole(place), _) | (Holding::Nothing, Some(Holding::Whole(place))) => {
                good(place)
            }
            (Holding::Broken(_) | Holding::Nothing, _) => false,
        };
        if !boots {
            return Err(format!(
                "{way}, slot {first} holds {holds:?}, the last resort {last:?}; {state:?}"
            ));
        }
    }
    Ok(())
}

/// Whoever loses both copies of the boot state still has an appliance.
fn even_without_a_boot_state_something_boots(machine: &Machine) -> Verdict {
    some_slot_always_boots(machine, None)
}

fn a_slot_on_trial_is_a_whole_image(machine: &Machine, state: Option<BootState>) -> Verdict {
    let Some(state) = state.filter(|state| matches!(state.other, Other::Armed | Other::Spent))
    else {
        return Ok(());
    };
    let slot = !state.confirmed;
    match holdings(machine, slot) {
        [Holding::Whole(_), _] => Ok(()),
        [durable, live] => {
            Err(format!("{state:?}, but slot {slot} durably holds {durable:?}, live {live:?}"))
        }
    }
}

fn no_half_written_slot_can_be_loaded(machine: &Machine) -> Verdict {
    for slot in Slot::ALL {
        if let Some(Holding::Broken(place)) =
            holdings(machine, slot).into_iter().find(|holds| matches!(holds, Holding::Broken(_)))
        {
            let release = machine.images.at(place).release;
            return Err(format!("slot {slot} begins as {release} and goes on as something else"));
        }
    }
    Ok(())
}

fn a_slot_is_armed_only_after_its_image_was_read_back(machine: &Machine, slot: Slot) -> Verdict {
    let read = machine.read_back(slot);
    match read.iter().take(IMAGE_LEN / PAGE).position(|read| !read) {
        Some(page) => Err(format!(
            "this process did not read page {page} of slot {slot} after it was last written and synced"
        )),
        None => Ok(()),
    }
}

fn a_slot_is_armed_only_in_the_boot_in_which_somebody_said_go(machine: &Machine) -> Verdict {
    if machine.go == Some(machine.boot.id) {
        Ok(())
    } else {
        Err("nobody said go in this boot".to_owned())
    }
}

fn after_a_stale_decision_nothing_reboots(machine: &Machine) -> Verdict {
    let running = machine.boot.running;
    let at_home = durable_state(machine).is_some_and(|state| state.confirmed == running);
    if at_home && machine.go != Some(machine.boot.id) {
        return Err(format!(
            "slot {running} is the confirmed one, and nobody said go in this boot"
        ));
    }
    Ok(())
}

fn one_go_makes_at_most_one_trial(machine: &Machine) -> Verdict {
    if machine.trials > 1 {
        Err(format!("{} trials since somebody said go", machine.trials))
    } else {
        Ok(())
    }
}

fn at_most_one_automatic_rollback_for_one_upgrade(machine: &Machine) -> Verdict {
    if machine.rollbacks > 1 {
        Err(format!("{} ways back since somebody said go", machine.rollbacks))
    } else {
        Ok(())
    }
}
