//! The hand: does one task at a time, blocking, and says how it ended.
//!
//! It decides nothing. Each task is safe to do twice: after a power cut the driver reads the state and asks for the
//! same task again. A task that was told to stop may end in any way; nobody believes it.

mod assess;
mod boot;
mod bring;
mod judge;

use std::sync::Mutex;

use flow::{BootId, End, State, Task, Upgrade};

use crate::device::{Device, Stop};
use crate::disk::staging::{self, Bench, StageError, Written};
use crate::progress::Progress;
use crate::source::{self, Handed};

pub use assess::running_release;
pub use judge::Settings as TrialSettings;

/// What the integrator decided, as far as the hand needs it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This appliance's platform, as bundles name it.
    pub platform: String,
    /// Whose bundles are accepted.
    pub trust: bundle_format::Trust,
    /// How a slot is written.
    pub staging: staging::Settings,
    /// How health is judged.
    pub trial: TrialSettings,
}

/// The hand, with the proofs it made itself.
#[derive(Debug)]
pub struct Hand {
    settings: Settings,
    /// The last read-back, and the boot it was made in. Gone with the process, and then the slot is hashed again.
    proof: Mutex<Option<(BootId, Written)>>,
}

/// One task, with everything it may look at.
pub struct Order<'a> {
    /// What is owed.
    pub task: Task,
    /// The state that owes it.
    pub state: &'a State,
    /// The bytes that a client handed over for this job.
    pub handed: Option<&'a Handed>,
    /// When to stop.
    pub stop: &'a Stop,
    /// Where to count.
    pub progress: &'a Progress,
}

impl std::fmt::Debug for Order<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Order").field("task", &self.task).finish_non_exhaustive()
    }
}

impl Hand {
    /// A hand that has proven nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings, proof: Mutex::new(None) }
    }

    /// The integrator's settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Does the task; none for [`Task::Rest`], which has no end.
    pub fn perform(&self, device: &dyn Device, order: &Order<'_>) -> Option<End> {
        let Some(job) = &order.state.job else {
            bring::tidy(device, order.state);
            return None;
        };
        Some(match order.task {
            Task::Rest => return None,
            Task::Fetch => bring::fetch(device, order, job),
            Task::Verify => self.verify(device, order, job),
            Task::Assess => assess::assess(self, device, order, job),
            Task::Write => self.write(device, order, job),
            Task::Rehash => self.rehash(device, order, job),
            Task::Hold => End::Granted, // No pair is configured: there is nobody to ask.
            Task::Arm => match self.proven(device, order, job) {
                Ok(written) => boot::arm(device, job, &written),
                Err(end) => end,
            },
            Task::Reboot => boot::reboot(device, order.stop),
            Task::Judge => judge::judge(device, order, job, &self.settings.trial),
            Task::Confirm => boot::confirm(device, job),
            Task::Revert => boot::revert(device, job, order.stop),
        })
    }

    fn verify(&self, device: &dyn Device, order: &Order<'_>, job: &Upgrade) -> End {
        if matches!(job.source, flow::Source::Handed { .. }) && order.handed.is_none() {
            return trouble("file-gone", "the handed file is not open any more");
        }
        match source::open(device, &self.settings.trust, &job.source, order.handed) {
            Ok(opened) => {
                let manifest = opened.manifest();
                let image = manifest.image();
                End::Verified(flow::Image {
                    release: manifest.release(),
                    digest: image.raw_sha256,
                    raw_size: image.raw_size,
                })
            }
            Err(refusal) => not_accepted(&refusal),
        }
    }

    fn bench<'a>(&self, device: &'a dyn Device, order: &Order<'a>) -> Bench<'a> {
        Bench {
            device,
            settings: self.settings.staging,
            progress: order.progress,
            stop: order.stop,
        }
    }

    fn write(&self, device: &dyn Device, order: &Order<'_>, job: &Upgrade) -> End {
        let opened = match source::open(device, &self.settings.trust, &job.source, order.handed) {
            Ok(opened) => opened,
            Err(refusal) => return not_accepted(&refusal),
        };
        // The bundle is verified at every open; what is written must also be what was judged.
        let digest = opened.manifest().image().raw_sha256;
        if job.image.as_ref().is_none_or(|image| image.digest != digest) {
            return trouble("bundle-changed", "the bundle is not the one that was checked");
        }
        let staged = staging::stage(&self.bench(device, order), job.target, opened);
        if staged.is_ok() {
            let bytes = job.image.as_ref().map_or(0, |image| image.raw_size);
            tracing::info!(slot = %job.target, bytes, written = order.progress.written(), "staged");
        }
        self.keep(device, job, staged)
    }

    fn rehash(&self, device: &dyn Device, order: &Order<'_>, job: &Upgrade) -> End {
        let Some(image) = &job.image else {
            return trouble("slot-unknown", "what the slot should hold is not known");
        };
        let found =
            staging::rehash(&self.bench(device, order), job.target, image.digest, image.raw_size);
        self.keep(device, job, found)
    }

    /// Remembers a proof for the arming that follows in this boot.
    fn keep(&self, device: &dyn Device, job: &Upgrade, found: Result<Written, StageError>) -> End {
        match found {
            Ok(written) => {
                if let Err(error) = boot::clear_old_try(device, job) {
                    return trouble(error.code(), &error.to_string());
                }
                *self.lock() = Some((device.now().boot_id, written));
                End::Written
            }
            Err(StageError::Bundle(refusal)) => not_accepted(&refusal),
            Err(error) => trouble(error.code(), &error.to_string()),
        }
    }

    /// The proof that the slot holds the image, made in this boot: the one at hand, or a new one.
    fn proven(
        &self,
        device: &dyn Device,
        order: &Order<'_>,
        job: &Upgrade,
    ) -> Result<Written, End> {
        let Some(image) = &job.image else {
            return Err(trouble("slot-unknown", "what the slot should hold is not known"));
        };
        let here = device.now().boot_id;
        if let Some((boot, written)) = *self.lock()
            && boot == here
            && written.is_of(job.target, &image.digest)
        {
            return Ok(written);
        }
        match staging::rehash(&self.bench(device, order), job.target, image.digest, image.raw_size)
        {
            Ok(written) => Ok(written),
            Err(error) => Err(trouble(error.code(), &error.to_string())),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(BootId, Written)>> {
        self.proof.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn trouble(code: &str, text: &str) -> End {
    End::Trouble { code: code.to_owned(), text: text.to_owned() }
}

fn not_accepted(refusal: &bundle_format::Refusal) -> End {
    End::NotAccepted {
        code: refusal.code().to_owned(),
        text: refusal.to_string(),
        advice: refusal.advice().to_owned(),
    }
}
