//! The chunk writer: a verified image goes into the slot that does not run.
//!
//! The order, which [`stage`] shows from top to bottom:
//! 1. everything that can refuse: lengths, the boot state, the index;
//! 2. each chunk is compared with what is there; only at the first one that differs is the slot opened up: made
//!    durably unbootable, its first chunk zeroed and flushed. If every chunk is there already, nothing is written;
//! 3. chunks that differ are unpacked, checked by their SHA-256 and written, zero chunks too, the first one not yet;
//! 4. flush, then the whole slot is read back and must have the signed digest (the first chunk from memory);
//! 5. the first chunk last: written, flushed, read back.
//!
//! A cut at any point leaves either the old image untouched, or a slot that the boot state says is unbootable and whose
//! first chunk is zeros. Doing it again finds what is already there. Memory is a few chunks, whatever the image's size.
//!
//! Why comparing and writing go together and not one after the other: it is one pass over the disk instead of two, and
//! a bundle that fits what is there is not even unpacked.

mod crew;

use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use bootloader_hooks::{Reach, Slot};
use bundle_format::{Digest, Index, Opened, Refusal};
use sha2::{Digest as _, Sha256};

use self::crew::{Tools, stream, unpack};
use super::boot_state::{self, BootStateError};
use super::{Buffer, Fault, Storage};
use crate::device::{Device, Place, Stop};
use crate::progress::Progress;

/// How a slot is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Threads that compare, unpack and write; 0 does it inline, in the order of the chunks.
    pub workers: usize,
    /// Bytes of the image a second; none: as fast as the disk.
    pub max_rate: Option<u64>,
}

impl Settings {
    /// More threads than this gain nothing on one disk, and each costs a chunk or three of memory.
    pub const MAX_WORKERS: usize = 4;
}

/// Reading back goes in pieces of this many bytes: large enough for a disk's full speed.
const PIECE: usize = 1024 * 1024;

/// Proof that every byte of a slot was read back equal to a signed digest, in this process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Written {
    slot: Slot,
    digest: Digest,
}

impl Written {
    /// The proof is about this slot and this image.
    pub fn is_of(&self, slot: Slot, digest: &Digest) -> bool {
        self.slot == slot && self.digest == *digest
    }
}

/// A slot could not be written or does not hold what it should.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The bundle is not accepted.
    #[error(transparent)]
    Bundle(#[from] Refusal),
    /// A disk does not answer.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The boot state could not be read or changed.
    #[error(transparent)]
    BootState(#[from] BootStateError),
    /// The target is the slot to fall back to.
    #[error("slot {0} is the confirmed one, it is never written")]
    Confirmed(Slot),
    /// The image is longer than the slot.
    #[error("the image has {raw} bytes, slot {slot} only {len}")]
    TooSmall {
        /// The slot.
        slot: Slot,
        /// Its length.
        len: u64,
        /// The image's length.
        raw: u64,
    },
    /// What was read back is not what was written.
    #[error(
        "slot {slot} reads back differently from byte {at} on; the disk does not keep what is written to it"
    )]
    Differs {
        /// The slot.
        slot: Slot,
        /// Where the first chunk that differs begins.
        at: u64,
    },
    /// The slot does not hold the image it should.
    #[error("slot {slot} does not hold the image {digest}")]
    Other {
        /// The slot.
        slot: Slot,
        /// The digest it should have.
        digest: Digest,
    },
    /// Somebody asked the task to stop.
    #[error("stopped")]
    Stopped,
}

impl StageError {
    /// A stable code in words.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Bundle(refusal) => refusal.code(),
            Self::Fault(fault) => fault.code(),
            Self::BootState(error) => error.code(),
            Self::Confirmed(_) => "slot-confirmed",
            Self::TooSmall { .. } => "slot-too-small",
            Self::Differs { .. } => "read-back-differs",
            Self::Other { .. } => "slot-digest-differs",
            Self::Stopped => "stopped",
        }
    }
}

/// What a staging needs beside the bundle.
pub struct Bench<'a> {
    /// The world.
    pub device: &'a dyn Device,
    /// How to write.
    pub settings: Settings,
    /// Where to count.
    pub progress: &'a Progress,
    /// When to stop.
    pub stop: &'a Stop,
}

