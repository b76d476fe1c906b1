//! The appliance over many lives: power, agent, rest, and the persons who ask.
//!
//! Here the shipped driver is started, asked, ticked and worked; after each of its turns its state is judged. What ends
//! it (a cut, a kill, a reboot) is seen here, and the next life begins.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use flow::{Command, Ended, Goal, Refusal, Request, Rules, Task, Until};
use upgrade_agent::disk::staging;
use upgrade_agent::driver::{Driver, Snapshot};
use upgrade_agent::hand::{Settings, TrialSettings};

use crate::image::{Images, PLATFORM};
use crate::judge::Judge;
use crate::machine::{Machine, Power};
use crate::world::{Halt, World};

/// How many turns a run may take until it rests: a whole upgrade takes about thirty, each life about ten more.
const TURNS_MAX: u32 = 600;

/// How often a stuck driver is ticked before somebody mends the disk.
const STUCK_TICKS: u32 = 5;

/// An appliance, and what was seen of it.
pub struct Appliance {
    /// The world.
    pub world: World,
    driver: Option<Arc<Driver>>,
    rules: Rules,
    judge: Judge,
    ticks: u32,
}

impl std::fmt::Debug for Appliance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Appliance").field("world", &self.world).finish_non_exhaustive()
    }
}

/// What somebody wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish {
    /// Start with a file: this far, this image; and whether a sick trial goes back by itself.
    File(Goal, usize, bool),
    /// Start with the bundle in the spool.
    Spool(Goal),
    /// The command of that name.
    Cancel,
    /// The command of that name.
    Retry,
    /// The command of that name.
    Activate,
    /// The command of that name.
    Confirm,
    /// The command of that name.
    Revert,
    /// The command of that name.
    Discard,
    /// The command of that name, for this image.
    Forgive(usize),
    /// The command of that name.
    Repair,
}

impl Appliance {
    /// An appliance that is switched off.
    pub fn new(machine: Machine, confirm_within: Option<Duration>) -> Self {
        let rules = Rules {
            soak: Duration::from_secs(3),
            deadline: Duration::from_secs(12),
            agent_starts: 3,
            confirm_within,
        };
        Self { world: World::new(machine), driver: None, rules, judge: Judge::default(), ticks: 0 }
    }

    fn settings(&self) -> Settings {
        Settings {
            platform: PLATFORM.to_owned(),
            trust: Images::get().trust(),
            staging: staging::Settings { workers: 0, max_rate: None },
            trial: TrialSettings {
                commands: vec![vec!["health".to_owned()]],
                answer_within: Duration::from_secs(1),
                every: Duration::from_secs(1),
                rules: self.rules.clone(),
            },
        }
    }

    /// What the agent says of itself; none while it does not run.
    pub fn look(&self) -> Option<Snapshot> {
        self.driver.as_ref().map(|driver| driver.look())
    }

    /// Lives on until nothing moves any more. False: it does not come to rest, or it is a brick.
    pub fn rest(&mut self) -> bool {
        for _ in 0..TURNS_MAX {
            match self.turn() {
                Turned::On => {}
                Turned::Rests => return true,
                Turned::Dead => return false,
            }
        }
        let look = self.look().map(|look| (look.state.phase, look.duty));
        self.world
            .machine()
            .violated("the_agent_comes_to_rest", format!("{TURNS_MAX} turns, and now {look:?}"));
        false
    }

    fn turn(&mut self) -> Turned {
        let Some(driver) = self.driver.clone() else { return self.begin_life() };
        let worked = self.guarded(|_| driver.work_once());
        drop(driver); // The last one, if the process is gone.
        match worked {
            None => Turned::On,
            Some(true) => {
                self.judge();
                Turned::On
            }
            Some(false) => self.idle(),
        }
    }

    /// Switches on, starts the agent.
    fn begin_life(&mut self) -> Turned {
        let power = self.world.machine().power;
        match power {
            Power::Bricked => return Turned::Dead,
            Power::Off => {
                self.guarded(World::switch_on);
                return Turned::On;
            }
            Power::On => {}
        }
        self.world.machine().process_begins();
        let settings = self.settings();
        let started = self.guarded(|world| Driver::start(Arc::new(world.clone()), settings, || {}));
        match started {
            Some(Ok(driver)) => {
                let driver = Arc::new(driver);
                self.world.agent_runs(&driver);
                self.driver = Some(driver);
                self.judge();
                let history = self.history();
                self.judge.every_ended_job_has_one_outcome(&mut self.world.machine(), &history);
            }
            // The service manager starts it again.
            Some(Err(error)) => {
                self.world.machine().tell(format!("the agent does not start: {error}"));
            }
            None => {}
        }
        Turned::On
    }

    /// Nothing is owed: does a clock have to move, or a disk to be mended?
    fn idle(&mut self) -> Turned {
        let Some(driver) = self.driver.clone() else { return Turned::On };
        let look = driver.look();
        if look.stuck.is_some() {
            self.ticks += 1;
            if self.ticks > STUCK_TICKS {
                let mut machine = self.world.machine();
                machine.tell("somebody mends the disk");
                machine.failing = None;
            }
        } else {
            match look.duty.until {
                Some(Until::Boot(at)) if look.duty.task == Task::Rest => {
                    // A person has this long to accept; whoever waits for that comes back in time.
                    if self.rules.confirm_within.is_some() {
                        return Turned::Rests;
                    }
                    let mut machine = self.world.machine();
                    let began = machine.boot.began;
                    machine.clock = machine.clock.max(began + at);
                }
                Some(Until::Boot(_) | Until::Wall(_)) | None => return Turned::Rests,
            }
        }
        self.guarded(|_| driver.tick());
        self.judge();
        Turned::On
    }

