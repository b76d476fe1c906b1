//! The command `upgrade`: a client of the service, for people and scripts.
//!
//! It holds no state and decides nothing: it asks, shows the answer, and ends with an exit code that means something
//! ([`Exit`]). Only `verify` works without the service. Nothing here writes anything.

/// Prints a line of the answer. A reader that went away (`upgrade history | head`) is no error and no panic.
macro_rules! tell {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($words)*);
    }};
}

/// Prints a line for the person, beside the answer.
macro_rules! complain {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($words)*);
    }};
}

/// Draws on the person's terminal, without a new line.
macro_rules! draw {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = write!(std::io::stderr(), $($words)*);
    }};
}

mod client;
mod follow;
mod show;
mod verify;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bundle_format::{BundleName, Refusal};
use clap::{Args, Parser, Subcommand};
use flow::Goal;

use crate::door::view::{CauseView, OutcomeView, Problem, ReportView, Status};
use client::{Client, ClientError};
use follow::{Followed, follow};

/// Upgrade this appliance, alone or with its HA peer.
#[derive(Parser, Debug)]
#[command(name = "upgrade", version, disable_help_subcommand = true, after_help = EXITS)]
pub struct Arguments {
    /// Answer in JSON, a document or a line each.
    #[arg(long, global = true)]
    json: bool,

    /// The service's socket.
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "UPGRADE_SOCKET",
        hide_env_values = true,
        default_value = "/run/upgrade-agent/api.sock"
    )]
    socket: PathBuf,

    #[command(subcommand)]
    command: Verb,
}

const EXITS: &str = "\
Exit: 0 done  1 failed or rolled back  2 usage  3 refused in this phase
      4 not ready  5 bundle not accepted  6 service unreachable
      7 still in progress (detached, rebooting)";

/// How the command ended, as an exit code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Failed or rolled back.
    Failed = 1,
    /// Wrong usage.
    Usage = 2,
    /// Refused in this phase.
    Refused = 3,
    /// The appliance is not ready.
    NotReady = 4,
    /// The bundle is not accepted.
    NotAccepted = 5,
    /// The service does not answer.
    Unreachable = 6,
    /// Still in progress: detached, or rebooting.
    InProgress = 7,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// What runs, what happened last, what is next
    Status(StatusArguments),
    /// Check a bundle's signature, name and content; needs no service
    Verify(VerifyArguments),
    /// Is this appliance ready? Changes nothing
    Check {
        /// The bundle to check with; without it the one in the spool, or none.
        file: Option<PathBuf>,
    },
    /// Take a bundle (one is held)
    #[command(visible_alias = "upload")]
    Fetch {
        /// The bundle.
        file: PathBuf,
    },
    /// Check, write, reboot on trial, confirm
    Start(StartArguments),
    /// Reboot into what is staged
    Activate,
    /// Stop and go back
    Cancel,
    /// Go on after a failure
    Retry,
    /// Accept a trial that waits for a person
    Confirm,
    /// Back to the previous version
    Revert {
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Let the bundle in the spool go
    Discard,
    /// How upgrades ended
    History,
    /// What happened, in sentences, and what to do next
    Explain {
        /// The number, as in the history; without it what is going on now, or the last one.
        id: Option<u64>,
    },
    /// Take an image off the list of refused ones
    Forgive {
        /// SHA-256 of the raw image, as explain shows it.
        digest: String,
    },
    /// Write the boot state anew for the running slot
    Repair,
}

#[derive(Args, Debug)]
struct StatusArguments {
    /// Go on showing, until Ctrl-C
    #[arg(long)]
    continuous: bool,
    /// Wait until nothing is in progress; exit 0, 1 or 7
    #[arg(long, conflicts_with = "continuous")]
    wait: bool,
    /// Show everything
    #[arg(long)]
    detail: bool,
    /// The same as words: continuous, detail
    #[arg(value_parser = ["continuous", "detail"], hide = true)]
    words: Vec<String>,
}