impl std::fmt::Debug for Bench<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bench").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Writes the bundle's image into `slot` and reads it back. The order of everything dangerous stands here.
pub fn stage<R: Read>(
    bench: &Bench<'_>,
    slot: Slot,
    opened: Opened<R>,
) -> Result<Written, StageError> {
    let digest = opened.manifest().image().raw_sha256;
    let mut image = opened.image()?;
    let index = Arc::clone(image.index());
    let name = format!("slot {slot}");

    // 1. Everything that can refuse.
    let target =
        bench.device.open(Place::Target(slot)).map_err(|e| Fault::new("open", &name, e))?;
    let len = target.len().map_err(|e| Fault::new("measure", &name, e))?;
    if index.raw_size() > len {
        return Err(StageError::TooSmall { slot, len, raw: index.raw_size() });
    }
    may_be_written(bench.device, slot)?;
    bench.progress.of(index.raw_size().saturating_mul(2));

    // 2 and 3. Compare, open up at the first difference, write what differs.
    let mut first = Buffer::zeroed(chunk_len(&index, 0));
    let writer = Writer {
        bench,
        slot,
        name: &name,
        target: &*target,
        index: &index,
        opened: Mutex::new(false),
    };
    stream(&writer, &mut image, &mut first)?;
    image.finish()?;
    let mut there = Buffer::zeroed(first.len());
    target.read_at(0, &mut there).map_err(|e| Fault::new("read", &name, e))?;
    if there[..] != first[..] {
        writer.open_up()?;
    }
    let wrote = *writer.opened.lock().unwrap_or_else(PoisonError::into_inner);

    // 4. Flush, also what an earlier process may have left in the cache, and read everything back.
    target.sync().map_err(|e| Fault::new("sync", &name, e))?;
    let not_there_yet = wrote.then_some(&first);
    if hash(bench, &name, &*target, index.raw_size(), not_there_yet)? != digest {
        return Err(where_it_differs(&writer)?);
    }

    // 5. The first chunk last.
    if wrote {
        target.write_at(0, &first).map_err(|e| Fault::new("write", &name, e))?;
        target.sync().map_err(|e| Fault::new("sync", &name, e))?;
        bench.progress.wrote(first.len() as u64);
        target.read_at(0, &mut there).map_err(|e| Fault::new("read back", &name, e))?;
        if there[..] != first[..] {
            return Err(StageError::Differs { slot, at: 0 });
        }
    }
    Ok(Written { slot, digest })
}

/// Reads a slot and compares it with the digest it should have; writes nothing.
pub fn rehash(
    bench: &Bench<'_>,
    slot: Slot,
    digest: Digest,
    raw_size: u64,
) -> Result<Written, StageError> {
    let name = format!("slot {slot}");
    let target =
        bench.device.open(Place::Target(slot)).map_err(|e| Fault::new("open", &name, e))?;
    let len = target.len().map_err(|e| Fault::new("measure", &name, e))?;
    if raw_size > len {
        return Err(StageError::TooSmall { slot, len, raw: raw_size });
    }
    bench.progress.of(raw_size);
    target.sync().map_err(|e| Fault::new("sync", &name, e))?;
    if hash(bench, &name, &*target, raw_size, None)? == digest {
        Ok(Written { slot, digest })
    } else {
        Err(StageError::Other { slot, digest })
    }
}

/// The other slot is never written while the running one is unconfirmed, and the confirmed one never.
fn may_be_written(device: &dyn Device, slot: Slot) -> Result<(), StageError> {
    let storage =
        device.open(Place::BootState).map_err(|e| Fault::new("open", "the boot state", e))?;
    let state = boot_state::read(&*storage)?.state().ok_or(BootStateError::Unreadable)?;
    let running =
        device.this_boot().map_err(|e| Fault::new("ask for", "the running slot", e))?.running;
    if state.confirmed == slot || running == slot {
        return Err(StageError::Confirmed(slot));
    }
    Ok(())
}

