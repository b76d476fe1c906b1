//! Why a bundle, a name or a key was not accepted.
//!
//! A [`Refusal`] has a code in words for programs ([`Code::word`]), a sentence with the numbers of
//! this case (`Display`) and a next step for the person who reads it ([`Refusal::advice`]). The
//! codes are one table, so that manuals are generated from [`Code::ALL`] and cannot drift.
//!
//! Invariants: the sentence is one line without control characters, whatever bytes a bundle held,
//! because it is printed on terminals and into logs; it never repeats its `source`.

use std::io;

/// The longest sentence a refusal keeps, in characters: names from a bundle may be quoted in it,
/// and a log line is not the place for a megabyte of them.
const MAX_SENTENCE: usize = 600;

macro_rules! codes {
    ($($variant:ident, $word:literal, $meaning:literal, $advice:literal;)+) => {
        /// What kind of refusal it was; the words are part of the interface and never change.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = concat!("`", $word, "`: ", $meaning)] $variant,)+
        }

        impl Code {
            /// Every code there is, in the order of the manual.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The code as programs and manuals write it.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// What the code says in general, without the numbers of one case.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning),+ }
            }

            /// What to do next.
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$variant => $advice),+ }
            }
        }
    };
}

codes! {
    VersionSpelling, "version-spelling", "a version or release is not spelled the one accepted way.",
        "write A.x.y or A.x.y.z without leading zeros and without a last .0, for example 7.4.2 or 7.4.2.1";
    NameSpelling, "name-spelling", "the file name does not follow the grammar of bundle names.",
        "use the name the maker gave the file: Platform_Upgrade-7.4.2-90.sh.REL.tar";
    NameRenamed, "name-renamed", "the file name was changed after the bundle was made.",
        "rename the file back to the name it was published under";
    NameUnpacked, "name-unpacked", "the file is not the .tar as published: unpacked or packed again.",
        "give the .sh.REL.tar file exactly as it was downloaded, neither unpacked nor compressed";
    NameMismatch, "name-mismatch", "the file name and the signed manifest disagree.",
        "rename the file back, or download it again under its published name";
    NotABundle, "not-a-bundle", "the file does not begin like a bundle.",
        "check that the download is complete and that the file is the published .sh.REL.tar";
    Unreadable, "bundle-unreadable", "reading the bundle failed.",
        "check the medium or the connection, then try again";
    Truncated, "bundle-truncated", "the bundle ends too early.",
        "download it again; the transfer was cut";
    DataAfterEnd, "bundle-trailing-data", "bytes follow the end of the bundle.",
        "download it again from the vendor; something was appended";
    End, "bundle-end", "the two zero blocks that end a bundle are not there.",
        "download it again; the file is damaged";
    MemberUnexpected, "member-unexpected", "a member is missing, extra or out of order.",
        "use a bundle made by upgrade-bundle and not packed again by another tool";
    MemberHeader, "member-header", "a member's header is not the one our writer makes.",
        "use a bundle made by upgrade-bundle and not packed again by another tool";
    MemberSize, "member-size", "a member's size is not the announced one or is over its limit.",
        "download it again; if it stays, the bundle was made wrongly";
    MemberPadding, "member-padding", "the padding after a member is not zero.",
        "download it again; the file is damaged or hides data";
    SignatureFormat, "signature-format", "manifest.sig is not made of well-formed signature lines.",
        "download it again; if it stays, the bundle was made wrongly";
    SignatureUnknownKey, "signature-unknown-key", "no signature is by a trusted key.",
        "check that the bundle is from your vendor and that its public key is in the keys directory";
    SignatureRevokedKey, "signature-revoked-key", "the bundle is signed by a revoked key.",
        "get the same version signed with the current key";
    SignatureInvalid, "signature-invalid", "a signature by a trusted key does not fit the manifest.",
        "download it again; if it stays, the manifest was changed after signing: do not use it";
    SignaturesTooFew, "signatures-too-few", "fewer trusted keys signed than the policy demands.",
        "get the bundle with all signatures, or check how many the policy asks for";
    KeyFormat, "key-format", "a key file is not an Ed25519 public key in SPKI PEM.",
        "make it with: openssl pkey -in private.pem -pubout";
    KeyWeak, "key-weak", "a public key is a weak point that would accept forged signatures.",
        "remove this file: no honest tool makes such a key";
    KeysUnusable, "keys-unusable", "the directory of trusted keys is empty, too full or unreadable.",
        "put the vendor's public keys there as *.pem files";
    ManifestSyntax, "manifest-syntax", "manifest.json is not the JSON this version understands.",
        "update upgrade-agent first, or have the bundle built again by a matching upgrade-bundle";
    ManifestFormat, "manifest-format", "the manifest's format version is not known here.",
        "upgrade in steps: first to a version whose agent knows this format";
    ManifestValue, "manifest-value", "a value of the manifest is outside its limits.",
        "have the bundle built again; the maker made or was given a wrong value";
    ComponentUnsupported, "component-unsupported", "the bundle holds a component this version cannot install.",
        "upgrade in steps: first to a version whose agent can";
    CodecUnsupported, "codec-unsupported", "the payload is compressed in a way this version cannot read.",
        "have the bundle built with codec zstd";
    ScriptDigest, "script-digest", "a script's SHA-256 is not the signed one.",
        "download it again; if it stays, the bundle was changed after signing: do not use it";
    IndexDigest, "index-digest", "the chunk index's SHA-256 is not the signed one.",
        "download it again; if it stays, the bundle was changed after signing: do not use it";
    IndexInconsistent, "index-inconsistent", "the chunk index contradicts itself or the manifest.",
        "have the bundle built again; the maker made a wrong index";
    ChunkFrame, "chunk-frame", "a chunk is not exactly one plain zstd frame of the expected size.",
        "download it again; the payload is damaged";
    ChunkDigest, "chunk-digest", "a chunk's SHA-256 is not the one of the index.",
        "download it again; the payload is damaged";
    ImageDigest, "image-digest", "the whole image's SHA-256 is not the signed one.",
        "have the bundle built again; the maker made a wrong manifest";
}

