//! The strict, streaming reader.
//!
//! [`Opened::open`] reads the manifest and its signatures and stops there; [`Opened::image`] goes
//! on to the chunks; [`Image::finish`] sees that nothing follows. How members are told apart is the
//! walk's business; here is in which order they may be believed.
//!
//! Invariants: forward only, one pass; memory is the manifest, the signatures, the index's records
//! and one stored chunk; nothing becomes a path; nothing after `manifest.sig` is read before the
//! signatures verified and the manifest agreed with the file's name.

use std::io::Read;
use std::sync::Arc;

use crate::digest::Digest;
use crate::index::Index;
use crate::manifest::{Manifest, Member};
use crate::name::BundleName;
use crate::refusal::{Code, Refusal};
use crate::signature;
use crate::trust::{KeyId, Trust};
use crate::ustar;
use crate::walk::{MANIFEST, SIGNATURES, Source};

/// How many bytes are hashed or passed over at a time.
const STEP: usize = 64 * 1024;

/// A bundle whose manifest was verified and read; the input stands right after `manifest.sig`.
#[derive(Debug)]
pub struct Opened<R> {
    source: Source<R>,
    manifest: Manifest,
    signers: Vec<KeyId>,
}

impl<R: Read> Opened<R> {
    /// Reads and verifies the manifest of a bundle with this file name.
    pub fn open(name: &BundleName, input: R, trust: &Trust) -> Result<Self, Refusal> {
        let mut source = Source::new(input);
        let (bytes, signatures) = source.signed()?;
        let signers = trust.verify(&bytes, &signatures)?;
        let manifest = Manifest::parse(&bytes)?;
        let expected = manifest.bundle_name();
        if *name != expected {
            let why = format!("the file is called {name}, its manifest says {expected}");
            return Err(Refusal::new(Code::NameMismatch, why));
        }
        source.expect_end(file_len(source.at(), &manifest));
        Ok(Self { source, manifest, signers })
    }

    /// The verified manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The distinct trusted keys that signed it.
    pub fn signers(&self) -> &[KeyId] {
        &self.signers
    }

    /// The exact length the whole file must have.
    pub fn file_len(&self) -> u64 {
        file_len(self.source.at(), &self.manifest)
    }

    /// Passes over the scripts, verifying them, and reads the index of the slot image.
    pub fn image(mut self) -> Result<Image<R>, Refusal> {
        let document = self.manifest.document();
        let digests: Vec<Digest> =
            document.checks.iter().chain(&document.migrations).map(|s| s.sha256).collect();
        let mut members = self.manifest.members().into_iter();
        for (digest, member) in digests.into_iter().zip(members.by_ref()) {
            self.source.script(&member, digest)?;
        }
        let index = members.next().expect("OK because a checked manifest has one image");
        self.source.header(&index)?;
        let component = self.manifest.image();
        let source = &mut self.source;
        let read = Index::read(component, |buffer| source.exact(buffer))?;
        source.padding(index.size)?;
        let payload = members.next().expect("OK because an index is followed by its payload");
        source.header(&payload)?;
        Ok(Image {
            source: self.source,
            index: Arc::new(read),
            next: 0,
            left: payload.size,
            size: payload.size,
        })
    }
}

/// What an unverified file says about itself; for people who look, never for decisions.
#[derive(Debug)]
pub struct Look {
    /// The manifest, which anybody may have written.
    pub manifest: Manifest,
    /// The keys that are said to have signed it.
    pub signatures: Vec<KeyId>,
    /// The sizes of `manifest.json` and `manifest.sig`.
    pub heading: [Member; 2],
    /// The length the file should have.
    pub file_len: u64,
}

/// Reads a manifest without verifying anything.
pub fn look(input: impl Read) -> Result<Look, Refusal> {
    let mut source = Source::new(input);
    let (bytes, signatures) = source.signed()?;
    let manifest = Manifest::parse(&bytes)?;
    let signature_size = signature::print(&signatures).len() as u64;
    Ok(Look {
        file_len: file_len(source.at(), &manifest),
        signatures: signatures.iter().map(|s| s.key).collect(),
        heading: [
            Member { name: MANIFEST.to_owned(), size: bytes.len() as u64 },
            Member { name: SIGNATURES.to_owned(), size: signature_size },
        ],
        manifest,
    })
}

/// The length of the file: what was read so far, the other members, and the end. It cannot
/// overflow: a checked manifest has at most 130 members of at most 8 GiB.
fn file_len(so_far: u64, manifest: &Manifest) -> u64 {
    let members: u64 = manifest.members().iter().map(|m| ustar::occupied(m.size)).sum();
    so_far + members + ustar::END
}

/// The chunks of the slot image, one after the other.
#[derive(Debug)]
pub struct Image<R> {
    source: Source<R>,
    index: Arc<Index>,
    next: u32,
    left: u64,
    size: u64,
}

impl<R: Read> Image<R> {
    /// The chunk index.
    pub fn index(&self) -> &Arc<Index> {
        &self.index
    }

    /// The next chunk's number and, in `stored`, its bytes; none for a chunk of zeros. They are
    /// worth nothing until [`crate::Unpacker::unpack`] accepted them. `None` after the last one.
    pub fn next(&mut self, stored: &mut Vec<u8>) -> Result<Option<u32>, Refusal> {
        stored.clear();
        if self.next == self.index.len() {
            return Ok(None);
        }
        let n = self.next;
        // Lengths were checked against the chunk size and their sum against the member's size.
        let length = self.index.stored_len(n);
        stored.resize(length as usize, 0);
        self.source.exact(stored)?;
        self.left -= u64::from(length);
        self.next += 1;
        Ok(Some(n))
    }

    /// Passes over chunks that were not asked for, then checks that the bundle ends here: zero
    /// padding, two zero blocks, nothing after. Gives the input back.
    pub fn finish(mut self) -> Result<R, Refusal> {
        let mut step = vec![0; STEP];
        while self.left > 0 {
            let now = usize::try_from(self.left).map_or(STEP, |left| left.min(STEP));
            self.source.exact(&mut step[..now])?;
            self.left -= now as u64;
        }
        self.source.padding(self.size)?;
        self.source.end()?;
        Ok(self.source.into_input())
    }
}
