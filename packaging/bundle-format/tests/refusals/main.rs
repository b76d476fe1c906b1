//! Every refusal code, with a bundle, name or key that earns it.
//!
//! Each row spoils one thing and keeps the rest right (checksums, digests and signatures are made
//! again), so that only the guard in question can refuse it.

#[path = "../bundles/mod.rs"]
mod bundles;

mod archives;

mod manifests;

use std::collections::BTreeSet;
use std::num::NonZeroU8;

use bundle_format::{
    BundleName, Code, Codec, Digest, Handler, KeyId, Manifest, Opened, Refusal, Release, Trust,
    Version, signing_message,
};
use bundles::{
    CHUNK, Parts, checksum, member, members, name, parts, read, read_with, refused, second, sign,
    trust, vendor,
};
use ed25519_dalek::VerifyingKey;
use ed25519_dalek::pkcs8::EncodePublicKey;

/// A code, what was spoiled, and the bundle.
type Row = (&'static str, &'static str, Vec<u8>);

/// A bundle whose manifest's text was changed before it was signed.
fn with_manifest(change: impl FnOnce(String) -> String) -> Vec<u8> {
    let parts = parts();
    let text = String::from_utf8(parts.manifest()).expect("JSON");
    let changed = change(text.clone());
    assert_ne!(text, changed, "the row changes something");
    let signature = sign(&vendor(), &signing_message(changed.as_bytes()));
    let good = parts.bundle();
    let rest = members(&good)[2].0;
    let mut bundle = member("manifest.json", changed.as_bytes());
    let key = signature.key;
    let (one, two) = signature.bytes.split_at(32);
    let hex = [one, two]
        .map(|half| Digest::from_bytes(half.try_into().expect("32")).to_string())
        .concat();
    bundle.extend(member("manifest.sig", format!("ed25519 {key} {hex}\n").as_bytes()));
    bundle.extend_from_slice(&good[rest..]);
    bundle
}

fn with_header(member: usize, change: impl FnOnce(&mut [u8; 512])) -> Vec<u8> {
    let mut bundle = parts().bundle();
    let at = members(&bundle)[member].0;
    let block: &mut [u8; 512] = bundle[at..].first_chunk_mut().expect("a header");
    let before = *block;
    change(block);
    checksum(block);
    assert_ne!(before, *block, "the row changes something");
    bundle
}

fn with_parts(change: impl FnOnce(&mut Parts)) -> Vec<u8> {
    let mut parts = parts();
    change(&mut parts);
    parts.bundle()
}

fn with_index(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    with_parts(|parts| {
        change(&mut parts.index);
        parts.resign_index();
    })
}

fn with_signatures(change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Vec<u8> {
    let good = parts().bundle();
    let all = members(&good);
    let (at, _, size) = all[1].clone();
    let mut bundle = good[..at].to_vec();
    bundle.extend(member("manifest.sig", &change(good[at + 512..at + 512 + size].to_vec())));
    bundle.extend_from_slice(&good[all[2].0..]);
    bundle
}

fn code<T: std::fmt::Debug>(result: Result<T, Refusal>) -> &'static str {
    result.expect_err("refused").code()
}

#[test]
fn every_spoiled_bundle_is_refused_with_its_code() {
    for (code, what, bundle) in archives::rows().into_iter().chain(manifests::rows()) {
        assert_eq!(refused(&bundle), code, "{what}: {:?}", read(&bundle));
    }
}

#[test]
fn a_chunk_of_impossible_length_is_refused_before_the_lengths_are_added() {
    let bundle = with_index(|index| index[3] = 0x7f);
    let refusal = read(&bundle).expect_err("refused").to_string();
    assert!(refusal.starts_with("chunk 0 is stored in"), "{refusal}");
}