/// What all workers share.
struct Writer<'a> {
    bench: &'a Bench<'a>,
    slot: Slot,
    name: &'a str,
    target: &'a dyn Storage,
    index: &'a Index,
    /// The slot was made unbootable and may be written.
    opened: Mutex<bool>,
}

impl Writer<'_> {
    /// Once, before the first write: the slot is durably unbootable, then its first chunk is zeroed and flushed.
    fn open_up(&self) -> Result<(), StageError> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if *opened {
            return Ok(());
        }
        let storage = self
            .bench
            .device
            .open(Place::BootState)
            .map_err(|e| Fault::new("open", "the boot state", e))?;
        let copies = boot_state::read(&*storage)?;
        let next = copies.state().ok_or(BootStateError::Unreadable)?.give_up();
        if !boot_state::both_say(&copies, next) {
            boot_state::change(&*storage, &copies, next, Reach::BothCopies)?;
        }
        let zeros = Buffer::zeroed(chunk_len(self.index, 0));
        self.target.write_at(0, &zeros).map_err(|e| Fault::new("write", self.name, e))?;
        self.target.sync().map_err(|e| Fault::new("sync", self.name, e))?;
        *opened = true;
        Ok(())
    }

    /// One chunk but the first: compared, and written when it differs.
    fn chunk(&self, n: u32, stored: &[u8], tools: &mut Tools) -> Result<(), StageError> {
        if self.bench.stop.is_stopped() {
            return Err(StageError::Stopped);
        }
        let len = chunk_len(self.index, n);
        let at = self.index.range(n).start;
        let raw = &mut tools.raw[..len];
        self.target.read_at(at, raw).map_err(|e| Fault::new("read", self.name, e))?;
        if Digest::of(raw) != self.index.sha256(n) {
            unpack(self.index, n, stored, &mut tools.unpacker, raw)?;
            self.open_up()?;
            self.target.write_at(at, raw).map_err(|e| Fault::new("write", self.name, e))?;
            self.bench.progress.wrote(len as u64);
        }
        self.bench.progress.add(len as u64);
        Ok(())
    }
}

/// SHA-256 of the first `len` bytes of a slot, the first chunk taken from memory when it is not on the disk yet.
fn hash(
    bench: &Bench<'_>,
    name: &str,
    slot: &dyn Storage,
    len: u64,
    first: Option<&Buffer>,
) -> Result<Digest, StageError> {
    let mut sha = Sha256::new();
    let mut at = 0;
    if let Some(first) = first {
        sha.update(&first[..]);
        at = first.len() as u64;
        bench.progress.add(at);
    }
    let mut piece = Buffer::zeroed(PIECE);
    while at < len {
        if bench.stop.is_stopped() {
            return Err(StageError::Stopped);
        }
        let want = usize::try_from(len - at).unwrap_or(PIECE).min(PIECE);
        slot.read_at(at, &mut piece[..want]).map_err(|e| Fault::new("read back", name, e))?;
        sha.update(&piece[..want]);
        at += want as u64;
        bench.progress.add(want as u64);
    }
    Ok(Digest::from_bytes(sha.finalize().into()))
}

/// The whole slot has the wrong digest: which chunk is it? If all of them are right, the bundle contradicts itself.
fn where_it_differs(writer: &Writer<'_>) -> Result<StageError, StageError> {
    let mut raw = Buffer::zeroed(chunk_len(writer.index, 0));
    for n in 1..writer.index.len() {
        let range = writer.index.range(n);
        let piece = &mut raw[..chunk_len(writer.index, n)];
        writer
            .target
            .read_at(range.start, piece)
            .map_err(|e| Fault::new("read back", writer.name, e))?;
        if Digest::of(piece) != writer.index.sha256(n) {
            return Ok(StageError::Differs { slot: writer.slot, at: range.start });
        }
    }
    Ok(StageError::Bundle(Refusal::new(
        bundle_format::Code::ImageDigest,
        "every chunk is as its index says, but the whole image does not have the signed digest",
    )))
}

fn chunk_len(index: &Index, n: u32) -> usize {
    let range = index.range(n);
    usize::try_from(range.end - range.start).expect("OK because a chunk has at most a mebibyte")
}
