//! `file.sock`: clients that send the wrong thing, too little, too much, or nothing.

use std::fs::{File, OpenOptions};
use std::io::{IoSlice, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use flow::Goal;
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use upgrade_agent::door::file::{Answer, Ask};
use upgrade_agent::door::view::Problem;

use crate::appliance::{Appliance, MIB, PATIENCE, Plan, slow_writing};

const NAME: &str = "Test_Box_Upgrade-1.1.0-2.sh.REL.tar";

fn connect(appliance: &Appliance) -> UnixStream {
    let stream = UnixStream::connect(appliance.path("run/file.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn send(stream: &UnixStream, bytes: &[u8], files: &[RawFd]) {
    let rights = [ControlMessage::ScmRights(files)];
    let control = if files.is_empty() { &rights[..0] } else { &rights[..] };
    let slices = [IoSlice::new(bytes)];
    sendmsg::<UnixAddr>(stream.as_raw_fd(), &slices, control, MsgFlags::MSG_NOSIGNAL, None)
        .unwrap();
}

/// Everything that comes until the service closes.
fn rest(stream: &mut UnixStream) -> String {
    let mut text = String::new();
    // A service that closes with our bytes unread resets the connection.
    let _ = stream.read_to_string(&mut text);
    text
}

fn line(goal: Goal) -> Vec<u8> {
    let ask = Ask { goal, name: NAME.to_owned(), force: vec![], no_auto_cancel: false };
    [&serde_json::to_vec(&ask).unwrap()[..], b"\n"].concat()
}

fn problem(appliance: &Appliance, bytes: &[u8], files: &[RawFd]) -> Problem {
    let mut stream = connect(appliance);
    send(&stream, bytes, files);
    let answer = rest(&mut stream);
    match serde_json::from_str(&answer) {
        Ok(Answer::Problem(problem)) => problem,
        other => panic!("{other:?}: {answer:?}, to {:?}", String::from_utf8_lossy(bytes)),
    }
}

#[test]
fn a_client_that_sends_the_wrong_thing_is_told_so() {
    let appliance = Appliance::on(Plan::default());
    let bundle = File::open(appliance.bundle("1.1.0-2", "well")).unwrap();
    let one = [bundle.as_raw_fd()];
    let two = [bundle.as_raw_fd(), bundle.as_raw_fd()];
    let many = [bundle.as_raw_fd(); 60];
    let good = line(Goal::Check);
    let unknown = [&good[..good.len() - 2], b",\"x\":1}\n"].concat();
    let long = [&[b' '; 5000][..], &good].concat();
    for (bytes, files, words) in [
        (&b"garbage\n"[..], &one[..], "the line is not what this socket takes"),
        (b"\n", &one, "the line is not what this socket takes"),
        (&unknown, &one, "unknown field `x`"),
        (&good, &[], "no open file came with the line"),
        (&good, &two, "one open file"),
        (&good, &many, "one open file"),
        (&long, &one, "at most 4096 bytes"),
    ] {
        let problem = problem(&appliance, bytes, files);
        assert_eq!((problem.status, problem.code.as_str()), (400, "body"), "{problem:?}");
        assert!(problem.detail.contains(words), "{words}: {problem:?}");
    }
    for goal in [Goal::Revert, Goal::Repair] {
        assert_eq!(problem(&appliance, &line(goal), &one).code, "goal");
    }
    let forced = Ask {
        goal: Goal::Upgrade,
        name: NAME.into(),
        force: vec!["moon".into()],
        no_auto_cancel: false,
    };
    let forced = [&serde_json::to_vec(&forced).unwrap()[..], b"\n"].concat();
    assert_eq!(problem(&appliance, &forced, &one).code, "no-such-check");
    // Two lines, and one line in many pieces: only the first line counts, however it comes.
    let mut stream = connect(&appliance);
    let (first, second) = good.split_at(10);
    send(&stream, first, &one);
    std::thread::sleep(Duration::from_millis(50));
    send(&stream, second, &[]);
    assert!(rest(&mut stream).starts_with(r#"{"taken""#));
    drop(bundle);
    all_are_closed(&appliance);
}

/// Waits until the idle service has no bundle open any more.
fn all_are_closed(appliance: &Appliance) {
    appliance.wait_until("every bundle is closed", |status| {
        let files = std::fs::read_dir(format!("/proc/{}/fd", appliance.service())).unwrap();
        let mut targets = files.flatten().filter_map(|file| std::fs::read_link(file.path()).ok());
        status.job.is_none() && !targets.any(|to| to.starts_with(appliance.path("bundles")))
    });
}

#[test]
fn what_is_handed_over_must_be_a_file_that_can_be_read() {
    let appliance = Appliance::on(Plan::default());
    let fifo = appliance.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let fifo = OpenOptions::new().read(true).write(true).open(fifo).unwrap();
    let directory = File::open(appliance.root()).unwrap();
    let zero = File::open("/dev/zero").unwrap();
    let socket = connect(&appliance);
    for file in [fifo.as_raw_fd(), directory.as_raw_fd(), zero.as_raw_fd(), socket.as_raw_fd()] {
        let problem = problem(&appliance, &line(Goal::Upgrade), &[file]);
        assert_eq!(problem.code, "file", "{problem:?}");
        assert!(problem.detail.contains("is not a regular file"), "{problem:?}");
    }
    let closed = OpenOptions::new().write(true).open(appliance.bundle("1.1.0-2", "well")).unwrap();
    let mut stream = connect(&appliance);
    send(&stream, &line(Goal::Upgrade), &[closed.as_raw_fd()]);
    assert!(rest(&mut stream).starts_with(r#"{"taken""#));
    let status = appliance.wait_until("the job is over", |status| status.job.is_none());
    assert_eq!(status.last.unwrap().cause.unwrap().code, "bundle-unreadable");
}

#[test]
fn a_client_that_says_nothing_is_dropped_and_holds_nobody_up() {
    let appliance = Appliance::on(Plan::default());
    let bundle = appliance.bundle("1.1.0-2", "well");
    let mut silent = connect(&appliance);
    let mut half = connect(&appliance);
    send(&half, b"{\"goal\":", &[]);
    let began = Instant::now();
    appliance.upgrade(&["check", bundle.to_str().unwrap()]).says("signed by 1 trusted key");
    assert!(began.elapsed() < Duration::from_secs(5), "nobody waits for a silent client");
    assert_eq!((rest(&mut silent), rest(&mut half)), (String::new(), String::new()));
    assert!(began.elapsed() < Duration::from_secs(20), "a silent client is dropped");
}

#[test]
fn twenty_clients_at_once_all_get_an_answer() {
    let appliance = Appliance::on(Plan::default());
    let bundle = appliance.bundle("1.1.0-2", "well");
    let path = bundle.to_str().unwrap();
    let clients: Vec<_> =
        (0..20).map(|_| appliance.upgrade_in_background(&["check", path])).collect();
    let mut taken = 0;
    for client in clients {
        let said = client.finish();
        match said.code {
            Some(0 | 4) => taken += 1,
            Some(3) => assert!(said.err.contains("cannot check while"), "{said}"),
            _ => panic!("{said}"),
        }
    }
    assert!(taken >= 1);
    all_are_closed(&appliance);
    // Twenty that stay silent are more than are served at once; a later one is told so, and all is well after them.
    let silent: Vec<UnixStream> = (0..20).map(|_| connect(&appliance)).collect();
    appliance.upgrade(&["status"]).exits(0);
    drop(silent);
    appliance.wait_until("clients are served again", |_| {
        matches!(appliance.upgrade(&["check", path]).code, Some(0 | 4))
    });
}

#[test]
fn a_file_that_shrinks_while_it_is_written_is_trouble_and_not_a_wrong_system() {
    let appliance = Appliance::on(slow_writing());
    let bundle = appliance.bundle("1.1.0-2", "well");
    let start = appliance.upgrade_in_background(&Appliance::start_of(&bundle));
    appliance.wait_for_written(MIB / 2);
    OpenOptions::new().write(true).open(&bundle).unwrap().set_len(1000).unwrap();
    start.finish().exits(1).says("error[bundle-truncated]");
    let status = appliance.status();
    assert_eq!((status.phase.word(), status.b.standing.as_str()), ("failed", "given-up"));
    appliance.upgrade(&["cancel"]).exits(0);
}
