//! The service `upgrade-agent`: parse, log, load, run.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

/// The upgrade agent's service.
///
/// Exit codes: 0 it was told to stop; 1 it could not start or run; 2 usage; 100 (with --directory) the appliance wants
/// to be rebooted: play the firmware, then start the service again.
#[derive(Parser, Debug)]
#[command(name = "upgrade-agent", version)]
struct Arguments {
    /// Serve the try-out appliance that lives in this directory (agent.toml, a.img, b.img, bootstate.img, data/, boot).
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,

    /// Say what the configuration means, and end.
    #[arg(long)]
    check_config: bool,
}

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("error[internal]: {panic}");
        // A half-dead agent on trial must be a dead one, so that somebody restarts it.
        std::process::abort();
    }));
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_env("UPGRADE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        // A log that cannot be written must not end the service.
        .log_internal_errors(false)
        .with_writer(std::io::stderr)
        .init();
    let Some(directory) = arguments.directory else {
        eprintln!(
            "error[usage]: this release drives only try-out appliances\n  -> give --directory DIR"
        );
        return ExitCode::from(2);
    };
    let ran = if arguments.check_config {
        upgrade_agent::service::check_config(&directory)
    } else {
        upgrade_agent::service::run(&directory)
    };
    match ran {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(1)
        }
    }
}
