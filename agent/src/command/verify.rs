//! `upgrade verify`: every byte of a bundle, without the service and without changing anything.

use std::io::{BufReader, IsTerminal};
use std::num::NonZeroU8;
use std::path::Path;

use bundle_format::{BundleName, Opened, Trust};

use super::{CommandError, Exit};
use crate::config::Config;

pub(super) fn verify(
    json: bool,
    path: &Path,
    config: &Path,
    keys: Option<&Path>,
    signatures: NonZeroU8,
) -> Result<Exit, CommandError> {
    let name = BundleName::of_path(path)?;
    let file = super::open_regular(path)?;
    let trust = match keys {
        Some(directory) => Trust::load(directory, signatures)?,
        None => Config::trust(config)?,
    };
    let opened = Opened::open(&name, BufReader::with_capacity(1 << 18, file), &trust)?;
    let (manifest, signers) = (opened.manifest().clone(), opened.signers().to_vec());
    let raw_size = manifest.image().raw_size;
    let terminal = std::io::stderr().is_terminal();
    let mut tenth = u64::MAX;
    let content = opened.check_content(|seen| {
        let percent = seen.saturating_mul(100) / raw_size.max(1);
        if terminal && percent / 10 != tenth {
            tenth = percent / 10;
            draw!("\r\u{1b}[Kverifying {percent:>3} %");
        }
    });
    if terminal {
        draw!("\r\u{1b}[K");
    }
    content?;
    if json {
        let shown = serde_json::json!({
            "name": name.to_string(), "signers": signers, "manifest": manifest.document(),
        });
        tell!("{shown}");
        return Ok(Exit::Done);
    }
    tell!("{name}: good");
    tell!("  release {} for {}", manifest.release(), manifest.platform());
    tell!("  image   {raw_size} bytes, SHA-256 {}", manifest.image().raw_sha256);
    for signer in signers {
        tell!("  signed  by {signer}");
    }
    Ok(Exit::Done)
}
