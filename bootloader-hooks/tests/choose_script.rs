//! The shipped boot script, run by GRUB itself, against the Rust definition of the same rule.
//!
//! For each disk three things must be equal: what GRUB chose and what `choose()` says, which copies
//! GRUB took for whole and what `decode()` says, and every byte of the disk afterwards and what
//! `spend()` says.

mod emulator;

use bootloader_hooks::{Block, BootState, Other, Slot, image};
use emulator::{
    CHOOSE, Disks, ZEROS, beside, boot, check, copies, copy, disk, expected, lines, report,
    reported, run,
};

#[test]
fn every_state_of_the_shipped_image_boots_as_the_rule_says() {
    for state in BootState::ALL {
        let disk = image(state);
        let boot = boot(&disk);
        assert_eq!(boot.choice, state.choose(), "{state:?}");
        assert!(boot.disk == expected(&disk, Disks::Writable).disk, "{state:?}");
    }
}

#[test]
fn the_newest_of_two_whole_copies_counts_and_copy_one_at_a_tie() {
    let mut disks = Vec::new();
    for sequence in [6, 7, 8] {
        for neighbour in BootState::ALL {
            let name = format!("{neighbour:?} with {sequence}");
            disks.extend(beside(&name, &copy(sequence, neighbour)));
        }
    }
    check(&disks, Disks::Writable);
}

#[test]
fn one_damaged_copy_changes_nothing() {
    let mut disks = beside("zeros", &ZEROS);
    disks.extend(beside("ones", &[0xFF; 4096]));
    disks.extend(beside("empty lines", &lines("\n\n")));
    let mut header = copy(9, BootState { confirmed: Slot::A, other: Other::Armed });
    header[3] ^= 1;
    disks.extend(beside("a corrupt header", &header));
    check(&disks, Disks::Writable);
}

#[test]
fn both_copies_damaged_boots_slot_a_then_b_and_writes_nothing() {
    let armed = copy(9, BootState { confirmed: Slot::B, other: Other::Armed });
    let mut header = armed;
    header[0] = b'!';
    let mut end = armed;
    end[60..].fill(0); // within the last line
    let damages = [&ZEROS, &[0xFF; 4096], &header, &end, &lines("\n"), &lines("left=1\n")];
    let mut disks = Vec::new();
    for one in damages {
        for two in damages {
            disks.push(("both damaged".to_owned(), disk(one, two)));
        }
    }
    for (_, disk) in &disks {
        assert_eq!(copies(disk).state(), None);
    }
    check(&disks, Disks::Writable);
}

#[test]
fn a_torn_copy_is_the_old_one_the_new_one_or_damaged_for_grub_too() {
    let states = |other| BootState { confirmed: Slot::A, other };
    let mut disks = Vec::new();
    for (old, new) in [(9, 11), (19, 20), (99, 101)] {
        let (old, new) = (copy(old, states(Other::Whole)), copy(new, states(Other::Armed)));
        for cut in (24..80).step_by(2) {
            let (mut head, mut tail) = (old, new);
            head[..cut].copy_from_slice(&new[..cut]);
            tail[..cut].copy_from_slice(&old[..cut]);
            let neighbour = copy(10, states(Other::GivenUp));
            disks.push((format!("new up to {cut}"), disk(&head, &neighbour)));
            disks.push((format!("new from {cut}"), disk(&neighbour, &tail)));
        }
    }
    check(&disks, Disks::Writable);
}

#[test]
fn odd_copies_count_for_grub_exactly_if_they_count_for_rust() {
    let ordinary = ["5", "A", "trial", "1", "5"];
    let odd: [(usize, &[&str]); 5] = [
        (0, &["", "0", "05", "00000005", "1234567890", "4294967297", "-5", "+5", "5 ", " 5", "x"]),
        (1, &["", "a", "b", "C", "AB", "A ", " B", "A trial", "A\\\nB", "\\A", "0"]),
        (2, &["", "Trial", "trial 1", "given_up", "whole", "given-up", "armed", "tri\\al", "*"]),
        (3, &["", "2", "-1", "01", "1 ", "yes", "1\\\n", "\\1", "10", "1\0x"]),
        (4, &["", "4", "05", "6", "5 ", "55", "\\5", "=", "-f"]),
    ];
    let text = |words: [&str; 5]| {
        let [seq, slot, other, left, end] = words;
        format!("seq={seq}\nslot={slot}\nother={other}\nleft={left}\nend={end}\n")
    };
    let mut disks = Vec::new();
    for (at, values) in odd {
        for value in values {
            let mut words = ordinary;
            words[at] = value;
            if at == 0 {
                words[4] = value; // the same at the end, so that the sequence alone is wrong
            }
            disks.extend(beside_an_old_one(&text(words)));
        }
    }
    for sequence in ["999999999", "1", "3", "4"] {
        disks.extend(beside_an_old_one(&text([sequence, "A", "trial", "1", sequence])));
    }
    check(&disks, Disks::Writable);
}

