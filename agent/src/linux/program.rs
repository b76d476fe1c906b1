//! Runs one program with a time limit, and keeps the last of what it said.
//!
//! The program gets a process group of its own; when the limit or a stop comes, the whole group is killed. Its output is
//! read as it comes and only a tail of it is kept, so a flood costs nothing; a child that outlives it and keeps the pipe
//! open is not waited for.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, pipe2};

use super::clock;
use crate::device::Stop;

/// How much of the output is kept: a sentence or two for the history.
const TAIL: usize = 300;

/// How often limit, stop and exit are looked at.
const LOOK_EVERY_MS: u16 = 20;

/// How long a killed program may take to end.
const KILL_WITHIN: Duration = Duration::from_secs(2);

/// How a program ended.
#[derive(Debug)]
pub enum Ran {
    /// By itself.
    Ended {
        /// Its exit status.
        status: ExitStatus,
        /// The last of its output, one line, printable.
        said: String,
    },
    /// It was killed at its limit.
    TooSlow {
        /// The last of its output.
        said: String,
    },
    /// It was killed because nobody wants the answer any more.
    Stopped,
}

/// Runs `command` in `directory` with these extra variables.
pub fn run(
    command: &[String],
    directory: &Path,
    variables: &[(&str, &str)],
    limit: Duration,
    stop: &Stop,
) -> io::Result<Ran> {
    let ended = start(command, directory, variables, Errors::Kept, TAIL)?.finish(limit, stop)?;
    let said = one_line(&ended.output);
    Ok(match ended.how {
        How::Exit(status) => Ran::Ended { status, said },
        How::TooSlow => Ran::TooSlow { said },
        How::Stopped => Ran::Stopped,
    })
}

/// Runs a tool of the system and gives its standard output back; its errors are dropped, and so is what exceeds 64 KiB.
pub fn output(command: &[String], directory: &Path, limit: Duration) -> io::Result<String> {
    let ended = start(command, directory, &[], Errors::Dropped, 64 * 1024)?
        .finish(limit, &Stop::default())?;
    match ended.how {
        How::Exit(status) if status.success() => {
            Ok(String::from_utf8_lossy(&ended.output).into_owned())
        }
        How::Exit(status) => Err(io::Error::other(format!("{}: {status}", command.join(" ")))),
        How::TooSlow | How::Stopped => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// What becomes of standard error.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Errors {
    Kept,
    Dropped,
}

/// A program that runs.
struct Running {
    child: Child,
    tail: Tail,
}

struct Finished {
    how: How,
    output: Vec<u8>,
}

enum How {
    Exit(ExitStatus),
    TooSlow,
    Stopped,
}

fn start(
    command: &[String],
    directory: &Path,
    variables: &[(&str, &str)],
    errors: Errors,
    keep: usize,
) -> io::Result<Running> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "an empty command"));
    };
    let (ours, theirs) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    // Only our end must not block; the program's end is its standard output.
    nix::fcntl::fcntl(&theirs, nix::fcntl::FcntlArg::F_SETFL(OFlag::empty()))?;
    let errors = match errors {
        Errors::Kept => Stdio::from(theirs.try_clone()?),
        Errors::Dropped => Stdio::null(),
    };
    #[expect(clippy::disallowed_methods, reason = "this is the file where programs are started")]
    let child = Command::new(program)
        .args(arguments)
        .env("PATH", search_path())
        .envs(variables.iter().copied())
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(theirs)
        .stderr(errors)
        .process_group(0)
        .spawn()?;
    Ok(Running { child, tail: Tail { pipe: File::from(ours), bytes: Vec::new(), keep } })
}

/// Debian keeps file-system tools in `sbin`, which is not on everybody's path.
fn search_path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin")
}

impl Running {
    fn finish(mut self, limit: Duration, stop: &Stop) -> io::Result<Finished> {
        let began = clock::boottime();
        let how = loop {
            self.tail.read_for(LOOK_EVERY_MS)?;
            if let Some(status) = self.child.try_wait()? {
                self.tail.read_for(0)?;
                kill(&self.child);
                break How::Exit(status);
            }
            let too_slow = clock::boottime().saturating_sub(began) >= limit;
            if too_slow || stop.is_stopped() {
                self.put_an_end_to_it()?;
                break if too_slow { How::TooSlow } else { How::Stopped };
            }
        };
        Ok(Finished { how, output: self.tail.bytes })
    }
}

