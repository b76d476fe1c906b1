//! `upgrade-bundle build`

use std::cell::Cell;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use upgrade_bundle::{
    Built, Description, Failure, Output, Replace, SigningKey, Workshop, build, load_description,
};

use super::{Form, Report, progress, size};

/// How much is gathered before it is written: large writes keep a disk busy with little work.
const BUFFER: usize = 1024 * 1024;

/// Build and sign a bundle from a description
#[derive(Args, Debug)]
#[command(after_long_help = DESCRIPTION)]
pub(crate) struct Build {
    /// What the release is (TOML; `build --help` shows one)
    #[arg(value_name = "DESCRIPTION.toml")]
    description: PathBuf,
    /// A private key to sign with; give it once for each key
    #[arg(long, required = true, value_name = "KEY")]
    key: Vec<PathBuf>,
    /// The directory for the bundle; its name follows from the description
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Replace a bundle of the same name
    #[arg(long)]
    replace: bool,
    /// How many threads compress; all cores by default. The result does not depend on it
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const DESCRIPTION: &str = r#"A description; paths count from its own directory:

  product = "Acme Secure Gateway"
  platform = "Acme_SGW"
  models = ["SGW-100", "SGW-200"]
  version = "7.4.2"
  build = 90
  kind = "maintenance"             # major, maintenance, patch, hotfix (with hotfix = "HL")
  created = "2026-01-31T12:00:00Z" # or the environment's SOURCE_DATE_EPOCH
  notes = "Repairs ..."
  # licence_file = "LICENCE.txt"   peer_min = "7.4.0"   may_revert = true

  [[from]]                         # over which versions it may be installed
  min = "7.2.0"
  max = "7.4.2"
  except = ["7.3.1"]

  [floors]                         # all optional
  security = "7.3.0"               # companion_min, companion_max

  [image]
  path = "rootfs.img"              # a multiple of 4096 bytes
  # name = "rootfs"   chunk_size = 262144   level = 9

  # [[check]] and [[migration]]: path = "010_space.sh", recovery = "Free 200 MB on /data"
  # [extensions]: keys that agents need not know"#;

impl Build {
    pub(super) fn form(&self) -> Form {
        if self.json { Form::Json } else { Form::Text }
    }

    pub(super) fn run(self) -> Result<Report, Failure> {
        let epoch = std::env::var("SOURCE_DATE_EPOCH").ok();
        let (description, image) = load_description(&self.description, epoch.as_deref())?;
        let keys: Result<Vec<_>, _> = self.key.iter().map(|path| SigningKey::load(path)).collect();
        let keys = keys?;
        let source = File::open(&image).map_err(file("open the image", &image))?;
        let total = source.metadata().map_err(file("look at the image", &image))?.len();
        // It is found out again later, but nobody should wait for an hour to hear it.
        self.refuse_existing(&description)?;
        let (built, path, length) = self.make(&description, source, total, &keys)?;
        Ok(report(&built, &path, length))
    }

    fn refuse_existing(&self, description: &Description) -> Result<(), Failure> {
        if self.replace {
            return Ok(());
        }
        let name = description.check()?;
        let path = self.out.join(name.to_string());
        if path.exists() { Err(Failure::BundleExists { path }) } else { Ok(()) }
    }

    fn make(
        &self,
        description: &Description,
        image: impl Read + Send,
        total: u64,
        keys: &[SigningKey],
    ) -> Result<(Built, PathBuf, u64), Failure> {
        let mut output = Output::new(&self.out)?;
        let spool =
            tempfile::tempfile_in(&self.out).map_err(file("create a file in", &self.out))?;
        let bar = progress(total, "packing");
        let longest = Cell::new(total);
        let advance = |done: u64| {
            // An image that is still growing should not show more than 100 %.
            if done > longest.get() {
                longest.set(done);
                bar.set_length(done);
            }
            bar.set_position(done);
        };
        let mut workshop = Workshop { progress: &advance, ..Workshop::default() };
        if let Some(threads) = self.threads {
            workshop.threads = threads;
        }
        let mut out = BufWriter::with_capacity(BUFFER, output.file());
        let built = build(description, image, keys, &workshop, spool, &mut out);
        bar.finish_and_clear();
        let built = built?;
        out.flush().map_err(Failure::Write)?;
        drop(out);
        let length = output.file().metadata().map_err(Failure::Write)?.len();
        let replace = if self.replace { Replace::Yes } else { Replace::No };
        let path = output.publish(&built.name.to_string(), replace)?;
        Ok((built, path, length))
    }
}

fn file(verb: &'static str, path: &std::path::Path) -> impl Fn(std::io::Error) -> Failure {
    let path = path.to_owned();
    move |source| Failure::File { verb, path: path.clone(), source }
}

fn report(built: &Built, path: &std::path::Path, length: u64) -> Report {
    let image = built.manifest.image();
    let mut lines = vec![
        path.display().to_string(),
        format!("bundle   {}", size(length)),
        format!("image    {}, {} chunks", size(image.raw_size), image.chunks()),
        format!("sha256   {}", image.raw_sha256),
    ];
    lines.extend(built.signers.iter().map(|id| format!("signed   {id}")));
    let json = json!({
        "path": path,
        "size": length,
        "signers": built.signers,
        "manifest": built.manifest.document(),
    });
    Report { text: lines.join("\n"), json }
}
