//! The file name of a bundle: `<Platform>_{Upgrade|Patch|Hotfix_XX}-<A.x.y[.z]>-<build>.sh.REL.tar`.
//!
//! The name is what a person sees, so it must say the same as the signed manifest; the reader
//! compares the two and refuses a renamed file. Exactly one spelling is accepted. A wrong one is
//! explained: browsers add ` (1)`, some unpack a `.tar` on their own, some systems change case.
//!
//! The grammar is read from its ends: the first `-` ends platform and word, and the word is the
//! last one or two parts before it, so a platform may itself contain such words without ambiguity.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::refusal::{Code, Refusal};
use crate::version::{Release, serde_as_string};

/// What every bundle's name ends with.
const ENDING: &str = ".sh.REL.tar";

/// The longest platform name: together with everything else a file name stays far below the 255
/// bytes that Linux file systems allow, even with a temporary ending of ours.
const MAX_PLATFORM: usize = 64;

/// The most hotfix letters: 26^3 hotfixes for one release are more than anyone will make.
const MAX_LETTERS: usize = 3;

/// A platform family, `Acme_SGW`: parts of ASCII letters and digits joined by `_`, a letter first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Platform(String);

impl Platform {
    /// The platform as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What `IMAGE_ID` in the slot's os-release must be: the platform in lower case.
    pub fn image_id(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Platform {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let refuse = |why: String| {
            Err(Refusal::new(Code::NameSpelling, format!("`{text}` is not a platform: {why}")))
        };
        if text.len() > MAX_PLATFORM {
            return refuse(format!("{} characters, at most {MAX_PLATFORM}", text.len()));
        }
        if !text.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return refuse("it begins with a letter".to_owned());
        }
        let part = |p: &str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_alphanumeric());
        if !text.split('_').all(part) {
            return refuse("parts of letters and digits, joined by single `_`".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

/// The letters of a hotfix, `HL`: one to three capital letters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HotfixLetters(String);

impl fmt::Display for HotfixLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for HotfixLetters {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let capital = text.bytes().all(|b| b.is_ascii_uppercase());
        if capital && (1..=MAX_LETTERS).contains(&text.len()) {
            return Ok(Self(text.to_owned()));
        }
        Err(Refusal::new(
            Code::NameSpelling,
            format!("`{text}` are not hotfix letters: one to {MAX_LETTERS} capital letters"),
        ))
    }
}

serde_as_string!(Platform, HotfixLetters);

/// The word of a bundle's name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Word {
    /// A major or maintenance release.
    Upgrade,
    /// A patch.
    Patch,
    /// A hotfix with its letters.
    Hotfix(HotfixLetters),
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upgrade => f.write_str("Upgrade"),
            Self::Patch => f.write_str("Patch"),
            Self::Hotfix(letters) => write!(f, "Hotfix_{letters}"),
        }
    }
}

/// A bundle's file name, taken apart.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BundleName {
    /// The platform family.
    pub platform: Platform,
    /// Upgrade, patch or hotfix.
    pub word: Word,
    /// Version and build.
    pub release: Release,
}

impl BundleName {
    /// The name of the file at `path`; the directories before it are ignored.
    pub fn of_path(path: &Path) -> Result<Self, Refusal> {
        match path.file_name().and_then(|name| name.to_str()) {
            Some(name) => name.parse(),
            None => Err(Refusal::new(
                Code::NameSpelling,
                format!("`{}` does not end in a readable file name", path.display()),
            )),
        }
    }
}

impl fmt::Display for BundleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}-{}{ENDING}", self.platform, self.word, self.release)
    }
}

impl FromStr for BundleName {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let Some(stem) = text.strip_suffix(ENDING) else {
            return Err(wrong_ending(text));
        };
        // Only a name that is wrong is suspected: a platform may well be called `Copycat`.
        parse(stem).map_err(|why| {
            if looks_copied(stem) {
                return copied(text);
            }
            let why = format!("`{text}` is not a bundle's name: {why}");
            Refusal::new(Code::NameSpelling, why)
        })
    }
}

/// Reads everything before the ending, or says why not.
fn parse(stem: &str) -> Result<BundleName, String> {
    let (left, release) = stem.split_once('-').ok_or("no `-` before a version")?;
    let (platform, word) =
        split_word(left).ok_or("no `_Upgrade`, `_Patch` or `_Hotfix_XX` before the version")?;
    Ok(BundleName {
        platform: platform.parse().map_err(|e: Refusal| e.to_string())?,
        word,
        release: release.parse().map_err(|e: Refusal| e.to_string())?,
    })
}

/// Takes the word off the end of `Acme_SGW_Hotfix_HL`.
fn split_word(left: &str) -> Option<(&str, Word)> {
    if let Some(platform) = left.strip_suffix("_Upgrade") {
        return Some((platform, Word::Upgrade));
    }
    if let Some(platform) = left.strip_suffix("_Patch") {
        return Some((platform, Word::Patch));
    }
    let (rest, letters) = left.rsplit_once('_')?;
    let platform = rest.strip_suffix("_Hotfix")?;
    Some((platform, Word::Hotfix(letters.parse().ok()?)))
}

/// What browsers, desktops and people do to a second copy of a file.
fn looks_copied(stem: &str) -> bool {
    stem.contains(['(', ')', ' ', '~']) || stem.to_ascii_lowercase().contains("copy")
}

fn copied(text: &str) -> Refusal {
    Refusal::new(
        Code::NameRenamed,
        format!("`{text}` looks like a renamed copy: browsers and desktops add ` (1)` or `copy`"),
    )
}

/// Says what probably happened to a name that does not end in `.sh.REL.tar`.
fn wrong_ending(text: &str) -> Refusal {
    let lower = text.to_ascii_lowercase();
    let has = |ending: &str| lower.ends_with(ending);
    if has(&ENDING.to_ascii_lowercase()) {
        let why = format!("`{text}` must end in `{ENDING}`, with REL in capitals");
        return Refusal::new(Code::NameRenamed, why);
    }
    if lower.contains(".sh.rel") && (looks_copied(text) || has(".tar.tar") || has(".txt")) {
        return copied(text);
    }
    if has(".sh.rel") || has(".sh") {
        let why = format!("`{text}` lacks `.tar`: it was unpacked, perhaps by the browser");
        return Refusal::new(Code::NameUnpacked, why);
    }
    if has(".gz") || has(".xz") || has(".zst") || has(".zip") || has(".bz2") || has(".tgz") {
        let why = format!("`{text}` was compressed after it was made");
        return Refusal::new(Code::NameUnpacked, why);
    }
    Refusal::new(Code::NameSpelling, format!("`{text}` does not end in `{ENDING}`"))
}
