//! The walk over the archive: from header to header, forward only.
//!
//! Before every header it is known which one must come, so headers are compared and not parsed; the
//! only two sizes a bundle may choose are those of the manifest and of its signatures, and both
//! have limits. Nothing here becomes a path, and nothing of a bundle is believed.

use std::io::{ErrorKind, Read};

use sha2::{Digest as _, Sha256};

use crate::digest::Digest;
use crate::manifest::{MAX_MANIFEST, Member};
use crate::refusal::{Code, Refusal};
use crate::signature::{self, Signature};
use crate::ustar;

/// The name of the first member.
pub(crate) const MANIFEST: &str = "manifest.json";

/// The name of the second member.
pub(crate) const SIGNATURES: &str = "manifest.sig";

/// How many bytes are hashed at a time.
const STEP: usize = 64 * 1024;

/// The input with its position.
#[derive(Debug)]
pub(crate) struct Source<R> {
    input: R,
    at: u64,
    /// The length the whole file must have, once it is known.
    end: Option<u64>,
}

impl<R: Read> Source<R> {
    /// A walk from the beginning.
    pub(crate) fn new(input: R) -> Self {
        Self { input, at: 0, end: None }
    }

    /// How many bytes were read.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// Says how long the whole file must be, for messages.
    pub(crate) fn expect_end(&mut self, end: u64) {
        self.end = Some(end);
    }

    /// The input, wherever it stands.
    pub(crate) fn into_input(self) -> R {
        self.input
    }

    /// Fills the buffer or says where the file ended.
    pub(crate) fn exact(&mut self, buffer: &mut [u8]) -> Result<(), Refusal> {
        let mut filled = 0;
        while filled < buffer.len() {
            let read = self.some(&mut buffer[filled..])?;
            if read == 0 {
                let whole = match self.end {
                    Some(end) => format!("of {end}"),
                    None => "before the end of its signatures".to_owned(),
                };
                let why = format!("the file ends at byte {} {whole}", self.at);
                return Err(Refusal::new(Code::Truncated, why));
            }
            filled += read;
        }
        Ok(())
    }

