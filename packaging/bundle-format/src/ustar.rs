//! The few bytes of ustar that a bundle uses.
//!
//! A header is a function of name and size alone: a regular file, mode 0644, no owner, no time. The
//! reader compares whole headers, so there is nothing to parse but a size, and nothing another
//! tar reader could understand differently: PAX and GNU records, base-256 sizes, `12\0garbage`
//! and `+012` all fail that comparison.

use crate::manifest::MAX_STORED;

/// Archives are made of blocks of this size.
pub(crate) const BLOCK: usize = 512;

/// [`BLOCK`] where sizes of files are computed.
const BLOCK_U64: u64 = 512;

/// The bytes that end an archive: two zero blocks.
pub(crate) const END: u64 = 2 * BLOCK_U64;

/// Where the size stands in a header: eleven octal digits and a zero byte.
const SIZE: std::ops::Range<usize> = 124..136;

/// Where the checksum stands in a header.
const CHECKSUM: std::ops::Range<usize> = 148..156;

/// The one header for this name and size, or `None` when ustar cannot say it.
pub(crate) fn header(name: &str, size: u64) -> Option<[u8; BLOCK]> {
    let fits = !name.is_empty() && name.len() < 100 && name.is_ascii() && size <= MAX_STORED;
    if !fits {
        return None;
    }
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(SIZE.start, format!("{size:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    put(CHECKSUM.start, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    put(329, b"0000000\0");
    put(337, b"0000000\0");
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Some(block)
}

/// The size a header states, if it is written the one accepted way. Believe it only after the
/// whole header was compared.
pub(crate) fn stated_size(block: &[u8; BLOCK]) -> Option<u64> {
    let (digits, zero) = block[SIZE].split_at(11);
    if zero != [0] || !digits.iter().all(|b| (b'0'..=b'7').contains(b)) {
        return None;
    }
    Some(digits.iter().fold(0, |size, digit| size * 8 + u64::from(digit - b'0')))
}

/// The name a header states, for messages only.
pub(crate) fn stated_name(block: &[u8; BLOCK]) -> String {
    let name = block[..100].split(|b| *b == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

/// The zero bytes after a member of this size.
pub(crate) const fn padding(size: u64) -> u64 {
    (BLOCK_U64 - size % BLOCK_U64) % BLOCK_U64
}

/// Header, content and padding of a member of this size, which is at most [`MAX_STORED`].
pub(crate) const fn occupied(size: u64) -> u64 {
    BLOCK_U64 + size + padding(size)
}
