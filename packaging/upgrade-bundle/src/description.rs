//! What a release engineer writes about a release, and what the maker makes of it.
//!
//! [`Description`] holds everything but the image, ready to build; [`load_description`] reads it
//! from TOML. Unknown keys are refused with line and column, so that a mistyped floor does not
//! silently become no floor. Paths count from the description's directory, so that a build does
//! not depend on where it was started. The date comes from the description or from
//! `SOURCE_DATE_EPOCH`, never from a clock, so that builds repeat.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use bundle_format::{
    Floors, FromRange, HotfixLetters, Kind, MAX_SCRIPT, MAX_SCRIPTS, Platform, Release, Version,
};
use serde::Deserialize;

use crate::failure::Failure;

/// The largest description: notes and licence have limits of their own in the manifest.
const MAX_DESCRIPTION: u64 = 1024 * 1024;

/// The largest licence file read; the manifest's own limit is lower and says so.
const MAX_LICENCE: u64 = 1024 * 1024;

/// The chunk size when none is given: the format's measured default.
const DEFAULT_CHUNK_SIZE: u32 = 256 * 1024;

/// The zstd level when none is given: higher ones cost much time for little size.
const DEFAULT_LEVEL: i32 = 9;

/// The zstd levels there are; lower ones are for networks, not for releases.
const LEVELS: std::ops::RangeInclusive<i32> = 1..=22;

/// Everything about a release but its image.
#[derive(Clone, PartialEq, Debug)]
pub struct Description {
    /// The product's name as people say it.
    pub product: String,
    /// The platform family.
    pub platform: Platform,
    /// The models it is for.
    pub models: Vec<String>,
    /// Version and build.
    pub release: Release,
    /// What kind of release it is.
    pub kind: Kind,
    /// The letters of a hotfix.
    pub hotfix: Option<HotfixLetters>,
    /// The versions it may be installed over.
    pub from: Vec<FromRange>,
    /// Floors and ceilings.
    pub floors: Floors,
    /// The lowest version of a peer that state can be synchronised with.
    pub peer_min: Option<Version>,
    /// Whether the operator may go back after confirming.
    pub may_revert: bool,
    /// Release notes.
    pub notes: String,
    /// A licence text to accept.
    pub licence: Option<String>,
    /// Seconds since 1970.
    pub created: u64,
    /// How to pack the image.
    pub image: ImageOptions,
    /// Readiness checks, sorted by name.
    pub checks: Vec<ScriptSource>,
    /// Configuration migrations, sorted by name.
    pub migrations: Vec<ScriptSource>,
    /// Keys that readers need not know.
    pub extensions: serde_json::Map<String, serde_json::Value>,
}

impl Description {
    /// A maintenance release for one model with the platform's name, over any version up to its
    /// own, dated 1970; change what should differ.
    pub fn new(platform: Platform, release: Release) -> Self {
        let from =
            FromRange { min: Version::new(0, 0, 0, 0), max: release.version, except: vec![] };
        Self {
            product: platform.to_string(),
            models: vec![platform.to_string()],
            platform,
            release,
            kind: Kind::Maintenance,
            hotfix: None,
            from: vec![from],
            floors: Floors::default(),
            peer_min: None,
            may_revert: true,
            notes: String::new(),
            licence: None,
            created: 0,
            image: ImageOptions::default(),
            checks: Vec::new(),
            migrations: Vec::new(),
            extensions: serde_json::Map::new(),
        }
    }
}

/// How an image is packed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImageOptions {
    /// The component's name.
    pub name: String,
    /// The raw size of a chunk.
    pub chunk_size: u32,
    /// The zstd level.
    pub level: i32,
}

impl Default for ImageOptions {
    fn default() -> Self {
        Self { name: "rootfs".to_owned(), chunk_size: DEFAULT_CHUNK_SIZE, level: DEFAULT_LEVEL }
    }
}

impl ImageOptions {
    /// The chunk size is checked with the manifest.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if LEVELS.contains(&self.level) {
            return Ok(());
        }
        let possible = format!("from {} to {}", LEVELS.start(), LEVELS.end());
        Err(Failure::Option { what: "level", value: self.level.into(), possible })
    }
}

/// A script that goes into the bundle.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScriptSource {
    /// Its file name, `NNN_name.sh`.
    pub name: String,
    /// Its text.
    pub content: Vec<u8>,
    /// What to tell the operator when it fails.
    pub recovery: String,
}

