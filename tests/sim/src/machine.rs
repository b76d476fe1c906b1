//! The appliance's inside: media, power, clocks, the plan of faults, and what the invariants remember.
//!
//! Everything here is plain data behind one lock of [`crate::world::World`]; nothing here calls the agent.

use std::io;
use std::time::Duration;

use bootloader_hooks::{BootState, Slot, image};
use flow::{BootId, Evidence};

use crate::fault::{Deed, Fault, Part, Plan, Seen};
use crate::image::{Holding, IMAGE_LEN, Images};
use crate::invariants::Violation;
use crate::storage::{Bytes, Landing, Medium, PAGE, Twist};
use crate::world::Halt;

/// Every operation takes this long.
const COST: Duration = Duration::from_millis(1);

/// The clock of the firmware, before the kernel starts.
const FIRMWARE_TIME: Duration = Duration::from_secs(20);

/// A run with more operations than this does not come to rest.
pub const OPERATIONS_MAX: u64 = 200_000;

/// A line of the log.
#[derive(Clone, Debug)]
pub enum Line {
    /// An operation, and what happened to it.
    Did(u64, Deed, Option<Fault>),
    /// Anything else, as a sentence.
    Told(String),
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Did(n, deed, None) => write!(f, "{n:5} {deed}"),
            Self::Did(n, deed, Some(fault)) => {
                write!(f, "{n:5} {deed}  <-- {} ({fault:?})", fault.kind())
            }
            Self::Told(text) => write!(f, "      {text}"),
        }
    }
}

/// Whether a system runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Power {
    /// Off, or in the firmware.
    Off,
    /// A system runs.
    On,
    /// Nothing boots any more.
    Bricked,
}

/// The boot that is.
#[derive(Clone, Copy, Debug)]
pub struct Boot {
    /// Its name.
    pub id: BootId,
    /// The slot that runs.
    pub running: Slot,
    /// On trial.
    pub trial: bool,
    /// What the platform tells about the end of the one before.
    pub evidence: Evidence,
    /// When it began.
    pub began: Duration,
}

/// How the machine is built wrongly, for the negative controls.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Flaw {
    /// It is not.
    #[default]
    None,
    /// The bootloader boots a trial and does not write that the try is spent.
    NeverSpends,
}

/// The appliance's inside.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the world")]
pub struct Machine {
    media: Vec<Medium>,
    /// The systems there are.
    pub images: &'static Images,
    /// Whether a system runs.
    pub power: Power,
    /// The boot that is, or was last.
    pub boot: Boot,
    /// How often the firmware began.
    pub boots: u32,
    /// Time since the run began.
    pub clock: Duration,
    /// The next operation's number.
    pub count: u64,
    /// What happens at which operation.
    pub plan: Plan,
    /// What happened.
    pub log: Vec<Line>,
    /// What must not be, and was.
    pub violations: Vec<Violation>,
    /// Operations as they are seen, where somebody wants them.
    pub seen: Option<Vec<Seen>>,
    /// This medium answers with I/O errors.
    pub failing: Option<Part>,
    /// The reboot was asked for and is coming.
    pub rebooting: bool,
    /// The process that ran is gone, and this is why.
    pub gone: Option<Halt>,
    /// How far the clock of a process that is gone went on.
    pub ghost: Duration,
    /// A medium told a lie in this run.
    pub lied: bool,
    /// How many hold a slot for writing.
    pub targets: u32,
    /// A command can come: the agent runs.
    pub can_ask: bool,
    /// The job that somebody cancelled in the middle of its work, if that was taken.
    pub cancelled: Option<u64>,
    /// How the machine is built wrongly.
    pub flaw: Flaw,
    /// A boot state that survives a cut says "armed".
    pub armed: bool,
    /// The boot in which somebody last said go.
    pub go: Option<BootId>,
    /// Boots on trial since then.
    pub trials: u32,
    /// Ways back from a trial since then.
    pub rollbacks: u32,
    /// The history answered badly in this life, so what it says now is no evidence.
    pub history_fails: bool,
    /// One copy of the journal is on a disk that failed in this life.
    pub journal_fails: bool,
    read_back: [Vec<bool>; 2],
}

impl Machine {
    /// An appliance from the factory: slot A runs and is confirmed, slot B holds an older system.
    pub fn new(running: usize, previous: usize, state: BootState) -> Self {
        let images = Images::get();
        let mut media: Vec<Medium> =
            Part::ALL.iter().map(|_| Medium::new(Bytes::new(&[]))).collect();
        media[0] = Medium::new(images.at(running).bytes.clone());
        media[1] = Medium::new(images.at(previous).bytes.clone());
        media[2] = Medium::new(Bytes::new(&image(state)));
        let boot = Boot {
            id: BootId(0),
            running: Slot::A,
            trial: false,
            evidence: Evidence::None,
            began: Duration::ZERO,
        };
        Self {
            media,
            images,
            power: Power::Off,
            boot,
            boots: 0,
            clock: Duration::ZERO,
            count: 0,
            plan: Plan::new(),
            log: Vec::new(),
            violations: Vec::new(),
            seen: None,
            failing: None,
            rebooting: false,
            gone: None,
            ghost: Duration::ZERO,
            lied: false,
            targets: 0,
            can_ask: false,
            cancelled: None,
            history_fails: false,
            journal_fails: false,
            flaw: Flaw::None,
            armed: false,
            go: None,
            trials: 0,
            rollbacks: 0,
            read_back: [vec![false; IMAGE_LEN / PAGE], vec![false; IMAGE_LEN / PAGE]],
        }
    }

    /// A medium.
    pub fn medium(&self, part: Part) -> &Medium {
        &self.media[part as usize]
    }

