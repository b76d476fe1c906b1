//! The signing key: the only place where one exists.
//!
//! Private keys are PKCS#8 PEM, public ones SPKI PEM, as OpenSSL writes and reads them. The private
//! file is written without the public half inside (PKCS#8 version 1), because OpenSSL 3.0 and
//! older do not read the other form.
//!
//! Invariants: a key file is never overwritten; the private one is readable by its owner alone from
//! its first byte; its file does not end in `.pem`, so that a directory with both files can serve
//! as a directory of trusted keys.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use bundle_format::{KeyId, Signature, signing_message};
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey, KeypairBytes};
use ed25519_dalek::{Signer, VerifyingKey};

use crate::failure::Failure;
use crate::output::sync_directory;

/// The largest private key file: a PEM with comments is below 1 KiB.
const MAX_KEY_FILE: u64 = 4096;

/// The name of the files when `--out` is a directory.
const DEFAULT_NAME: &str = "bundle";

/// An Ed25519 key that signs manifests. Its memory is cleared when it is dropped.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.id()).finish()
    }
}

impl SigningKey {
    /// A new key from the system's random numbers.
    pub fn generate() -> Result<Self, Failure> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(Failure::Random)?;
        Ok(Self::from_seed(seed))
    }

    /// The key of this seed; the same seed gives the same key.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(&seed))
    }

    /// Reads a private key file.
    pub fn load(path: &Path) -> Result<Self, Failure> {
        let mut text = String::new();
        File::open(path)
            .and_then(|file| file.take(MAX_KEY_FILE + 1).read_to_string(&mut text))
            .map_err(Failure::file("read the private key", path))?;
        let key = ed25519_dalek::SigningKey::from_pkcs8_pem(&text);
        key.map(Self).map_err(|_| Failure::Key { path: path.to_owned() })
    }

    /// The id of its public half.
    pub fn id(&self) -> KeyId {
        KeyId::of(&self.0.verifying_key())
    }

    /// Its public half.
    pub fn public(&self) -> VerifyingKey {
        self.0.verifying_key()
    }

    /// Signs the bytes of a manifest.
    pub fn sign(&self, manifest: &[u8]) -> Signature {
        Signature { key: self.id(), bytes: self.0.sign(&signing_message(manifest)).to_bytes() }
    }
}

/// Makes a key and writes `<prefix>.key` and `<prefix>.pem`; a directory gets `bundle.key` and
/// `bundle.pem`. Returns the key and the two paths.
pub fn keygen(out: &Path) -> Result<(SigningKey, PathBuf, PathBuf), Failure> {
    let prefix = if out.is_dir() { out.join(DEFAULT_NAME) } else { out.to_owned() };
    // `with_extension` would eat what follows a dot in the prefix.
    let with = |ending: &str| PathBuf::from(format!("{}{ending}", prefix.display()));
    let (private, public) = (with(".key"), with(".pem"));
    let key = SigningKey::generate()?;
    let pair = KeypairBytes { secret_key: key.0.to_bytes(), public_key: None };
    let private_pem =
        pair.to_pkcs8_pem(LineEnding::LF).expect("OK because 32 bytes always have an encoding");
    let public_pem = key
        .public()
        .to_public_key_pem(LineEnding::LF)
        .expect("OK because 32 bytes always have an encoding");
    // Public first: should the second write fail, no private key lies around half-made.
    create(&public, public_pem.as_bytes(), 0o644)?;
    if let Err(failure) = create(&private, private_pem.as_bytes(), 0o600) {
        discard(&public);
        return Err(failure);
    }
    sync_directory(&private)?;
    Ok((key, private, public))
}

fn create(path: &Path, content: &[u8], mode: u32) -> Result<(), Failure> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let mut file = match file {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(Failure::KeyExists { path: path.to_owned() });
        }
        Err(e) => return Err(Failure::file("create", path)(e)),
    };
    file.write_all(content).and_then(|()| file.sync_all()).map_err(|e| {
        discard(path);
        Failure::file("write", path)(e)
    })
}

/// Removes a file that this process has just created.
#[expect(clippy::disallowed_methods, reason = "the maker runs on a build host, not on a device")]
fn discard(path: &Path) {
    // The first failure is the one to report.
    let _ = fs::remove_file(path);
}
