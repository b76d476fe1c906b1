//! Spoiled archives: ends, headers, signatures, contents.

use super::bundles::{header, member, members, parts, second, sign, vendor};
use super::{Row, with_header, with_index, with_manifest, with_parts, with_signatures};
use bundle_format::signing_message;

/// All of them.
pub(crate) fn rows() -> Vec<Row> {
    [ends(), headers(), sizes(), signatures(), contents()].concat()
}

/// A good bundle with one bit flipped.
fn flip(place: usize) -> Vec<u8> {
    let mut bundle = parts().bundle();
    bundle[place] ^= 1;
    bundle
}

/// Where the content of member `n` begins.
fn content(n: usize) -> usize {
    members(&parts().bundle())[n].0 + 512
}

/// What comes too early, too late, or not at all.
fn ends() -> Vec<Row> {
    let good = parts().bundle();
    let last = good.len() - 1;
    let insert = |n: usize, block: &[u8]| {
        let at = members(&good)[n].0;
        [&good[..at], block, &good[at..]].concat()
    };
    vec![
        ("bundle-trailing-data", "one zero byte after the end", [&good[..], &[0]].concat()),
        ("bundle-trailing-data", "GNU tar's longer end", [&good[..], &[0; 9216]].concat()),
        ("bundle-end", "a byte in the first zero block", flip(last - 600)),
        ("bundle-end", "a byte in the second zero block", flip(last)),
        ("bundle-truncated", "one zero block only", good[..good.len() - 512].to_vec()),
        ("not-a-bundle", "gzip", [&[0x1f, 0x8b][..], &[8; 600]].concat()),
        ("not-a-bundle", "the second member first", good[members(&good)[1].0..].to_vec()),
        ("member-unexpected", "a member too many", insert(3, &member("check/999_x.sh", b""))),
        (
            "member-unexpected",
            "a member twice",
            insert(2, &good[members(&good)[1].0..members(&good)[2].0]),
        ),
        ("member-unexpected", "an early end", insert(4, &[0; 1024])),
        ("member-unexpected", "a PAX header", insert(2, &member("PaxHeaders/x", b"20 size=1\n"))),
        (
            "member-unexpected",
            "a GNU long name",
            insert(4, &header("././@LongLink", "00000000000\0", b'L')),
        ),
    ]
}

/// Headers that other tar readers would take.
fn headers() -> Vec<Row> {
    let good = parts().bundle();
    vec![
        ("member-header", "a symbolic link", with_header(2, |h| h[156] = b'2')),
        ("member-header", "a PAX type under the right name", with_header(4, |h| h[156] = b'x')),
        ("member-header", "another mode", with_header(2, |h| h[106] = b'5')),
        ("member-header", "an owner", with_header(2, |h| h[114] = b'1')),
        ("member-header", "a time", with_header(4, |h| h[146] = b'1')),
        ("member-header", "bytes behind the name", with_header(4, |h| h[90] = b'x')),
        ("member-header", "a link name", with_header(4, |h| h[157] = b'x')),
        ("member-header", "a prefix", with_header(4, |h| h[345] = b'x')),
        (
            "member-header",
            "GNU's magic",
            with_header(4, |h| h[257..265].copy_from_slice(b"ustar  \0")),
        ),
        ("member-header", "bytes in the unused end", with_header(0, |h| h[511] = 1)),
        ("member-header", "a base-256 size", with_header(5, |h| h[124] = 0x80)),
        ("member-header", "a base-256 size of the manifest", with_header(0, |h| h[124] = 0x80)),
        (
            "member-header",
            "a size with garbage",
            with_header(2, |h| {
                h[124..136].copy_from_slice(b"21\0garbage\0\0");
            }),
        ),
        (
            "member-header",
            "a size with garbage at the manifest",
            with_header(0, |h| {
                h[124..136].copy_from_slice(b"12\0garbage\0\0");
            }),
        ),
        ("member-header", "a size with a sign", with_header(2, |h| h[124] = b'+')),
        ("member-header", "a size with a sign at the manifest", with_header(0, |h| h[124] = b'+')),
        ("member-header", "a size that ends in a space", with_header(2, |h| h[135] = b' ')),
        ("member-header", "a wrong checksum", {
            let mut bundle = good.clone();
            bundle[content(2) - 512 + 149] ^= 1;
            bundle
        }),
        ("member-size", "a smaller size than signed", with_header(5, |h| h[134] ^= 1)),
    ]
}

