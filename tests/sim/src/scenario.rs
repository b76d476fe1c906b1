//! The stories that faults are tried on, and how each must end all the same.
//!
//! A [`Scenario`] is an appliance and what persons ask of it. [`Scenario::run`] plays it with a plan of faults, and then
//! does what a person does afterwards: looks, and asks for the same upgrade again until it succeeded. Forgiving an image
//! and repairing the boot state are counted, because they are asked only where the agent says that a person must.

use std::sync::OnceLock;
use std::time::Duration;

use bootloader_hooks::{BootState, Other, Slot};
use flow::{Cause, Ended, Goal, Judgement, Phase};

use crate::fault::{Part, Plan, Seen};
use crate::image::{Images, Temper};
use crate::invariants::{Violation, copies};
use crate::machine::{Line, Machine};
use crate::run::{Appliance, Wish};
use crate::storage::Landing;

/// How often somebody asks until the upgrade succeeded. One fault costs one or two.
const ASKS_MAX: u32 = 12;

/// How the story must end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Aim {
    /// This image runs and is confirmed, brought by an upgrade.
    Upgrade(usize),
    /// This image runs and is confirmed, as the operator went back to it.
    Revert(usize),
}

/// An appliance and what is asked of it.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// The appliance when it begins, switched off.
    pub machine: Machine,
    /// What is asked, one after the other, each when the appliance rests.
    pub script: Vec<Wish>,
    /// A person must accept a trial within this time.
    pub confirm_within: Option<Duration>,
    /// How the script ends when nothing happens.
    pub ends: Ended,
    /// An image that must not succeed.
    pub bad: Option<usize>,
    /// What is asked for afterwards, until it is so.
    pub aim: Aim,
}

/// What became of a run.
#[derive(Clone, Default, Debug)]
pub struct Report {
    /// What must not be, and was.
    pub violations: Vec<Violation>,
    /// What happened.
    pub log: Vec<Line>,
    /// The operations of the script.
    pub seen: Vec<Seen>,
    /// How the script's last job ended.
    pub ended: Option<Ended>,
    /// How often somebody had to forgive an image.
    pub forgiven: u32,
    /// How often somebody had to repair the boot state.
    pub repaired: u32,
}

/// The appliance from the factory.
pub fn factory() -> Machine {
    let state = BootState { confirmed: Slot::A, other: Other::Whole };
    Machine::new(Images::place(2, Temper::Good), Images::place(1, Temper::Good), state)
}

/// The same appliance after these wishes, each fulfilled, switched off.
fn after(machine: Machine, wishes: &[Wish]) -> Machine {
    let mut appliance = Appliance::new(machine, None);
    appliance.rest();
    for wish in wishes {
        let answer = appliance.ask(*wish);
        debug_assert!(answer.is_some_and(|answer| answer.is_ok()), "nothing stands in the way");
        appliance.rest();
    }
    appliance.reboot();
    let mut machine = appliance.world.machine().clone();
    machine.log.clear();
    machine.count = 0;
    machine
}

