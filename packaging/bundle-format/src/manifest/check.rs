//! What makes a document a manifest: syntax, limits, and numbers that agree with each other.
//!
//! Every sum the reader will do later is proved possible here, so the limits stand here too.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{Codec, Component, Document, FORMAT, Handler, Kind, Manifest, Script};
use crate::index;
use crate::json::Unique;
use crate::refusal::{Code, Refusal};

/// The largest `manifest.json`: it is held in memory before anything is verified.
pub const MAX_MANIFEST: u64 = 1024 * 1024;

/// The smallest chunk: below it the index outweighs what finer chunks save.
pub const MIN_CHUNK_SIZE: u32 = 64 * 1024;

/// The largest chunk: each unpacking thread holds one, raw and stored.
pub const MAX_CHUNK_SIZE: u32 = 1024 * 1024;

/// The most chunks: their records are the part of the index that stays in memory, here 9.4 MB.
/// With the default chunk size that is an image of 64 GiB.
pub const MAX_CHUNKS: u32 = 262_144;

/// The largest member: ustar writes sizes as eleven octal digits, 8 GiB - 1.
pub const MAX_STORED: u64 = 0o777_7777_7777;

/// The largest script: it is held in memory, and a bigger one is a program, not a check.
pub const MAX_SCRIPT: u64 = 1024 * 1024;

/// The most scripts of one sort: three digits number them, and each may take minutes.
pub const MAX_SCRIPTS: usize = 64;

/// An image is written in blocks of this size, and hints are made for them.
const BLOCK: u64 = 4096;

/// The most entries in lists of models, ranges, exceptions and legs: more is a mistake of the maker.
const MAX_LIST: usize = 64;

/// The longest one-line text, in bytes: product and model names are shown in one line of a table.
const MAX_LINE: usize = 128;

/// The longest recovery message: it is shown in a terminal and kept in the history.
const MAX_RECOVERY: usize = 4096;

/// The longest release notes and licence: both fit into the manifest with room for the rest.
const MAX_TEXT: usize = 256 * 1024;

/// The longest name of a component or script: with folder and ending below ustar's 100 bytes.
const MAX_NAME: usize = 64;

impl Manifest {
    /// Reads and checks the bytes of `manifest.json`. Call it after their signature verified.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        limit("manifest.json", bytes.len() as u64, MAX_MANIFEST)?;
        let syntax = |e: serde_json::Error| {
            Refusal::new(Code::ManifestSyntax, format!("manifest.json: {e}"))
        };
        let Unique(value) = serde_json::from_slice(bytes).map_err(syntax)?;
        // The format comes first: a later one may differ in everything else.
        let format = value.get("format").and_then(serde_json::Value::as_u64);
        if let Some(format) = format.filter(|f| *f != u64::from(FORMAT)) {
            let why = format!("the manifest has format {format}; known here: {FORMAT}");
            return Err(Refusal::new(Code::ManifestFormat, why));
        }
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let document = Document::deserialize(&mut reader).map_err(syntax)?;
        // Serde also takes `[..]` for a struct and `null` for an absent value: other spellings.
        if serde_json::to_value(&document).map_err(syntax)? != value {
            let why = "manifest.json: a list or null stands where an object or nothing should";
            return Err(Refusal::new(Code::ManifestSyntax, why));
        }
        Self::check(document)
    }

    /// Checks a document, as the maker does before it signs and the reader after it verified.
    pub fn check(document: Document) -> Result<Self, Refusal> {
        check_heading(&document)?;
        check_from(&document)?;
        check_components(&document)?;
        check_legs(&document)?;
        check_scripts("checks", &document.checks)?;
        check_scripts("migrations", &document.migrations)?;
        Ok(Self(document))
    }

    /// The bytes to sign and store: JSON with two spaces of indentation and a final line end.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(&self.0)
            .expect("OK because a document has string keys only and Vec cannot fail");
        bytes.push(b'\n');
        bytes
    }
}

fn wrong<T>(why: impl AsRef<str>) -> Result<T, Refusal> {
    Err(Refusal::new(Code::ManifestValue, format!("manifest.json: {}", why.as_ref())))
}

fn limit(what: &str, value: u64, most: u64) -> Result<(), Refusal> {
    if value > most { wrong(format!("{what} is {value}, at most {most}")) } else { Ok(()) }
}

fn count(what: &str, length: usize, least: usize, most: usize) -> Result<(), Refusal> {
    if (least..=most).contains(&length) {
        return Ok(());
    }
    wrong(format!("{what} has {length} entries, {least} to {most} are possible"))
}

fn line(what: &str, text: &str) -> Result<(), Refusal> {
    limit(&format!("the length of {what}"), text.len() as u64, MAX_LINE as u64)?;
    if text.trim().is_empty() || text.chars().any(char::is_control) {
        return wrong(format!("{what} is empty or holds control characters"));
    }
    Ok(())
}

fn text(what: &str, text: &str, most: usize) -> Result<(), Refusal> {
    limit(&format!("the length of {what}"), text.len() as u64, most as u64)?;
    if text.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        return wrong(format!("{what} holds control characters"));
    }
    Ok(())
}

fn distinct<T: Ord>(what: &str, items: &[T]) -> Result<(), Refusal> {
    if items.iter().collect::<BTreeSet<_>>().len() != items.len() {
        return wrong(format!("{what} has an entry twice"));
    }
    Ok(())
}