impl Running {
    /// Kills the program and its group, and waits a moment for its end. One that cannot be killed (it hangs in a driver)
    /// is left behind: a zombie is cheaper than an agent that waits for ever.
    fn put_an_end_to_it(&mut self) -> io::Result<()> {
        kill(&self.child);
        // It may have left its group. That it is gone already is not an error.
        drop(self.child.kill());
        let patience = clock::boottime().saturating_add(KILL_WITHIN);
        while self.child.try_wait()?.is_none() {
            if clock::boottime() >= patience {
                tracing::warn!(
                    pid = self.child.id(),
                    "a program cannot be killed and is left behind"
                );
                break;
            }
            Stop::default().wait(Duration::from_millis(u64::from(LOOK_EVERY_MS)));
        }
        Ok(())
    }
}

/// Kills what is left of the program's group. That nothing is left is not an error.
fn kill(child: &Child) {
    if let Ok(group) = i32::try_from(child.id()) {
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
}

struct Tail {
    pipe: File,
    bytes: Vec<u8>,
    /// How many bytes are kept at most.
    keep: usize,
}

impl Tail {
    /// Waits for output, at most so long, and takes what is there.
    fn read_for(&mut self, ms: u16) -> io::Result<()> {
        let mut polled = [PollFd::new(self.pipe.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polled, PollTimeout::from(ms)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let hung_up = polled[0].revents().is_some_and(|seen| seen == PollFlags::POLLHUP);
        let mut piece = [0; 4096];
        // At most 64 KiB a look, so that a flood cannot hide the limit.
        for _ in 0..16 {
            match self.pipe.read(&mut piece) {
                Ok(0) => break,
                Ok(got) => {
                    self.bytes.extend_from_slice(&piece[..got]);
                    let excess = self.bytes.len().saturating_sub(self.keep);
                    self.bytes.drain(..excess);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        if hung_up && ms > 0 {
            // Nobody writes any more and poll would not wait: wait for the exit without it.
            Stop::default().wait(Duration::from_millis(u64::from(ms)));
        }
        Ok(())
    }
}

/// Output as one printable line.
fn one_line(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("; ").chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, limit_ms: u64) -> Ran {
        let command = ["/bin/sh", "-c", script].map(str::to_owned);
        run(
            &command,
            Path::new("/"),
            &[("WORD", "green")],
            Duration::from_millis(limit_ms),
            &Stop::default(),
        )
        .expect("a shell starts")
    }

    #[test]
    fn a_program_says_how_it_ended_and_what_it_said() {
        let Ran::Ended { status, said } = sh("echo $WORD; echo red >&2; exit 3", 5000) else {
            panic!("it did not end by itself")
        };
        assert_eq!((status.code(), said.as_str()), (Some(3), "green; red"));
    }

    #[test]
    fn a_program_that_hangs_is_killed_at_its_limit_with_its_children() {
        let began = clock::boottime();
        assert!(
            matches!(sh("echo here; sleep 60 & sleep 60", 200), Ran::TooSlow { said } if said == "here")
        );
        assert!(clock::boottime().saturating_sub(began) < Duration::from_secs(20));
    }

    #[test]
    fn a_flood_keeps_only_its_tail() {
        let Ran::Ended { said, .. } = sh("yes 0123456789 | head -c 3000000; echo last", 30_000)
        else {
            panic!("it did not end by itself")
        };
        assert!(said.len() <= TAIL + 2 * TAIL && said.ends_with("last"), "{said}");
    }

    #[test]
    fn a_child_left_behind_does_not_hold_us_up() {
        let began = clock::boottime();
        assert!(matches!(sh("sleep 60 & exit 0", 30_000), Ran::Ended { .. }));
        assert!(clock::boottime().saturating_sub(began) < Duration::from_secs(20));
    }

    #[test]
    fn a_stop_ends_the_program() {
        let stop = Stop::default();
        stop.stop();
        let command = ["/bin/sleep", "60"].map(str::to_owned);
        let ran = run(&command, Path::new("/"), &[], Duration::from_secs(60), &stop)
            .expect("sleep starts");
        assert!(matches!(ran, Ran::Stopped));
    }
}