impl Scenario {
    /// All of them.
    pub fn all() -> &'static [Self] {
        static ALL: OnceLock<Vec<Scenario>> = OnceLock::new();
        ALL.get_or_init(Self::make)
    }

    fn make() -> Vec<Self> {
        let new = Images::place(4, Temper::Good);
        let newer = Images::place(5, Temper::Good);
        let upgrade = |place| Wish::File(Goal::Upgrade, place, true);
        let started = after(factory(), &[]);
        let twice = after(factory(), &[upgrade(new), upgrade(newer)]);
        let good = Self {
            name: "handed",
            machine: started,
            script: vec![upgrade(new)],
            confirm_within: None,
            ends: Ended::Succeeded,
            bad: None,
            aim: Aim::Upgrade(new),
        };
        let bad = |name, temper, ends| Self {
            name,
            script: vec![upgrade(Images::place(4, temper))],
            ends,
            bad: Some(Images::place(4, temper)),
            aim: Aim::Upgrade(newer),
            ..good.clone()
        };
        let patient =
            vec![Wish::File(Goal::Upgrade, Images::place(4, Temper::Sick), false), Wish::Cancel];
        vec![
            Self { name: "first", machine: factory(), ..good.clone() },
            Self {
                name: "spool",
                script: vec![Wish::File(Goal::Fetch, new, true), Wish::Spool(Goal::Upgrade)],
                ..good.clone()
            },
            Self {
                name: "staged",
                script: vec![Wish::File(Goal::Stage, new, true), Wish::Activate],
                ..good.clone()
            },
            Self {
                name: "manual",
                script: vec![upgrade(new), Wish::Confirm],
                confirm_within: Some(Duration::from_secs(3600)),
                ..good.clone()
            },
            bad("sick", Temper::Sick, Ended::RolledBack),
            Self { script: patient, ..bad("patient", Temper::Sick, Ended::RolledBack) },
            bad("panics", Temper::Panics, Ended::RolledBack),
            bad("hangs", Temper::Hangs, Ended::RolledBack),
            bad("mute", Temper::Mute, Ended::Interrupted),
            Self {
                name: "revert",
                machine: twice,
                script: vec![Wish::Revert],
                ends: Ended::Reverted,
                aim: Aim::Revert(new),
                ..good.clone()
            },
            good,
        ]
    }

    /// Plays it: the script with its faults, then what a person does until it is as it should be.
    pub fn run(&self, plan: Plan, change: impl FnOnce(&mut Machine)) -> Report {
        let mut machine = self.machine.clone();
        machine.plan = plan;
        machine.seen = Some(Vec::new());
        change(&mut machine);
        let faults = machine.plan.len();
        let mut appliance = Appliance::new(machine, self.confirm_within);
        let mut report = Report::default();
        if self.play(&mut appliance, &mut report) {
            self.aftermath(&mut appliance, faults, &mut report);
        }
        if faults == 1 && report.forgiven > 0 {
            let found = format!("it had to be forgiven {} times", report.forgiven);
            appliance.world.machine().violated("one_fault_condemns_no_good_image", found);
        }
        let mut machine = appliance.world.machine();
        report.violations = std::mem::take(&mut machine.violations);
        report.log = std::mem::take(&mut machine.log);
        report
    }

    /// The script. False: there is nothing left to be asked.
    fn play(&self, appliance: &mut Appliance, report: &mut Report) -> bool {
        let mut alive = appliance.rest();
        for wish in &self.script {
            if !alive {
                break;
            }
            let answer = appliance.ask(*wish);
            alive = appliance.rest();
            // After a fault the story may be another one; then a person looks before asking on.
            if !matches!(answer, Some(Ok(()))) {
                break;
            }
        }
        report.seen = appliance.world.machine().seen.take().unwrap_or_default();
        let state = appliance.look().map(|look| look.state);
        report.ended = state.and_then(|state| state.last).map(|last| last.ended);
        alive
    }

    fn aftermath(&self, appliance: &mut Appliance, faults: usize, report: &mut Report) {
        let mut machine = appliance.world.machine();
        machine.tell("--- the faults are over ---");
        machine.plan.clear();
        machine.failing = None;
        drop(machine);
        // On trial that would be one restart more, and restarts on trial count against the image.
        if appliance.look().is_none_or(|look| look.state.phase != Phase::OnTrial) {
            appliance.restart();
        }
        if !appliance.rest() {
            return;
        }
        self.judge_cancel(appliance, faults);
        if let Some(bad) = self.bad {
            a_condemned_image_is_refused(appliance, bad);
        }
        reach(appliance, self.aim, report);
    }

    /// A cancel that was taken ends on the slot from which the job started, and is called so.
    fn judge_cancel(&self, appliance: &Appliance, faults: usize) {
        let Some(id) = appliance.world.machine().cancelled else { return };
        let Some(state) = appliance.look().map(|look| look.state) else { return };
        let outcomes = [state.last.as_ref(), state.errand.as_ref()];
        let ended = outcomes
            .into_iter()
            .flatten()
            .find(|outcome| outcome.id == id)
            .map(|outcome| outcome.ended);
        let home = self.machine.boot.running;
        // A later wish of the script may have begun another job; this one's end is in the history then.
        let told = ended.or_else(|| {
            appliance.history().iter().find(|(job, _)| *job == id).map(|(_, ended)| *ended)
        });
        // A second fault on the way back may keep a person from calling it cancelled, but not bring the new slot.
        let right = match faults {
            1 => told == Some(Ended::Cancelled),
            _ => told != Some(Ended::Succeeded),
        };
        if !right || state.running != home {
            let found = format!("job {id} ended as {told:?}, slot {} runs", state.running);
            let mut machine = appliance.world.machine();
            machine.violated("a_cancel_that_was_taken_ends_on_the_old_slot", found);
        }
    }
}

