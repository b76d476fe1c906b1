//! From a description and an image to a signed bundle.
//!
//! The manifest stands before the payload and names its size, so the payload is spooled first and
//! copied behind the manifest afterwards. What is signed is exactly what was checked: the document
//! goes through the same `Manifest::check` that the reader uses.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom, Write};

use bundle_format::writer::{BundleWriter, IndexBuilder, Packed};
use bundle_format::{
    BundleName, Codec, Component, Digest, Document, FORMAT, Handler, KeyId, Leg, MAX_SIGNATURES,
    Manifest, Release, Script, Signature,
};

use crate::description::{Description, ScriptSource};
use crate::failure::Failure;
use crate::key::SigningKey;
use crate::pack::{PackedImage, Workshop, pack};

/// What was built.
#[derive(Clone, PartialEq, Debug)]
pub struct Built {
    /// The name the file must get.
    pub name: BundleName,
    /// The manifest as it was signed.
    pub manifest: Manifest,
    /// The keys that signed, in the order of their lines.
    pub signers: Vec<KeyId>,
}

/// Builds a bundle into `out`. The payload waits in `spool` meanwhile, which should be a file for
/// real images, and empty. Neither is flushed or synced.
pub fn build(
    description: &Description,
    image: impl Read + Send,
    keys: &[SigningKey],
    workshop: &Workshop<'_>,
    mut spool: impl Read + Write + Seek,
    out: &mut impl Write,
) -> Result<Built, Failure> {
    let keys: BTreeMap<KeyId, &SigningKey> = keys.iter().map(|key| (key.id(), key)).collect();
    if !(1..=MAX_SIGNATURES).contains(&keys.len()) {
        return Err(Failure::KeyCount { given: keys.len(), most: MAX_SIGNATURES });
    }
    // What is wrong with the description should be said before the image is packed, not after.
    description.check()?;
    let packed = pack(&description.image, image, workshop, &mut spool)?;
    let manifest = Manifest::check(document(description, &packed))?;
    let bytes = manifest.to_bytes();
    let signatures: Vec<Signature> = keys.values().map(|key| key.sign(&bytes)).collect();

    let mut writer = BundleWriter::begin(out, &bytes, &signatures).map_err(Failure::Write)?;
    for script in description.checks.iter().chain(&description.migrations) {
        writer.member(&mut &script.content[..]).map_err(Failure::Write)?;
    }
    writer.member(&mut &packed.index[..]).map_err(Failure::Write)?;
    spool.seek(SeekFrom::Start(0)).map_err(Failure::Write)?;
    writer.member(&mut spool).map_err(Failure::Write)?;
    writer.finish().map_err(Failure::Write)?;
    Ok(Built { name: manifest.bundle_name(), signers: keys.into_keys().collect(), manifest })
}

impl Description {
    /// Checks it with the smallest image there could be, and says what the bundle will be called.
    pub fn check(&self) -> Result<BundleName, Failure> {
        self.image.check()?;
        Ok(Manifest::check(document(self, &placeholder()))?.bundle_name())
    }
}

/// The smallest image there could be, one block of zeros, to try a description on.
fn placeholder() -> PackedImage {
    let zeros = Digest::of(&[0; 4096]);
    let mut index = IndexBuilder::new();
    index.push(&Packed { stored: Vec::new(), sha256: zeros, hints: vec![[0; 8]] });
    PackedImage { raw_size: 4096, raw_sha256: zeros, stored_size: 0, index: index.into_bytes() }
}

fn document(description: &Description, packed: &PackedImage) -> Document {
    let d = description;
    let image = Component {
        name: d.image.name.clone(),
        handler: Handler::SlotImage,
        codec: Codec::Zstd,
        raw_size: packed.raw_size,
        stored_size: packed.stored_size,
        chunk_size: d.image.chunk_size,
        raw_sha256: packed.raw_sha256,
        index_sha256: Digest::of(&packed.index),
        index_size: packed.index.len() as u64,
        version: Release { version: d.release.version, build: d.release.build },
    };
    Document {
        format: FORMAT,
        product: d.product.clone(),
        platform: d.platform.clone(),
        models: d.models.clone(),
        version: d.release.version,
        build: d.release.build,
        kind: d.kind,
        hotfix: d.hotfix.clone(),
        from: d.from.clone(),
        floors: d.floors.clone(),
        peer_min: d.peer_min,
        may_revert: d.may_revert,
        legs: vec![Leg { components: vec![image.name.clone()], can_be_undone: true }],
        components: vec![image],
        checks: d.checks.iter().map(script).collect(),
        migrations: d.migrations.iter().map(script).collect(),
        notes: d.notes.clone(),
        licence: d.licence.clone(),
        created: d.created,
        extensions: d.extensions.clone(),
    }
}

fn script(source: &ScriptSource) -> Script {
    Script {
        name: source.name.clone(),
        size: source.content.len() as u64,
        sha256: Digest::of(&source.content),
        recovery: source.recovery.clone(),
    }
}
