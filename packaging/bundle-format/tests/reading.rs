//! A whole bundle, read, cut, flipped and handed to other programs.

mod bundles;

use std::io::{self, Read, Write};
use std::process::Stdio;

use bundle_format::writer::BundleWriter;
use bundle_format::{BundleName, Kind, Manifest, Opened, look, signing_message};
use bundles::{
    members, name, parts, raw_image, read, read_with, refused, second, sign, trust, vendor,
};
use proptest::prelude::*;

#[test]
fn what_was_written_is_read_back() {
    let bundle = parts().bundle();
    assert_eq!(read(&bundle).expect("a good bundle"), raw_image());
}

#[test]
fn the_same_parts_give_the_same_bytes_whatever_the_order_of_the_keys() {
    let mut one = parts();
    one.keys = vec![vendor(), second()];
    let mut other = parts();
    other.keys = vec![second(), vendor()];
    assert!(one.bundle() == other.bundle());
    read_with(&one.bundle(), &trust(&[&vendor(), &second()], 2)).expect("both signed");
}

#[test]
fn a_bundle_with_no_signature_or_with_17_is_not_written() {
    let manifest = parts().manifest();
    let signature = sign(&vendor(), &signing_message(&manifest));
    for (count, good) in [(0, false), (1, true), (16, true), (17, false)] {
        let begun = BundleWriter::begin(Vec::new(), &manifest, &vec![signature; count]);
        assert_eq!(begun.is_ok(), good, "{count}");
    }
}

#[test]
fn members_of_another_size_than_announced_are_not_written() {
    let parts = parts();
    let manifest = parts.manifest();
    let signature = sign(&vendor(), &signing_message(&manifest));
    let script = &parts.scripts[0];
    for content in [&script[1..], &[&script[..], b"x"].concat()] {
        let begun = BundleWriter::begin(Vec::new(), &manifest, &[signature]);
        let mut writer = begun.expect("a good manifest");
        writer.member(&mut &content[..]).expect_err("another size");
    }
    let begun = BundleWriter::begin(Vec::new(), &manifest, &[signature]);
    begun.expect("a good manifest").finish().expect_err("members are missing");
}

#[test]
fn a_reader_that_gives_one_byte_at_a_time_or_interrupts_reads_the_same() {
    #[derive(Debug)]
    struct Slow<'a>(&'a [u8], bool);
    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let one = buffer.len().min(1);
            self.0.read(&mut buffer[..one])
        }
    }
    let bundle = parts().bundle();
    let opened = Opened::open(&name(), Slow(&bundle, false), &trust(&[&vendor()], 1));
    let mut image = opened.expect("open").image().expect("index");
    let mut stored = Vec::new();
    while image.next(&mut stored).expect("chunk").is_some() {}
    image.finish().expect("the end");
}

#[test]
fn chunks_that_nobody_asked_for_are_passed_over() {
    let bundle = parts().bundle();
    let opened = Opened::open(&name(), &bundle[..], &trust(&[&vendor()], 1)).expect("open");
    opened.image().expect("index").finish().expect("the end");
}

#[test]
fn an_input_that_fails_is_unreadable_and_keeps_its_cause() {
    #[derive(Debug)]
    struct Broken<'a>(&'a [u8]);
    impl Read for Broken<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(io::Error::other("medium gone")),
                read => Ok(read),
            }
        }
    }
    let bundle = parts().bundle();
    let opened = Opened::open(&name(), Broken(&bundle[..700]), &trust(&[&vendor()], 1));
    let refusal = opened.expect_err("refused");
    assert_eq!(refusal.code(), "bundle-unreadable");
    let cause = std::error::Error::source(&refusal).expect("a cause");
    assert_eq!(cause.to_string(), "medium gone");
}

#[test]
fn a_bundle_cut_anywhere_is_truncated() {
    let bundle = parts().bundle();
    let mut cuts: Vec<usize> = (0..bundle.len()).step_by(997).collect();
    for (at, _, size) in members(&bundle) {
        for border in [at, at + 512, at + 512 + size, at + 512 + size.next_multiple_of(512)] {
            cuts.extend([border.saturating_sub(1), border, border + 1]);
        }
    }
    cuts.extend([bundle.len() - 1024, bundle.len() - 513, bundle.len() - 512, bundle.len() - 1]);
    for cut in cuts.into_iter().filter(|cut| *cut < bundle.len()) {
        assert_eq!(refused(&bundle[..cut]), "bundle-truncated", "cut at {cut}");
    }
}

