//! The command line: one file for each subcommand, errors and progress here.
//!
//! Results go to stdout, everything else to stderr. An error is one line `error[code]: what` and
//! one `  -> what to do`; with `--json` the result, good or bad, is one JSON object on stdout.

mod build;
mod inspect;
mod keygen;
mod verify;

use std::error::Error;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use upgrade_bundle::Failure;

/// How often a progress bar is drawn each second.
const DRAWS: u8 = 8;

/// Makes upgrade bundles for network appliances: keys, build, inspect, verify.
#[derive(Parser, Debug)]
#[command(name = "upgrade-bundle", version, max_term_width = 100, after_help = AFTER_HELP)]
pub(crate) struct Command {
    #[command(subcommand)]
    verb: Verb,
}

const AFTER_HELP: &str = "\
First bundle:
  upgrade-bundle keygen --out vendor            writes vendor.key (keep it secret) and vendor.pem
  upgrade-bundle build release.toml --key vendor.key --out .
  upgrade-bundle verify *.sh.REL.tar --keys .   a directory with the public keys, *.pem

Exit: 0 done  1 failed  2 usage  5 bundle not accepted";

#[derive(Subcommand, Debug)]
enum Verb {
    Keygen(keygen::Keygen),
    Build(build::Build),
    Inspect(inspect::Inspect),
    Verify(verify::Verify),
}

/// How a result is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// What a subcommand has to say at its end, in both forms.
pub(crate) struct Report {
    pub(crate) text: String,
    pub(crate) json: Value,
}

impl Command {
    /// Runs it and says how it ended.
    pub(crate) fn run(self) -> ExitCode {
        let (form, judges, result) = match self.verb {
            Verb::Keygen(keygen) => (keygen.form(), Judges::No, keygen.run()),
            Verb::Build(build) => (build.form(), Judges::No, build.run()),
            Verb::Inspect(inspect) => (inspect.form(), Judges::Yes, inspect.run()),
            Verb::Verify(verify) => (verify.form(), Judges::Yes, verify.run()),
        };
        match result {
            Ok(report) => print(form, &report),
            Err(failure) => fail(form, judges, &failure),
        }
    }
}

/// Whether a subcommand judges bundles: then a refusal is its answer and not a failure.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Judges {
    Yes,
    No,
}

fn print(form: Form, report: &Report) -> ExitCode {
    let mut out = std::io::stdout().lock();
    let written = match form {
        Form::Text => writeln!(out, "{}", report.text.trim_end()),
        Form::Json => writeln!(out, "{:#}", report.json),
    };
    match written.and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        // A closed pipe, say of `| head`, is nothing to complain about, but not a success.
        Err(_) => ExitCode::FAILURE,
    }
}

fn fail(form: Form, judges: Judges, failure: &Failure) -> ExitCode {
    let mut what = failure.to_string();
    // A refusal inside a failure prints as the failure does; its cause is one further.
    let mut cause = match failure {
        Failure::Refused(refusal) => refusal.source(),
        other => other.source(),
    };
    while let Some(source) = cause {
        what = format!("{what}: {source}");
        cause = source.source();
    }
    let (code, advice) = (failure.code(), failure.advice());
    if form == Form::Json {
        let error = json!({ "error": { "code": code, "what": what, "advice": advice } });
        // With stdout closed stderr still says it.
        let _ = writeln!(std::io::stdout(), "{error:#}");
    }
    eprintln!("error[{code}]: {what}\n  -> {advice}");
    match failure {
        Failure::Refused(refusal) if judges == Judges::Yes && not_the_input(refusal) => {
            ExitCode::from(5)
        }
        _ => ExitCode::FAILURE,
    }
}

/// Reading errors and bad keys are failures of this side, not verdicts about a bundle.
fn not_the_input(refusal: &bundle_format::Refusal) -> bool {
    use bundle_format::Code;
    !matches!(
        refusal.kind(),
        Code::Unreadable | Code::KeyFormat | Code::KeyWeak | Code::KeysUnusable
    )
}

/// A progress bar over bytes on stderr; invisible when that is not a terminal.
fn progress(total: u64, doing: &'static str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(DRAWS));
    let style = ProgressStyle::with_template(
        "{msg} {wide_bar} {percent:>3} %  {binary_bytes_per_sec}  {eta} left",
    );
    bar.set_style(style.expect("OK because the template is a constant"));
    bar.set_message(doing);
    bar.enable_steady_tick(Duration::from_secs(1));
    bar
}

/// A size as people read it, with the exact number of bytes.
fn size(bytes: u64) -> String {
    format!("{bytes} bytes ({})", indicatif::BinaryBytes(bytes))
}
