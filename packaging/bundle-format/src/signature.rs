//! `manifest.sig`: up to 16 lines `ed25519 <key id> <signature>`.
//!
//! What is signed is a fixed context string and then the manifest's bytes exactly as they are
//! stored, so that a signature made for anything else, even with the same key, is worth nothing
//! here. Lines have one spelling and one length: id and signature in lower-case hexadecimal digits.

use crate::digest::{from_hex, to_hex};
use crate::refusal::{Code, Refusal};
use crate::trust::KeyId;

/// What stands before the manifest in the signed message: names the format and ends in a zero
/// byte, which no manifest holds, so that no other document can continue it.
const CONTEXT: &[u8] = b"sh.REL.tar bundle manifest, format 1\0";

/// The most signatures: enough for a vendor's overlapping keys, an operator's and some witnesses.
pub const MAX_SIGNATURES: usize = 16;

/// The name of the only algorithm, with the space after it.
const ALGORITHM: &str = "ed25519 ";

/// `ed25519 `, 64 digits, a space, 128 digits, a line end.
const LINE: usize = ALGORITHM.len() + 64 + 1 + 128 + 1;

/// The largest `manifest.sig`.
pub(crate) const MAX_SIZE: u64 = (LINE * MAX_SIGNATURES) as u64;

/// The message that is signed for these manifest bytes.
pub fn signing_message(manifest: &[u8]) -> Vec<u8> {
    [CONTEXT, manifest].concat()
}

/// One signature and the key that is said to have made it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Signature {
    /// Which key is said to have signed.
    pub key: KeyId,
    /// The Ed25519 signature of [`signing_message`].
    pub bytes: [u8; 64],
}

/// Writes the member, sorted by key so that the order in which keys were given does not matter.
pub(crate) fn print(signatures: &[Signature]) -> Vec<u8> {
    let mut sorted = signatures.to_vec();
    sorted.sort_unstable();
    sorted
        .iter()
        .flat_map(|s| format!("{ALGORITHM}{} {}\n", s.key, to_hex(&s.bytes)).into_bytes())
        .collect()
}

/// Reads the member; nothing in it is believed.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<Signature>, Refusal> {
    let refuse = |why: String| Refusal::new(Code::SignatureFormat, format!("manifest.sig: {why}"));
    let (lines, rest) = bytes.as_chunks::<LINE>();
    if lines.is_empty() || lines.len() > MAX_SIGNATURES || !rest.is_empty() {
        let size = bytes.len();
        return Err(refuse(format!("{size} bytes are not 1 to {MAX_SIGNATURES} lines of {LINE}")));
    }
    let one = |(n, line): (usize, &[u8; LINE])| {
        signature(line).ok_or_else(|| {
            refuse(format!("line {} is not `ed25519 <key id> <signature>` in lower case", n + 1))
        })
    };
    lines.iter().enumerate().map(one).collect()
}

fn signature(line: &[u8; LINE]) -> Option<Signature> {
    let text = std::str::from_utf8(line).ok()?.strip_prefix(ALGORITHM)?.strip_suffix('\n')?;
    let (key, bytes) = text.split_once(' ')?;
    Some(Signature { key: KeyId::from_bytes(from_hex(key)?), bytes: from_hex(bytes)? })
}