#[derive(Args, Debug)]
struct VerifyArguments {
    /// The bundle.
    file: PathBuf,
    /// The configuration that names the trusted keys.
    #[arg(long, value_name = "FILE", default_value = "/etc/upgrade-agent/agent.toml")]
    config: PathBuf,
    /// A directory of trusted keys instead (SPKI PEM files).
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    keys: Option<PathBuf>,
    /// How many keys must have signed; with --keys.
    #[arg(long, value_name = "N", default_value = "1", requires = "keys")]
    signatures: std::num::NonZeroU8,
}

#[derive(Args, Debug)]
struct StartArguments {
    /// The bundle; without it the one in the spool.
    file: Option<PathBuf>,
    /// Write it, then wait for activate.
    #[arg(long)]
    stage_only: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// Override a failed check, by its id; may be repeated.
    #[arg(long, value_name = "ID")]
    force: Vec<String>,
    /// Stay on a sick trial for a person instead of going back.
    #[arg(long)]
    no_auto_cancel: bool,
}

/// Why the command could not do what it was asked.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{}", .0.detail)]
    Problem(Problem),
    #[error(transparent)]
    Bundle(#[from] Refusal),
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    #[error("cannot open {path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("{0}")]
    Usage(String),
}

impl CommandError {
    fn exit(&self) -> Exit {
        match self {
            Self::Client(_) => Exit::Unreachable,
            Self::Problem(problem) => match problem.status {
                409 => Exit::Refused,
                400 => Exit::Usage,
                422 => Exit::NotAccepted,
                _ => Exit::Failed,
            },
            Self::Bundle(_) => Exit::NotAccepted,
            Self::Config(_) | Self::File { .. } => Exit::Failed,
            Self::Usage(_) => Exit::Usage,
        }
    }

    fn code(&self) -> &str {
        match self {
            Self::Client(_) => "unreachable",
            Self::Problem(problem) => &problem.code,
            Self::Bundle(refusal) => refusal.code(),
            Self::Config(_) => "configuration",
            Self::File { .. } => "file",
            Self::Usage(_) => "usage",
        }
    }

    fn advice(&self) -> String {
        match self {
            Self::Client(error) => error.advice(),
            Self::Bundle(refusal) => refusal.advice().to_owned(),
            Self::Problem(_) | Self::Config(_) | Self::File { .. } | Self::Usage(_) => {
                String::new()
            }
        }
    }
}

/// Opens a file that must be a regular one. That is asked before: opening a pipe would wait for somebody to write into it.
fn open_regular(path: &Path) -> Result<std::fs::File, CommandError> {
    let unreadable = |source| CommandError::File { path: path.to_owned(), source };
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(CommandError::Usage(format!("{} is not a regular file", path.display())));
    }
    std::fs::File::open(path).map_err(unreadable)
}

/// The whole command.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(e) => {
            complain!("error[system]: {e}");
            return Exit::Failed.into();
        }
    };
    match runtime.block_on(run(&arguments)) {
        Ok(exit) => exit.into(),
        Err(error) => {
            show::error(arguments.json, error.code(), &error.to_string(), &error.advice());
            error.exit().into()
        }
    }
}

