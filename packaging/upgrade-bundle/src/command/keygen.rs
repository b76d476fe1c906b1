//! `upgrade-bundle keygen`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use upgrade_bundle::{Failure, keygen};

use super::{Form, Report};

/// Make a signing key: PREFIX.key (private, mode 0600) and PREFIX.pem (public). Never overwrites
#[derive(Args, Debug)]
pub(crate) struct Keygen {
    /// Where to write: a prefix, or a directory that gets bundle.key and bundle.pem
    #[arg(long, value_name = "DIR|PREFIX")]
    out: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Keygen {
    pub(super) fn form(&self) -> Form {
        if self.json { Form::Json } else { Form::Text }
    }

    pub(super) fn run(self) -> Result<Report, Failure> {
        let (key, private, public) = keygen(&self.out)?;
        let id = key.id();
        let text = format!(
            "private key  {}  (keep it secret, keep a copy)\npublic key   {}  (goes into the image's keys directory)\nkey id       {id}",
            private.display(),
            public.display(),
        );
        let json = json!({ "key_id": id, "private": private, "public": public });
        Ok(Report { text, json })
    }
}
