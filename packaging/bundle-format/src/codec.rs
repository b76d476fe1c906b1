//! One chunk, packed and unpacked.
//!
//! A stored chunk is exactly one zstd frame: its header states the content size, and that must be
//! the chunk's; no dictionary; a window no larger than the largest chunk; no skippable frame, no
//! second frame, no byte after it. The header is read here before zstd sees the bytes, so that
//! zstd is never asked to allocate what a bundle names. Then the raw bytes must have the SHA-256
//! of the index; until that was compared they are nobody's.
//!
//! Both halves stand in one file so that what is written is what is read.

use std::fmt;
use std::io;

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe;

use crate::digest::Digest;
use crate::index::Index;
use crate::manifest::MAX_CHUNK_SIZE;
use crate::refusal::{Code, Refusal};

/// The block that hints are made for, see `index`.
const BLOCK: usize = 4096;

/// The bytes a zstd frame begins with.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The largest window: a frame never needs to look back further than the largest chunk.
const MAX_WINDOW: u64 = MAX_CHUNK_SIZE as u64;

/// Unpacks chunks; it keeps zstd's working memory, so make one for each thread.
pub struct Unpacker {
    zstd: Decompressor<'static>,
}

impl fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unpacker").finish_non_exhaustive()
    }
}

impl Unpacker {
    /// A new one; fails only when there is no memory.
    pub fn new() -> Result<Self, Refusal> {
        let memory = |e| Refusal::because(Code::Unreadable, "no memory for zstd", e);
        Ok(Self { zstd: Decompressor::new().map_err(memory)? })
    }

    /// Unpacks the stored bytes of chunk `n` into `raw`, whose length must be the chunk's. On an
    /// error `raw` holds rubbish that must not be used.
    pub fn unpack(
        &mut self,
        index: &Index,
        n: u32,
        stored: &[u8],
        raw: &mut [u8],
    ) -> Result<(), Refusal> {
        let frame = |why: &str| Refusal::new(Code::ChunkFrame, format!("chunk {n}: {why}"));
        let range = index.range(n);
        if raw.len() as u64 != range.end - range.start {
            return Err(frame(&format!("{} bytes of room for {range:?}", raw.len())));
        }
        if stored.len() as u64 != u64::from(index.stored_len(n)) {
            return Err(frame(&format!(
                "{} stored bytes, not {}",
                stored.len(),
                index.stored_len(n)
            )));
        }
        if stored.is_empty() {
            raw.fill(0);
        } else {
            check_frame(stored, raw.len() as u64).map_err(|why| frame(&why))?;
            match self.zstd.decompress_to_buffer(stored, raw) {
                Ok(length) if length == raw.len() => {}
                Ok(length) => return Err(frame(&format!("{length} bytes, not {}", raw.len()))),
                Err(e) => return Err(frame(&format!("damaged ({e})"))),
            }
        }
        let found = Digest::of(raw);
        if found != index.sha256(n) {
            let why = format!("chunk {n} is {found}, the index has {}", index.sha256(n));
            return Err(Refusal::new(Code::ChunkDigest, why));
        }
        Ok(())
    }
}

/// Checks everything about a frame that can be told without decompressing it.
fn check_frame(stored: &[u8], raw_len: u64) -> Result<(), String> {
    let Some((descriptor, rest)) =
        stored.strip_prefix(&MAGIC).and_then(|after| after.split_first())
    else {
        return Err("does not begin like a zstd frame".to_owned());
    };
    let single_segment = descriptor & 0x20 != 0;
    if descriptor & 0x18 != 0 {
        return Err("a reserved bit of the frame header is set".to_owned());
    }
    if descriptor & 0x03 != 0 {
        return Err("the frame asks for a dictionary".to_owned());
    }
    let (window, rest) = match rest.split_first() {
        _ if single_segment => (None, rest),
        Some((byte, rest)) => (Some(window(*byte)), rest),
        None => return Err("the frame header is cut".to_owned()),
    };
    let content = content_size(descriptor >> 6, single_segment, rest)
        .ok_or_else(|| "the frame does not state its content size".to_owned())?;
    if content != raw_len {
        return Err(format!("the frame states {content} bytes, the chunk has {raw_len}"));
    }
    if let Some(window) = window.filter(|window| *window > MAX_WINDOW) {
        return Err(format!("the frame wants a window of {window} bytes, at most {MAX_WINDOW}"));
    }
    match zstd_safe::find_frame_compressed_size(stored) {
        Ok(length) if length == stored.len() => Ok(()),
        Ok(length) => Err(format!("{} bytes follow the frame", stored.len() - length)),
        Err(code) => Err(format!("damaged ({})", zstd_safe::get_error_name(code))),
    }
}

/// The window size a window descriptor states (RFC 8878, 3.1.1.1.2).
fn window(byte: u8) -> u64 {
    let base = 1_u64 << (10 + u32::from(byte >> 3));
    base + base / 8 * u64::from(byte & 7)
}

/// The content size a frame header states (RFC 8878, 3.1.1.1.4).
fn content_size(flag: u8, single_segment: bool, rest: &[u8]) -> Option<u64> {
    match flag {
        0 if single_segment => rest.first().map(|b| u64::from(*b)),
        0 => None,
        1 => rest.first_chunk().map(|b| u64::from(u16::from_le_bytes(*b)) + 256),
        2 => rest.first_chunk().map(|b| u64::from(u32::from_le_bytes(*b))),
        _ => rest.first_chunk().map(|b| u64::from_le_bytes(*b)),
    }
}

/// Packs chunks; it keeps zstd's working memory, so make one for each thread.
pub struct Packer {
    zstd: Compressor<'static>,
}

impl fmt::Debug for Packer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packer").finish_non_exhaustive()
    }
}

/// A packed chunk: what the index says about it, and its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packed {
    /// The zstd frame; empty for zeros.
    pub stored: Vec<u8>,
    /// The SHA-256 of the raw bytes.
    pub sha256: Digest,
    /// The hints of its blocks, in order.
    pub hints: Vec<[u8; 8]>,
}

impl Packer {
    /// A packer of this zstd level.
    pub fn new(level: i32) -> io::Result<Self> {
        let mut zstd = Compressor::new(level)?;
        zstd.include_checksum(false)?;
        zstd.include_contentsize(true)?;
        zstd.include_dictid(false)?;
        Ok(Self { zstd })
    }

    /// Packs one chunk: a whole number of 4 KiB blocks, at most [`MAX_CHUNK_SIZE`] bytes.
    pub fn pack(&mut self, raw: &[u8]) -> io::Result<Packed> {
        let zero = raw.iter().all(|byte| *byte == 0);
        let stored = if zero { Vec::new() } else { self.zstd.compress(raw)? };
        let hint = |block: &[u8]| {
            *Digest::of(block).as_bytes().first_chunk().expect("OK because 8 is less than 32")
        };
        let hints = raw.chunks(BLOCK).map(hint).collect();
        Ok(Packed { stored, sha256: Digest::of(raw), hints })
    }
}