    /// A medium, to be changed.
    pub fn medium_mut(&mut self, part: Part) -> &mut Medium {
        &mut self.media[part as usize]
    }

    /// What a slot holds now.
    pub fn holding(&self, slot: Slot) -> Holding {
        self.images.holding(self.medium(Part::of(slot)).live())
    }

    /// How many changes are not durable, on all media.
    pub fn unsynced(&self) -> u32 {
        self.media.iter().map(Medium::unsynced).sum()
    }

    /// Says something in the log.
    pub fn tell(&mut self, text: impl Into<String>) {
        self.log.push(Line::Told(text.into()));
    }

    /// Something that must not be, was. Each sentence counts once in a run: the first finding is the one to read.
    pub fn violated(&mut self, invariant: &'static str, found: String) {
        if self.violations.iter().all(|known| known.invariant != invariant) {
            self.tell(format!("VIOLATED {invariant}: {found}"));
            self.violations.push(Violation { invariant, found });
        }
    }

    /// An operation begins: its number and what happens to it; none: whoever asks for it is gone.
    pub(crate) fn begin(&mut self, deed: Deed) -> Option<(u64, Option<Fault>)> {
        if self.gone.is_some() {
            self.ghost += COST;
            return None;
        }
        let n = self.count;
        self.count += 1;
        self.clock += COST;
        let fault = self.plan.iter().find(|(at, _)| *at == n).map(|(_, fault)| *fault);
        let on_history = deed.part() == Some(Part::History);
        self.history_fails |=
            on_history && (fault.is_some() || self.failing == Some(Part::History));
        self.lied |= fault.is_some_and(Fault::is_lie);
        self.log.push(Line::Did(n, deed, fault));
        if fault == Some(Fault::IoFromHere) {
            self.failing = deed.part();
            self.journal_fails |= matches!(self.failing, Some(Part::JournalOne | Part::JournalTwo));
        }
        Some((n, fault))
    }

    /// Why the operation is not done.
    pub(crate) fn refuses(&self, deed: Deed, fault: Option<Fault>) -> Option<io::Error> {
        // EIO and ENOSPC, as the kernel gives them.
        let fails = self.failing.is_some()
            && self.failing == deed.part()
            && !matches!(deed, Deed::Spend(..));
        match fault {
            Some(Fault::Io | Fault::IoFromHere) => Some(io::Error::from_raw_os_error(5)),
            Some(Fault::NoSpace) if matches!(deed, Deed::Write(..) | Deed::SetLen(..)) => {
                Some(io::Error::from_raw_os_error(28))
            }
            _ if fails => Some(io::Error::from_raw_os_error(5)),
            _ => None,
        }
    }

    /// An operation ended; `before` is how many changes were not durable when it began.
    pub(crate) fn seen(&mut self, n: u64, deed: Deed, before: u32) {
        let unsynced = (before, self.unsynced());
        let can_ask = self.can_ask;
        if let Some(seen) = &mut self.seen {
            seen.push(Seen { n, deed, unsynced, can_ask });
        }
    }

    pub(crate) fn read(
        &mut self,
        part: Part,
        offset: u64,
        bytes: &mut [u8],
        twist: Twist,
    ) -> io::Result<()> {
        let medium = self.medium(part);
        medium.live().read(offset, bytes)?;
        if let Some(slot) = part.slot()
            && medium.unsynced() == 0
        {
            self.mark(slot, offset, bytes.len(), true);
        }
        crate::storage::flip(bytes, twist);
        Ok(())
    }

    pub(crate) fn write(
        &mut self,
        part: Part,
        offset: u64,
        bytes: &[u8],
        twist: Twist,
    ) -> io::Result<()> {
        let end = offset + bytes.len() as u64;
        if !part.grows() && end > self.medium(part).live().len() {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                "beyond the end of the partition",
            ));
        }
        if let Some(slot) = part.slot() {
            self.mark(slot, offset, bytes.len(), false);
        }
        self.medium_mut(part).write(offset, bytes, twist);
        Ok(())
    }

    fn mark(&mut self, slot: Slot, offset: u64, len: usize, read: bool) {
        let first = usize::try_from(offset).expect("OK because slots are small") / PAGE;
        let pages = &mut self.read_back[Part::of(slot) as usize];
        // A page that was read only in part counts as read: the agent reads whole chunks.
        pages[first..first + len.div_ceil(PAGE)].fill(read);
    }

    /// Which pages of a slot this process read after they were written and synced.
    pub(crate) fn read_back(&self, slot: Slot) -> &[bool] {
        &self.read_back[Part::of(slot) as usize]
    }

    /// A process begins: it has read nothing yet, and whatever failed is mended.
    pub(crate) fn process_begins(&mut self) {
        self.read_back.iter_mut().for_each(|pages| pages.fill(false));
        self.failing = None;
        self.history_fails = false;
        self.journal_fails = false;
        self.targets = 0;
    }

    /// The power goes.
    pub(crate) fn cut(&mut self, landing: Landing) {
        let mut first = 0;
        for medium in &mut self.media {
            let unsynced = medium.unsynced();
            medium.cut(landing, first);
            first += unsynced;
        }
        self.down();
    }

    /// An orderly shutdown.
    pub(crate) fn shut_down(&mut self) {
        self.media.iter_mut().for_each(Medium::settle);
        self.down();
    }

    fn down(&mut self) {
        self.power = Power::Off;
        self.rebooting = false;
        self.can_ask = false;
        self.clock += FIRMWARE_TIME;
    }

    /// Somebody said go.
    pub(crate) fn said_go(&mut self) {
        self.go = Some(self.boot.id);
        self.trials = 0;
        self.rollbacks = 0;
    }
}
