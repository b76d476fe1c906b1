//! The shipped boot script where something around it is broken: a disk that cannot be written, a block
//! that `save_env` refuses or spoils, a missing module, a missing partition.
//!
//! A missing module is played by a command spelled so that GRUB does not know it. GRUB then takes the
//! THEN branch, as it does when a module is lost.

mod emulator;

use bootloader_hooks::{BootState, Choice, Other, Slot, Spend, choose, image};
use emulator::{
    CHOOSE, Disks, ZEROS, beside, boot, boot_all, check, copies, copy, disk, expected, lines,
    report, reported, run,
};

#[test]
fn a_try_that_cannot_be_written_is_not_taken() {
    let mut disks = beside("zeros", &ZEROS);
    disks.extend(beside("an older one", &copy(6, BootState::ALL[0])));
    check(&disks, Disks::ReadOnly);
}

#[test]
fn a_try_in_a_block_that_save_env_refuses_is_not_taken() {
    let mut armed = copy(5, BootState { confirmed: Slot::B, other: Other::Armed });
    armed[4095] = 0; // not filled up with '#': load_env reads it, save_env does not write it
    let disk = disk(&armed, &ZEROS);
    assert_eq!(copies(&disk).spend(), None);
    check(&[("refused".to_owned(), disk)], Disks::Writable);
}

#[test]
fn a_try_that_save_env_says_it_wrote_but_that_reads_back_unspent_is_not_taken() {
    // save_env changes the first of two equal names, load_env believes the last.
    let text = "seq=5\nslot=A\nother=trial\nleft=1\nleft=1\nend=5\n";
    let disk = disk(&lines(text), &ZEROS);
    assert!(copies(&disk).spend().is_some());
    let choice = Choice { slot: Slot::A, trial: false, last_resort: Some(Slot::B) };
    assert_eq!(boot(&disk).choice, choice);
}

/// The script with a command's name spelled so that GRUB does not know it, as if its module were
/// missing, on every state.
fn boots_without(command: &str, spelled: &str) -> Vec<(BootState, emulator::Boot, Vec<u8>)> {
    let script = CHOOSE.replace(command, spelled);
    assert_ne!(script, CHOOSE);
    let disks: Vec<_> = BootState::ALL.into_iter().map(image).collect();
    let boots = boot_all(&script, &disks, Disks::Writable);
    let rows = BootState::ALL.into_iter().zip(boots).zip(disks);
    rows.map(|((state, boot), disk)| (state, boot, disk)).collect()
}

#[test]
fn without_save_env_no_try_is_taken() {
    for (state, boot, disk) in boots_without("save_env ", "no_such_save_env ") {
        assert_eq!(boot.choice, choose(Some(state), Spend::Failed), "{state:?}");
        assert!(boot.disk == disk, "{state:?}");
    }
}

#[test]
fn without_load_env_it_boots_as_if_no_copy_could_be_read() {
    for (state, boot, disk) in boots_without("load_env ", "no_such_load_env ") {
        assert_eq!(boot.choice, choose(None, Spend::Failed), "{state:?}");
        assert!(boot.disk == disk, "{state:?}");
    }
}

#[test]
fn without_test_or_regexp_the_confirmed_slot_boots_and_nothing_else() {
    for (command, spelled) in [("if [ ", "if no_such_test "), ("if regexp ", "if no_such_regexp ")]
    {
        for (state, boot, disk) in boots_without(command, spelled) {
            let only = Choice { slot: state.confirmed, trial: false, last_resort: None };
            assert_eq!(boot.choice, only, "{command} {state:?}");
            assert!(boot.disk == disk, "{command} {state:?}");
        }
    }
}

#[test]
fn without_regexp_one_copy_is_enough_and_two_that_disagree_are_as_none() {
    let whole = |confirmed| copy(5, BootState { confirmed, other: Other::Armed });
    let only_b = Choice { slot: Slot::B, trial: false, last_resort: None };
    let rows = [
        (disk(&whole(Slot::B), &ZEROS), only_b),
        (disk(&ZEROS, &whole(Slot::B)), only_b),
        (disk(&whole(Slot::A), &whole(Slot::B)), choose(None, Spend::Failed)),
        (disk(&lines("slot=BB\n"), &ZEROS), only_b),
        (disk(&lines("slot=x\n"), &lines("slot=load\n")), choose(None, Spend::Failed)),
        (disk(&ZEROS, &ZEROS), choose(None, Spend::Failed)),
    ];
    let script = CHOOSE.replace("if regexp ", "if no_such_regexp ");
    let (disks, choices): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
    let boots = boot_all(&script, &disks, Disks::Writable);
    for ((boot, disk), choice) in boots.into_iter().zip(disks).zip(choices) {
        assert_eq!(boot.choice, choice);
        assert!(boot.disk == disk);
    }
}

#[test]
fn without_echo_nothing_changes() {
    for (state, boot, disk) in boots_without("echo ", "no_such_echo ") {
        let expected = expected(&disk, Disks::Writable);
        assert_eq!(boot.choice, expected.choice, "{state:?}");
        assert!(boot.disk == expected.disk, "{state:?}");
    }
}

#[test]
fn without_the_partitions_name_it_boots_as_if_no_copy_could_be_read() {
    let disks = [image(BootState { confirmed: Slot::B, other: Other::Armed })];
    for device in ["set bootstate=", "set bootstate=(hd7)", "set bootstate=(hd0,gpt2)"] {
        let caller = format!("{device}\nsource $choose\n{}", report(0));
        let (_directory, output) = run(&caller, CHOOSE, &disks, Disks::Writable);
        assert_eq!(reported(&output, 0), choose(None, Spend::Failed), "{device}");
    }
}