async fn run(arguments: &Arguments) -> Result<Exit, CommandError> {
    let client = Client::new(&arguments.socket);
    let json = arguments.json;
    match &arguments.command {
        Verb::Status(how) => status(&client, json, how).await,
        Verb::Verify(what) => {
            verify::verify(json, &what.file, &what.config, what.keys.as_deref(), what.signatures)
        }
        Verb::Check { file } => check(&client, json, file.as_deref()).await,
        Verb::Fetch { file } => fetch(&client, json, file).await,
        Verb::Start(how) => start(&client, json, how).await,
        Verb::Activate => {
            let id = client.command("/upgrade/activate").await?;
            to_the_end(&client, json, id).await
        }
        Verb::Cancel => cancel(&client, json).await,
        Verb::Retry => {
            let id = client.command("/upgrade/retry").await?;
            to_the_end(&client, json, id).await
        }
        Verb::Confirm => {
            let id = client.command("/upgrade/confirm").await?;
            to_the_end(&client, json, id).await
        }
        Verb::Revert { yes } => revert(&client, json, *yes).await,
        Verb::Discard => discard(&client, json).await,
        Verb::History => {
            show::history(json, &client.get::<Vec<OutcomeView>>("/history").await?);
            Ok(Exit::Done)
        }
        Verb::Explain { id } => {
            let path = id.map_or_else(|| "/explain".to_owned(), |id| format!("/explain/{id}"));
            show::sentences(json, &client.get::<Vec<String>>(&path).await?);
            Ok(Exit::Done)
        }
        Verb::Forgive { digest } => {
            let body = serde_json::json!({ "digest": digest });
            client.post("/forgive", &body).await?;
            show::done(json, "forgiven; the image may be tried again");
            Ok(Exit::Done)
        }
        Verb::Repair => {
            let id = client.command("/repair").await?;
            to_the_end(&client, json, id).await
        }
    }
}

async fn status(client: &Client, json: bool, how: &StatusArguments) -> Result<Exit, CommandError> {
    let detail = how.detail || how.words.iter().any(|word| word == "detail");
    if how.continuous || how.words.iter().any(|word| word == "continuous") {
        return follow::show_for_ever(client, json, detail).await;
    }
    if how.wait {
        return follow::wait(client, json).await;
    }
    show::status(json, detail, &client.get::<Status>("/status").await?);
    Ok(Exit::Done)
}

async fn check(client: &Client, json: bool, file: Option<&Path>) -> Result<Exit, CommandError> {
    let id = match file {
        Some(path) => client.hand_over(path, Goal::Check, &[], false)?,
        None => client.command("/check").await?,
    };
    let ended = match follow(client, show::Quiet::Silent, id).await? {
        Followed::Ended(ended) => ended,
        other => return Ok(told(json, &other)),
    };
    let looked_at_checks = ended.cause.as_ref().is_none_or(|cause| cause.code == "not-ready");
    if !looked_at_checks {
        return Ok(show::ended(json, &ended));
    }
    let report = client.get::<ReportView>("/check").await?;
    show::report(json, &report);
    Ok(if report.ready { Exit::Done } else { Exit::NotReady })
}

async fn fetch(client: &Client, json: bool, file: &Path) -> Result<Exit, CommandError> {
    let id = client.hand_over(file, Goal::Fetch, &[], false)?;
    to_the_end(client, json, id).await
}

async fn start(client: &Client, json: bool, how: &StartArguments) -> Result<Exit, CommandError> {
    let before = client.get::<Status>("/status").await?;
    let name = match &how.file {
        Some(path) => Some(BundleName::of_path(path)?),
        None => before.held.as_deref().map(str::parse::<BundleName>).transpose()?,
    };
    if !how.yes {
        let plan = show::plan(&before, name.as_ref(), how.stage_only, how.no_auto_cancel);
        if !ask(&plan)? {
            show::done(json, "not started");
            return Ok(Exit::Failed);
        }
    }
    let goal = if how.stage_only { Goal::Stage } else { Goal::Upgrade };
    let id = if let Some(path) = &how.file {
        client.hand_over(path, goal, &how.force, how.no_auto_cancel)?
    } else {
        let body = serde_json::json!({
            "stage_only": how.stage_only, "force": how.force, "no_auto_cancel": how.no_auto_cancel,
        });
        client.post("/upgrade", &body).await?
    };
    let quiet = if json { show::Quiet::Json } else { show::Quiet::Lines };
    match follow(client, quiet, id).await? {
        Followed::Ended(ended)
            if ended.cause.as_ref().is_some_and(|cause| cause.code == "not-ready") =>
        {
            show::obstacles(json, &client.get::<ReportView>("/check").await?);
            Ok(Exit::NotReady)
        }
        Followed::Ended(ended) => Ok(show::ended(json, &ended)),
        other => Ok(told(json, &other)),
    }
}