    /// Does something during which the process may go: then nothing of it is left.
    fn guarded<T>(&mut self, deed: impl FnOnce(&World) -> T) -> Option<T> {
        let world = self.world.clone();
        let done = catch_unwind(AssertUnwindSafe(|| deed(&world)));
        let gone = world.machine().gone;
        let told = match (done, gone) {
            (Ok(done), None) => return Some(done),
            (Ok(done), Some(_)) => {
                drop(done);
                None
            }
            (Err(error), _) => Some(panic_text(&*error)),
        };
        self.driver = None;
        self.ticks = 0;
        let mut machine = self.world.machine();
        machine.gone = None;
        machine.ghost = Duration::ZERO;
        machine.can_ask = false;
        match gone {
            Some(Halt::Cut) => machine.tell("the power went"),
            Some(Halt::Killed) => machine.tell("the agent was killed"),
            Some(Halt::Rebooted) => machine.tell("the system went down in order"),
            Some(Halt::Endless) => {
                machine.violated("the_agent_comes_to_rest", "one task does not end".to_owned());
                machine.power = Power::Bricked;
            }
            None => {}
        }
        if let Some(text) = told {
            machine.violated("the_agent_does_not_panic", text);
            machine.power = Power::Bricked;
        }
        None
    }

    /// The agent is killed and started again.
    pub fn restart(&mut self) {
        self.driver = None;
        self.ticks = 0;
        let mut machine = self.world.machine();
        machine.can_ask = false;
        machine.tell("the agent is restarted");
    }

    /// Somebody reboots the appliance in order.
    pub fn reboot(&mut self) {
        self.driver = None;
        let mut machine = self.world.machine();
        machine.tell("somebody reboots the appliance");
        machine.shut_down();
    }

    /// Somebody asks; none: the agent did not live to answer.
    pub fn ask(&mut self, wish: Wish) -> Option<Result<(), Refusal>> {
        let driver = self.driver.clone()?;
        let images = Images::get();
        let origin = || driver.origin("a person".to_owned());
        let request = |goal, file, auto_cancel| {
            Command::Start(Request {
                goal,
                file,
                forced: BTreeSet::new(),
                auto_cancel,
                origin: origin(),
            })
        };
        let (command, handed) = match wish {
            Wish::File(goal, place, auto_cancel) => {
                let image = images.at(place);
                (request(goal, Some(image.name()), auto_cancel), Some(image.handed()))
            }
            Wish::Spool(goal) => (request(goal, None, true), None),
            Wish::Cancel => (Command::Cancel, None),
            Wish::Retry => (Command::Retry, None),
            Wish::Activate => (Command::Activate, None),
            Wish::Confirm => (Command::Confirm, None),
            Wish::Revert => (Command::Revert(origin()), None),
            Wish::Discard => (Command::Discard, None),
            Wish::Forgive(place) => (Command::Forgive(images.at(place).digest), None),
            Wish::Repair => (Command::Repair(origin()), None),
        };
        let is_go = matches!(
            wish,
            Wish::File(Goal::Upgrade, ..)
                | Wish::Spool(Goal::Upgrade)
                | Wish::Retry
                | Wish::Activate
                | Wish::Revert
        );
        if let Wish::Forgive(place) = wish {
            self.judge.forgiven(&images.at(place).digest);
        }
        let before = (is_go, self.world.machine().go);
        if is_go {
            self.world.machine().said_go();
        }
        let answer = self.guarded(|_| driver.ask(command, handed).map(|_| ()));
        let mut machine = self.world.machine();
        let said = match &answer {
            None => "and got no answer".to_owned(),
            Some(Ok(())) => "and it was taken".to_owned(),
            Some(Err(refusal)) => format!("and it was refused: {refusal}"),
        };
        if let (Some(Err(_)), (true, go)) = (&answer, before) {
            machine.go = go;
        }
        machine.tell(format!("somebody asks for {wish:?}, {said}"));
        drop(machine);
        self.judge();
        answer
    }

    /// What must hold of the agent's state after each turn.
    fn judge(&mut self) {
        let Some(look) = self.look() else { return };
        let state = &look.state;
        let mut machine = self.world.machine();
        let job = state.job.as_ref();
        machine.tell(format!(
            "the agent: {}, job {:?}, cause {:?}{}",
            state.phase,
            job.map(|job| job.id),
            job.and_then(|job| job.cause.as_ref()).map(flow::Cause::code),
            look.stuck.as_ref().map(|why| format!(", stuck: {why}")).unwrap_or_default()
        ));
        // A state that is not durable is not acted upon, so it is not judged either.
        if look.stuck.is_none() {
            self.ticks = 0;
            self.judge.turn(&mut machine, state);
        }
    }

    /// The jobs in the history.
    pub fn history(&self) -> Vec<(u64, Ended)> {
        let history = self.driver.as_ref().map(|driver| driver.history()).unwrap_or_default();
        history.into_iter().map(|outcome| (outcome.id, outcome.ended)).collect()
    }
}

fn panic_text(error: &(dyn std::any::Any + Send)) -> String {
    let text = error.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| error.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a text".to_owned())
}

enum Turned {
    /// Something happened; go on.
    On,
    /// Nothing is to be done.
    Rests,
    /// Nothing can be done.
    Dead,
}