    /// One read that was not interrupted; 0 is the end of the file.
    fn some(&mut self, buffer: &mut [u8]) -> Result<usize, Refusal> {
        loop {
            match self.input.read(buffer) {
                Ok(read) => {
                    self.at += read as u64;
                    return Ok(read);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => {
                    let why = format!("reading failed at byte {}", self.at);
                    return Err(Refusal::because(Code::Unreadable, why, e));
                }
            }
        }
    }

    /// Reads the manifest's bytes and the signatures; nothing is verified here.
    pub(crate) fn signed(&mut self) -> Result<(Vec<u8>, Vec<Signature>), Refusal> {
        let mut block = [0; ustar::BLOCK];
        self.exact(&mut block)?;
        if ustar::stated_name(&block) != MANIFEST {
            return Err(not_a_bundle(&block));
        }
        let manifest = self.small(MANIFEST, &block, MAX_MANIFEST)?;
        self.exact(&mut block)?;
        same_name(SIGNATURES, &block)?;
        let signatures = self.small(SIGNATURES, &block, signature::MAX_SIZE)?;
        Ok((manifest, signature::parse(&signatures)?))
    }

    /// The content of a member whose size is its own choice, up to a limit.
    fn small(
        &mut self,
        name: &str,
        block: &[u8; ustar::BLOCK],
        most: u64,
    ) -> Result<Vec<u8>, Refusal> {
        let unusual = || {
            let why = format!("the header of {name} is not the one upgrade-bundle writes");
            Refusal::new(Code::MemberHeader, why)
        };
        let size = ustar::stated_size(block).ok_or_else(unusual)?;
        if ustar::header(name, size).as_ref() != Some(block) {
            return Err(unusual());
        }
        let short = usize::try_from(size).ok().filter(|_| size <= most);
        let Some(length) = short else {
            let why = format!("{name} has {size} bytes, at most {most}");
            return Err(Refusal::new(Code::MemberSize, why));
        };
        let mut content = vec![0; length];
        self.exact(&mut content)?;
        self.padding(size)?;
        Ok(content)
    }

    /// Compares the next header with the only acceptable one.
    pub(crate) fn header(&mut self, member: &Member) -> Result<(), Refusal> {
        let Member { name, size } = member;
        let mut block = [0; ustar::BLOCK];
        self.exact(&mut block)?;
        if ustar::header(name, *size).as_ref() == Some(&block) {
            return Ok(());
        }
        same_name(name, &block)?;
        let stated = ustar::stated_size(&block).filter(|stated| stated != size);
        if let Some(stated) = stated {
            let why = format!("{name} has {stated} bytes, the manifest says {size}");
            return Err(Refusal::new(Code::MemberSize, why));
        }
        let why = format!("the header of {name} is not the one upgrade-bundle writes");
        Err(Refusal::new(Code::MemberHeader, why))
    }

    /// Passes over a script, comparing its digest.
    pub(crate) fn script(&mut self, member: &Member, signed: Digest) -> Result<(), Refusal> {
        self.header(member)?;
        let mut hash = Sha256::new();
        let mut step = vec![0; STEP];
        let mut left = member.size;
        while left > 0 {
            let now = usize::try_from(left).map_or(STEP, |left| left.min(STEP));
            self.exact(&mut step[..now])?;
            hash.update(&step[..now]);
            left -= now as u64;
        }
        let found = Digest::from_bytes(hash.finalize().into());
        if found != signed {
            let why = format!("{} is {found}, signed is {signed}", member.name);
            return Err(Refusal::new(Code::ScriptDigest, why));
        }
        self.padding(member.size)
    }

    /// Reads the padding after a member of this size.
    pub(crate) fn padding(&mut self, size: u64) -> Result<(), Refusal> {
        let mut padding = [0; ustar::BLOCK];
        let length = usize::try_from(ustar::padding(size)).expect("OK because it is below 512");
        self.exact(&mut padding[..length])?;
        if padding.iter().any(|byte| *byte != 0) {
            let why = format!("the {length} bytes of padding before byte {} are not zero", self.at);
            return Err(Refusal::new(Code::MemberPadding, why));
        }
        Ok(())
    }

    /// Reads the end of the archive and sees that nothing follows.
    pub(crate) fn end(&mut self) -> Result<(), Refusal> {
        for _ in 0..ustar::END / ustar::BLOCK as u64 {
            let mut block = [0; ustar::BLOCK];
            self.exact(&mut block)?;
            if block.iter().any(|byte| *byte != 0) {
                let why = format!("the block before byte {} should end the bundle", self.at);
                return Err(Refusal::new(Code::End, why));
            }
        }
        let end = self.at;
        if self.some(&mut [0])? == 0 {
            return Ok(());
        }
        let why = format!("the file goes on after byte {end}, where the bundle ends");
        Err(Refusal::new(Code::DataAfterEnd, why))
    }
}

fn same_name(name: &str, block: &[u8; ustar::BLOCK]) -> Result<(), Refusal> {
    let stated = ustar::stated_name(block);
    if stated == name {
        return Ok(());
    }
    let found = if stated.is_empty() { "nothing".to_owned() } else { format!("`{stated}`") };
    let why = format!("{found} stands where `{name}` must be");
    Err(Refusal::new(Code::MemberUnexpected, why))
}

/// Says what a file is that does not begin with a manifest.
fn not_a_bundle(block: &[u8; ustar::BLOCK]) -> Refusal {
    let what = match block {
        [0x1f, 0x8b, ..] => "it was compressed with gzip".to_owned(),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "it was compressed with zstd".to_owned(),
        [b'P', b'K', ..] => "it is a zip archive".to_owned(),
        [b'{', ..] => "it is an unpacked manifest".to_owned(),
        [b'<', ..] => "it is a web page, perhaps a log-in form".to_owned(),
        [0, ..] => "it begins with zeros".to_owned(),
        _ => format!("its first member is not `{MANIFEST}`"),
    };
    Refusal::new(Code::NotABundle, format!("the file is not a bundle: {what}"))
}