fn name_rows() -> Vec<(&'static str, &'static str)> {
    vec![
        ("name-renamed", "Acme_SGW_Upgrade-7.4.2-90.sh.REL (1).tar"),
        ("name-renamed", "Acme_SGW_Upgrade-7.4.2-90.sh.REL.tar (1)"),
        ("name-renamed", "Acme_SGW_Upgrade-7.4.2-90 (1).sh.REL.tar"),
        ("name-renamed", "Acme_SGW_Upgrade-7.4.2-90 - Copy.sh.REL.tar"),
        ("name-renamed", "Acme_SGW_Upgrade-7.4.2-90.sh.rel.tar"),
        ("name-renamed", "Acme_SGW_Upgrade-7.4.2-90.sh.REL.tar.txt"),
        ("name-unpacked", "Acme_SGW_Upgrade-7.4.2-90.sh.REL"),
        ("name-unpacked", "Acme_SGW_Upgrade-7.4.2-90.sh"),
        ("name-unpacked", "Acme_SGW_Upgrade-7.4.2-90.sh.REL.tar.gz"),
        ("name-spelling", ""),
        ("name-spelling", "firmware.bin"),
        ("name-spelling", "Acme_SGW_Upgrade-7.4.2.sh.REL.tar"),
        ("name-spelling", "Acme_SGW_Upgrade-7.4.2.0-90.sh.REL.tar"),
        ("name-spelling", "Acme_SGW_Upgrade-7.4.2-090.sh.REL.tar"),
        ("name-spelling", "Acme_SGW_Update-7.4.2-90.sh.REL.tar"),
        ("name-spelling", "Acme_SGW_upgrade-7.4.2-90.sh.REL.tar"),
        ("name-spelling", "Acme_SGW_Hotfix-7.4.2-90.sh.REL.tar"),
        ("name-spelling", "Acme_SGW_Hotfix_hl-7.4.2-90.sh.REL.tar"),
        ("name-spelling", "_Upgrade-7.4.2-90.sh.REL.tar"),
        ("name-spelling", "Acme__SGW_Upgrade-7.4.2-90.sh.REL.tar"),
        ("name-spelling", "4cme_Upgrade-7.4.2-90.sh.REL.tar"),
        ("name-spelling", "Acmé_Upgrade-7.4.2-90.sh.REL.tar"),
    ]
}

#[test]
fn every_wrong_name_is_refused_with_its_code() {
    for (expected, text) in name_rows() {
        assert_eq!(code(text.parse::<BundleName>()), expected, "{text}");
    }
    let long = format!("{}_Upgrade-7.4.2-90.sh.REL.tar", "A".repeat(65));
    assert_eq!(code(long.parse::<BundleName>()), "name-spelling");
}

#[test]
fn names_are_read_from_their_ends_and_printed_as_they_were_written() {
    for text in [
        "Acme_SGW_Upgrade-7.4.2-90.sh.REL.tar",
        "Acme_Hotfix_HL-7.2.11.1-4.sh.REL.tar",
        "Acme_Patch_Patch-7.4.1.1-12.sh.REL.tar",
        "Acme_Hotfix_AB_Upgrade-7.4.2-0.sh.REL.tar",
        "Copycat_Upgrade-7.4.2-90.sh.REL.tar",
    ] {
        let name: BundleName = text.parse().expect(text);
        assert_eq!(name.to_string(), text);
    }
    let hotfix: BundleName = "Acme_Hotfix_HL-7.2.11.1-4.sh.REL.tar".parse().expect("a name");
    assert_eq!(hotfix.platform.as_str(), "Acme");
    assert_eq!(hotfix.platform.image_id(), "acme");
}

#[test]
fn a_directory_with_too_many_files_or_keys_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let content = pem(&vendor().verifying_key());
    let key = |n: usize| {
        let path = directory.path().join(format!("{n}.pem"));
        let mut file =
            std::fs::OpenOptions::new().write(true).create_new(true).open(path).expect("new");
        std::io::Write::write_all(&mut file, content.as_bytes()).expect("space");
    };
    let other = |n: usize| std::fs::create_dir(directory.path().join(n.to_string())).expect("new");
    let load = || Trust::load(directory.path(), NonZeroU8::MIN);
    (0..63).for_each(key);
    (0..1024).for_each(other);
    load().expect("63 keys and 1024 others are possible");
    other(1024);
    assert_eq!(code(load()), "keys-unusable", "1025 others");
    std::fs::remove_dir(directory.path().join("1024")).expect("it is there");
    key(63);
    load().expect("64 keys are possible");
    key(64);
    assert_eq!(code(load()), "keys-unusable", "65 keys");
}

