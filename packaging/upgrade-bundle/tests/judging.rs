//! The real binary, used by somebody who was given a bundle: inspect and verify.

mod desk;

use std::fs;

use desk::{Desk, NAME};

#[test]
fn inspect_says_loudly_what_it_did_not_verify() {
    let desk = Desk::new();
    assert_eq!(desk.build(&[]).code, 0);
    let file = format!("out/{NAME}");
    let plain = desk.run(&["inspect", &file]);
    assert!(plain.out.starts_with("NOTHING WAS VERIFIED"), "{}", plain.out);
    assert!(plain.out.contains("check/010_space.sh"), "{}", plain.out);
    assert_eq!(desk.run(&["inspect", &file, "--json"]).json()["verified"]["manifest"], false);
    let checked = desk.run(&["inspect", &file, "--keys", "."]);
    assert!(checked.out.starts_with("manifest and name verified; the content was not"));
    assert_eq!(desk.run(&["keygen", "--out", "out"]).code, 0);
    desk.run(&["inspect", &file, "--keys", "out"]).refused(5, "signature-unknown-key");
}

#[test]
fn a_private_key_in_pem_among_the_trusted_ones_is_named() {
    let desk = Desk::new();
    assert_eq!(desk.build(&[]).code, 0);
    desk.write("oops.pem", &desk.read("vendor.key"));
    let ended = desk.run(&["verify", &format!("out/{NAME}"), "--keys", "."]);
    ended.refused(1, "key-format");
    assert!(ended.err.contains("oops.pem") && ended.err.contains("PRIVATE key"), "{}", ended.err);
}

#[test]
fn a_spoiled_chunk_is_found_by_verify_though_the_manifest_is_good() {
    let desk = Desk::new();
    assert_eq!(desk.build(&[]).code, 0);
    let mut bytes = desk.read(&format!("out/{NAME}"));
    let place = bytes.len() - 4096;
    bytes[place] ^= 1;
    fs::create_dir(desk.path("spoiled")).expect("new");
    let file = format!("spoiled/{NAME}");
    desk.write(&file, &bytes);
    assert_eq!(desk.run(&["inspect", &file, "--keys", "."]).code, 0);
    let ended = desk.run(&["verify", &file, "--keys", ".", "--json"]);
    assert_eq!(ended.code, 5);
    let code = ended.json()["error"]["code"].as_str().expect("a code").to_owned();
    assert!(["chunk-frame", "chunk-digest"].contains(&code.as_str()), "{code}");
    bytes.truncate(place);
    desk.write(&file, &bytes);
    desk.run(&["verify", &file, "--keys", "."]).refused(5, "bundle-truncated");
    desk.write("renamed.tar", &bytes);
    desk.run(&["verify", "renamed.tar", "--keys", "."]).refused(5, "name-spelling");
}

#[test]
fn a_manifest_that_lies_about_the_whole_image_is_found_by_verify() {
    let desk = Desk::new();
    assert_eq!(desk.build(&[]).code, 0);
    let bytes = desk.read(&format!("out/{NAME}"));
    let key = upgrade_bundle::SigningKey::load(&desk.path("vendor.key")).expect("our key");
    let seen = bundle_format::look(&bytes[..]).expect("our bundle");
    let mut document = seen.manifest.document().clone();
    document.components[0].raw_sha256 = bundle_format::Digest::of(b"else");
    let manifest = bundle_format::Manifest::check(document).expect("good").to_bytes();
    let signature = key.sign(&manifest);
    let begun = bundle_format::writer::BundleWriter::begin(Vec::new(), &manifest, &[signature]);
    let mut writer = begun.expect("good");
    let mut at = 512 + seen.heading[0].size.next_multiple_of(512);
    at += 512 + seen.heading[1].size.next_multiple_of(512);
    for member in seen.manifest.members() {
        let start = usize::try_from(at + 512).expect("small");
        let end = start + usize::try_from(member.size).expect("small");
        writer.member(&mut &bytes[start..end]).expect("the same size");
        at += 512 + member.size.next_multiple_of(512);
    }
    desk.write(NAME, &writer.finish().expect("whole"));
    desk.run(&["verify", NAME, "--keys", "."]).refused(5, "image-digest");
}
