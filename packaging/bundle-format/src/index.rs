//! The chunk index: where each chunk's bytes are and what they must hash to.
//!
//! The member `<name>.index` has no header; its size follows from the image's sizes ([`size`]):
//!
//! | bytes | what |
//! | --- | --- |
//! | 36 for each chunk, in order | stored length, `u32` little-endian; SHA-256 of the raw bytes |
//! | 8 for each 4 KiB block of the image, in order | hint: the first 8 bytes of the block's SHA-256 |
//!
//! A chunk of zeros has stored length 0, and the SHA-256 of that many zeros. Blocks of zero chunks
//! carry hints too, so that the hint of block `n` stands at `36 * chunks + 8 * n`. A hint says only
//! where on a device the block may already lie; a wrong one costs time, never correctness. SHA-256
//! was chosen over a faster hash because every device has it already and an accidental match of
//! 64 bits of it does not happen.
//!
//! Invariants of an [`Index`]: its bytes had the signed digest; stored lengths add up to the
//! signed size; none is longer than its chunk could need; chunks lie end to end. Only the 36 bytes
//! a chunk are kept; hints are hashed and passed over, nothing here uses them yet.

use std::ops::Range;

use sha2::{Digest as _, Sha256};

use crate::digest::Digest;
use crate::manifest::Component;
use crate::refusal::{Code, Refusal};

/// The bytes of a chunk's record.
pub(crate) const RECORD: u64 = 36;

/// The bytes of a block's hint.
pub(crate) const HINT: u64 = 8;

/// The block that hints are made for: what file systems and slots are aligned to.
pub(crate) const BLOCK: u64 = 4096;

/// How many bytes of hints are hashed at a time.
const STEP: usize = 64 * 1024;

/// The size of the index of an image: 36 bytes a chunk and 8 a block. Inputs are checked sizes of
/// a manifest, or too large ones that are refused right after, hence the saturation.
pub(crate) fn size(raw_size: u64, chunk_size: u32) -> u64 {
    let chunks = raw_size.div_ceil(u64::from(chunk_size.max(1)));
    chunks.saturating_mul(RECORD).saturating_add((raw_size / BLOCK).saturating_mul(HINT))
}

/// The longest a stored chunk may be: what zstd's own bound gives, rounded up a little.
pub(crate) const fn longest_stored(raw: u64) -> u64 {
    raw + raw / 256 + 128
}

#[derive(Clone, Copy, Debug)]
struct Record {
    stored: u32,
    sha256: Digest,
}

/// The chunks of one image.
#[derive(Clone, Debug)]
pub struct Index {
    chunk_size: u32,
    raw_size: u64,
    records: Vec<Record>,
}

impl Index {
    /// Reads the member's content, exactly `component.index_size` bytes of it, from a source that
    /// reports its own errors.
    pub(crate) fn read(
        component: &Component,
        mut read: impl FnMut(&mut [u8]) -> Result<(), Refusal>,
    ) -> Result<Self, Refusal> {
        let count = usize::try_from(component.chunks())
            .expect("OK because a checked manifest has at most 262144 chunks");
        let mut index = Self {
            chunk_size: component.chunk_size,
            raw_size: component.raw_size,
            records: Vec::with_capacity(count),
        };
        let mut hash = Sha256::new();
        for _ in 0..count {
            let mut record = [0; 36];
            read(&mut record)?;
            hash.update(record);
            index.records.push(Record::from_bytes(record));
        }
        let mut left = component.raw_size / BLOCK * HINT;
        let mut step = vec![0; STEP];
        while left > 0 {
            let now = usize::try_from(left).map_or(STEP, |left| left.min(STEP));
            read(&mut step[..now])?;
            hash.update(&step[..now]);
            left -= now as u64;
        }
        let found = Digest::from_bytes(hash.finalize().into());
        if found != component.index_sha256 {
            let signed = component.index_sha256;
            let why = format!("the index of `{}` is {found}, signed is {signed}", component.name);
            return Err(Refusal::new(Code::IndexDigest, why));
        }
        index.check(component)?;
        Ok(index)
    }

    fn check(&self, component: &Component) -> Result<(), Refusal> {
        let refuse = |why: String| Err(Refusal::new(Code::IndexInconsistent, why));
        let mut sum = 0_u64;
        let mut zeros = Zeros::default();
        for (n, record) in (0..self.len()).zip(&self.records) {
            let range = self.range(n);
            let raw = range.end - range.start;
            if u64::from(record.stored) > longest_stored(raw) {
                return refuse(format!("chunk {n} is stored in {} bytes for {raw}", record.stored));
            }
            if record.stored == 0 && record.sha256 != zeros.digest(raw) {
                return refuse(format!("chunk {n} has no bytes but is not all zeros"));
            }
            sum += u64::from(record.stored);
        }
        if sum != component.stored_size {
            let stored = component.stored_size;
            return refuse(format!("the chunks take {sum} bytes, the payload has {stored}"));
        }
        Ok(())
    }

    /// The raw size of every chunk but the last.
    pub fn chunk_size(&self) -> u32 {
        self.chunk_size
    }

    /// The size of the whole image.
    pub fn raw_size(&self) -> u64 {
        self.raw_size
    }

    /// How many chunks there are; never 0.
    #[expect(clippy::len_without_is_empty, reason = "an index is never empty")]
    pub fn len(&self) -> u32 {
        u32::try_from(self.records.len()).expect("OK because MAX_CHUNKS is a u32")
    }

    /// Where chunk `n` lies in the image. Panics when there is no such chunk, like indexing.
    pub fn range(&self, n: u32) -> Range<u64> {
        assert!(n < self.len(), "chunk {n} of {}", self.len());
        let start = u64::from(n) * u64::from(self.chunk_size);
        start..self.raw_size.min(start + u64::from(self.chunk_size))
    }

    /// What the raw bytes of chunk `n` hash to.
    pub fn sha256(&self, n: u32) -> Digest {
        self.record(n).sha256
    }

    /// Whether chunk `n` is all zeros, so that nothing is stored for it.
    pub fn is_zero(&self, n: u32) -> bool {
        self.record(n).stored == 0
    }

    /// How many bytes of the payload chunk `n` takes.
    pub fn stored_len(&self, n: u32) -> u32 {
        self.record(n).stored
    }

    fn record(&self, n: u32) -> Record {
        self.records[n as usize]
    }
}

impl Record {
    fn from_bytes(bytes: [u8; 36]) -> Self {
        let [a, b, c, d, sha256 @ ..] = bytes;
        Self { stored: u32::from_le_bytes([a, b, c, d]), sha256: Digest::from_bytes(sha256) }
    }
}

/// Digests of zeros: of a full chunk and of the short last one, each computed once.
#[derive(Default)]
struct Zeros(Vec<(u64, Digest)>);

impl Zeros {
    fn digest(&mut self, length: u64) -> Digest {
        if let Some((_, digest)) = self.0.iter().find(|(known, _)| *known == length) {
            return *digest;
        }
        let mut hash = Sha256::new();
        for _ in 0..length / BLOCK {
            hash.update([0; 4096]);
        }
        let digest = Digest::from_bytes(hash.finalize().into());
        self.0.push((length, digest));
        digest
    }
}
