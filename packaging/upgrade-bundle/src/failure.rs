//! What can go wrong while making a bundle, each with a code and a next step.

use std::io;
use std::path::{Path, PathBuf};

use bundle_format::Refusal;

/// Why a bundle or key was not made, read or accepted.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The format's own rules refuse it.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The description is not understood.
    #[error("{path}, line {line}, column {column}: {what}")]
    Description {
        /// The description file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in characters.
        column: usize,
        /// What is wrong there.
        what: String,
    },
    /// Neither the description nor the environment says when the release was made.
    #[error("{path} has no `created` and SOURCE_DATE_EPOCH is not set")]
    Undated {
        /// The description file.
        path: PathBuf,
    },
    /// `SOURCE_DATE_EPOCH` is not a number.
    #[error("SOURCE_DATE_EPOCH is `{value}`, not a number of seconds since 1970")]
    Epoch {
        /// What it is.
        value: String,
    },
    /// A file is larger than it may be.
    #[error("{path} is larger than {limit} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// A private key file is not one.
    #[error("{path} is not an Ed25519 private key in PKCS#8 PEM")]
    Key {
        /// The file.
        path: PathBuf,
    },
    /// A bundle needs a signature.
    #[error("a bundle is signed by 1 to {most} different keys; {given} were given")]
    KeyCount {
        /// How many were given.
        given: usize,
        /// How many are possible.
        most: usize,
    },
    /// A key file is never overwritten.
    #[error("{path} is there already")]
    KeyExists {
        /// The file.
        path: PathBuf,
    },
    /// A bundle of that name is there.
    #[error("{path} is there already")]
    BundleExists {
        /// The file.
        path: PathBuf,
    },
    /// The image cannot be put into a slot.
    #[error("the image has {size} bytes; a multiple of 4096, not 0, at most {most}")]
    ImageSize {
        /// Its size, as far as it was read.
        size: u64,
        /// The largest possible with this chunk size.
        most: u64,
    },
    /// The compressed image does not fit into a bundle.
    #[error("the compressed image is larger than {most} bytes, the most a bundle can hold")]
    StoredSize {
        /// The limit.
        most: u64,
    },
    /// The chunk size or level is impossible.
    #[error("{what} is {value}, not {possible}")]
    Option {
        /// Which one.
        what: &'static str,
        /// What it is.
        value: i64,
        /// What it may be.
        possible: String,
    },
    /// The system has no randomness for a key.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
    /// Reading the image failed.
    #[error("cannot read the image")]
    Image(#[source] io::Error),
    /// Writing the bundle failed.
    #[error("cannot write the bundle")]
    Write(#[source] io::Error),
    /// Something about a named file failed.
    #[error("cannot {verb} {path}")]
    File {
        /// What was tried.
        verb: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl Failure {
    /// A failure to do `verb` with the file.
    pub(crate) fn file(verb: &'static str, path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::File { verb, path: path.clone(), source }
    }

    /// The code in words.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::Description { .. } => "description-syntax",
            Self::Undated { .. } => "description-undated",
            Self::Epoch { .. } => "source-date-epoch",
            Self::TooLarge { .. } => "file-too-large",
            Self::Key { .. } => "private-key-format",
            Self::KeyCount { .. } => "private-key-count",
            Self::KeyExists { .. } => "key-exists",
            Self::BundleExists { .. } => "bundle-exists",
            Self::ImageSize { .. } => "image-size",
            Self::StoredSize { .. } => "payload-size",
            Self::Option { .. } => "image-option",
            Self::Random(_) => "no-random-bytes",
            Self::Image(_) => "image-unreadable",
            Self::Write(e) if e.kind() == io::ErrorKind::StorageFull => "disk-full",
            Self::Write(_) => "output-unwritable",
            Self::File { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => "file-missing",
                io::ErrorKind::PermissionDenied => "file-permission",
                io::ErrorKind::StorageFull => "disk-full",
                _ => "file-error",
            },
        }
    }

    /// What to do next.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.advice(),
            Self::Description { .. } => {
                "correct that line; `upgrade-bundle build --help` shows a description"
            }
            Self::Undated { .. } => {
                "add created = \"2026-01-31T12:00:00Z\", or export SOURCE_DATE_EPOCH"
            }
            Self::Epoch { .. } => {
                "set it with: export SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)"
            }
            Self::TooLarge { .. } => "check that this is the file you meant",
            Self::Key { .. } => "make one with: upgrade-bundle keygen --out PREFIX",
            Self::KeyCount { .. } => "give --key once for each different key",
            Self::KeyExists { .. } => "choose another --out; a key is never overwritten",
            Self::BundleExists { .. } => "give --replace to replace it, or move it away",
            Self::ImageSize { .. } => {
                "pad the image to whole 4096-byte blocks: truncate -s %4096 IMAGE"
            }
            Self::StoredSize { .. } => "make the image smaller or compress it more (level)",
            Self::Option { .. } => "correct it in the section [image] of the description",
            Self::Random(_) => "run it on a system whose random numbers are ready",
            Self::Image(_) => "check the medium the image is on, then run it again",
            Self::Write(e) if e.kind() == io::ErrorKind::StorageFull => DISK_FULL,
            Self::Write(_) => "check the output directory; nothing was left in it",
            Self::File { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => {
                    "check the path; paths in a description count from the description's directory"
                }
                io::ErrorKind::PermissionDenied => {
                    "check owner and mode of the file and its directory"
                }
                io::ErrorKind::StorageFull => DISK_FULL,
                _ => "check the file, then run it again",
            },
        }
    }
}

/// The maker needs room for the payload twice: spooled, then in its place after the manifest.
const DISK_FULL: &str =
    "make room: building needs about twice the bundle's size in --out; nothing was left there";
