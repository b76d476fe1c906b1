//! Fixtures, built by code: a whole signed bundle, and every part of it to be spoiled.

#![allow(dead_code, reason = "each test program uses its own part of the fixtures")]
#![allow(unreachable_pub, missing_docs, reason = "shared by test programs, read by nobody else")]

use std::num::NonZeroU8;

use bundle_format::writer::{BundleWriter, IndexBuilder, Packed, Packer};
use bundle_format::{
    BundleName, Codec, Component, Digest, Document, FORMAT, Floors, FromRange, Handler, KeyId,
    Kind, Leg, Manifest, Opened, Refusal, Release, Script, Signature, Trust, Unpacker,
    signing_message,
};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};

pub const CHUNK: usize = 64 * 1024;

/// The vendor's key in these tests.
pub fn vendor() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

/// Another vendor key.
pub fn second() -> SigningKey {
    SigningKey::from_bytes(&[2; 32])
}

pub fn trust(keys: &[&SigningKey], need: u8) -> Trust {
    let keys: Vec<VerifyingKey> = keys.iter().map(|key| key.verifying_key()).collect();
    Trust::from_keys(keys, NonZeroU8::new(need).expect("not zero")).expect("good keys")
}

pub fn sign(key: &SigningKey, message: &[u8]) -> Signature {
    Signature { key: KeyId::of(&key.verifying_key()), bytes: key.sign(message).to_bytes() }
}

/// Five chunks: text, zeros, noise that does not compress, zeros, and a short last one.
pub fn raw_image() -> Vec<u8> {
    let mut image: Vec<u8> = b"the quick brown fox ".iter().copied().cycle().take(CHUNK).collect();
    image.resize(2 * CHUNK, 0);
    let mut x = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..CHUNK / 8 {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        image.extend_from_slice(&x.to_le_bytes());
    }
    image.resize(4 * CHUNK, 0);
    image.extend((0..12_288_u32).map(|n| u8::try_from(n % 251).expect("below 251")));
    image
}

/// The parts of a bundle before they are put together.
#[derive(Clone)]
pub struct Parts {
    pub document: Document,
    pub scripts: Vec<Vec<u8>>,
    pub index: Vec<u8>,
    pub payload: Vec<u8>,
    pub keys: Vec<SigningKey>,
}

pub fn parts() -> Parts {
    parts_of(&raw_image(), |packer, chunk| packer.pack(chunk).expect("memory"))
}

/// Parts whose chunks were packed by somebody else.
pub fn parts_of(raw: &[u8], mut pack: impl FnMut(&mut Packer, &[u8]) -> Packed) -> Parts {
    let mut packer = Packer::new(3).expect("memory");
    let mut builder = IndexBuilder::new();
    let mut payload = Vec::new();
    for chunk in raw.chunks(CHUNK) {
        let done = pack(&mut packer, chunk);
        payload.extend_from_slice(&done.stored);
        builder.push(&done);
    }
    let index = builder.into_bytes();
    let scripts = vec![b"#!/bin/sh\nexit 0\n".to_vec(), b"#!/bin/sh\n: migrate\n".to_vec()];
    let mut document = document();
    let image = &mut document.components[0];
    image.raw_size = raw.len() as u64;
    image.stored_size = payload.len() as u64;
    image.raw_sha256 = Digest::of(raw);
    image.index_sha256 = Digest::of(&index);
    image.index_size = index.len() as u64;
    document.checks[0].sha256 = Digest::of(&scripts[0]);
    document.checks[0].size = scripts[0].len() as u64;
    document.migrations[0].sha256 = Digest::of(&scripts[1]);
    document.migrations[0].size = scripts[1].len() as u64;
    Parts { document, scripts, index, payload, keys: vec![vendor()] }
}

