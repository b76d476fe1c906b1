//! The only loop: event, decision, journal, task, and the task's end is the next event.
//!
//! *Persist, then act.* Every turn of the machine is durable before the task that it owes begins. If the journal cannot be
//! written, a command is refused; after a fact the driver stops acting, says so, and tries the journal again at each
//! tick. Acting on a state that a power cut would forget is what the whole design forbids.
//!
//! One task runs at a time, on whichever thread calls [`Driver::work_once`]. Events may come from any thread. A task
//! whose state went away is told to stop; its end frees the hand and is not believed. There is no runtime and no clock
//! of its own in here, so the simulator runs exactly this code from a seed.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bundle_format::Release;
use flow::{
    Boot, Command, Duty, End, Event, Origin, Outcome, Refusal, Rules, State, Task, Until, duty,
    step,
};

use crate::device::{Device, Place, Stop};
use crate::disk::boot_state;
use crate::disk::history::History;
use crate::disk::journal::{Found, Journal};
use crate::hand::{Hand, Order, Settings};
use crate::progress::Progress;
use crate::source::Handed;

/// How long the hand waits before it looks again by itself. Every event wakes it at once; this is the second lock.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How many outcomes wait for a history that cannot be written. There is one a job, and jobs are rare.
const PENDING: usize = 16;

/// The agent's heart.
pub struct Driver {
    device: Arc<dyn Device>,
    hand: Hand,
    rules: Rules,
    release: Result<Release, String>,
    inner: Mutex<Inner>,
    bell: Condvar,
    progress: Progress,
    changed: Box<dyn Fn() + Send + Sync>,
}

struct Inner {
    /// What was found when this life began.
    boot: Boot,
    state: State,
    journal: Option<Journal>,
    /// The journal was read in this life.
    recalled: bool,
    history: Option<History>,
    /// What a client handed over, for the job with this number.
    handed: Option<(u64, Handed)>,
    /// Outcomes that are in the journal and not yet in the history.
    pending: VecDeque<Outcome>,
    /// Stops the task in hand.
    stop: Stop,
    /// Why nothing is done at the moment.
    stuck: Option<String>,
    /// What nobody holds was let go since the state last changed.
    tidied: bool,
    /// The service ends.
    leaving: bool,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("rules", &self.rules).finish_non_exhaustive()
    }
}

/// The agent cannot start at all.
#[derive(Debug, thiserror::Error)]
#[error("cannot tell which slot runs: {0}")]
pub struct StartError(#[from] std::io::Error);

/// What doors show of the driver.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The state.
    pub state: State,
    /// What it owes.
    pub duty: Duty,
    /// Why nothing is done, if nothing is.
    pub stuck: Option<String>,
}

impl Driver {
    /// Reads the journal and takes the first event of this life into account. `changed` is called after every turn.
    pub fn start(
        device: Arc<dyn Device>,
        settings: Settings,
        changed: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        let here = device.this_boot()?;
        let now = device.now();
        let (journal, found, stuck) = match Journal::open(&*device) {
            Ok((journal, found)) => (Some(journal), found, None),
            Err(e) => (None, Found::Nothing, Some(e.to_string())),
        };
        let state = recall(found, State::new(now.boot_id, here.running));
        let history = History::open(&*device);
        if let Err(fault) = &history {
            tracing::warn!(%fault, "the history cannot be read");
        }
        let boot = Boot {
            id: now.boot_id,
            running: here.running,
            trial: here.trial,
            state: boot_state_of(&*device),
            evidence: here.evidence,
        };
        let driver = Self {
            release: crate::hand::running_release(&*device),
            rules: settings.trial.rules.clone(),
            hand: Hand::new(settings),
            device,
            inner: Mutex::new(Inner {
                boot,
                state,
                recalled: journal.is_some(),
                journal,
                history: history.ok(),
                handed: None,
                pending: VecDeque::new(),
                stop: Stop::default(),
                stuck,
                tidied: false,
                leaving: false,
            }),
            bell: Condvar::new(),
            progress: Progress::default(),
            changed: Box::new(changed),
        };
        driver.started(&mut driver.lock());
        Ok(driver)
    }