/// The TOML file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    product: String,
    platform: Platform,
    models: Vec<String>,
    version: Version,
    build: u32,
    kind: Kind,
    hotfix: Option<HotfixLetters>,
    from: Vec<FromRange>,
    #[serde(default)]
    floors: Floors,
    peer_min: Option<Version>,
    #[serde(default = "yes")]
    may_revert: bool,
    #[serde(default)]
    notes: String,
    licence_file: Option<PathBuf>,
    created: Option<jiff::Timestamp>,
    image: WrittenImage,
    #[serde(default)]
    check: Vec<WrittenScript>,
    #[serde(default)]
    migration: Vec<WrittenScript>,
    #[serde(default)]
    extensions: serde_json::Map<String, serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenImage {
    path: PathBuf,
    name: Option<String>,
    chunk_size: Option<u32>,
    level: Option<i32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenScript {
    path: PathBuf,
    recovery: String,
}

const fn yes() -> bool {
    true
}

/// Reads a description. Returns it and the path of the image. `source_date_epoch` is the value of
/// that environment variable; the file's own date goes first.
pub fn load_description(
    path: &Path,
    source_date_epoch: Option<&str>,
) -> Result<(Description, PathBuf), Failure> {
    let text = read(path, "read", MAX_DESCRIPTION)?;
    let text = String::from_utf8(text).map_err(|e| {
        let (line, column) = place(e.as_bytes(), e.utf8_error().valid_up_to());
        Failure::Description { path: path.to_owned(), line, column, what: "not UTF-8".to_owned() }
    })?;
    let written: Written = toml::from_str(&text).map_err(|e| {
        let (line, column) = place(text.as_bytes(), e.span().map_or(0, |span| span.start));
        // Some messages have several lines; an error of ours is one.
        let what = e.message().split_whitespace().collect::<Vec<_>>().join(" ");
        Failure::Description { path: path.to_owned(), line, column, what }
    })?;
    let created = created(path, written.created, source_date_epoch)?;
    let base = path.parent().unwrap_or(Path::new(""));
    let licence = match &written.licence_file {
        Some(file) => Some(read_text(&base.join(file))?),
        None => None,
    };
    let image = base.join(&written.image.path);
    let default = ImageOptions::default();
    let description = Description {
        product: written.product,
        platform: written.platform,
        models: written.models,
        release: Release { version: written.version, build: written.build },
        kind: written.kind,
        hotfix: written.hotfix,
        from: written.from,
        floors: written.floors,
        peer_min: written.peer_min,
        may_revert: written.may_revert,
        notes: written.notes,
        licence,
        created,
        image: ImageOptions {
            name: written.image.name.unwrap_or(default.name),
            chunk_size: written.image.chunk_size.unwrap_or(default.chunk_size),
            level: written.image.level.unwrap_or(default.level),
        },
        checks: scripts(base, written.check)?,
        migrations: scripts(base, written.migration)?,
        extensions: written.extensions,
    };
    Ok((description, image))
}

fn created(
    path: &Path,
    written: Option<jiff::Timestamp>,
    epoch: Option<&str>,
) -> Result<u64, Failure> {
    if let Some(written) = written {
        return u64::try_from(written.as_second()).map_err(|_| Failure::Description {
            path: path.to_owned(),
            line: 1,
            column: 1,
            what: format!("created = {written} lies before 1970"),
        });
    }
    let Some(value) = epoch else {
        return Err(Failure::Undated { path: path.to_owned() });
    };
    value.parse().map_err(|_| Failure::Epoch { value: value.to_owned() })
}

fn scripts(base: &Path, written: Vec<WrittenScript>) -> Result<Vec<ScriptSource>, Failure> {
    let mut scripts = Vec::new();
    // One more than possible, so that the manifest's check says how many there may be.
    for script in written.into_iter().take(MAX_SCRIPTS + 1) {
        let path = base.join(&script.path);
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let content = read(&path, "read", MAX_SCRIPT)?;
        scripts.push(ScriptSource { name, content, recovery: script.recovery });
    }
    scripts.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(scripts)
}

fn read(path: &Path, verb: &'static str, limit: u64) -> Result<Vec<u8>, Failure> {
    let mut content = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut content))
        .map_err(Failure::file(verb, path))?;
    if content.len() as u64 > limit {
        return Err(Failure::TooLarge { path: path.to_owned(), limit });
    }
    Ok(content)
}

fn read_text(path: &Path) -> Result<String, Failure> {
    String::from_utf8(read(path, "read the licence", MAX_LICENCE)?).map_err(|e| {
        let source = std::io::Error::new(std::io::ErrorKind::InvalidData, e);
        Failure::file("read as UTF-8", path)(source)
    })
}

/// Line and column of a byte, both counted from 1.
fn place(text: &[u8], at: usize) -> (usize, usize) {
    let before = &text[..at.min(text.len())];
    let line = before.split(|b| *b == b'\n').count();
    let start = before.iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1);
    (line, String::from_utf8_lossy(&before[start..]).chars().count() + 1)
}
