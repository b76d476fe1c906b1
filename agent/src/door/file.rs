//! `file.sock`: a client opens a bundle itself and hands the open file over.
//!
//! The client sends one line of JSON ([`Ask`]) with the file's descriptor (`SCM_RIGHTS` of unix(7)); the service answers
//! with one line ([`Answer`]) and closes. From then on the client may go: the service reads the file, and nobody opens a
//! path with somebody else's rights.

use std::io::{IoSliceMut, Write};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flow::{Command, Goal, Request};
use nix::cmsg_space;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, getsockopt, recvmsg};
use serde::{Deserialize, Serialize};

use super::rest::Options;
use super::view::{Problem, Taken};
use crate::device::Stop;
use crate::driver::Driver;
use crate::source::Handed;

/// The longest line: a file name and a list of checks.
const MAX_LINE: usize = 4096;

/// A client that says nothing for so long is dropped.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many clients may hand something over at the same time; only one of them can start a job anyway.
const CLIENTS: usize = 8;

/// What a client asks for, along with the file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// What to do with the file: `fetch`, `check`, `stage` or `upgrade`.
    pub goal: Goal,
    /// The file's name, without directories.
    pub name: String,
    /// Checks to override.
    #[serde(default)]
    pub force: Vec<String>,
    /// Stay on a sick trial for a person.
    #[serde(default)]
    pub no_auto_cancel: bool,
}

/// What the service answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The job began.
    Taken(Taken),
    /// It did not.
    Problem(Problem),
}

/// Serves until the process ends. Runs on threads of its own.
pub fn serve(listener: &UnixListener, driver: &Arc<Driver>) {
    let (enter, left) = sync_channel::<()>(CLIENTS);
    let left = Arc::new(Mutex::new(left));
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            // No descriptor is free, most likely; asking again at once would only burn a core.
            Stop::default().wait(Duration::from_millis(100));
            continue;
        };
        // A place among those that are served; until one is free, the kernel's queue holds the others.
        if enter.send(()).is_err() {
            return;
        }
        let (driver, left) = (Arc::clone(driver), Arc::clone(&left));
        std::thread::spawn(move || {
            if let Err(error) = one(&stream, &driver) {
                tracing::debug!(%error, "a client of file.sock went away");
            }
            let _ = left.lock().unwrap_or_else(PoisonError::into_inner).try_recv();
        });
    }
}

fn one(mut stream: &UnixStream, driver: &Driver) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let by = getsockopt(&stream, PeerCredentials)
        .map_or_else(|_| "unknown".to_owned(), |cred| format!("uid {}", cred.uid()));
    let answer = match receive(stream)? {
        Ok((ask, file)) => match take(driver, ask, file, by) {
            Ok(taken) => Answer::Taken(taken),
            Err(problem) => Answer::Problem(problem),
        },
        Err(what) => Answer::Problem(problem(400, "body", &what)),
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    stream.write_all(&line)
}

fn problem(status: u16, code: &str, detail: &str) -> Problem {
    Problem { status, code: code.to_owned(), detail: detail.to_owned(), possible: Vec::new() }
}

fn take(driver: &Driver, ask: Ask, file: OwnedFd, by: String) -> Result<Taken, Problem> {
    let file = std::fs::File::from(file);
    let metadata = file.metadata().map_err(|e| problem(400, "file", &e.to_string()))?;
    if !metadata.is_file() {
        let what = format!(
            "{} is not a regular file; a stream can be brought with PUT /api/v1/bundle/NAME",
            ask.name
        );
        return Err(problem(400, "file", &what));
    }
    let forced = Options { force: ask.force, ..Options::default() }.forced()?;
    match ask.goal {
        Goal::Fetch | Goal::Check | Goal::Stage | Goal::Upgrade => {}
        Goal::Revert | Goal::Repair => {
            return Err(problem(400, "goal", "no file is needed for that"));
        }
    }
    let request = Request {
        goal: ask.goal,
        file: Some(ask.name),
        forced,
        auto_cancel: !ask.no_auto_cancel,
        origin: driver.origin(by),
    };
    let handed = Handed::new(file, Some(metadata.len()));
    let id = driver.ask(Command::Start(request), Some(handed))?;
    Ok(Taken { id, phase: driver.look().state.phase })
}

/// One line, and the one descriptor that comes with it.
fn receive(stream: &UnixStream) -> std::io::Result<Result<(Ask, OwnedFd), String>> {
    let mut line = Vec::new();
    let mut files: Vec<OwnedFd> = Vec::new();
    while !line.ends_with(b"\n") {
        let mut piece = [0; MAX_LINE];
        let got = receive_piece(stream, &mut piece, &mut files)?;
        line.extend_from_slice(&piece[..got]);
        if got == 0 || line.len() > MAX_LINE || files.len() > 1 {
            return Ok(Err(format!(
                "one line of at most {MAX_LINE} bytes and one open file are expected"
            )));
        }
    }
    let ask = match serde_json::from_slice::<Ask>(&line) {
        Ok(ask) => ask,
        Err(e) => return Ok(Err(format!("the line is not what this socket takes: {e}"))),
    };
    Ok(files
        .pop()
        .map(|file| (ask, file))
        .ok_or_else(|| "no open file came with the line".to_owned()))
}

fn receive_piece(
    stream: &UnixStream,
    piece: &mut [u8],
    files: &mut Vec<OwnedFd>,
) -> std::io::Result<usize> {
    use std::os::fd::AsRawFd;
    // Room for as many files as one message can carry (SCM_MAX_FD of unix(7)): those that do not fit would be open in this
    // process with nobody to close them.
    let mut space = cmsg_space!([RawFd; 253]);
    let mut slices = [IoSliceMut::new(piece)];
    let message = recvmsg::<UnixAddr>(
        stream.as_raw_fd(),
        &mut slices,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = control {
            files.extend(received.into_iter().map(own));
        }
    }
    Ok(message.bytes)
}

#[expect(unsafe_code, reason = "the kernel gives received files as plain numbers")]
fn own(file: RawFd) -> OwnedFd {
    // SAFETY: the kernel just made this descriptor for us in recvmsg; nobody else knows or closes it.
    unsafe { OwnedFd::from_raw_fd(file) }
}
