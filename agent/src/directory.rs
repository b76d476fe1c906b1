//! The try-out appliance: an appliance that lives in a directory.
//!
//! No root, no disk, no reboot: a person sees the whole upgrade on files, with the shipped service, command, bundle
//! reader, boot state and boot script. It can never be mixed with real devices. Its layout:
//!
//! | file | what |
//! | --- | --- |
//! | `agent.toml` | the configuration; a relative path in it is relative to this directory |
//! | `a.img`, `b.img` | the slots: file-system images |
//! | `bootstate.img` | the boot-state partition, exactly as on a real disk |
//! | `data/` | the data partition: journal, history, spool |
//! | `boot` | what the kernel would say of this boot; two lines, written by whoever plays the firmware |
//! | `run/` | the service's sockets |
//!
//! `boot` holds `boot_id=<UUID>` and `cmdline=<kernel command line>`, the latter with `upgrade.slot=` and
//! `upgrade.trial=`. Who plays the firmware runs the boot script on `bootstate.img`, writes `boot`, starts the service,
//! and does so again when the service exits with [`REBOOT`]. What is pretended here is the reset and the firmware,
//! nothing else: version and health come out of the running slot's own bytes, read with `debugfs`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bootloader_hooks::Slot;
use flow::readiness::Clock;
use flow::trial::Look;
use flow::{BootId, Evidence, Now, Side};

use crate::device::{Device, JournalCopy, Place, Stop, Storage, ThisBoot};
use crate::linux::clock;
use crate::linux::file::FileStorage;
use crate::linux::program::{self, Ran};

/// The service exits with this code when the appliance wants to be rebooted.
pub const REBOOT: u8 = 100;

/// os-release is a page of text; `debugfs` answers within this time on any disk.
const DEBUGFS_WITHIN: Duration = Duration::from_secs(20);

/// An appliance in a directory.
pub struct Directory {
    root: PathBuf,
    boot_id: BootId,
    boot: ThisBoot,
    model: Option<PathBuf>,
    reboot: Box<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Directory")
            .field("root", &self.root)
            .field("boot", &self.boot)
            .finish_non_exhaustive()
    }
}

