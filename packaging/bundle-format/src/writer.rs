//! The other half: what a maker needs to write bundles that the reader accepts.
//!
//! The maker packs each chunk ([`Packer`]), collects the index ([`IndexBuilder`]), makes and signs
//! the manifest ([`crate::Manifest::to_bytes`], [`crate::signing_message`]), and hands everything
//! to a [`BundleWriter`], which knows from the manifest which member comes next and how long it
//! is. Keys that sign are not known here.
//!
//! Invariants: equal input gives equal bytes, there is no clock and no random number; a member
//! that is shorter or longer than the manifest says is an error, not a bundle.

use std::io::{self, Read, Write};
use std::vec::IntoIter;

use crate::manifest::{Manifest, Member};
use crate::refusal::Refusal;
use crate::signature::{self, Signature};
use crate::ustar;
use crate::walk::{MANIFEST, SIGNATURES};

pub use crate::codec::{Packed, Packer};

/// How many bytes are copied at a time.
const STEP: usize = 256 * 1024;

/// The index of an image that is being packed, chunk by chunk. It holds 0.2 % of the image's size
/// in memory, most of it hints, since records come before hints in the member.
#[derive(Clone, Debug, Default)]
pub struct IndexBuilder {
    records: Vec<u8>,
    hints: Vec<u8>,
    stored_size: u64,
}

impl IndexBuilder {
    /// An index without chunks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next chunk.
    pub fn push(&mut self, chunk: &Packed) {
        let stored = u32::try_from(chunk.stored.len())
            .expect("OK because zstd makes at most a few bytes more of 1 MiB");
        self.records.extend_from_slice(&stored.to_le_bytes());
        self.records.extend_from_slice(chunk.sha256.as_bytes());
        self.hints.extend_from_slice(chunk.hints.as_flattened());
        self.stored_size += u64::from(stored);
    }

    /// The sum of the stored lengths so far: the size of the payload.
    pub fn stored_size(&self) -> u64 {
        self.stored_size
    }

    /// The member's content.
    pub fn into_bytes(mut self) -> Vec<u8> {
        self.records.append(&mut self.hints);
        self.records
    }
}

/// Writes a bundle, member by member, in the one order there is.
#[derive(Debug)]
pub struct BundleWriter<W> {
    out: W,
    members: IntoIter<Member>,
}

impl<W: Write> BundleWriter<W> {
    /// Writes the manifest, whose bytes must be those that were signed, and the signatures.
    pub fn begin(out: W, manifest: &[u8], signatures: &[Signature]) -> io::Result<Self> {
        let checked = Manifest::parse(manifest).map_err(invalid)?;
        let lines = signature::print(signatures);
        signature::parse(&lines).map_err(invalid)?;
        let mut writer = Self { out, members: checked.members().into_iter() };
        for (name, content) in [(MANIFEST, manifest), (SIGNATURES, &lines)] {
            let member = Member { name: name.to_owned(), size: content.len() as u64 };
            writer.write(&member, &mut &*content)?;
        }
        Ok(writer)
    }

    /// The member that [`BundleWriter::member`] writes next.
    pub fn expects(&self) -> Option<&Member> {
        self.members.as_slice().first()
    }

    /// Writes the next member; its content must end exactly where the manifest says.
    pub fn member(&mut self, content: &mut dyn Read) -> io::Result<()> {
        let Some(member) = self.members.next() else {
            return Err(io::Error::other("there is no further member"));
        };
        self.write(&member, content)
    }

    /// Writes the end and gives the output back. It is neither flushed nor synced.
    pub fn finish(mut self) -> io::Result<W> {
        if let Some(member) = self.expects() {
            return Err(io::Error::other(format!("{} was not written", member.name)));
        }
        self.out.write_all(&[0; 2 * ustar::BLOCK])?;
        Ok(self.out)
    }

    fn write(&mut self, member: &Member, content: &mut dyn Read) -> io::Result<()> {
        let Member { name, size } = member;
        let wrong = |found: u64| {
            io::Error::other(format!("{name} has {found} bytes or more, announced were {size}"))
        };
        let header = ustar::header(name, *size).ok_or_else(|| wrong(*size))?;
        self.out.write_all(&header)?;
        let mut step = vec![0; STEP.min(usize::try_from(*size).unwrap_or(STEP)).max(1)];
        let mut left = *size;
        while left > 0 {
            let room = usize::try_from(left).map_or(STEP, |left| left.min(step.len()));
            match content.read(&mut step[..room]) {
                Ok(0) => return Err(wrong(size - left)),
                Ok(read) => {
                    self.out.write_all(&step[..read])?;
                    left -= read as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        if content.take(1).read(&mut step)? != 0 {
            return Err(wrong(size + 1));
        }
        let padding = usize::try_from(ustar::padding(*size)).expect("OK because it is below 512");
        self.out.write_all(&[0; ustar::BLOCK][..padding])
    }
}

fn invalid(refusal: Refusal) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, refusal)
}
