//! `upgrade-bundle verify`

use std::num::NonZeroU8;
use std::path::PathBuf;

use bundle_format::{BundleName, Opened, Trust};
use clap::Args;
use serde_json::json;
use upgrade_bundle::Failure;

use super::inspect::{describe, open};
use super::{Form, Report, progress};

/// Verify everything: name, signatures, scripts, index, every chunk, the whole image, and the end
#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// The bundle
    file: PathBuf,
    /// The directory with the trusted public keys (*.pem)
    #[arg(long, value_name = "DIR")]
    keys: PathBuf,
    /// How many different trusted keys must have signed
    #[arg(long, value_name = "N", default_value = "1")]
    signatures: NonZeroU8,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(super) fn form(&self) -> Form {
        if self.json { Form::Json } else { Form::Text }
    }

    pub(super) fn run(self) -> Result<Report, Failure> {
        let trust = Trust::load(&self.keys, self.signatures)?;
        let input = open(&self.file)?;
        let name = BundleName::of_path(&self.file)?;
        let opened = Opened::open(&name, input, &trust)?;
        let manifest = opened.manifest().clone();
        let signers = opened.signers().to_vec();
        let bar = progress(manifest.image().raw_size, "verifying");
        let outcome = opened.check_content(|checked| bar.set_position(checked));
        bar.finish_and_clear();
        outcome?;

        let mut lines = vec![format!("verified: everything in {name}\n"), describe(&manifest)];
        lines.extend(signers.iter().map(|id| format!("signature    {id}  verified")));
        let json = json!({
            "verified": { "manifest": true, "content": true },
            "name": name.to_string(),
            "signers": signers,
            "manifest": manifest.document(),
        });
        Ok(Report { text: lines.join("\n"), json })
    }
}
