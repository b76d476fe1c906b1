//! The one definition of the bundle, `<Platform>_{Upgrade|Patch|Hotfix_XX}-<A.x.y[.z]>-<build>.sh.REL.tar`.
//!
//! A bundle is a plain ustar archive with fixed members in a fixed order, so that it can be judged
//! and used while it streams: the signed manifest, its signatures, scripts, the chunk index, and
//! the chunks. This crate reads that strictly and writes it so that equal input gives equal bytes.
//!
//! Invariants:
//! * Synchronous, over [`std::io::Read`] and [`std::io::Write`]; no device, no runtime, no clock.
//!   The only files it opens are public keys, read-only, in [`Trust::load`].
//! * Nothing that a signature covers is parsed before the signature verified ([`Opened::open`]);
//!   [`look`] is the one exception, and its type says that nothing was verified.
//! * A chunk's bytes are handed out by [`Unpacker::unpack`] only when their SHA-256 agrees.
//! * What another tar reader could read differently is refused: every header must equal, byte for
//!   byte, the one our own writer makes.
//! * Memory is bounded by named limits, whatever the input says; sizes are `u64`, checked.
//! * The type of a signing key does not exist here; see the `upgrade-bundle` crate.

mod refusal;

mod version;

mod name;

mod digest;

mod json;

mod manifest;

mod signature;

mod trust;

mod ustar;

mod index;

mod codec;

mod walk;

mod reader;

mod whole;

pub mod writer;

pub use codec::Unpacker;
pub use digest::Digest;
pub use index::Index;
pub use manifest::{
    Codec, Component, Document, FORMAT, Floors, FromRange, Handler, Kind, Leg, MAX_CHUNK_SIZE,
    MAX_CHUNKS, MAX_MANIFEST, MAX_SCRIPT, MAX_SCRIPTS, MAX_STORED, MIN_CHUNK_SIZE, Manifest,
    Member, Script,
};
pub use name::{BundleName, HotfixLetters, Platform, Word};
pub use reader::{Image, Look, Opened, look};
pub use refusal::{Code, Refusal};
pub use signature::{MAX_SIGNATURES, Signature, signing_message};
pub use trust::{KeyId, MAX_KEYS, Trust};
pub use version::{Release, Version};
