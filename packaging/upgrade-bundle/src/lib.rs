//! Makes bundles: keys, descriptions, packing, signing.
//!
//! The format is `bundle-format`'s; here is what only a maker has: the signing key, the
//! description a release engineer writes, and all cores. The command of the same name is a thin
//! layer over this library, and other crates' tests build their signed bundles with it:
//!
//! ```
//! use std::io::Cursor;
//! use upgrade_bundle::{Description, SigningKey, Workshop, build};
//!
//! let key = SigningKey::from_seed([7; 32]);
//! let release = "7.4.2-90".parse()?;
//! let description = Description::new("Acme_SGW".parse()?, release);
//! let image = vec![1; 256 * 1024];
//! let mut bundle = Vec::new();
//! build(&description, &image[..], &[key], &Workshop::default(), Cursor::new(Vec::new()), &mut bundle)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Invariants: equal description, image and keys give equal bytes, whatever the number of threads
//! and whenever it is done; an image is never held in memory; a bundle appears under its final name
//! only when it is whole and on disk.

mod failure;

mod key;

mod description;

mod pack;

mod make;

mod output;

pub use description::{Description, ImageOptions, ScriptSource, load_description};
pub use failure::Failure;
pub use key::{SigningKey, keygen};
pub use make::{Built, build};
pub use output::{Output, Replace};
pub use pack::Workshop;