#[test]
fn a_flipped_bit_in_any_member_is_refused() {
    let bundle = parts().bundle();
    for (at, name, size) in members(&bundle) {
        let inside = [0, size / 3, size / 2, size - 1].map(|n| at + 512 + n);
        let header = [0, 100, 124, 130, 148, 156, 257, 300, 345, 511].map(|n| at + n);
        let padding = at + 512 + size.next_multiple_of(512) - 1;
        for place in inside.into_iter().chain(header).chain([padding]) {
            for bit in [0, 3, 7] {
                let mut spoiled = bundle.clone();
                spoiled[place] ^= 1 << bit;
                assert!(read(&spoiled).is_err(), "{name}: byte {place} bit {bit}");
            }
        }
    }
}

#[test]
fn looking_verifies_nothing_and_says_the_same_as_reading() {
    let mut parts = parts();
    parts.keys = vec![second()];
    let bundle = parts.bundle();
    let seen = look(&bundle[..]).expect("it can be looked at");
    assert_eq!(seen.file_len, bundle.len() as u64);
    assert_eq!(seen.manifest.bundle_name(), name());
    assert_eq!(seen.signatures.len(), 1);
    let all: Vec<_> = seen.heading.iter().cloned().chain(seen.manifest.members()).collect();
    let other: Vec<_> = members(&bundle).into_iter().map(|(_, n, s)| (n, s as u64)).collect();
    assert_eq!(all.into_iter().map(|m| (m.name, m.size)).collect::<Vec<_>>(), other);
    assert_eq!(refused(&bundle), "signature-unknown-key");
}

#[test]
fn the_kind_decides_the_word_of_the_name() {
    for (kind, letters, expected) in [
        (Kind::Major, None, "Acme_SGW_Upgrade-7.4.2-90.sh.REL.tar"),
        (Kind::Maintenance, None, "Acme_SGW_Upgrade-7.4.2-90.sh.REL.tar"),
        (Kind::Patch, None, "Acme_SGW_Patch-7.4.2-90.sh.REL.tar"),
        (Kind::Hotfix, Some("HL"), "Acme_SGW_Hotfix_HL-7.4.2-90.sh.REL.tar"),
    ] {
        let mut document = bundles::document();
        document.kind = kind;
        document.hotfix = letters.map(|l| l.parse().expect("letters"));
        let manifest = Manifest::check(document).expect("a good document");
        assert_eq!(manifest.bundle_name(), expected.parse::<BundleName>().expect("a name"));
        assert_eq!(manifest.bundle_name().to_string(), expected);
    }
}

#[expect(clippy::disallowed_methods, reason = "other programs are the other reading")]
fn other_program(package: &str, program: &str, args: &[&str], input: &[u8]) -> (bool, Vec<u8>) {
    let child = std::process::Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = child.unwrap_or_else(|e| panic!("install the package {package}: {e}"));
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("it ends");
    feeder.join().expect("no panic").expect("it reads everything");
    (output.status.success(), output.stdout)
}

#[test]
fn gnu_tar_lists_the_same_members() {
    let bundle = parts().bundle();
    let (good, listing) = other_program("tar", "tar", &["tvf", "-"], &bundle);
    let listing = String::from_utf8(listing).expect("text");
    assert!(good, "{listing}");
    let names: Vec<_> = listing.lines().filter_map(|l| l.split_whitespace().last()).collect();
    let ours: Vec<_> = members(&bundle).into_iter().map(|(_, name, _)| name).collect();
    assert_eq!(names, ours);
}

#[test]
fn the_zstd_program_accepts_the_payload_and_gives_the_chunks_that_are_not_zero() {
    let parts = parts();
    let (good, _) = other_program("zstd", "zstd", &["-t", "-q"], &parts.payload);
    assert!(good);
    let (_, raw) = other_program("zstd", "zstd", &["-d", "-c", "-q"], &parts.payload);
    let chunks: Vec<u8> = raw_image()
        .chunks(bundles::CHUNK)
        .filter(|chunk| chunk.iter().any(|b| *b != 0))
        .flatten()
        .copied()
        .collect();
    assert!(raw == chunks);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        prop_assert!(read(&bytes).is_err());
        prop_assert!(look(&bytes[..]).is_err());
        prop_assert!(Manifest::parse(&bytes).is_err());
    }

    #[test]
    fn a_bundle_with_some_bytes_replaced_is_refused_without_a_panic(
        places in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..4),
    ) {
        let good = parts().bundle();
        let mut bundle = good.clone();
        for (place, change) in places {
            bundle[place.index(good.len())] ^= change;
        }
        prop_assume!(bundle != good);
        prop_assert!(read(&bundle).is_err());
        // Unverified eyes meet worse bytes than verified ones.
        let _ = look(&bundle[..]);
    }
}
