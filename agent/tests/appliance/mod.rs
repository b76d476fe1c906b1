//! An appliance in a temporary directory, with everything real that fits there.
//!
//! The shipped firmware script runs the shipped boot script in `grub-emu`, starts the real service, and starts it again
//! after a reboot; the tests use the real command. Slots are ext4 images made by `mke2fs -d`, bundles are built and
//! signed by the maker's library, and version and health come out of the running slot's own bytes.
//!
//! What holds for every test that uses this:
//! * Nothing outlives it: the firmware and its children form one process group that is killed when the [`Appliance`] is
//!   dropped, and also when the whole test program dies, because a guard reads a pipe that only we hold open. What left
//!   the group (probes, `grub-emu`) is found by its working directory.
//! * The slot that runs at power-on is the same, byte for byte, when the test ends, unless the test says otherwise.
//! * A missing tool is a failure that names the Debian package, never a skip.

#![allow(dead_code, reason = "each test program uses its part of this module")]

mod client;
mod maker;
mod plan;
mod power;
mod reply;

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bootloader_hooks::{BootState, Copies, Copy, Slot};
use bundle_format::Digest;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use upgrade_agent::door::view::{OutcomeView, Status};

pub(crate) use client::{Ended, Running, Said};
pub(crate) use maker::{MIB, Maker, image, noise};
pub(crate) use plan::{Plan, impatient, slow_writing};
use plan::{SELFTEST, configuration};
use power::Power;
pub(crate) use reply::Reply;

/// How long anything may take that should happen by itself: a loaded machine is slow, a wrong one never gets there.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The release that runs in slot A at first.
pub(crate) const FIRST: &str = "1.0.0-1";

/// An appliance.
pub(crate) struct Appliance {
    directory: TempDir,
    pub(crate) maker: Maker,
    power: Option<Power>,
    plan: Plan,
    untouched: Vec<(Slot, Digest)>,
}

impl Appliance {
    /// An appliance that runs.
    pub(crate) fn on(plan: Plan) -> Self {
        let mut appliance = Self::off(plan);
        appliance.power_on();
        appliance
    }

    /// The same, not powered on yet.
    pub(crate) fn off(plan: Plan) -> Self {
        // Not in TMPDIR: the path of a socket has at most 107 bytes.
        let directory = tempfile::Builder::new().prefix("box.").tempdir_in("/tmp").unwrap();
        let root = directory.path();
        for name in ["data", "keys", "bundles"] {
            std::fs::create_dir(root.join(name)).unwrap();
        }
        image(&root.join("a.img"), FIRST, "well");
        make(&root.join("b.img"), b"").set_len(plan.slot_b).unwrap();
        let state = BootState { confirmed: Slot::A, other: plan.other };
        make(&root.join("bootstate.img"), &bootloader_hooks::image(state));
        make(&root.join("model"), b"Test_Box\n");
        program(&root.join("selftest"), SELFTEST);
        program(&root.join("agent"), &power::agent_with_a_hook());
        let maker = Maker::new(&root.join("vendor"));
        std::fs::copy(root.join("vendor.pem"), root.join("keys/vendor.pem")).unwrap();
        make(&root.join("agent.toml"), configuration(&plan).as_bytes());
        let digest = digest_of(&root.join("a.img"));
        let untouched = vec![(Slot::A, digest)];
        Self { directory, maker, power: None, plan, untouched }
    }

