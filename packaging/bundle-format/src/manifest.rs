//! The manifest: the one signed document of a bundle, `manifest.json`.
//!
//! [`Document`] is the data as written; [`Manifest`] is a document that was checked, and the only
//! way to one is [`Manifest::parse`] or [`Manifest::check`]. Everything else in a bundle (names,
//! sizes, digests, order of members) follows from it.
//!
//! Invariants of a [`Manifest`]:
//! * its JSON has one reading: no key twice, no unknown key except inside `extensions`, and it
//!   means the same when it is written again;
//! * sizes agree with each other and are inside the limits below, so that sums cannot overflow;
//! * exactly one component, a `slot-image` in zstd chunks (others are known names and refused with
//!   codes of their own);
//! * texts hold no control characters, because they are shown on terminals.
//!
//! What is *not* judged here: whether the bundle fits this device.

mod check;

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::digest::Digest;
use crate::name::{BundleName, HotfixLetters, Platform, Word};
use crate::version::{Release, Version};

pub use check::{
    MAX_CHUNK_SIZE, MAX_CHUNKS, MAX_MANIFEST, MAX_SCRIPT, MAX_SCRIPTS, MAX_STORED, MIN_CHUNK_SIZE,
};

/// The format version this crate reads and writes.
pub const FORMAT: u32 = 1;

/// The manifest's data, in the order it is written. Absent optional values are not written.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// The format version, [`FORMAT`].
    pub format: u32,
    /// The product's name as people say it.
    pub product: String,
    /// The platform family; also the first part of the file's name.
    pub platform: Platform,
    /// The models of that family this bundle is for.
    pub models: Vec<String>,
    /// The version.
    pub version: Version,
    /// The build.
    pub build: u32,
    /// What kind of release it is.
    pub kind: Kind,
    /// The letters of a hotfix; there exactly when the kind is a hotfix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hotfix: Option<HotfixLetters>,
    /// The versions it may be installed over.
    pub from: Vec<FromRange>,
    /// Floors and ceilings.
    #[serde(default, skip_serializing_if = "Floors::is_empty")]
    pub floors: Floors,
    /// The lowest version of a peer that state can be synchronised with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_min: Option<Version>,
    /// Whether the operator may go back to the previous version after confirming this one.
    pub may_revert: bool,
    /// The reboots it takes, in order.
    pub legs: Vec<Leg>,
    /// What is installed.
    pub components: Vec<Component>,
    /// Readiness checks, in the order they are run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Script>,
    /// Configuration migrations, in the order they are run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub migrations: Vec<Script>,
    /// Release notes.
    pub notes: String,
    /// A licence text to accept before installing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// When it was made, in seconds since 1970; no decision is based on it.
    pub created: u64,
    /// Keys a reader need not know; signed like the rest.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extensions: Map<String, Value>,
}

/// What kind of release a bundle is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A new `A.x`.
    Major,
    /// A new `A.x.y`.
    Maintenance,
    /// A new `A.x.y.z`.
    Patch,
    /// One repair on top of a release.
    Hotfix,
}

/// A range of versions, both ends included, without the excepted ones.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FromRange {
    /// The lowest version.
    pub min: Version,
    /// The highest version.
    pub max: Version,
    /// Versions between them that are not supported.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<Version>,
}

impl FromRange {
    /// Whether the version lies in the range and is not excepted.
    pub fn contains(&self, version: Version) -> bool {
        self.min <= version && version <= self.max && !self.except.contains(&version)
    }
}

/// Limits that reach beyond this one upgrade.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Floors {
    /// Once this bundle is confirmed nothing below that version may be staged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security: Option<Version>,
    /// The lowest version of the companion firmware.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub companion_min: Option<Version>,
    /// The highest version of the companion firmware.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub companion_max: Option<Version>,
}

impl Floors {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One reboot of an upgrade.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leg {
    /// The names of the components that become active with it.
    pub components: Vec<String>,
    /// Whether going back is possible after it; firmware often is not, and then comes last.
    pub can_be_undone: bool,
}

/// How a component is installed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Handler {
    /// A whole image for the other slot.
    SlotImage,
    /// An archive unpacked into a fresh file system; reserved, refused.
    SlotArchive,
    /// Firmware of another chip; reserved, refused.
    Firmware,
}

