//! Whom to believe: the vendor's public keys and how many of them must have signed.
//!
//! Keys are Ed25519 in SPKI PEM files, as `openssl pkey -pubout` writes them. A key's id is the
//! SHA-256 of its raw 32 bytes, printed as 64 lower-case hexadecimal digits and never shortened,
//! so that it can be searched for. There are no dates and no certificates in the trust path.
//!
//! Invariants: weak keys (points of small order, for which anyone can sign) never get in;
//! signatures are checked with `verify_strict`; one key counts once however often it signed; a
//! revoked key counts never; a trusted key's signature that does not fit refuses the bundle even
//! when enough others fit, because then something was changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::num::NonZeroU8;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ed25519_dalek::VerifyingKey;
use ed25519_dalek::pkcs8::DecodePublicKey;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::{Digest, from_hex};
use crate::refusal::{Code, Refusal};
use crate::signature::{Signature, signing_message};
use crate::version::serde_as_string;

/// The most keys in a directory: more than any rotation needs, few enough to read in one breath.
pub const MAX_KEYS: usize = 64;

/// The largest key file: a PEM with comments is below 1 KiB.
const MAX_KEY_FILE: u64 = 4096;

/// The most other files beside the keys: a directory with more of them is not one of keys, and to
/// stop in its middle could miss a key.
const MAX_OTHERS: usize = 1024;

/// The id of a public key: the SHA-256 of its raw 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Digest);

impl KeyId {
    /// The id of this key.
    pub fn of(key: &VerifyingKey) -> Self {
        Self(Digest::of(key.as_bytes()))
    }

    /// An id that was read somewhere.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Digest::from_bytes(bytes))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for KeyId {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        from_hex(text).map(Self::from_bytes).ok_or_else(|| {
            let why = format!("`{text}` is not a key id: 64 lower-case hexadecimal digits");
            Refusal::new(Code::KeyFormat, why)
        })
    }
}

serde_as_string!(KeyId);

/// The trusted keys, the revoked ones, and how many must have signed.
#[derive(Clone, Debug)]
pub struct Trust {
    keys: BTreeMap<KeyId, VerifyingKey>,
    revoked: BTreeSet<KeyId>,
    need: NonZeroU8,
}

impl Trust {
    /// Reads every `*.pem` file of a directory; any file among them that is not a good public key
    /// refuses the whole, because a policy must not silently become another one.
    pub fn load(dir: &Path, need: NonZeroU8) -> Result<Self, Refusal> {
        let unusable = |e: io::Error| {
            let why = format!("cannot read the keys directory {}", dir.display());
            Refusal::because(Code::KeysUnusable, why, e)
        };
        let mut files = Vec::new();
        let mut others = 0;
        for entry in fs::read_dir(dir).map_err(unusable)? {
            let path = entry.map_err(unusable)?.path();
            match path.extension() {
                Some(ending) if ending == "pem" => files.push(path),
                _ => others += 1,
            }
            if files.len() > MAX_KEYS || others > MAX_OTHERS {
                break;
            }
        }
        if files.is_empty() || files.len() > MAX_KEYS || others > MAX_OTHERS {
            let why = format!(
                "{} holds {} files *.pem and {others} others; 1 to {MAX_KEYS} and up to {MAX_OTHERS} are possible",
                dir.display(),
                files.len()
            );
            return Err(Refusal::new(Code::KeysUnusable, why));
        }
        files.sort_unstable();
        let keys: Result<Vec<_>, _> = files.iter().map(read_key).collect();
        Self::from_keys(keys?, need)
    }

    /// Trust in these keys, for tests and for keys that come another way.
    pub fn from_keys(
        keys: impl IntoIterator<Item = VerifyingKey>,
        need: NonZeroU8,
    ) -> Result<Self, Refusal> {
        let mut trusted = BTreeMap::new();
        for key in keys {
            let id = KeyId::of(&key);
            if key.is_weak() {
                return Err(Refusal::new(Code::KeyWeak, format!("the key {id} is weak")));
            }
            trusted.insert(id, key);
        }
        Ok(Self { keys: trusted, revoked: BTreeSet::new(), need })
    }

    /// The same without these keys.
    #[must_use]
    pub fn without(mut self, revoked: impl IntoIterator<Item = KeyId>) -> Self {
        self.revoked.extend(revoked);
        self
    }

    /// The keys that count: trusted and not revoked.
    pub fn key_ids(&self) -> impl Iterator<Item = KeyId> + '_ {
        self.keys.keys().copied().filter(|id| !self.revoked.contains(id))
    }

    /// How many distinct keys must have signed.
    pub fn need(&self) -> NonZeroU8 {
        self.need
    }

    /// Checks the signatures of these manifest bytes; returns the distinct keys that signed.
    pub(crate) fn verify(
        &self,
        manifest: &[u8],
        signatures: &[Signature],
    ) -> Result<Vec<KeyId>, Refusal> {
        let message = signing_message(manifest);
        let mut signers = BTreeSet::new();
        let mut revoked = None;
        for signature in signatures {
            if self.revoked.contains(&signature.key) {
                revoked = Some(signature.key);
                continue;
            }
            let Some(key) = self.keys.get(&signature.key) else {
                continue;
            };
            let bytes = ed25519_dalek::Signature::from_bytes(&signature.bytes);
            if key.verify_strict(&message, &bytes).is_err() {
                let why = format!("the signature by the key {} does not fit", signature.key);
                return Err(Refusal::new(Code::SignatureInvalid, why));
            }
            signers.insert(signature.key);
        }
        if signers.len() >= usize::from(self.need.get()) {
            return Ok(signers.into_iter().collect());
        }
        Err(self.too_few(signers.len(), revoked, signatures))
    }

    fn too_few(&self, good: usize, revoked: Option<KeyId>, signatures: &[Signature]) -> Refusal {
        let need = self.need;
        if let Some(id) = revoked {
            let why = format!("{good} of {need} needed keys signed; the key {id} is revoked");
            return Refusal::new(Code::SignatureRevokedKey, why);
        }
        if good == 0 {
            let id = signatures.first().map_or_else(|| "nobody".to_owned(), |s| s.key.to_string());
            let why = format!(
                "signed by {id}, which is none of the {} trusted keys",
                self.key_ids().count()
            );
            return Refusal::new(Code::SignatureUnknownKey, why);
        }
        let why = format!("{good} of {need} needed trusted keys signed");
        Refusal::new(Code::SignaturesTooFew, why)
    }
}

fn read_key(path: &PathBuf) -> Result<VerifyingKey, Refusal> {
    let file = path.display();
    let unreadable = |e: io::Error| {
        Refusal::because(Code::KeysUnusable, format!("cannot read the key {file}"), e)
    };
    let mut text = Vec::new();
    File::open(path)
        .and_then(|f| f.take(MAX_KEY_FILE + 1).read_to_end(&mut text))
        .map_err(unreadable)?;
    if text.len() as u64 > MAX_KEY_FILE {
        let why = format!("{file} is over {MAX_KEY_FILE} bytes, too much for a public key");
        return Err(Refusal::new(Code::KeyFormat, why));
    }
    let text = String::from_utf8_lossy(&text);
    let key = VerifyingKey::from_public_key_pem(&text).map_err(|e| {
        let private = text.contains("PRIVATE KEY");
        let note = if private { "; it is a PRIVATE key and must not be here" } else { "" };
        Refusal::new(Code::KeyFormat, format!("{file} is not a public key ({e}){note}"))
    })?;
    if key.is_weak() {
        return Err(Refusal::new(Code::KeyWeak, format!("{file} holds a weak key")));
    }
    Ok(key)
}