/// Member names of ours: lower case, so that no file system takes two of them for one.
fn plain_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(plain)
}

fn check_heading(document: &Document) -> Result<(), Refusal> {
    if document.format != FORMAT {
        let why = format!("the manifest has format {}; known here: {FORMAT}", document.format);
        return Err(Refusal::new(Code::ManifestFormat, why));
    }
    line("product", &document.product)?;
    count("models", document.models.len(), 1, MAX_LIST)?;
    for model in &document.models {
        line("a model", model)?;
    }
    distinct("models", &document.models)?;
    if (document.kind == Kind::Hotfix) != document.hotfix.is_some() {
        return wrong("hotfix letters belong to the kind hotfix and only to it");
    }
    text("notes", &document.notes, MAX_TEXT)?;
    text("licence", document.licence.as_deref().unwrap_or_default(), MAX_TEXT)
}

fn check_from(document: &Document) -> Result<(), Refusal> {
    count("from", document.from.len(), 1, MAX_LIST)?;
    for range in &document.from {
        if range.min > range.max {
            return wrong(format!("from {} to {} is no range", range.min, range.max));
        }
        count("except", range.except.len(), 0, MAX_LIST)?;
        distinct("except", &range.except)?;
        if let Some(out) = range.except.iter().find(|v| **v < range.min || **v > range.max) {
            return wrong(format!("{out} is not between {} and {}", range.min, range.max));
        }
    }
    let floors = &document.floors;
    if floors.security.is_some_and(|floor| floor > document.version) {
        return wrong(format!("the security floor is above the version {}", document.version));
    }
    match (floors.companion_min, floors.companion_max) {
        (Some(min), Some(max)) if min > max => {
            wrong(format!("companion firmware from {min} to {max} is no range"))
        }
        _ => Ok(()),
    }
}

fn check_components(document: &Document) -> Result<(), Refusal> {
    for component in &document.components {
        if !plain_name(&component.name) {
            return wrong(format!("`{}` cannot name a component", component.name));
        }
        if component.handler != Handler::SlotImage {
            let why = format!("component `{}` has handler {:?}", component.name, component.handler);
            return Err(Refusal::new(Code::ComponentUnsupported, why));
        }
        if component.codec != Codec::Zstd {
            let why = format!("component `{}` has codec {:?}", component.name, component.codec);
            return Err(Refusal::new(Code::CodecUnsupported, why));
        }
        check_sizes(component)?;
        if component.version.version != document.version
            || component.version.build != document.build
        {
            let why =
                format!("`{}` is {}, not the bundle's own", component.name, component.version);
            return wrong(why);
        }
    }
    // Two slot images would need a word for which slot is meant; there is none yet.
    count("components", document.components.len(), 1, 1)
}

fn check_sizes(component: &Component) -> Result<(), Refusal> {
    let Component { name, raw_size, stored_size, chunk_size, index_size, .. } = component;
    if !chunk_size.is_power_of_two() || !(MIN_CHUNK_SIZE..=MAX_CHUNK_SIZE).contains(chunk_size) {
        return wrong(format!(
            "`{name}` has chunks of {chunk_size} bytes; a power of two from {MIN_CHUNK_SIZE} to {MAX_CHUNK_SIZE}"
        ));
    }
    if *raw_size == 0 || raw_size % BLOCK != 0 {
        return wrong(format!("`{name}` is {raw_size} bytes raw; a multiple of {BLOCK}, not 0"));
    }
    limit(&format!("the number of chunks of `{name}`"), component.chunks(), u64::from(MAX_CHUNKS))?;
    limit(&format!("the stored size of `{name}`"), *stored_size, MAX_STORED)?;
    let computed = index::size(*raw_size, *chunk_size);
    if *index_size != computed {
        return wrong(format!(
            "the index of `{name}` is {index_size} bytes; {computed} follow from the sizes"
        ));
    }
    Ok(())
}

fn check_legs(document: &Document) -> Result<(), Refusal> {
    count("legs", document.legs.len(), 1, MAX_LIST)?;
    let active: Vec<&String> = document.legs.iter().flat_map(|leg| &leg.components).collect();
    distinct("legs", &active)?;
    let named: BTreeSet<&String> = document.components.iter().map(|c| &c.name).collect();
    if active.into_iter().collect::<BTreeSet<_>>() != named {
        return wrong("the legs do not name every component once");
    }
    if document.legs.windows(2).any(|two| !two[0].can_be_undone && two[1].can_be_undone) {
        return wrong("a leg that cannot be undone stands before one that can");
    }
    Ok(())
}

fn check_scripts(what: &str, scripts: &[Script]) -> Result<(), Refusal> {
    count(what, scripts.len(), 0, MAX_SCRIPTS)?;
    for script in scripts {
        let (number, rest) = script.name.split_at_checked(4).unwrap_or_default();
        let numbered = number.ends_with('_') && number[..3].bytes().all(|b| b.is_ascii_digit());
        if !numbered || !rest.strip_suffix(".sh").is_some_and(plain_name) {
            return wrong(format!("`{}` in {what} is not named like 010_name.sh", script.name));
        }
        limit(&format!("the size of `{}`", script.name), script.size, MAX_SCRIPT)?;
        text(&format!("the recovery of `{}`", script.name), &script.recovery, MAX_RECOVERY)?;
    }
    if scripts.is_sorted_by(|one, next| one.name < next.name) {
        return Ok(());
    }
    wrong(format!("{what} are not sorted by name, or one is there twice"))
}
