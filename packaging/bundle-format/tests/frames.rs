//! What a chunk may not be: everything but one plain zstd frame of the right size.
//!
//! The chunks here have the right SHA-256 and are signed, so only the frame's own guards refuse.

mod bundles;

use bundle_format::Digest;
use bundle_format::writer::Packed;
use bundles::{CHUNK, parts_of, read};

fn raw() -> Vec<u8> {
    b"configuration ".iter().copied().cycle().take(CHUNK).collect()
}

/// Reads a bundle of one chunk that is stored like this; gives the refusal's code and sentence.
fn outcome(stored: &[u8]) -> Result<(), (String, String)> {
    outcome_of(stored, &raw())
}

fn outcome_of(stored: &[u8], raw: &[u8]) -> Result<(), (String, String)> {
    let parts = parts_of(raw, |packer, chunk| Packed {
        stored: stored.to_vec(),
        sha256: Digest::of(chunk),
        hints: packer.pack(chunk).expect("memory").hints,
    });
    read(&parts.bundle()).map(|_| ()).map_err(|e| (e.code().to_owned(), e.to_string()))
}

fn frame() -> Vec<u8> {
    zstd::bulk::compress(&raw(), 3).expect("memory")
}

#[track_caller]
fn check(stored: &[u8], because: &str) {
    let (code, sentence) = outcome(stored).expect_err("refused");
    assert_eq!(code, "chunk-frame", "{sentence}");
    assert!(sentence.contains(because), "{sentence}");
}

/// A frame with a header of our choice and the chunk in raw blocks.
fn handmade(header: &[u8]) -> Vec<u8> {
    let mut stored = [&[0x28, 0xb5, 0x2f, 0xfd][..], header].concat();
    // One raw block: 21 bits of size, no compression, last block.
    stored.extend_from_slice(&(u32::try_from(CHUNK).expect("small") << 3 | 1).to_le_bytes()[..3]);
    stored.extend_from_slice(&raw());
    stored
}

const SIZE: [u8; 4] = [0, 0, 1, 0];

#[test]
fn one_frame_is_accepted_however_it_was_compressed() {
    for level in [1, 9, 19] {
        outcome(&zstd::bulk::compress(&raw(), level).expect("memory")).expect("a plain frame");
    }
    outcome(&handmade(&[&[0xa0][..], &SIZE].concat())).expect("single segment");
    outcome(&handmade(&[&[0x80, 0x38][..], &SIZE].concat())).expect("a window of 128 KiB");
}

#[test]
fn a_window_above_the_limit_is_refused_before_memory_is_asked_for() {
    for window in [0x51, 0x58, 0xa0, 0xff] {
        check(&handmade(&[&[0x80, window][..], &SIZE].concat()), "window");
    }
    outcome(&handmade(&[&[0x80, 0x50][..], &SIZE].concat())).expect("exactly 1 MiB");
}

#[test]
fn a_frame_that_asks_for_a_dictionary_is_refused() {
    check(&handmade(&[&[0xa1, 7][..], &SIZE].concat()), "dictionary");
    check(&handmade(&[&[0xa3, 7, 0, 0, 0][..], &SIZE].concat()), "dictionary");
}

#[test]
fn reserved_bits_are_refused() {
    check(&handmade(&[&[0xa8][..], &SIZE].concat()), "reserved");
    check(&handmade(&[&[0xb0][..], &SIZE].concat()), "reserved");
}

#[test]
fn skippable_frames_are_refused_before_and_after() {
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
    check(&[&skippable[..], &frame()].concat(), "does not begin");
    check(&[&frame()[..], &skippable].concat(), "follow");
}

#[test]
fn concatenated_frames_and_trailing_bytes_are_refused() {
    let empty = zstd::bulk::compress(b"", 3).expect("memory");
    check(&[&frame()[..], &empty].concat(), "follow");
    check(&[&frame()[..], b"x"].concat(), "follow");
    let halves: Vec<Vec<u8>> = raw()
        .chunks(CHUNK / 2)
        .map(|half| zstd::bulk::compress(half, 3).expect("memory"))
        .collect();
    check(&halves.concat(), "states 32768 bytes");
}

#[test]
fn a_content_size_that_lies_or_is_missing_is_refused() {
    check(&handmade(&[0xa0, 1, 0, 1, 0]), "states 65537 bytes");
    check(&handmade(&[0xa0, 255, 255, 255, 255]), "states 4294967295 bytes");
    check(&handmade(&[0xe0, 255, 255, 255, 255, 255, 255, 255, 255]), "states");
    check(&handmade(&[0x00, 0x38]), "does not state");
    // The header says the right size, the blocks give less.
    let mut short = [&[0x28, 0xb5, 0x2f, 0xfd, 0xa0][..], &SIZE].concat();
    short.extend_from_slice(&[4 << 3 | 1, 0, 0, b'a', b'b', b'c', b'd']);
    assert_eq!(outcome(&short).expect_err("refused").0, "chunk-frame");
    // Or more: a block of one repeated byte, 128 KiB of it.
    let mut long = [&[0x28, 0xb5, 0x2f, 0xfd, 0xa0][..], &SIZE].concat();
    long.extend_from_slice(&[0x03, 0x00, 0x10, b'a']);
    assert_eq!(outcome(&long).expect_err("refused").0, "chunk-frame");
}

#[test]
fn a_cut_frame_is_refused_at_every_length() {
    let whole = frame();
    for length in 1..whole.len() {
        assert_eq!(outcome(&whole[..length]).expect_err("refused").0, "chunk-frame", "{length}");
    }
}

#[test]
fn a_good_frame_of_other_bytes_is_refused_by_its_digest() {
    let mut other = raw();
    other[CHUNK / 2] ^= 1;
    let stored = zstd::bulk::compress(&other, 3).expect("memory");
    assert_eq!(outcome(&stored).expect_err("refused").0, "chunk-digest");
}

#[test]
fn zeros_may_also_be_stored_as_a_frame() {
    let zeros = vec![0; CHUNK];
    outcome_of(&zstd::bulk::compress(&zeros, 3).expect("memory"), &zeros).expect("harmless");
    outcome_of(&[], &zeros).expect("as the maker does it");
}