    pub(crate) fn root(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    pub(crate) fn slot(&self, slot: Slot) -> PathBuf {
        self.path(&format!("{}.img", slot.lower()))
    }

    // Power.

    /// Powers on and waits until the service answers.
    pub(crate) fn power_on(&mut self) {
        self.power_on_alone();
        self.wait_until("the service answers", |_| true);
    }

    /// Powers on and waits for nothing.
    pub(crate) fn power_on_alone(&mut self) {
        assert!(self.power.is_none(), "it is on");
        self.power = Some(Power::on(self.root(), self.plan.data_mib));
    }

    /// Pulls the plug: firmware, service and everything they started are killed at once.
    pub(crate) fn cut_power(&mut self) {
        drop(self.power.take());
    }

    /// Kills the service with -9; the firmware script starts it again in the same boot, as an init system would.
    pub(crate) fn kill_service(&self) {
        let pid = self.service();
        kill(pid, Signal::SIGKILL).unwrap();
        let began = Instant::now();
        while self.service() == pid {
            self.still_waiting(began, "the service is started again");
        }
        self.wait_until("the service answers again", |_| true);
    }

    /// The service's process.
    pub(crate) fn service(&self) -> Pid {
        let text = std::fs::read_to_string(self.path("service.pid")).unwrap_or_default();
        Pid::from_raw(text.trim().parse().unwrap_or(0))
    }

    /// A file of the data partition, as the service sees it: it may have a mount namespace of its own.
    pub(crate) fn in_data(&self, name: &str) -> PathBuf {
        let file = self.path("data").join(name);
        match self.plan.data_mib {
            None => file,
            Some(_) => PathBuf::from(format!("/proc/{}/root{}", self.service(), file.display())),
        }
    }

    /// Stops the firmware script, so that the appliance stays off after its next reboot.
    pub(crate) fn hold_the_firmware(&self) -> Pid {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.service())).unwrap();
        let parent = stat.rsplit(')').next().unwrap().split_whitespace().nth(1).unwrap();
        let firmware = Pid::from_raw(parent.parse().unwrap());
        kill(firmware, Signal::SIGSTOP).unwrap();
        firmware
    }

    /// Waits until the service asked for its reboot and ended, while the firmware is held.
    pub(crate) fn wait_for_the_reboot(&self) {
        let began = Instant::now();
        while self.look().is_some() {
            self.still_waiting(began, "the service ends");
        }
    }

    /// A shell script that runs once, just before the service is next started: what happened to the disk meanwhile.
    pub(crate) fn before_the_next_start(&self, script: &str) {
        make(&self.path("before"), script.as_bytes());
    }

    /// The service alone, in front, as if the firmware had booted slot A; not started yet.
    pub(crate) fn service_alone(&self) -> Command {
        let boot = "boot_id=0f5c6a1e-8d0b-4b1e-9c55-1f3a2b7c9d10\ncmdline=ro upgrade.slot=A upgrade.trial=0\n";
        make(&self.path("boot"), boot.as_bytes());
        let mut command = Command::new(env!("CARGO_BIN_EXE_upgrade-agent"));
        command.arg("--directory").arg(self.root()).current_dir("/");
        command
    }

    /// Waits for a line in the log of firmware and service.
    pub(crate) fn wait_for_log(&self, what: &str) {
        let began = Instant::now();
        while !self.log().contains(what) {
            self.still_waiting(began, what);
        }
    }

    pub(crate) fn log(&self) -> String {
        let log = std::fs::read(self.path("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    // Looking.

    /// The status, if the service answers.
    pub(crate) fn look(&self) -> Option<Status> {
        let mut stream = UnixStream::connect(self.path("run/api.sock")).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.write_all(b"GET /api/v1/status HTTP/1.0\r\nhost: box\r\n\r\n").ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let body = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        serde_json::from_slice(&answer[body..]).ok()
    }

    pub(crate) fn status(&self) -> Status {
        self.wait_until("the service answers", |_| true)
    }

    /// Waits until the status is as wanted.
    pub(crate) fn wait_until(&self, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
        let began = Instant::now();
        loop {
            if let Some(status) = self.look().filter(|status| wanted(status)) {
                return status;
            }
            let ended = self.log().contains("firmware: the service ended with");
            assert!(!ended, "{what}: the service ended");
            self.still_waiting(began, what);
        }
    }

    pub(crate) fn wait_for_phase(&self, word: &str) -> Status {
        self.wait_until(word, |status| status.phase.word() == word)
    }

    /// Waits until at least so much of slot B was written anew.
    pub(crate) fn wait_for_written(&self, bytes: u64) {
        self.wait_until("some of slot B is written", |status| {
            let progress = status.job.as_ref().and_then(|job| job.progress);
            status.phase.word() == "writing" && progress.is_some_and(|p| p.written >= bytes)
        });
    }

    /// A little while, as long as the patience lasts.
    pub(crate) fn still_waiting(&self, began: Instant, what: &str) {
        assert!(began.elapsed() < PATIENCE, "waited in vain: {what}; status: {:#?}", self.look());
        std::thread::sleep(Duration::from_millis(20));
    }

    /// What the boot state says, read from the partition's image.
    pub(crate) fn boot_state(&self) -> Option<BootState> {
        let bytes = std::fs::read(self.path("bootstate.img")).unwrap();
        let block = |copy: Copy| {
            let at = usize::try_from(copy.offset()).unwrap();
            bytes[at..at + bootloader_hooks::BLOCK_LEN].try_into().unwrap()
        };
        Copies::decode(&block(Copy::One), &block(Copy::Two)).state()
    }

    /// Overwrites a copy of the boot state with garbage.
    pub(crate) fn damage(&self, copy: Copy) {
        let file = OpenOptions::new().write(true).open(self.path("bootstate.img")).unwrap();
        file.write_all_at(&[0xA5; bootloader_hooks::BLOCK_LEN], copy.offset()).unwrap();
    }

    /// Which copy of the boot state is the newer one.
    pub(crate) fn newer_copy(&self) -> Copy {
        let bytes = std::fs::read(self.path("bootstate.img")).unwrap();
        let sequence = |copy: Copy| {
            let at = usize::try_from(copy.offset()).unwrap();
            let text = String::from_utf8_lossy(&bytes[at..at + bootloader_hooks::BLOCK_LEN]);
            let line = text.lines().find_map(|line| line.strip_prefix("seq="))?.to_owned();
            line.parse::<u64>().ok()
        };
        if sequence(Copy::One) >= sequence(Copy::Two) { Copy::One } else { Copy::Two }
    }

    // Asking.

    /// Runs the command.
    pub(crate) fn upgrade(&self, arguments: &[&str]) -> Said {
        self.upgrade_in_background(arguments).finish()
    }

    pub(crate) fn upgrade_in_background(&self, arguments: &[&str]) -> Running {
        Running::begin(self.command(arguments))
    }

    /// The command, not started yet. It finds the service by its environment.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_upgrade"));
        command.args(arguments).env("UPGRADE_SOCKET", self.path("run/api.sock")).current_dir("/");
        command
    }

    /// The arguments of a start that does not ask and does not mind this machine's clock.
    pub(crate) fn start_of(bundle: &Path) -> [&str; 5] {
        ["start", bundle.to_str().unwrap(), "--yes", "--force", "clock"]
    }

    /// Starts an upgrade and follows it to its reboot.
    pub(crate) fn start(&self, bundle: &Path) -> Said {
        self.upgrade(&Self::start_of(bundle)).exits(7)
    }

    /// `curl` on the service's socket: the answer's status, content type and body.
    pub(crate) fn curl(&self, path: &str, arguments: &[&str]) -> Reply {
        let out = self.curl_in_background(path, arguments).finish().exits(0).out;
        let (body, end) = out.rsplit_once('\n').expect("curl writes a last line");
        let (status, kind) = end.split_once(' ').unwrap();
        Reply { status: status.parse().unwrap(), kind: kind.to_owned(), body: body.to_owned() }
    }

    pub(crate) fn curl_in_background(&self, path: &str, arguments: &[&str]) -> Running {
        let mut command = Command::new(tool("curl", "curl"));
        command.arg("--unix-socket").arg(self.path("run/api.sock"));
        command.args(["--silent", "--no-buffer", "--write-out", "\n%{http_code} %{content_type}"]);
        command.args(arguments).arg(format!("http://box/api/v1{path}")).current_dir("/");
        Running::begin(command)
    }

    /// Waits for the end of what is going on.
    pub(crate) fn wait(&self) -> Said {
        self.upgrade(&["status", "--wait"])
    }

    /// A whole upgrade that must succeed.
    pub(crate) fn upgrade_to(&self, bundle: &Path) {
        self.start(bundle);
        self.wait().exits(0).says("succeeded");
    }

    /// How the last upgrade or revert ended.
    pub(crate) fn last(&self) -> OutcomeView {
        self.status().last.expect("something ended")
    }

    // Making.

    /// A bundle of a new system with this health.
    pub(crate) fn bundle(&self, release: &str, health: &str) -> PathBuf {
        let raw = self.image(release, health);
        self.maker.bundle(&self.path("bundles"), release, &raw, |_| {})
    }

    /// The image of a new system with this health.
    pub(crate) fn image(&self, release: &str, health: &str) -> PathBuf {
        let raw = self.path(&format!("{release}.img"));
        image(&raw, release, health);
        raw
    }

    /// The slot that runs now is the one that must not change from here on.
    pub(crate) fn guard_the_running_slot(&mut self) {
        let slot = if self.status().a.running { Slot::A } else { Slot::B };
        self.check_untouched();
        self.untouched = vec![(slot, digest_of(&self.slot(slot)))];
    }

    /// This test changes the running slot itself.
    pub(crate) fn let_the_first_slot_change(&mut self) {
        self.untouched.clear();
    }

    /// Asserts that the guarded slot is what it was.
    pub(crate) fn check_untouched(&self) {
        for (slot, digest) in &self.untouched {
            assert_eq!(digest_of(&self.slot(*slot)), *digest, "slot {slot} was changed");
        }
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        self.cut_power();
        if std::thread::panicking() {
            let log = self.log();
            let from = log.lines().count().saturating_sub(60);
            eprintln!("-- the end of the appliance's log --");
            log.lines().skip(from).for_each(|line| eprintln!("{line}"));
            eprintln!("{}", std::fs::read_to_string(self.path("firmware.out")).unwrap_or_default());
        } else {
            self.check_untouched();
        }
    }
}

/// SHA-256 of a file.
pub(crate) fn digest_of(path: &Path) -> Digest {
    Digest::of(&std::fs::read(path).unwrap())
}

/// A new file.
pub(crate) fn make(path: &Path, content: &[u8]) -> std::fs::File {
    make_with(path, content, 0o644)
}

/// A new program.
pub(crate) fn program(path: &Path, text: &str) {
    make_with(path, text.as_bytes(), 0o755);
}

fn make_with(path: &Path, content: &[u8], mode: u32) -> std::fs::File {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(mode).open(path);
    let mut file = file.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    file.write_all(content).unwrap();
    file
}

/// Where a tool is, `sbin` included, which is not in an ordinary user's path.
pub(crate) fn tool(name: &str, package: &str) -> PathBuf {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/sbin", "/usr/sbin", "/bin", "/usr/bin"])
        .map(|directory| Path::new(directory).join(name))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| panic!("{name} is missing: install the Debian package {package}"))
}
