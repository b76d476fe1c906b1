//! The service: an appliance, its driver, its hand on a thread of its own, and its doors.
//!
//! Threads: one for the hand (blocking, as long as a task takes), one that looks at the clock twice a second, one that
//! takes handed files, and two that serve REST. A panic anywhere aborts the process (see its `main`): a half-dead agent on trial must be
//! a dead one, so that somebody restarts it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::config::{Config, ConfigError};
use crate::device::Stop;
use crate::directory::{Directory, DirectoryError, REBOOT};
use crate::door::{self, DoorError};
use crate::driver::{Driver, StartError};
use crate::linux::file::FileStorage;

/// How often the clock is looked at.
const TICK: Duration = Duration::from_millis(500);

/// How long an orderly end may take: a task looks at its stop at least once a chunk, a probe is killed at once.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);

/// The service cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The configuration is missing or wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The directory is no appliance.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The agent cannot start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A socket cannot be made.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// Another service holds the appliance, or the data partition does not take a lock.
    #[error("cannot lock {path}: {source}")]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Something the operating system should give.
    #[error("{what}: {source}")]
    System {
        /// What was wanted.
        what: &'static str,
        /// Why not.
        source: std::io::Error,
    },
}

fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> ServiceError {
    move |source| ServiceError::System { what, source }
}

/// Says what the configuration means.
pub fn check_config(directory: &Path) -> Result<u8, ServiceError> {
    let config = Config::read(&directory.join("agent.toml"))?;
    let hand = &config.hand;
    println!("platform {}", hand.platform);
    println!(
        "trust    {} of {} keys must have signed",
        hand.trust.need(),
        hand.trust.key_ids().count()
    );
    match hand.staging.max_rate {
        Some(rate) => {
            println!("staging  {} threads, at most {rate} bytes a second", hand.staging.workers);
        }
        None => println!("staging  {} threads, no rate limit", hand.staging.workers),
    }
    let rules = &hand.trial.rules;
    println!(
        "trial    {} probes, soak {:?}, deadline {:?}",
        hand.trial.commands.len(),
        rules.soak,
        rules.deadline
    );
    match rules.confirm_within {
        Some(within) => println!("confirm  by a person within {within:?}"),
        None => println!("confirm  by itself"),
    }
    Ok(0)
}

/// Serves the try-out appliance in `directory` until a signal comes or it wants to be rebooted.
pub fn run(directory: &Path) -> Result<u8, ServiceError> {
    let config = Config::read(&directory.join("agent.toml"))?;
    let (ask_reboot, wants_reboot) = mpsc::unbounded_channel();
    let appliance = Directory::open(directory, config.model_file.clone(), move || {
        // The receiver lives as long as the service; after that nobody wants a reboot.
        let _ = ask_reboot.send(());
    })?;
    let _lock = take_lock(directory)?;
    let run = directory.join("run");
    std::fs::create_dir_all(&run).map_err(system("cannot make the run directory"))?;
    let (counter, changes) = watch::channel(0_u64);
    let on_turn = move || counter.send_modify(|count| *count = count.wrapping_add(1));
    // Everything that can be refused comes before the driver counts this start.
    let api = door::bind(&run.join("api.sock"))?;
    let file = door::bind(&run.join("file.sock"))?;
    let driver = Arc::new(Driver::start(Arc::new(appliance), config.hand, on_turn)?);

    let hand = Arc::clone(&driver);
    let hand = std::thread::Builder::new().name("hand".into()).spawn(move || hand.work());
    let hand = hand.map_err(system("cannot start a thread"))?;
    let clock = Arc::clone(&driver);
    std::thread::Builder::new()
        .name("clock".into())
        .spawn(move || {
            loop {
                Stop::default().wait(TICK);
                clock.tick();
            }
        })
        .map_err(system("cannot start a thread"))?;
    let files = Arc::clone(&driver);
    std::thread::Builder::new()
        .name("files".into())
        .spawn(move || door::file::serve(&file, &files))
        .map_err(system("cannot start a thread"))?;

    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(system("cannot start the runtime"))?;
    let code = runtime.block_on(serve(api, Arc::clone(&driver), changes, wants_reboot))?;
    driver.leave();
    let patience = crate::linux::clock::boottime().saturating_add(LEAVE_WITHIN);
    while !hand.is_finished() && crate::linux::clock::boottime() < patience {
        Stop::default().wait(Duration::from_millis(20));
    }
    runtime.shutdown_background();
    Ok(code)
}

fn take_lock(directory: &Path) -> Result<FileStorage, ServiceError> {
    let path = directory.join("data").join("lock");
    let lock = FileStorage::growing(&path).and_then(|_| FileStorage::exclusive(&path));
    lock.map_err(|source| ServiceError::Lock { path, source })
}

/// Serves REST until the service must end; gives back its exit code.
async fn serve(
    api: std::os::unix::net::UnixListener,
    driver: Arc<Driver>,
    changes: watch::Receiver<u64>,
    mut wants_reboot: mpsc::UnboundedReceiver<()>,
) -> Result<u8, ServiceError> {
    api.set_nonblocking(true).map_err(system("cannot serve the socket"))?;
    let listener = UnixListener::from_std(api).map_err(system("cannot serve the socket"))?;
    let mut terminate =
        signal(SignalKind::terminate()).map_err(system("cannot wait for signals"))?;
    let mut interrupt =
        signal(SignalKind::interrupt()).map_err(system("cannot wait for signals"))?;
    tokio::select! {
        () = door::rest::serve(listener, driver, changes) => Ok(1),
        _ = terminate.recv() => Ok(0),
        _ = interrupt.recv() => Ok(0),
        _ = wants_reboot.recv() => {
            // Watchers see the last phase before the connection ends.
            tokio::time::sleep(Duration::from_millis(300)).await;
            Ok(REBOOT)
        }
    }
}
