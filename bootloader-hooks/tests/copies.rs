//! What the agent writes, cut anywhere: exhaustively over states, pairs of copies and tears.
//!
//! Fault model: a write is cut before it, after it, or within it; a block written in part holds the
//! new bytes up to some place and the old ones from there, or the reverse, or garbage. The other
//! block keeps its bytes. Nothing is written twice at once.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use bootloader_hooks::{
    BLOCK_LEN, Block, BootState, Copies, Copy, Damage, Exhausted, Other, Reach, Slot, Write,
};
use proptest::prelude::*;

const ZEROS: Block = [0; BLOCK_LEN];

/// A partition's two blocks, as they lie on the disk.
#[derive(Clone)]
struct Disk([Block; 2]);

impl Disk {
    fn copies(&self) -> Copies {
        Copies::decode(&self.0[0], &self.0[1])
    }

    fn put(&mut self, copy: Copy, block: &Block) {
        self.0[copy as usize] = *block;
    }

    fn with(&self, copy: Copy, block: &Block) -> Self {
        let mut disk = self.clone();
        disk.put(copy, block);
        disk
    }

    fn apply(&mut self, writes: &[Write]) {
        for write in writes {
            self.put(write.copy, &write.block);
        }
    }

    /// Both copies saying `state`, the newer one with `sequence`.
    fn saying(state: BootState, sequence: u32) -> Self {
        Self([whole(sequence - 1, state), whole(sequence, state)])
    }
}

/// A whole copy, made independently of the encoder.
fn whole(sequence: u32, state: BootState) -> Block {
    let words = match state.other {
        Other::GivenUp => "other=given-up\nleft=0",
        Other::Whole => "other=whole\nleft=0",
        Other::Armed => "other=trial\nleft=1",
        Other::Spent => "other=trial\nleft=0",
    };
    let slot = state.confirmed;
    let text =
        format!("# GRUB Environment Block\nseq={sequence}\nslot={slot}\n{words}\nend={sequence}\n");
    let mut block = [b'#'; BLOCK_LEN];
    block[..text.len()].copy_from_slice(text.as_bytes());
    block
}

/// Every disk a change may start from: each pair of states with either copy newer, at sequences
/// where the number of digits changes, and each way to have damaged copies.
fn starts() -> Vec<Disk> {
    let mut disks = vec![Disk([ZEROS, ZEROS]), Disk([[0xFF; BLOCK_LEN], ZEROS])];
    for state in BootState::ALL {
        for sequence in [9, 98] {
            let copy = whole(sequence, state);
            disks.push(Disk([copy, ZEROS]));
            disks.push(Disk([[0xA5; BLOCK_LEN], copy]));
            for older in BootState::ALL {
                let newer = whole(sequence + 1, state);
                disks.push(Disk([whole(sequence, older), newer]));
                disks.push(Disk([newer, whole(sequence, older)]));
                disks.push(Disk([copy, whole(sequence, older)])); // a tie
            }
        }
    }
    disks
}

/// What may lie in a block whose write was cut. A cut where both blocks are equal is the cut before, and
/// beyond the text only whole sectors matter.
fn in_flight(old: &Block, new: &Block) -> Vec<Block> {
    let mut blocks = vec![*old, *new, ZEROS, [0xFF; BLOCK_LEN], [b'#'; BLOCK_LEN]];
    let within = (1..90).filter(|cut| old[cut - 1] != new[cut - 1]);
    for cut in within.chain([512, 2048, 3584]) {
        let (mut head, mut tail) = (*old, *new);
        head[..cut].copy_from_slice(&new[..cut]);
        tail[..cut].copy_from_slice(&old[..cut]);
        blocks.extend([head, tail]);
    }
    blocks
}

/// Every disk that a cut within these writes may leave.
fn cuts(start: &Disk, writes: &[Write]) -> Vec<Disk> {
    let mut disk = start.clone();
    let mut left = Vec::new();
    for write in writes {
        let old = disk.0[write.copy as usize];
        left.extend(in_flight(&old, &write.block).iter().map(|block| disk.with(write.copy, block)));
        disk.put(write.copy, &write.block);
    }
    left
}

#[test]
fn a_cut_change_of_both_copies_leaves_the_old_state_or_the_new_one() {
    for start in starts() {
        let old = start.copies().state();
        for next in BootState::ALL {
            let writes = start.copies().write(next, Reach::BothCopies).unwrap();
            for disk in cuts(&start, &writes) {
                let left = disk.copies().state();
                assert!(left == old || left == Some(next), "{old:?} -> {next:?}: {left:?}");
            }
        }
    }
}

#[test]
fn a_cut_arming_leaves_the_old_state_the_disarmed_one_or_the_armed_one() {
    for start in starts() {
        let old = start.copies().state();
        for confirmed in Slot::ALL {
            let next = BootState { confirmed, other: Other::Armed };
            let writes = start.copies().write(next, Reach::OlderCopy).unwrap();
            let falls_back =
                old.is_some_and(|old| old.confirmed == confirmed && old.choose().slot == confirmed);
            assert_eq!(writes.len(), if falls_back { 1 } else { 2 }, "{old:?}");
            for disk in cuts(&start, &writes) {
                let left = disk.copies().state();
                let between = !falls_back && left == Some(next.disarm());
                assert!(left == old || left == Some(next) || between, "{old:?}: {left:?}");
            }
        }
    }
}