fn a_condemned_image_is_refused(appliance: &mut Appliance, bad: usize) {
    let Some(state) = appliance.look().map(|look| look.state) else { return };
    let condemned = state.judgement(&Images::get().at(bad).digest) == Some(Judgement::Condemned);
    if !condemned || state.phase != Phase::Idle {
        return;
    }
    appliance.ask(Wish::File(Goal::Upgrade, bad, true));
    appliance.rest();
    let last = appliance.look().and_then(|look| look.state.last).map(|last| last.ended);
    if last != Some(Ended::Refused) {
        let found = format!("it was asked for again, and that ended as {last:?}");
        appliance.world.machine().violated("condemned_images_stay_condemned", found);
    }
}

/// What a person does until it is as it should be; then once more after a cut.
pub(crate) fn reach(appliance: &mut Appliance, aim: Aim, report: &mut Report) {
    let sentence = "after_faults_stop_the_same_upgrade_can_be_run_to_success";
    for _ in 0..ASKS_MAX {
        if !appliance.rest() {
            return;
        }
        let Some(wish) = next(appliance, aim, report) else {
            appliance.world.machine().cut(Landing::NOTHING);
            appliance.restart();
            appliance.rest();
            if next(appliance, aim, report).is_some() {
                appliance
                    .world
                    .machine()
                    .violated(sentence, "a cut after the success undid it".to_owned());
            }
            return;
        };
        if let Some(Err(refusal)) = appliance.ask(wish) {
            appliance
                .world
                .machine()
                .violated(sentence, format!("{wish:?} was refused: {refusal}"));
            return;
        }
    }
    appliance.world.machine().violated(sentence, format!("not within {ASKS_MAX} asks"));
}

/// What a person asks for next; none: all is as it should be.
#[expect(clippy::match_same_arms, reason = "each row is a person's decision of its own")]
fn next(appliance: &mut Appliance, aim: Aim, report: &mut Report) -> Option<Wish> {
    let state = appliance.look()?.state;
    let (Aim::Upgrade(place) | Aim::Revert(place)) = aim;
    let digest = Images::get().at(place).digest;
    let again = match aim {
        Aim::Upgrade(place) => Wish::File(Goal::Upgrade, place, true),
        Aim::Revert(_) => Wish::Revert,
    };
    let boot_state = copies(appliance.world.machine().medium(Part::BootState).live()).state();
    let at_home = boot_state.is_some_and(|says| says.confirmed == state.running);
    let there = appliance.world.running().is_some_and(|(_, running)| running == place);
    let job_is_it = state
        .job
        .as_ref()
        .and_then(|job| job.image.as_ref())
        .is_some_and(|image| image.digest == digest);
    let must_go_back = state.job.as_ref().is_some_and(|job| job.trial.is_some() || job.armed);
    let wish = match state.phase {
        Phase::Failed if must_go_back || matches!(aim, Aim::Revert(_)) => Wish::Cancel,
        Phase::Failed => again,
        Phase::Staged if job_is_it => Wish::Activate,
        Phase::OnTrial if job_is_it => Wish::Confirm,
        Phase::Staged | Phase::OnTrial => Wish::Cancel,
        Phase::Idle if there && at_home => return None,
        Phase::Idle if state.judgement(&digest) == Some(Judgement::Condemned) => {
            Wish::Forgive(place)
        }
        Phase::Idle if boot_state.is_none() || state.counter_broken => Wish::Repair,
        Phase::Idle if !at_home => {
            appliance.reboot();
            appliance.rest();
            Wish::Repair
        }
        Phase::Idle => match &state.last.as_ref().and_then(|last| last.cause.clone()) {
            // What slot to go back to is no longer known: a person takes the upgrade instead.
            Some(Cause::Trouble { code, .. })
                if code == "slot-digest-differs" && again == Wish::Revert =>
            {
                Wish::File(Goal::Upgrade, place, true)
            }
            _ => again,
        },
        Phase::Fetching
        | Phase::Verifying
        | Phase::Assessing
        | Phase::Writing
        | Phase::Holding
        | Phase::Arming
        | Phase::Rebooting
        | Phase::Confirming
        | Phase::Reverting => again,
    };
    report.forgiven += u32::from(matches!(wish, Wish::Forgive(_)));
    report.repaired += u32::from(wish == Wish::Repair);
    Some(wish)
}
