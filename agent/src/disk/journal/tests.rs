//! The journal on real files: a copy torn, a copy flipped, both gone, another schema, the largest state.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use bootloader_hooks::Slot;
use bundle_format::{Digest, Release};
use flow::readiness::{CheckId, Grade, Report, Row};
use flow::{
    BootId, Cause, Ended, Goal, Held, Holding, Image, Judged, Judgement, MAX_TEXT, Outcome, Phase,
    Side, Source, Trial, Upgrade,
};

use super::*;
use crate::directory::Directory;

/// An appliance of empty files.
fn appliance(root: &Path) -> Directory {
    let boot =
        "boot_id=0f5c6a1e-8d0b-4b1e-9c55-1f3a2b7c9d10\ncmdline=upgrade.slot=A upgrade.trial=0\n";
    for (name, text) in [("boot", boot), ("a.img", ""), ("b.img", ""), ("bootstate.img", "")] {
        put(&root.join(name), 0, text.as_bytes());
    }
    std::fs::create_dir(root.join("data")).expect("a directory");
    Directory::open(root, None, || ()).expect("an appliance")
}

fn put(path: &Path, at: u64, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .expect("a file");
    file.write_all_at(bytes, at).expect("a write");
}

fn state(next_id: u64) -> State {
    State { next_id, ..State::new(BootId(7), Slot::A) }
}

fn found(device: &Directory) -> Option<u64> {
    match Journal::open(device).expect("it opens").1 {
        Found::State(state) => Some(state.next_id),
        Found::Foreign { id } => panic!("foreign, {id}"),
        Found::Nothing => None,
    }
}

/// A journal as a cut leaves it: copy one holds the newest state, copy two the one before.
fn written(root: &Path) -> Directory {
    let device = appliance(root);
    let (mut journal, _) = Journal::open(&device).expect("it opens");
    journal.write(&state(2)).expect("a write");
    journal.put(&state(3), JournalCopy::One, 3).expect("a write");
    device
}

#[test]
fn a_first_start_finds_nothing_and_the_newest_write_is_found_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let device = appliance(dir.path());
    assert_eq!(found(&device), None);
    let dir = tempfile::tempdir().expect("a directory");
    assert_eq!(found(&written(dir.path())), Some(3));
}

#[test]
fn at_rest_the_loss_of_either_copy_loses_nothing() {
    for lost in ["data/journal.1", "data/journal.2"] {
        let dir = tempfile::tempdir().expect("a directory");
        let device = appliance(dir.path());
        let (mut journal, _) = Journal::open(&device).expect("it opens");
        for id in [1, 2, 3] {
            journal.write(&state(id)).expect("a write");
        }
        put(&dir.path().join(lost), 0, &[0xff; 600]);
        assert_eq!(found(&device), Some(3), "{lost} lost");
    }
}

#[test]
fn a_torn_newest_copy_leaves_the_one_before() {
    for cut in [0, 8, 100, 508, 600, 40_000] {
        let dir = tempfile::tempdir().expect("a directory");
        let device = written(dir.path());
        // What a write that was cut leaves: its beginning, then what was there before; here another state's bytes.
        let mut other = vec![0; COPY_LEN];
        encode(&state(99), 4, &mut other).expect("it fits");
        put(&dir.path().join("data/journal.1"), 0, &other[..cut]);
        // The first eight bytes are the same in every copy.
        let expected = if cut <= 8 {
            3
        } else if cut >= 40_000 {
            99
        } else {
            2
        };
        assert_eq!(found(&device), Some(expected), "cut after {cut} bytes");
    }
}

#[test]
fn one_flipped_bit_anywhere_in_a_copy_loses_that_copy_only() {
    let body_end = BODY + serde_json::to_vec(&state(3)).expect("plain data").len();
    for at in [0, 9, 17, 21, 25, 40, 64, 70, 90, 300, 509, BODY, body_end - 1] {
        let dir = tempfile::tempdir().expect("a directory");
        let device = written(dir.path());
        let path = dir.path().join("data/journal.1");
        let mut bytes = std::fs::read(&path).expect("the copy");
        bytes[at] ^= 0x10;
        put(&path, 0, &bytes);
        assert_eq!(found(&device), Some(2), "bit at {at}");
    }
}

