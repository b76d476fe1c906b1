//! Health on trial: look at every probe until the new system is well or sick.

use std::time::Duration;

use flow::trial::{Judged, Look, Watch};
use flow::{End, Rules, Upgrade};

use super::{Order, trouble};
use crate::device::Device;

/// Looks do not follow each other faster than this.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);

/// How health is judged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Commands that must all exit with 0; each is a program and its arguments.
    pub commands: Vec<Vec<String>>,
    /// How long one command may take; no answer is sick.
    pub answer_within: Duration,
    /// The pause between two looks.
    pub every: Duration,
    /// Soak and deadline.
    pub rules: Rules,
}

pub(super) fn judge(
    device: &dyn Device,
    order: &Order<'_>,
    job: &Upgrade,
    settings: &Settings,
) -> End {
    let Some(trial) = job.trial else {
        return trouble("no-trial", "there is no trial to judge");
    };
    let mut watch = Watch::new(trial.since, &settings.rules);
    let soak = u64::try_from(settings.rules.soak.as_millis()).unwrap_or(u64::MAX);
    order.progress.of(soak);
    let mut shown = 0;
    loop {
        let look = look(device, order, settings, watch.deadline());
        if order.stop.is_stopped() {
            return trouble("stopped", "stopped");
        }
        let at = device.now().boottime;
        match watch.look(at, look) {
            Judged::Well => return End::Well,
            Judged::Sick(text) => return End::Sick(text),
            Judged::NotYet => {}
        }
        let soaked = u64::try_from(watch.soaked(at).as_millis()).unwrap_or(u64::MAX);
        order.progress.add(soaked.saturating_sub(shown));
        shown = shown.max(soaked);
        // The last look of a soak comes when the soak is over, not a whole pause later.
        let of_soak = settings.rules.soak.saturating_sub(watch.soaked(at));
        let of_time = watch.deadline().saturating_sub(at);
        device.pause(settings.every.min(of_soak.max(SHORTEST_PAUSE)).min(of_time), order.stop);
    }
}

/// One look at all probes; the first bad one ends it. A probe gets no more time than the trial has left.
fn look(device: &dyn Device, order: &Order<'_>, settings: &Settings, deadline: Duration) -> Look {
    for command in &settings.commands {
        let left = deadline.saturating_sub(device.now().boottime);
        let limit = settings.answer_within.min(left);
        if let Look::Bad(text) = device.probe(command, limit, order.stop) {
            let name =
                command.first().map_or("", |program| program.rsplit('/').next().unwrap_or(program));
            return Look::Bad(format!("probe {name} failed: {text}"));
        }
    }
    Look::Good
}
