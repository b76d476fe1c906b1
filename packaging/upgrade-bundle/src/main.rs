//! `upgrade-bundle`: makes keys and bundles, looks into them, verifies them.
//!
//! `main` parses and turns the end into an exit code: 0 done, 1 failed, 2 usage, 5 not accepted.

mod command;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    command::Command::parse().run()
}