/// A document whose sizes and digests fit one chunk of nothing.
pub fn document() -> Document {
    let release: Release = "7.4.2-90".parse().expect("a release");
    let zero = Digest::of(b"");
    let script = |name: &str| Script {
        name: name.to_owned(),
        size: 0,
        sha256: zero,
        recovery: "Free 200 MB on /data".to_owned(),
    };
    Document {
        format: FORMAT,
        product: "Acme Secure Gateway".to_owned(),
        platform: "Acme_SGW".parse().expect("a platform"),
        models: vec!["SGW-100".to_owned()],
        version: release.version,
        build: release.build,
        kind: Kind::Maintenance,
        hotfix: None,
        from: vec![FromRange {
            min: "7.2.0".parse().expect("a version"),
            max: "7.4.1".parse().expect("a version"),
            except: vec!["7.3.1".parse().expect("a version")],
        }],
        floors: Floors { security: Some("7.3.0".parse().expect("a version")), ..Floors::default() },
        peer_min: None,
        may_revert: true,
        legs: vec![Leg { components: vec!["rootfs".to_owned()], can_be_undone: true }],
        components: vec![Component {
            name: "rootfs".to_owned(),
            handler: Handler::SlotImage,
            codec: Codec::Zstd,
            raw_size: 4096,
            stored_size: 0,
            chunk_size: u32::try_from(CHUNK).expect("small"),
            raw_sha256: zero,
            index_sha256: zero,
            index_size: 44,
            version: release,
        }],
        checks: vec![script("010_space.sh")],
        migrations: vec![script("020_dns.sh")],
        notes: "Repairs much.\n".to_owned(),
        licence: None,
        created: 1_767_225_600,
        extensions: serde_json::Map::new(),
    }
}

impl Parts {
    /// Says what the index is after it was changed.
    pub fn resign_index(&mut self) {
        self.document.components[0].index_sha256 = Digest::of(&self.index);
    }

    pub fn manifest(&self) -> Vec<u8> {
        Manifest::check(self.document.clone()).expect("a good document").to_bytes()
    }

    pub fn bundle(&self) -> Vec<u8> {
        let manifest = self.manifest();
        let message = signing_message(&manifest);
        let signatures: Vec<_> = self.keys.iter().map(|key| sign(key, &message)).collect();
        self.bundle_with(&manifest, &signatures)
    }

    pub fn bundle_with(&self, manifest: &[u8], signatures: &[Signature]) -> Vec<u8> {
        let mut writer =
            BundleWriter::begin(Vec::new(), manifest, signatures).expect("a good manifest");
        for script in &self.scripts {
            writer.member(&mut &script[..]).expect("the right size");
        }
        writer.member(&mut &self.index[..]).expect("the right size");
        writer.member(&mut &self.payload[..]).expect("the right size");
        writer.finish().expect("all members")
    }
}

/// A tar header as our writer makes it, written a second time so that tests can spoil it.
pub fn header(name: &str, size: &str, kind: u8) -> [u8; 512] {
    let mut block = [0; 512];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, b"0000644\x000000000\x000000000\0");
    put(124, size.as_bytes());
    put(136, b"00000000000\0        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    put(329, b"0000000\x000000000\0");
    checksum(&mut block);
    block
}

/// Makes the checksum of a spoiled header right again, so that only the spoiling shows.
pub fn checksum(block: &mut [u8; 512]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// A member as any tar program would store it.
pub fn member(name: &str, content: &[u8]) -> Vec<u8> {
    let mut bytes = header(name, &format!("{:011o}\0", content.len()), b'0').to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

pub fn name() -> BundleName {
    "Acme_SGW_Upgrade-7.4.2-90.sh.REL.tar".parse().expect("a name")
}

/// Reads a whole bundle as the agent would and returns the image.
pub fn read(bundle: &[u8]) -> Result<Vec<u8>, Refusal> {
    read_with(bundle, &trust(&[&vendor()], 1))
}

pub fn read_with(bundle: &[u8], trust: &Trust) -> Result<Vec<u8>, Refusal> {
    let opened = Opened::open(&name(), bundle, trust)?;
    let length = opened.file_len();
    let mut image = opened.image()?;
    let index = image.index().clone();
    let mut unpacker = Unpacker::new()?;
    let (mut stored, mut whole) = (Vec::new(), Vec::new());
    while let Some(n) = image.next(&mut stored)? {
        let range = index.range(n);
        let mut raw = vec![0xaa; usize::try_from(range.end - range.start).expect("small")];
        unpacker.unpack(&index, n, &stored, &mut raw)?;
        whole.extend_from_slice(&raw);
    }
    image.finish()?;
    assert_eq!(length, bundle.len() as u64, "file_len is the file's length");
    Ok(whole)
}

/// The code a bundle is refused with.
pub fn refused(bundle: &[u8]) -> &'static str {
    read(bundle).expect_err("refused").code()
}

/// Where each member begins: header offset, name, size; from a second, simple reading.
pub fn members(bundle: &[u8]) -> Vec<(usize, String, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while bundle[at] != 0 {
        let text = |range: std::ops::Range<usize>| {
            let field = &bundle[at + range.start..at + range.end];
            String::from_utf8_lossy(field.split(|b| *b == 0).next().expect("one")).into_owned()
        };
        let size = usize::from_str_radix(&text(124..136), 8).expect("octal");
        found.push((at, text(0..100), size));
        at += 512 + size.next_multiple_of(512);
    }
    found
}
