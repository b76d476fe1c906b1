//! Power: the firmware script with everything below it, in one process group that can be ended at once.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{PATIENCE, make, tool};

/// Starts its arguments, then waits for the end of its input, which comes when the test is done with it or is dead, and
/// kills its whole group.
const GUARD: &str = r#""$@" & read -r _; kill -KILL 0"#;

/// Gives the appliance a data partition of `$1` MiB, in a mount namespace of its own that ends with it.
const SMALL_DATA: &str =
    r#"mount -t tmpfs -o "size=$1m" box "$2/data" || exit 1; shift 2; exec "$@""#;

/// The firmware's service: the real one, after a script that a test may leave (see `before_the_next_start`).
pub(super) fn agent_with_a_hook() -> String {
    let agent = env!("CARGO_BIN_EXE_upgrade-agent");
    format!(
        "#!/bin/sh\ncd \"$(dirname \"$0\")\" || exit 1\nif [ -f before ]; then mv before now; sh ./now; fi\n\
         exec \"{agent}\" \"$@\"\n"
    )
}

/// A running appliance.
pub(super) struct Power {
    guard: Child,
    root: PathBuf,
}

impl Power {
    pub(super) fn on(root: &Path, data_mib: Option<u32>) -> Self {
        // The firmware looks for these itself, but only while it runs; here they get their packages' names.
        tool("grub-emu", "grub-emu");
        tool("debugfs", "e2fsprogs");
        tool("timeout", "coreutils");
        let firmware = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/firmware");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", GUARD, "guard"]);
        if let Some(mib) = data_mib {
            command.arg(tool("unshare", "util-linux")).arg("--mount");
            if !nix::unistd::geteuid().is_root() {
                command.arg("--map-root-user");
            }
            command.args(["/bin/sh", "-c", SMALL_DATA, "data", &mib.to_string()]).arg(root);
        }
        let out = make(&root.join("firmware.out"), b"");
        let guard = command
            .arg(firmware)
            .arg(root)
            .arg(root.join("agent"))
            .current_dir(root)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap();
        Self { guard, root: root.to_owned() }
    }
}

impl Drop for Power {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        drop(self.guard.wait());
        end_all_below(&self.root);
    }
}

/// Kills what works in this directory, and waits until nothing does.
fn end_all_below(root: &Path) {
    let began = Instant::now();
    loop {
        let there = working_below(root);
        if there.is_empty() {
            return;
        }
        for pid in there {
            // It may have ended by itself meanwhile.
            let _ = kill(pid, Signal::SIGKILL);
        }
        if began.elapsed() > PATIENCE {
            eprintln!("something still works in {}", root.display());
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The processes whose working directory is this one or below it.
pub(crate) fn working_below(root: &Path) -> Vec<Pid> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse::<i32>().ok();
    processes
        .flatten()
        .filter_map(number)
        .filter(|pid| {
            let cwd = std::fs::read_link(format!("/proc/{pid}/cwd"));
            cwd.is_ok_and(|cwd| cwd.starts_with(root))
        })
        .map(Pid::from_raw)
        .collect()
}
