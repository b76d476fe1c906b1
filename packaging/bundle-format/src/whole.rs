//! Looking at every byte of a bundle without installing it.

use std::io::Read;

use sha2::{Digest as _, Sha256};

use crate::codec::Unpacker;
use crate::digest::Digest;
use crate::reader::Opened;
use crate::refusal::{Code, Refusal};

impl<R: Read> Opened<R> {
    /// Checks everything after the signatures: scripts, index, every chunk, the whole image's
    /// digest, and that the bundle ends where it should. `seen` hears how many raw bytes were
    /// checked so far. Memory: one chunk.
    pub fn check_content(self, mut seen: impl FnMut(u64)) -> Result<(), Refusal> {
        let signed = self.manifest().image().raw_sha256;
        let mut image = self.image()?;
        let index = image.index().clone();
        let mut unpacker = Unpacker::new()?;
        let mut hash = Sha256::new();
        let (mut stored, mut raw) = (Vec::new(), vec![0; index.chunk_size() as usize]);
        while let Some(n) = image.next(&mut stored)? {
            let range = index.range(n);
            let length = usize::try_from(range.end - range.start)
                .expect("OK because a chunk has at most 1 MiB");
            unpacker.unpack(&index, n, &stored, &mut raw[..length])?;
            hash.update(&raw[..length]);
            seen(range.end);
        }
        let found = Digest::from_bytes(hash.finalize().into());
        if found != signed {
            let why = format!("the whole image is {found}, signed is {signed}");
            return Err(Refusal::new(Code::ImageDigest, why));
        }
        image.finish()?;
        Ok(())
    }
}