/// The directory is no appliance.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// A file is missing or cannot be read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// `boot` does not say what it should.
    #[error(
        "{path}: {what}; whoever plays the firmware writes boot_id= and cmdline=, with upgrade.slot= in it"
    )]
    Boot {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

impl Directory {
    /// Opens the appliance as it booted. `reboot` is called when it wants to be rebooted.
    pub fn open(
        root: &Path,
        model: Option<PathBuf>,
        reboot: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, DirectoryError> {
        let path = root.join("boot");
        let text = std::fs::read_to_string(&path)
            .map_err(|source| DirectoryError::File { path: path.clone(), source })?;
        let (boot_id, boot) =
            parse_boot(&text).map_err(|what| DirectoryError::Boot { path, what })?;
        for file in ["a.img", "b.img", "bootstate.img", "data"] {
            let path = root.join(file);
            path.metadata().map_err(|source| DirectoryError::File { path, source })?;
        }
        Ok(Self { root: root.to_owned(), boot_id, boot, model, reboot: Box::new(reboot) })
    }

    fn slot(&self, slot: Slot) -> PathBuf {
        self.root.join(format!("{}.img", slot.lower()))
    }

    fn data(&self, name: &str) -> PathBuf {
        self.root.join("data").join(name)
    }

    /// The content of a file in the running slot.
    fn cat(&self, path: &str) -> io::Result<String> {
        let image = self.slot(self.boot.running);
        let command =
            ["debugfs", "-R", &format!("cat {path}"), &image.to_string_lossy()].map(str::to_owned);
        let ran = program::output(&command, &self.root, DEBUGFS_WITHIN)?;
        if ran.is_empty() {
            let what = format!(
                "{} has no {path}, or debugfs (package e2fsprogs) is missing",
                image.display()
            );
            return Err(io::Error::new(io::ErrorKind::NotFound, what));
        }
        Ok(ran)
    }
}

fn parse_boot(text: &str) -> Result<(BootId, ThisBoot), String> {
    let value = |key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
            .ok_or(format!("there is no {key}="))
    };
    let id = value("boot_id")?.trim().parse::<BootId>().map_err(|e| e.to_string())?;
    let words: Vec<&str> = value("cmdline")?.split_whitespace().collect();
    let word = |key: &str| words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    let running = word("upgrade.slot").ok_or("the command line has no upgrade.slot=")?;
    let running = running.parse::<Slot>().map_err(|e| e.to_string())?;
    let trial = word("upgrade.trial") == Some("1");
    Ok((id, ThisBoot { running, trial, evidence: Evidence::None }))
}

impl Device for Directory {
    fn now(&self) -> Now {
        Now {
            boot_id: self.boot_id,
            boottime: clock::boottime(),
            wall: clock::wall(),
            wall_is_trusted: clock::discipline().is_ok_and(|clock| clock.synchronised),
        }
    }

    fn this_boot(&self) -> io::Result<ThisBoot> {
        Ok(self.boot)
    }

    fn open(&self, place: Place) -> io::Result<Arc<dyn Storage>> {
        Ok(Arc::new(match place {
            Place::Slot(slot) => FileStorage::read_only(&self.slot(slot))?,
            Place::Target(slot) if slot == self.boot.running => {
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, "it is the running slot"));
            }
            Place::Target(slot) => FileStorage::exclusive(&self.slot(slot))?,
            Place::BootState => FileStorage::fixed(&self.root.join("bootstate.img"))?,
            Place::Journal(JournalCopy::One) => FileStorage::growing(&self.data("journal.1"))?,
            Place::Journal(JournalCopy::Two) => FileStorage::growing(&self.data("journal.2"))?,
            Place::History => FileStorage::growing(&self.data("history"))?,
            Place::Spool(Side::Left) => FileStorage::growing(&self.data("spool.1"))?,
            Place::Spool(Side::Right) => FileStorage::growing(&self.data("spool.2"))?,
        }))
    }

    fn os_release(&self) -> io::Result<String> {
        // Either may be a link to the other, and debugfs follows none.
        self.cat("/usr/lib/os-release").or_else(|_| self.cat("/etc/os-release"))
    }

    fn model(&self) -> Option<io::Result<String>> {
        let path = self.root.join(self.model.as_ref()?);
        Some(std::fs::read_to_string(path).map(|text| text.trim().to_owned()))
    }

    fn free_space(&self) -> io::Result<u64> {
        let stat = nix::sys::statvfs::statvfs(&self.root.join("data"))?;
        Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
    }

    fn clock(&self) -> io::Result<Clock> {
        clock::discipline()
    }

    fn probe(&self, command: &[String], limit: Duration, stop: &Stop) -> Look {
        let image = self.slot(self.boot.running);
        let variables = [
            ("UPGRADE_SLOT", self.boot.running.lower()),
            ("UPGRADE_SLOT_IMAGE", &image.to_string_lossy()),
        ];
        let told = |said: String| {
            if said.is_empty() { said } else { format!(": {said}") }
        };
        match program::run(command, &self.root, &variables, limit, stop) {
            Ok(Ran::Ended { status, .. }) if status.success() => Look::Good,
            Ok(Ran::Ended { status, said }) => Look::Bad(format!("{status}{}", told(said))),
            Ok(Ran::TooSlow { said }) => {
                Look::Bad(format!("no answer within {:.1} s{}", limit.as_secs_f64(), told(said)))
            }
            Ok(Ran::Stopped) => Look::Bad("stopped".to_owned()),
            Err(e) => Look::Bad(format!("it cannot be started: {e}")),
        }
    }

    fn reboot(&self) -> io::Result<()> {
        (self.reboot)();
        Ok(())
    }

    fn pause(&self, time: Duration, stop: &Stop) {
        stop.wait(time);
    }
}
