//! Whole stories: the agent writes what `write()` says, GRUB boots, and again.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

mod emulator;

use bootloader_hooks::{BootState, Choice, Copy, Other, Reach, Slot, image};
use emulator::{ZEROS, boot, copies, put};

/// The agent's part of a story: writes what `write()` says.
fn agent(disk: &mut [u8], next: BootState, reach: Reach) {
    for write in copies(disk).write(next, reach).unwrap() {
        put(disk, write.copy, &write.block);
    }
}

#[test]
fn a_trial_without_a_verdict_boots_once_and_then_the_confirmed_slot_for_good() {
    for confirmed in Slot::ALL {
        let state = BootState { confirmed, other: Other::Whole };
        let mut disk = image(state);
        agent(&mut disk, state.arm(), Reach::OlderCopy);
        let first = boot(&disk);
        let trial = Choice { slot: !confirmed, trial: true, last_resort: Some(confirmed) };
        assert_eq!(first.choice, trial);
        let second = boot(&first.disk);
        let back = Choice { slot: confirmed, trial: false, last_resort: Some(!confirmed) };
        assert_eq!(second.choice, back);
        assert_eq!(boot(&second.disk), second);
    }
}

#[test]
fn a_trial_that_is_confirmed_boots_the_new_slot_for_good_also_from_either_copy_alone() {
    for confirmed in Slot::ALL {
        let state = BootState { confirmed, other: Other::GivenUp };
        let mut disk = image(state);
        agent(&mut disk, state.arm(), Reach::OlderCopy);
        disk = boot(&disk).disk;
        let spent = copies(&disk).state().unwrap();
        assert_eq!(spent, BootState { confirmed, other: Other::Spent });
        agent(&mut disk, spent.confirm(!confirmed), Reach::BothCopies);
        let good = Choice { slot: !confirmed, trial: false, last_resort: Some(confirmed) };
        assert_eq!(boot(&disk).choice, good);
        for lost in Copy::ALL {
            let mut disk = disk.clone();
            put(&mut disk, lost, &ZEROS);
            assert_eq!(boot(&disk).choice, good, "{lost:?} lost");
        }
    }
}

#[test]
fn a_slot_given_up_is_not_booted_from_either_copy_alone() {
    for confirmed in Slot::ALL {
        let state = BootState { confirmed, other: Other::Whole };
        let mut disk = image(state);
        agent(&mut disk, state.arm(), Reach::OlderCopy);
        agent(&mut disk, state.give_up(), Reach::BothCopies);
        let only = Choice { slot: confirmed, trial: false, last_resort: None };
        assert_eq!(boot(&disk).choice, only);
        for lost in Copy::ALL {
            let mut disk = disk.clone();
            put(&mut disk, lost, &ZEROS);
            assert_eq!(boot(&disk).choice, only, "{lost:?} lost");
        }
    }
}

#[test]
fn an_armed_copy_that_is_lost_before_or_after_the_try_boots_the_confirmed_slot() {
    for confirmed in Slot::ALL {
        let state = BootState { confirmed, other: Other::Whole };
        let mut before = image(state);
        agent(&mut before, state.arm(), Reach::OlderCopy);
        let after = boot(&before).disk;
        for mut disk in [before, after] {
            let (armed, _) = copies(&disk).newest().unwrap();
            put(&mut disk, armed, &ZEROS);
            assert_eq!(boot(&disk).choice, state.choose());
        }
    }
}