#[test]
fn signatures_are_counted_by_distinct_keys_that_are_not_revoked() {
    let both = trust(&[&vendor(), &second()], 2);
    let twice = with_signatures(|lines| lines.repeat(2));
    assert_eq!(code(read_with(&twice, &both)), "signatures-too-few");
    assert!(read(&twice).is_ok(), "once it counts");
    let revoked = both.without([KeyId::of(&vendor().verifying_key())]);
    assert_eq!(code(read_with(&parts().bundle(), &revoked)), "signature-revoked-key");
    let one_left =
        trust(&[&vendor(), &second()], 1).without([KeyId::of(&second().verifying_key())]);
    let by_both = with_parts(|p| p.keys = vec![vendor(), second()]);
    let opened = Opened::open(&name(), &by_both[..], &one_left).expect("one good key is enough");
    assert_eq!(opened.signers(), [KeyId::of(&vendor().verifying_key())]);
}

/// A point of order 8, for which everybody can make signatures; and the neutral element.
fn weak_keys() -> [VerifyingKey; 2] {
    let mut neutral = [0; 32];
    neutral[0] = 1;
    [[0; 32], neutral].map(|bytes| VerifyingKey::from_bytes(&bytes).expect("a point"))
}

fn load(file: &str, content: &[u8]) -> Result<Trust, Refusal> {
    use std::io::Write;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join(file);
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).open(path).expect("new");
    file.write_all(content).expect("space");
    Trust::load(directory.path(), NonZeroU8::MIN)
}

fn pem(key: &VerifyingKey) -> String {
    key.to_public_key_pem(ed25519_dalek::pkcs8::spki::der::pem::LineEnding::LF).expect("PEM")
}

#[test]
fn keys_are_refused_with_their_codes() {
    let good = pem(&vendor().verifying_key());
    let trust = load("vendor.pem", good.as_bytes()).expect("a good key");
    read_with(&parts().bundle(), &trust).expect("the key was read");
    for weak in weak_keys() {
        assert_eq!(code(load("a.pem", pem(&weak).as_bytes())), "key-weak");
        assert_eq!(code(Trust::from_keys([weak], NonZeroU8::MIN)), "key-weak");
    }
    assert_eq!(code(load("a.pem", b"hello")), "key-format");
    let long = load("a.pem", good.repeat(99).as_bytes()).expect_err("refused");
    assert_eq!(long.code(), "key-format");
    assert!(long.to_string().contains("over 4096 bytes"), "{long}");
    assert_eq!(code(load("a.txt", good.as_bytes())), "keys-unusable");
    let nowhere = std::path::Path::new("/nowhere/keys");
    assert_eq!(code(Trust::load(nowhere, NonZeroU8::MIN)), "keys-unusable");
    let private = load("a.pem", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    assert!(private.expect_err("refused").to_string().contains("must not be here"));
}

#[test]
fn every_code_was_earned_in_one_of_these_tests() {
    let mut earned: BTreeSet<&str> = archives::rows().iter().map(|(code, ..)| *code).collect();
    earned.extend(manifests::rows().iter().map(|(code, ..)| *code));
    earned.extend(name_rows().iter().map(|(code, _)| *code));
    // The other tests of this file and its neighbours: keys, counting, versions, reading, frames.
    earned.extend(["key-format", "key-weak", "keys-unusable"]);
    earned.extend(["signatures-too-few", "signature-revoked-key", "version-spelling"]);
    earned.extend(["bundle-unreadable", "chunk-frame"]);
    // Said by `check_content`; `upgrade-bundle verify` has the test.
    earned.insert("image-digest");
    let all: BTreeSet<&str> = Code::ALL.iter().map(|code| code.word()).collect();
    assert_eq!(earned, all);
}

#[test]
fn limits_of_the_manifest_are_inclusive() {
    let mut parts = parts();
    parts.document.notes = "x".repeat(256 * 1024);
    Manifest::check(parts.document.clone()).expect("just possible");
    parts.document.notes.push('x');
    assert_eq!(code(Manifest::check(parts.document.clone())), "manifest-value");
    let image = &mut parts.document.components[0];
    (image.handler, image.codec) = (Handler::SlotArchive, Codec::Gzip);
    parts.document.notes.clear();
    assert_eq!(code(Manifest::check(parts.document)), "component-unsupported");
    assert_eq!(CHUNK, 65536, "the rows above say 65536");
    assert_eq!(code(Manifest::parse(&vec![b' '; 1024 * 1024 + 1])), "manifest-value");
}

#[test]
fn versions_in_documents_have_one_spelling() {
    assert_eq!(code("7.4.2.0".parse::<Version>()), "version-spelling");
    assert_eq!(code("7.4.2".parse::<Release>()), "version-spelling");
}
