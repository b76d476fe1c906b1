//! `upgrade-bundle inspect`

use std::fs::File;
use std::io::BufReader;
use std::num::NonZeroU8;
use std::path::{Path, PathBuf};

use bundle_format::{BundleName, Component, Look, Manifest, Opened, Trust, look};
use clap::Args;
use serde_json::json;
use upgrade_bundle::Failure;

use super::{Form, Report, size};

/// Show what a bundle says about itself. Verifies nothing, except the manifest when --keys is given
#[derive(Args, Debug)]
pub(crate) struct Inspect {
    /// The bundle
    file: PathBuf,
    /// Verify the manifest's signatures and the file's name against the public keys (*.pem) in DIR
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    /// How many different trusted keys must have signed
    #[arg(long, value_name = "N", default_value = "1", requires = "keys")]
    signatures: NonZeroU8,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// What was verified, said first and loudest.
const NOTHING: &str =
    "NOTHING WAS VERIFIED: anybody may have written this. Use: upgrade-bundle verify";
const MANIFEST_ONLY: &str =
    "manifest and name verified; the content was not read. Use: upgrade-bundle verify";

impl Inspect {
    pub(super) fn form(&self) -> Form {
        if self.json { Form::Json } else { Form::Text }
    }

    pub(super) fn run(self) -> Result<Report, Failure> {
        let seen = look(open(&self.file)?)?;
        if let Some(keys) = &self.keys {
            let trust = Trust::load(keys, self.signatures)?;
            let name = BundleName::of_path(&self.file)?;
            // Read and believed anew: what was looked at before was not verified.
            let opened = Opened::open(&name, open(&self.file)?, &trust)?;
            return Ok(report(&seen, opened.manifest(), Some(opened.signers())));
        }
        Ok(report(&seen, &seen.manifest, None))
    }
}

/// Opens a bundle for reading.
pub(super) fn open(path: &Path) -> Result<BufReader<File>, Failure> {
    let failed = |source| Failure::File { verb: "open", path: path.to_owned(), source };
    File::open(path).map(BufReader::new).map_err(failed)
}

fn report(seen: &Look, manifest: &Manifest, signers: Option<&[bundle_format::KeyId]>) -> Report {
    let members: Vec<_> = seen.heading.iter().cloned().chain(manifest.members()).collect();
    let headline = if signers.is_some() { MANIFEST_ONLY } else { NOTHING };
    let mut lines = vec![headline.to_owned(), String::new(), describe(manifest)];
    for id in &seen.signatures {
        let trusted = match signers {
            None => "not checked",
            Some(known) if known.contains(id) => "verified",
            Some(_) => "unknown key",
        };
        lines.push(format!("signature    {id}  {trusted}"));
    }
    lines.push(format!("file         {}\n", size(seen.file_len)));
    lines.extend(members.iter().map(|member| format!("{:>12}  {}", member.size, member.name)));
    let members: Vec<_> =
        members.iter().map(|m| json!({ "name": m.name, "size": m.size })).collect();
    let json = json!({
        "verified": { "manifest": signers.is_some(), "content": false },
        "name": manifest.bundle_name().to_string(),
        "signatures": seen.signatures,
        "signers": signers,
        "size": seen.file_len,
        "members": members,
        "manifest": manifest.document(),
    });
    Report { text: lines.join("\n"), json }
}

/// The manifest in lines, for people.
pub(super) fn describe(manifest: &Manifest) -> String {
    let d = manifest.document();
    let from: Vec<String> = d
        .from
        .iter()
        .map(|range| {
            let except: Vec<_> = range.except.iter().map(ToString::to_string).collect();
            let except = if except.is_empty() {
                String::new()
            } else {
                format!(" except {}", except.join(", "))
            };
            format!("{} to {}{except}", range.min, range.max)
        })
        .collect();
    let created = i64::try_from(d.created)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or_else(|| format!("{} s after 1970", d.created), |time| time.to_string());
    let mut lines = vec![
        format!("name         {}", manifest.bundle_name()),
        format!("product      {}, {:?}, made {created}", d.product, d.kind),
        format!("models       {}", d.models.join(", ")),
        format!("from         {}", from.join("; ")),
    ];
    if let Some(floor) = d.floors.security {
        lines.push(format!("floor        {floor}: nothing below it may be staged afterwards"));
    }
    lines.extend(d.components.iter().map(component));
    lines.join("\n")
}

fn component(c: &Component) -> String {
    format!(
        "image        {}: {}, {} chunks of {}, sha256 {}",
        c.name,
        size(c.raw_size),
        c.chunks(),
        c.chunk_size,
        c.raw_sha256
    )
}