/// How chunks are compressed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Codec {
    /// One zstd frame a chunk.
    Zstd,
    /// One gzip member a chunk; reserved, refused.
    Gzip,
}

/// One thing that is installed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Component {
    /// Its name; the members are `<name>.index` and `<name>.zst`.
    pub name: String,
    /// How it is installed.
    pub handler: Handler,
    /// How it is compressed.
    pub codec: Codec,
    /// The unpacked size in bytes, a multiple of 4096.
    pub raw_size: u64,
    /// The size of the member `<name>.zst`.
    pub stored_size: u64,
    /// The unpacked size of every chunk but the last.
    pub chunk_size: u32,
    /// The SHA-256 of the whole unpacked image.
    pub raw_sha256: Digest,
    /// The SHA-256 of the member `<name>.index`.
    pub index_sha256: Digest,
    /// The size of the member `<name>.index`.
    pub index_size: u64,
    /// What it is; for a slot image equal to the bundle's version and build.
    pub version: Release,
}

impl Component {
    /// The number of chunks; cannot be 0 in a checked manifest.
    pub fn chunks(&self) -> u64 {
        NonZeroU32::new(self.chunk_size)
            .map_or(0, |size| self.raw_size.div_ceil(u64::from(size.get())))
    }
}

/// A script: a readiness check or a configuration migration.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// Its file name, `NNN_name.sh`; the member lies in `check/` or `migrate/`.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256.
    pub sha256: Digest,
    /// What to tell the operator when it fails.
    pub recovery: String,
}

/// A member that follows the manifest and its signatures.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// The member's name in the archive.
    pub name: String,
    /// Its exact size.
    pub size: u64,
}

/// A checked manifest.
#[derive(Clone, PartialEq, Debug)]
pub struct Manifest(Document);

impl Manifest {
    /// All of it, as data.
    pub fn document(&self) -> &Document {
        &self.0
    }

    /// Version and build.
    pub fn release(&self) -> Release {
        Release { version: self.0.version, build: self.0.build }
    }

    /// The platform family.
    pub fn platform(&self) -> &Platform {
        &self.0.platform
    }

    /// The models it is for.
    pub fn models(&self) -> &[String] {
        &self.0.models
    }

    /// What kind of release it is.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The versions it may be installed over.
    pub fn from(&self) -> &[FromRange] {
        &self.0.from
    }

    /// Nothing below it may be staged once this bundle is confirmed.
    pub fn security_floor(&self) -> Option<Version> {
        self.0.floors.security
    }

    /// The lowest accepted companion firmware.
    pub fn companion_floor(&self) -> Option<Version> {
        self.0.floors.companion_min
    }

    /// The highest accepted companion firmware.
    pub fn companion_ceiling(&self) -> Option<Version> {
        self.0.floors.companion_max
    }

    /// What is installed.
    pub fn components(&self) -> &[Component] {
        &self.0.components
    }

    /// The slot image.
    pub fn image(&self) -> &Component {
        self.0.components.first().expect("OK because a checked manifest has exactly one component")
    }

    /// The file name a bundle with this manifest must have.
    pub fn bundle_name(&self) -> BundleName {
        let word = match (self.0.kind, &self.0.hotfix) {
            (Kind::Hotfix, Some(letters)) => Word::Hotfix(letters.clone()),
            (Kind::Patch, _) => Word::Patch,
            // A hotfix without letters was refused by the check.
            (Kind::Major | Kind::Maintenance | Kind::Hotfix, _) => Word::Upgrade,
        };
        BundleName { platform: self.0.platform.clone(), word, release: self.release() }
    }

    /// The members after `manifest.json` and `manifest.sig`, in their order.
    pub fn members(&self) -> Vec<Member> {
        let scripts = |folder: &'static str, scripts: &[Script]| -> Vec<Member> {
            let member = |s: &Script| Member { name: format!("{folder}/{}", s.name), size: s.size };
            scripts.iter().map(member).collect()
        };
        let mut members = scripts("check", &self.0.checks);
        members.extend(scripts("migrate", &self.0.migrations));
        for c in &self.0.components {
            let ending = match c.codec {
                Codec::Zstd => "zst",
                Codec::Gzip => "gz",
            };
            members.push(Member { name: format!("{}.index", c.name), size: c.index_size });
            members.push(Member { name: format!("{}.{ending}", c.name), size: c.stored_size });
        }
        members
    }
}