#[test]
fn an_armed_copy_that_becomes_garbage_boots_the_confirmed_slot() {
    for start in starts() {
        for confirmed in Slot::ALL {
            let next = BootState { confirmed, other: Other::Armed };
            let mut disk = start.clone();
            disk.apply(&start.copies().write(next, Reach::OlderCopy).unwrap());
            let (armed, state) = disk.copies().newest().unwrap();
            assert_eq!(state, next);
            let spend = disk.copies().spend().unwrap();
            for block in in_flight(&disk.0[armed as usize], &spend.block) {
                let left = disk.with(armed, &block).copies().state().unwrap();
                assert_eq!(left.confirmed, confirmed);
                let untouched = block == disk.0[armed as usize];
                assert!(untouched || !left.choose().trial, "a second try: {left:?}");
            }
        }
    }
}

#[test]
fn after_a_change_of_both_copies_either_one_alone_says_the_new_state() {
    for start in starts() {
        for next in BootState::ALL {
            let mut disk = start.clone();
            disk.apply(&start.copies().write(next, Reach::BothCopies).unwrap());
            assert_eq!(disk.copies().damaged().count(), 0);
            for lost in Copy::ALL {
                assert_eq!(disk.with(lost, &ZEROS).copies().state(), Some(next));
            }
        }
    }
}

#[test]
fn the_damaged_copy_is_written_first_and_else_the_older_one() {
    for start in starts() {
        let copies = start.copies();
        for reach in [Reach::OlderCopy, Reach::BothCopies] {
            let writes = copies.write(BootState::ALL[1], reach).unwrap();
            if let Some((newest, _)) = copies.newest() {
                assert_ne!(writes[0].copy, newest);
            }
            assert!(writes.iter().all(|write| write.offset == write.copy.offset()));
        }
    }
}

#[test]
fn the_try_is_spent_in_the_copy_that_counts_and_one_byte_changes() {
    for start in starts() {
        let copies = start.copies();
        let armed = copies.newest().filter(|(_, state)| state.other == Other::Armed);
        let Some((copy, state)) = armed else {
            assert_eq!(copies.spend(), None);
            continue;
        };
        let write = copies.spend().unwrap();
        assert_eq!(write.copy, copy);
        let old = start.0[copy as usize];
        assert_eq!(old.iter().zip(write.block.iter()).filter(|(old, new)| old != new).count(), 1);
        let after = start.with(copy, &write.block).copies();
        assert_eq!(after.newest(), Some((copy, BootState { other: Other::Spent, ..state })));
    }
}

#[test]
fn the_sequence_ends_at_nine_digits_and_says_so() {
    let state = BootState::ALL[1];
    let write = |sequence, reach| {
        let writes = Disk::saying(state, sequence).copies().write(state, reach);
        writes.map(|writes| writes.len())
    };
    assert_eq!(write(999_999_997, Reach::BothCopies), Ok(2));
    assert_eq!(write(999_999_998, Reach::OlderCopy), Ok(1));
    let exhausted = |sequence| Err(Exhausted { sequence });
    assert_eq!(write(999_999_998, Reach::BothCopies), exhausted(999_999_998));
    assert_eq!(write(999_999_999, Reach::OlderCopy), exhausted(999_999_999));
}

#[test]
fn each_damage_is_told_apart() {
    let rows = [
        ("\n", Damage::Sequence),
        ("seq=01\nend=01\n", Damage::Sequence),
        ("seq=1000000000\nend=1000000000\n", Damage::Sequence),
        ("seq=5\nslot=A\nother=whole\nleft=0\n", Damage::End),
        ("seq=5\nslot=A\nother=whole\nleft=0\nend=6\n", Damage::End),
        ("seq=5\nslot=C\nother=whole\nleft=0\nend=5\n", Damage::Values),
        ("seq=5\nslot=A\nother=whole\nleft=1\nend=5\n", Damage::Values),
        ("seq=5\nslot=A\nother=given-up\nleft=1\nend=5\n", Damage::Values),
    ];
    let whole = whole(1, BootState::ALL[0]);
    let damaged = |block: &Block| Copies::decode(block, &whole).damaged().collect::<Vec<_>>();
    assert_eq!(damaged(&ZEROS), [(Copy::One, Damage::Signature)]);
    for (text, damage) in rows {
        let mut block = [b'#'; BLOCK_LEN];
        let text = format!("# GRUB Environment Block\n{text}");
        block[..text.len()].copy_from_slice(text.as_bytes());
        assert_eq!(damaged(&block), [(Copy::One, damage)], "{text}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_an_answer(
        head in proptest::collection::vec(any::<u8>(), 0..BLOCK_LEN),
        lines in "[#=\\\\\n\0a-z0-9AB]{0,200}",
    ) {
        let mut one = ZEROS;
        one[..head.len()].copy_from_slice(&head);
        let mut two = [b'#'; BLOCK_LEN];
        let text = format!("# GRUB Environment Block\n{lines}");
        two[..text.len()].copy_from_slice(text.as_bytes());
        let copies = Copies::decode(&one, &two);
        let _ = copies.spend();
        for reach in [Reach::OlderCopy, Reach::BothCopies] {
            let mut disk = Disk([one, two]);
            if let Ok(writes) = copies.write(BootState::ALL[2], reach) {
                disk.apply(&writes);
                prop_assert_eq!(disk.copies().state(), Some(BootState::ALL[2]));
            }
        }
    }
}