    /// The first event of this life.
    fn started(&self, inner: &mut Inner) {
        let boot = inner.boot;
        let (slot, trial, phase) = (boot.running, boot.trial, inner.state.phase);
        tracing::info!(%slot, trial, boot_state = ?boot.state, %phase, "started");
        // The cut may have come between the journal and the history.
        inner.pending.extend(inner.state.last.clone());
        self.write_history(inner);
        // Numbers go on also where the journals are lost and only the history is left.
        let known =
            inner.history.iter().flat_map(History::outcomes).map(|outcome| outcome.id).max();
        let next = known.map_or(1, |id| id.saturating_add(1));
        inner.state.next_id = inner.state.next_id.max(next);
        // A fact is never refused.
        drop(self.turn(inner, Event::Booted(boot)));
    }

    /// The release that runs, as far as the running slot says one.
    pub fn release(&self) -> &Result<Release, String> {
        &self.release
    }

    /// Who asks, and in which release.
    pub fn origin(&self, by: String) -> Origin {
        Origin { by, from: self.release.as_ref().ok().copied() }
    }

    /// The world.
    pub fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }

    /// The rules.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The integrator's settings.
    pub fn settings(&self) -> &Settings {
        self.hand.settings()
    }

    /// The counters of the task in hand.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// What is the case now.
    pub fn look(&self) -> Snapshot {
        let inner = self.lock();
        let duty = duty(&inner.state, &self.rules);
        Snapshot { state: inner.state.clone(), duty, stuck: inner.stuck.clone() }
    }

    /// How upgrades ended, oldest first.
    pub fn history(&self) -> Vec<Outcome> {
        self.lock().history.as_ref().map(|h| h.outcomes().cloned().collect()).unwrap_or_default()
    }

    /// Somebody asks for something; `handed` is what they hand over with it. The answer is durable when it comes. Gives
    /// back the number of the job that is in hand then.
    pub fn ask(&self, command: Command, handed: Option<Handed>) -> Result<Option<u64>, Refusal> {
        let mut inner = self.lock();
        let before = inner.state.job.as_ref().map(|job| job.id);
        self.turn(&mut inner, Event::Asked(command))?;
        let job = inner.state.job.as_ref().map(|job| job.id);
        if let (Some(id), Some(handed)) = (job, handed)
            && job != before
        {
            inner.handed = Some((id, handed));
        }
        Ok(job)
    }

    /// Cancels the job with this number, if it is still in hand and can be cancelled. For a client that goes away.
    pub fn cancel(&self, id: u64) {
        let mut inner = self.lock();
        if inner.state.job.as_ref().is_some_and(|job| job.id == id) {
            // A refusal means that the job is beyond cancelling; then it goes on without the client.
            drop(self.turn(&mut inner, Event::Asked(Command::Cancel)));
        }
    }

    /// Looks at the clock: a duty's time may have come, or the journal may be writable again.
    pub fn tick(&self) {
        let mut inner = self.lock();
        if inner.stuck.is_some() {
            self.try_journal_again(&mut inner);
        }
        if !inner.pending.is_empty() {
            self.write_history(&mut inner);
        }
        let now = self.device.now();
        let due = match duty(&inner.state, &self.rules).until {
            Some(Until::Boot(at)) => now.boottime >= at,
            Some(Until::Wall(at)) => now.wall_is_trusted && now.wall >= at,
            None => false,
        };
        if due {
            drop(self.turn(&mut inner, Event::Due));
        }
    }

    /// Does the owed task, if there is one, and takes its end into account. False: there was nothing to do.
    pub fn work_once(&self) -> bool {
        let (task, state, handed, stop) = {
            let mut inner = self.lock();
            let task = duty(&inner.state, &self.rules).task;
            let rests = task == Task::Rest && (inner.tidied || inner.state.job.is_some());
            // Without a journal nothing new begins; but a trial is judged, and the way back is always open: the boot state
            // is right, and the next life reads it.
            let held_up = inner.stuck.is_some() && !matches!(task, Task::Judge | Task::Revert);
            if rests || held_up || inner.leaving {
                return false;
            }
            inner.tidied = task == Task::Rest;
            let handed = inner.handed.as_ref().map(|(_, handed)| handed.clone());
            (task, inner.state.clone(), handed, inner.stop.clone())
        };
        self.progress.begin(self.device.now().boottime);
        let order = Order {
            task,
            state: &state,
            handed: handed.as_ref(),
            stop: &stop,
            progress: &self.progress,
        };
        if let Some(end) = self.hand.perform(&*self.device, &order) {
            let mut inner = self.lock();
            if stop.is_stopped() {
                tracing::debug!(?task, "stopped");
            } else {
                tell_end(&end);
                drop(self.turn(&mut inner, Event::Ended(end)));
            }
        }
        true
    }

    /// Works until [`Driver::leave`].
    pub fn work(&self) {
        loop {
            if self.work_once() {
                continue;
            }
            let inner = self.lock();
            if inner.leaving {
                return;
            }
            let task = duty(&inner.state, &self.rules).task;
            if task == Task::Rest || inner.stuck.is_some() {
                drop(self.bell.wait_timeout(inner, LOOK_AGAIN));
            }
        }
    }

    /// Stops the task in hand and lets [`Driver::work`] return. The state stays as it is: the next life goes on.
    pub fn leave(&self) {
        let mut inner = self.lock();
        inner.leaving = true;
        inner.stop.stop();
        self.bell.notify_all();
    }

    /// One turn of the machine: decide, persist, and only then let the hand go.
    fn turn(&self, inner: &mut Inner, event: Event) -> Result<(), Refusal> {
        let is_command = matches!(event, Event::Asked(_));
        let turned = step(&inner.state, self.device.now(), event, &self.rules);
        turned.answer?;
        if turned.state == inner.state {
            return Ok(());
        }
        if let Err(text) = persist(inner, &turned.state) {
            if is_command {
                return Err(self.take_back(inner, &text));
            }
            tracing::error!(%text, "nothing more is done until the journal can be written");
            inner.stuck = Some(text);
        }
        let before = std::mem::replace(&mut inner.state, turned.state);
        self.settle_in(inner, &before);
        Ok(())
    }

    /// A command was refused because the journal could not be written; but a part of that write may be on the disk. The
    /// state as it is takes its place, or nothing is done until it does: what was refused must not happen after a
    /// restart. (Should the appliance die in between, the journal may tell either; the message says so.)
    fn take_back(&self, inner: &mut Inner, text: &str) -> Refusal {
        let state = inner.state.clone();
        if let Err(text) = persist(inner, &state) {
            tracing::error!(%text, "nothing more is done until the journal can be written");
            inner.stuck = Some(text);
            (self.changed)();
        }
        let text = format!("the command could not be written down, so it was not taken: {text}");
        Refusal { code: "journal", text, possible: Vec::new() }
    }

    /// After a turn: history, log, and the hand's new order.
    fn settle_in(&self, inner: &mut Inner, before: &State) {
        inner.tidied = false;
        let after = &inner.state;
        if before.phase != after.phase {
            let id = after.job.as_ref().or(before.job.as_ref()).map(|job| job.id);
            tracing::info!(id, from = %before.phase, to = %after.phase, "phase");
        }
        if after.last != before.last
            && let Some(last) = after.last.clone()
        {
            let cause = last.cause.as_ref().map(ToString::to_string).unwrap_or_default();
            tracing::info!(id = last.id, outcome = %last.ended, %cause, "ended");
            inner.pending.push_back(last);
            self.write_history(inner);
        }
        let job = inner.state.job.as_ref().map(|job| job.id);
        if inner.handed.as_ref().is_some_and(|(id, _)| Some(*id) != job) {
            inner.handed = None;
        }
        if order_of(before, &self.rules) != order_of(&inner.state, &self.rules) {
            inner.stop.stop();
            inner.stop = Stop::default();
        }
        self.bell.notify_all();
        (self.changed)();
    }

    /// The journal may answer again. If it could not even be opened at start, this life begins only now: nothing was
    /// done yet, and what the journal tells must not be overwritten by what was assumed without it.
    fn try_journal_again(&self, inner: &mut Inner) {
        if !inner.recalled {
            let Ok((journal, found)) = Journal::open(&*self.device) else { return };
            inner.journal = Some(journal);
            inner.recalled = true;
            inner.state = recall(found, State::new(inner.boot.id, inner.boot.running));
            inner.boot.state = boot_state_of(&*self.device);
            inner.stuck = None;
            self.started(inner);
            return;
        }
        let state = inner.state.clone();
        let written = persist(inner, &state).or_else(|_| {
            // The place may have gone and come back: what is in memory is newer than anything it tells.
            let (journal, _) = Journal::open(&*self.device).map_err(|e| e.to_string())?;
            inner.journal = Some(journal);
            persist(inner, &state)
        });
        match written {
            Ok(()) => {
                tracing::info!("the journal can be written again");
                inner.stuck = None;
                self.bell.notify_all();
                (self.changed)();
            }
            Err(text) => inner.stuck = Some(text),
        }
    }

    /// Appends what is pending, the journal being durable. Trouble does no harm: it is tried again at each tick, and the
    /// journal still holds the last outcome.
    fn write_history(&self, inner: &mut Inner) {
        if inner.stuck.is_some() {
            return;
        }
        if inner.history.is_none() {
            inner.history = History::open(&*self.device).ok();
        }
        let Some(history) = &mut inner.history else { return };
        while let Some(outcome) = inner.pending.front() {
            if let Err(fault) = history.append(outcome) {
                tracing::warn!(%fault, "an outcome is in the journal, not yet in the history");
                inner.pending.truncate(PENDING);
                return;
            }
            inner.pending.pop_front();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state that a journal tells; without one, an appliance that never upgraded.
fn recall(found: Found, fresh: State) -> State {
    match found {
        Found::State(state) => *state,
        Found::Foreign { id } => {
            tracing::warn!(
                id,
                "the journal is of another release of the agent; the boot state decides"
            );
            State { next_id: id.saturating_add(1), ..fresh }
        }
        Found::Nothing => fresh,
    }
}

/// Which task of which job: when this stays the same over a turn, the task in hand goes on.
fn order_of(state: &State, rules: &Rules) -> (Option<u64>, flow::Phase, Task) {
    (state.job.as_ref().map(|job| job.id), state.phase, duty(state, rules).task)
}

fn persist(inner: &mut Inner, state: &State) -> Result<(), String> {
    match &mut inner.journal {
        Some(journal) => journal.write(state).map_err(|e| e.to_string()),
        None => Err(inner.stuck.clone().unwrap_or_else(|| "there is no journal".to_owned())),
    }
}

fn boot_state_of(device: &dyn Device) -> Option<bootloader_hooks::BootState> {
    let storage = match device.open(Place::BootState) {
        Ok(storage) => storage,
        Err(error) => {
            tracing::warn!(%error, "the boot state cannot be opened");
            return None;
        }
    };
    match boot_state::read(&*storage) {
        Ok(copies) => {
            for (copy, why) in copies.damaged() {
                tracing::warn!(copy = copy.file_name(), %why, "a copy of the boot state cannot be read");
            }
            copies.state()
        }
        Err(error) => {
            tracing::warn!(%error, "the boot state cannot be read");
            None
        }
    }
}

fn tell_end(end: &End) {
    if let End::Trouble { code, text } | End::NotAccepted { code, text, .. } = end {
        tracing::warn!(%code, %text, "trouble");
    }
}