/// One refusal: a code, a sentence with numbers, and advice.
#[derive(Debug, thiserror::Error)]
#[error("{sentence}")]
pub struct Refusal {
    code: Code,
    sentence: String,
    #[source]
    source: Option<io::Error>,
}

impl Refusal {
    /// A refusal with its sentence; control characters are escaped and an overlong one is cut.
    pub fn new(code: Code, sentence: impl AsRef<str>) -> Self {
        let mut clean = String::new();
        for (n, c) in sentence.as_ref().chars().enumerate() {
            if n == MAX_SENTENCE {
                clean.push_str(" ...");
                break;
            }
            if c.is_control() {
                clean.extend(c.escape_default());
            } else {
                clean.push(c);
            }
        }
        Self { code, sentence: clean, source: None }
    }

    /// The same with the I/O error that caused it.
    pub(crate) fn because(code: Code, sentence: impl AsRef<str>, source: io::Error) -> Self {
        Self { source: Some(source), ..Self::new(code, sentence) }
    }

    /// The code in words, for programs: `signature-unknown-key`.
    pub fn code(&self) -> &'static str {
        self.code.word()
    }

    /// The code as a value to match on.
    pub fn kind(&self) -> Code {
        self.code
    }

    /// What to do next.
    pub fn advice(&self) -> &'static str {
        self.code.advice()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_one_lower_case_word_with_a_meaning_and_an_advice() {
        let mut words: Vec<_> = Code::ALL.iter().map(|c| c.word()).collect();
        for code in Code::ALL {
            assert!(code.word().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{code:?}");
            assert!(code.meaning().ends_with('.') && !code.advice().is_empty(), "{code:?}");
        }
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Code::ALL.len(), "a word is used twice");
    }

    #[test]
    fn a_sentence_never_carries_control_characters_to_the_terminal() {
        let refusal = Refusal::new(Code::ManifestSyntax, "field \u{1b}[2J\nx");
        assert_eq!(refusal.to_string(), "field \\u{1b}[2J\\nx");
        assert!(Refusal::new(Code::NotABundle, "x".repeat(9999)).to_string().len() < 700);
    }
}