/// One question. Without a terminal there is nobody to ask.
fn ask(plan: &str) -> Result<bool, CommandError> {
    if !std::io::stdin().is_terminal() {
        return Err(CommandError::Usage("there is no terminal to ask on; give --yes".to_owned()));
    }
    draw!("{plan}\nContinue? [y/N] ");
    let mut answer = String::new();
    // No answer is a no.
    let read = std::io::stdin().read_line(&mut answer).unwrap_or(0);
    Ok(read > 0 && matches!(answer.trim(), "y" | "Y" | "yes"))
}

async fn cancel(client: &Client, json: bool) -> Result<Exit, CommandError> {
    let before = client.get::<Status>("/status").await?;
    let id = client.command("/upgrade/cancel").await?;
    let target = before.job.as_ref().map(|job| job.target);
    match follow(client, show::Quiet::Silent, before.job.as_ref().map(|job| job.id).or(id)).await? {
        Followed::Ended(ended) => {
            let after = client.get::<Status>("/status").await?;
            show::cancelled(json, &ended, target, &after);
            Ok(Exit::Done)
        }
        other => Ok(told(json, &other)),
    }
}

async fn revert(client: &Client, json: bool, yes: bool) -> Result<Exit, CommandError> {
    if !yes {
        let status = client.get::<Status>("/status").await?;
        if !ask(&show::revert_plan(&status))? {
            show::done(json, "not started");
            return Ok(Exit::Failed);
        }
    }
    let id = client.command("/revert").await?;
    to_the_end(client, json, id).await
}

async fn discard(client: &Client, json: bool) -> Result<Exit, CommandError> {
    let status = client.get::<Status>("/status").await?;
    let Some(held) = status.held else {
        return Err(CommandError::Problem(Problem {
            status: 409,
            code: "no-bundle".to_owned(),
            detail: "no bundle is held".to_owned(),
            possible: Vec::new(),
        }));
    };
    client.delete(&format!("/bundle/{held}")).await?;
    show::done(json, &format!("{held} is let go"));
    Ok(Exit::Done)
}

/// Follows a job to its end and shows how it ended.
async fn to_the_end(client: &Client, json: bool, id: Option<u64>) -> Result<Exit, CommandError> {
    let quiet = if json { show::Quiet::Json } else { show::Quiet::Lines };
    match follow(client, quiet, id).await? {
        Followed::Ended(ended) => Ok(show::ended(json, &ended)),
        other => Ok(told(json, &other)),
    }
}

/// Shows where a job stands that goes on without us.
fn told(json: bool, followed: &Followed) -> Exit {
    match followed {
        Followed::Ended(ended) => show::ended(json, ended),
        Followed::Detached => {
            show::done(json, "detached, the upgrade goes on; upgrade cancel stops it");
            Exit::InProgress
        }
        Followed::Rebooting(slot) => {
            let to = slot.map_or_else(String::new, |slot| format!(" into {slot} on trial"));
            show::done(json, &format!("rebooting{to}; log in again: upgrade status --wait"));
            Exit::InProgress
        }
        Followed::Gone => {
            show::done(
                json,
                "taken; the service is gone, most likely to reboot: upgrade status --wait",
            );
            Exit::InProgress
        }
        Followed::Waits(next) => {
            show::done(json, &format!("it waits; next: {next}"));
            Exit::Done
        }
        Followed::Failed(cause) => {
            let unknown = CauseView {
                code: "failed".into(),
                text: "it failed".into(),
                advice: String::new(),
            };
            let cause = cause.as_ref().unwrap_or(&unknown);
            show::error(json, &cause.code, &cause.text, &cause.advice);
            Exit::Failed
        }
    }
}