#[test]
fn oddly_shaped_copies_count_for_grub_exactly_if_they_count_for_rust() {
    let rows = [
        "slot=A\nother=trial\nleft=1\n",
        "seq=5\nother=trial\nleft=1\nend=5\n",
        "seq=5\nslot=A\nleft=1\nend=5\n",
        "seq=5\nslot=A\nother=trial\nend=5\n",
        "seq=5\nslot=A\nother=trial\nleft=1\n",
        "seq=5\nslot=A\nother=trial\nleft=1\nend=5",
        "end=5\nleft=1\nother=trial\nslot=A\nseq=5\n",
        "seq=5\nslot=A\nother=trial\nleft=1\nmore=x\nend=5\n",
        "seq=5\nslot=A\nother=trial\nleft=1\nleft=1\nend=5\n",
        "seq=5\nslot=A\nother=trial\nleft=0\nleft=1\nend=5\n",
        "seq=5\nslot=A\nslot=B\nother=trial\nleft=1\nend=5\n",
        "bootstate=(hd99)\nseq=5\nslot=A\nother=trial\nleft=1\nend=5\n",
        "upgrade_slot=B\nseq=5\nslot=A\nother=trial\nleft=1\nend=5\n",
        "# seq=6\nseq=5\nslot=A\nother=trial\nleft=1\nend=5\n",
        "#\\\nseq=5\nslot=A\nother=trial\nleft=1\nend=5\n",
        "junk\nseq=5\nslot=A\nother=trial\nleft=1\nend=5\n",
        "seq=5\nslot=A\nother=trial\njunk\nleft=1\nend=5\n",
        "\nseq=5\nslot=A\nother=trial\nleft=1\nend=5\n",
        "seq=5\r\nslot=A\r\nother=trial\r\nleft=1\r\nend=5\r\n",
        "seq =5\nslot=A\nother=trial\nleft=1\nend=5\n",
        "seq=5\nslot=A\nother=trial\nleft\0=1\nend=5\n",
        "seq=5\nslot=A\nother=trial\nleft=1\nend=5\njunk",
        "seq=5\nslot=A\nother=trial\nleft=1\nend=5\n\0\0",
        "seq=5\nslot=A\nother=trial\nleft=1\nend=5\n=\n",
    ];
    let disks: Vec<_> = rows.into_iter().flat_map(beside_an_old_one).collect();
    check(&disks, Disks::Writable);
}

/// A copy with this text, on either side of an older one that says something else.
fn beside_an_old_one(text: &str) -> [(String, Vec<u8>); 2] {
    let old = copy(3, BootState { confirmed: Slot::B, other: Other::Whole });
    let odd = lines(text);
    [
        (format!("{text:?} in copy one"), disk(&odd, &old)),
        (format!("{text:?} in copy two"), disk(&old, &odd)),
    ]
}

#[test]
fn mutilated_copies_count_for_grub_exactly_if_they_count_for_rust() {
    use proptest::prelude::*;
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let byte = prop_oneof![
        4 => proptest::sample::select(b"#=\n\\\0 01259ABseqdnlf".to_vec()),
        1 => any::<u8>(),
    ];
    let edits = proptest::collection::vec((20_usize..90, byte), 1..4);
    let states = proptest::sample::select(BootState::ALL.to_vec());
    let mutilated = (1_u32..12, states, edits).prop_map(|(sequence, state, edits)| {
        let mut block = copy(sequence, state);
        for (at, byte) in edits {
            block[at] = byte;
        }
        block
    });
    let pairs = (mutilated.clone(), mutilated);
    let mut runner = TestRunner::deterministic();
    let disks: Vec<_> = (0..400)
        .map(|_| {
            let (one, two) = pairs.new_tree(&mut runner).unwrap().current();
            let text = |block: &Block| String::from_utf8_lossy(&block[..100]).into_owned();
            (format!("{:?} and {:?}", text(&one), text(&two)), disk(&one, &two))
        })
        .collect();
    check(&disks, Disks::Writable);
}

#[test]
fn the_image_works_inside_a_partition() {
    const START: u32 = 2048;
    let state = BootState { confirmed: Slot::B, other: Other::Armed };
    let mut whole = vec![0; 512 * START as usize];
    whole[446 + 4] = 0xDA; // the kind of the first of four primary partitions: not a file system
    whole[446 + 8..446 + 12].copy_from_slice(&START.to_le_bytes());
    whole[446 + 12..446 + 16].copy_from_slice(&2048_u32.to_le_bytes());
    whole[510..512].copy_from_slice(&[0x55, 0xAA]);
    whole.extend(image(state));
    let caller = format!("set bootstate=(hd0,msdos1)\nsource $choose\n{}", report(0));
    let (directory, output) = run(&caller, CHOOSE, &[whole.clone()], Disks::Writable);
    assert_eq!(reported(&output, 0), state.choose());
    let after = std::fs::read(directory.path().join("disk0")).unwrap();
    let start = 512 * START as usize;
    assert!(after[..start] == whole[..start]);
    assert!(after[start..] == expected(&image(state), Disks::Writable).disk);
}
