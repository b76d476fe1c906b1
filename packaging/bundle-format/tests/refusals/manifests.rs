//! Signed manifests that say what they must not.

use super::{Row, with_manifest};

/// All of them.
pub(crate) fn rows() -> Vec<Row> {
    let mut rows = syntax();
    rows.extend(VALUES.map(|(what, from, to)| ("manifest-value", what, change(from, to))));
    rows.push(("manifest-value", "a script twice", script_twice()));
    rows
}

/// A good bundle with one part of its manifest's text replaced, then signed.
fn change(from: &str, to: &str) -> Vec<u8> {
    with_manifest(|text| text.replacen(from, to, 1))
}

fn script_twice() -> Vec<u8> {
    with_manifest(|t| {
        let (from, to) = (
            "\"checks\": [\n",
            "\"checks\": [\n{\"name\":\"010_space.sh\",\"size\":0,\"sha256\":\"",
        );
        t.replace(from, &format!("{to}{}\",\"recovery\":\"\"}},\n", "0".repeat(64)))
    })
}

/// What cannot be read, or not by this version.
fn syntax() -> Vec<Row> {
    vec![
        ("manifest-syntax", "no JSON", with_manifest(|_| "{".to_owned())),
        (
            "manifest-syntax",
            "a key twice",
            change("\"build\": 90,", "\"build\": 90, \"build\": 90,"),
        ),
        ("manifest-syntax", "a key twice in the extensions", {
            change("\"notes\"", "\"extensions\": {\"a\": {\"b\": 1, \"b\": 2}}, \"notes\"")
        }),
        ("manifest-syntax", "an unknown key", change("\"build\": 90,", "\"build\": 90, \"x\": 1,")),
        ("manifest-syntax", "an unknown key in a range", change("\"min\":", "\"x\": 1, \"min\":")),
        (
            "manifest-syntax",
            "an explicit null",
            change("\"notes\"", "\"licence\": null, \"notes\""),
        ),
        (
            "manifest-syntax",
            "a list for an object",
            with_manifest(|t| {
                let at = t.find("\"legs\"").expect("legs");
                let end = at + t[at..].find("],\n  \"comp").expect("its end");
                format!("{}\"legs\": [[[\"rootfs\"], true]{}", &t[..at], &t[end..])
            }),
        ),
        ("manifest-syntax", "bytes after the document", with_manifest(|t| t + "{}")),
        ("manifest-syntax", "a version in another spelling", change("\"7.2.0\"", "\"7.02.0\"")),
        ("manifest-syntax", "a negative size", change("\"created\": 1", "\"created\": -1")),
        ("manifest-format", "a later format", change("\"format\": 1", "\"format\": 2")),
        (
            "manifest-format",
            "a later format with unknown keys",
            change("\"format\": 1", "\"format\": 2, \"x\": 1"),
        ),
        ("component-unsupported", "firmware", change("\"slot-image\"", "\"firmware\"")),
        ("codec-unsupported", "gzip", change("\"zstd\"", "\"gzip\"")),
    ]
}

/// What is replaced by what, and how that is called.
const VALUES: [(&str, &str, &str); 23] = [
    ("a chunk size that is no power of two", "\"chunk_size\": 65536", "\"chunk_size\": 65537"),
    ("chunks that are too small", "\"chunk_size\": 65536", "\"chunk_size\": 32768"),
    ("chunks that are too large", "\"chunk_size\": 65536", "\"chunk_size\": 2097152"),
    ("a chunk size of 0", "\"chunk_size\": 65536", "\"chunk_size\": 0"),
    ("a raw size of 0", "\"raw_size\": 274432", "\"raw_size\": 0"),
    ("a raw size in half blocks", "\"raw_size\": 274432", "\"raw_size\": 274433"),
    ("too many chunks", "\"raw_size\": 274432", "\"raw_size\": 18446744073709547520"),
    ("a stored size above ustar's", "\"stored_size\": ", "\"stored_size\": 99999999"),
    ("another index size", "\"index_size\": 7", "\"index_size\": 8"),
    ("a component of another build", "\"version\": \"7.4.2-90\"", "\"version\": \"7.4.2-91\""),
    ("a component with a path for a name", "\"name\": \"rootfs\"", "\"name\": \"../rootfs\""),
    ("no models", "[\n    \"SGW-100\"\n  ]", "[]"),
    ("control characters in a model", "SGW-100", "SGW\\u001b[2J"),
    ("control characters in the notes", "Repairs", "\\u0007Repairs"),
    ("hotfix letters without a hotfix", "\"kind\"", "\"hotfix\": \"HL\", \"kind\""),
    ("a range the wrong way round", "\"min\": \"7.2.0\"", "\"min\": \"7.4.2\""),
    ("an exception outside its range", "\"7.3.1\"", "\"7.5.1\""),
    ("a security floor above itself", "\"security\": \"7.3.0\"", "\"security\": \"7.4.3\""),
    (
        "a companion range the wrong way round",
        "\"security\"",
        "\"companion_min\": \"2.0.0\", \"companion_max\": \"1.0.0\", \"security\"",
    ),
    (
        "a leg without its component",
        "\"components\": [\n        \"rootfs\"\n      ]",
        "\"components\": []",
    ),
    ("a script with a path", "010_space.sh", "010_../x.sh"),
    ("a script without a number", "010_space.sh", "space.sh"),
    ("a script above its limit", "\"size\": 17", "\"size\": 1048577"),
];