#[test]
fn both_copies_lost_is_an_empty_journal_that_can_be_written_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let device = written(dir.path());
    put(&dir.path().join("data/journal.1"), 0, &[0xff; 600]);
    put(&dir.path().join("data/journal.2"), 0, &[0xff; 600]);
    let (mut journal, found_first) = Journal::open(&device).expect("it opens");
    assert!(matches!(found_first, Found::Nothing));
    journal.write(&state(5)).expect("a write");
    assert_eq!(found(&device), Some(5));
}

#[test]
fn the_envelope_of_another_release_still_tells_the_number() {
    let dir = tempfile::tempdir().expect("a directory");
    let device = appliance(dir.path());
    let mut copy = vec![0; COPY_LEN];
    let mut known = state(13);
    known.last = Some(outcome(12));
    encode(&known, 1, &mut copy).expect("it fits");
    copy[16..20].copy_from_slice(&2_u32.to_le_bytes());
    let body_len = serde_json::to_vec(&known).expect("plain data").len();
    let crc = crc(&copy, body_len);
    copy[CRC..BODY].copy_from_slice(&crc.to_le_bytes());
    put(&dir.path().join("data/journal.1"), 0, &copy);
    assert!(matches!(Journal::open(&device).expect("it opens").1, Found::Foreign { id: 12 }));
}

#[test]
fn the_largest_possible_state_fits() {
    let text = || "\"".repeat(MAX_TEXT);
    let mut largest = state(u64::MAX);
    largest.phase = Phase::Reverting;
    let cause = Cause::NotAccepted { code: text(), text: text(), advice: text() };
    largest.held = Some(Held { name: text(), len: u64::MAX, side: Side::Right });
    largest.holds_a = Some(Holding { image: image(), proven: false });
    largest.holds_b = largest.holds_a.clone();
    largest.last = Some(Outcome { cause: Some(cause.clone()), by: text(), ..outcome(u64::MAX) });
    largest.errand = largest.last.clone();
    let judged =
        Judged { digest: Digest::from_bytes([255; 32]), judgement: Judgement::Interrupted };
    largest.judged = vec![judged; State::MAX_JUDGED];
    let row = |id| Row {
        id,
        grade: Grade::Unknown,
        found: text(),
        advice: text(),
        forceable: false,
        forced: false,
    };
    let rows = CheckId::ALL.map(row).to_vec();
    largest.report = Some(Report { rows, release: Some(release()), at: u64::MAX });
    largest.job = Some(Upgrade {
        id: u64::MAX,
        goal: Goal::Upgrade,
        source: Source::Handed { name: text() },
        from: Some(release()),
        image: Some(image()),
        target: Slot::B,
        by: text(),
        decided: BootId(u128::MAX),
        forced: BTreeSet::from(CheckId::ALL),
        auto_cancel: false,
        armed: true,
        trial: Some(Trial { since: Duration::MAX, starts: u32::MAX, well: false }),
        cause: Some(cause),
    });
    let mut copy = vec![0; COPY_LEN];
    // Every byte of every text is one that JSON writes as two; the machine keeps no control characters, which take six.
    encode(&largest, u64::MAX, &mut copy).expect("it fits");
    let Some((_, Found::State(read))) = decode(&copy) else { panic!("it cannot be read") };
    assert_eq!(*read, largest);
}

#[test]
fn any_bytes_are_a_lost_copy_and_never_a_panic() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut copy = vec![0; COPY_LEN];
    encode(&state(3), 1, &mut copy).expect("it fits");
    for _ in 0..2000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = usize::try_from(seed >> 33).expect("31 bits") % 700;
        let mut mangled = copy.clone();
        mangled[at] = mangled[at].wrapping_add(1);
        assert!(decode(&mangled[..mangled.len() - at]).is_none() || at >= BODY);
    }
    assert!(decode(&[]).is_none() && decode(MAGIC).is_none());
}

fn release() -> Release {
    "65535.65535.65535.65535-4294967295".parse().expect("the largest release")
}

fn image() -> Image {
    Image { release: release(), digest: Digest::from_bytes([255; 32]), raw_size: u64::MAX }
}

fn outcome(id: u64) -> Outcome {
    Outcome {
        id,
        goal: Goal::Upgrade,
        ended: Ended::RolledBack,
        cause: None,
        from: Some(release()),
        to: Some(release()),
        target: Slot::B,
        digest: Some(Digest::from_bytes([255; 32])),
        by: String::new(),
        at: u64::MAX,
    }
}