/// Sizes and padding.
fn sizes() -> Vec<Row> {
    let good = parts().bundle();
    let last = good.len() - 1;
    vec![
        ("member-size", "a manifest above its limit", {
            [&header("manifest.json", "00004000001\0", b'0')[..], &vec![b' '; 2_000_000]].concat()
        }),
        ("member-size", "17 signatures", with_signatures(|lines| lines.repeat(17))),
        ("member-padding", "a byte in the padding of a script", {
            flip(content(2) + members(&good)[2].2)
        }),
        ("member-padding", "a byte in the padding of the payload", flip(last - 1024)),
    ]
}

/// Signatures that prove nothing.
fn signatures() -> Vec<Row> {
    let good = parts().bundle();
    vec![
        ("signature-format", "no line", with_signatures(|_| Vec::new())),
        ("signature-format", "capitals", with_signatures(|lines| lines.to_ascii_uppercase())),
        ("signature-format", "half a line", with_signatures(|lines| lines[..100].to_vec())),
        (
            "signature-format",
            "a line more",
            with_signatures(|mut lines| {
                lines.push(b'\n');
                lines
            }),
        ),
        ("signature-unknown-key", "another key", with_parts(|p| p.keys = vec![second()])),
        (
            "signature-invalid",
            "a changed signature",
            with_signatures(|mut lines| {
                lines[150] ^= 1;
                lines
            }),
        ),
        ("signature-invalid", "a changed manifest", {
            let at = good.windows(6).position(|w| w == b"Repair").expect("the notes");
            flip(at)
        }),
        ("signature-invalid", "another context", {
            let parts = parts();
            let manifest = parts.manifest();
            parts.bundle_with(&manifest, &[sign(&vendor(), &manifest)])
        }),
        ("signature-invalid", "one bad signature beside a good one of the same key", {
            let parts = parts();
            let manifest = parts.manifest();
            let good = sign(&vendor(), &signing_message(&manifest));
            parts.bundle_with(&manifest, &[good, sign(&vendor(), b"else")])
        }),
    ]
}

/// What is signed and was changed.
fn contents() -> Vec<Row> {
    let good = parts().bundle();
    vec![
        ("script-digest", "a changed script", flip(content(2))),
        ("script-digest", "a changed migration", flip(content(3))),
        ("index-digest", "a changed record", flip(content(4) + 10)),
        ("index-digest", "a changed hint", flip(content(4) + members(&good)[4].2 - 1)),
        (
            "index-inconsistent",
            "a chunk without bytes that is not zero",
            with_index(|index| {
                index[36 + 4] ^= 1;
            }),
        ),
        ("index-inconsistent", "lengths that do not add up", with_index(|index| index[0] += 1)),
        (
            "index-inconsistent",
            "a stored chunk longer than any can be",
            with_index(|index| {
                index[3] = 0x7f;
            }),
        ),
        ("chunk-digest", "a chunk with another digest", with_index(|index| index[4] ^= 1)),
        (
            "name-mismatch",
            "another build",
            with_manifest(|t| {
                t.replace("\"build\": 90", "\"build\": 91").replace("7.4.2-90", "7.4.2-91")
            }),
        ),
        ("name-mismatch", "another platform", with_manifest(|t| t.replace("Acme_SGW", "Acme_SGX"))),
        (
            "name-mismatch",
            "another kind",
            with_manifest(|t| t.replace("\"maintenance\"", "\"patch\"")),
        ),
    ]
}
