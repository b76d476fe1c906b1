//! Health on trial: when is well well enough?
//!
//! One look at all probes is one [`Look`]. The new system is well when every look for a whole soak was good; one bad
//! look begins the soak anew. It is sick as soon as no whole soak fits before the deadline any more (waiting longer would
//! only lengthen the outage), and then the last bad look is the reason. No answer is a bad look.

use std::time::Duration;

use crate::step::Rules;

/// What one look at all probes showed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Look {
    /// Every probe was good.
    Good,
    /// A probe was not, or did not answer; the text names it.
    Bad(String),
}

/// What the looks so far amount to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Judged {
    /// Look again.
    NotYet,
    /// Well for the whole soak.
    Well,
    /// Not well in time.
    Sick(String),
}

/// The looks of one trial.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Watch {
    deadline: Duration,
    soak: Duration,
    good_since: Option<Duration>,
    last_bad: Option<String>,
}

impl Watch {
    /// A watch over a trial that the agent first saw at `since` on the boot clock.
    pub fn new(since: Duration, rules: &Rules) -> Self {
        Self {
            deadline: since.saturating_add(rules.deadline),
            soak: rules.soak,
            good_since: None,
            last_bad: None,
        }
    }

    /// The moment on the boot clock by which the trial must be well.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// How much of the soak is behind us.
    pub fn soaked(&self, at: Duration) -> Duration {
        self.good_since.map_or(Duration::ZERO, |since| at.saturating_sub(since).min(self.soak))
    }

    /// Takes one look, ended at `at`, into account. A good look counts from its end: what was probed first may have been
    /// well only at that moment.
    pub fn look(&mut self, at: Duration, look: Look) -> Judged {
        match look {
            Look::Good => {
                let since = *self.good_since.get_or_insert(at);
                if at.saturating_sub(since) >= self.soak {
                    return Judged::Well;
                }
            }
            Look::Bad(text) => {
                self.good_since = None;
                self.last_bad = Some(text);
            }
        }
        let earliest = at.saturating_add(self.soak.saturating_sub(self.soaked(at)));
        if earliest <= self.deadline {
            return Judged::NotYet;
        }
        Judged::Sick(match (&self.last_bad, self.good_since) {
            (Some(text), None) => text.clone(),
            (Some(text), Some(_)) => {
                format!("well too late for the whole soak before the deadline; before: {text}")
            }
            (None, _) => format!("not well for {} s before the deadline", self.soak.as_secs()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn watch() -> Watch {
        Watch::new(s(10), &Rules { soak: s(5), deadline: s(20), ..Rules::default() })
    }

    #[test]
    fn well_only_after_a_whole_soak_without_a_bad_look() {
        let mut watch = watch();
        assert_eq!(watch.look(s(11), Look::Good), Judged::NotYet);
        assert_eq!(watch.look(s(15), Look::Good), Judged::NotYet);
        assert_eq!(watch.look(s(16), Look::Good), Judged::Well);
    }

    #[test]
    fn one_bad_look_begins_the_soak_anew() {
        let mut watch = watch();
        assert_eq!(watch.look(s(11), Look::Good), Judged::NotYet);
        assert_eq!(watch.look(s(15), Look::Bad("x".into())), Judged::NotYet);
        assert_eq!(watch.look(s(17), Look::Good), Judged::NotYet);
        assert_eq!(watch.look(s(21), Look::Good), Judged::NotYet);
        assert_eq!(watch.look(s(22), Look::Good), Judged::Well);
    }

    #[test]
    fn sick_as_soon_as_no_whole_soak_fits_with_the_last_bad_look_as_the_reason() {
        let mut watch = watch();
        assert_eq!(watch.look(s(25), Look::Bad("probe dataplane failed".into())), Judged::NotYet);
        assert_eq!(
            watch.look(s(26), Look::Bad("probe dataplane failed: exit 3".into())),
            Judged::Sick("probe dataplane failed: exit 3".into())
        );
    }

    #[test]
    fn good_too_late_for_the_soak_is_sick() {
        let mut watch = watch();
        assert_eq!(watch.look(s(25), Look::Bad("starting".into())), Judged::NotYet);
        assert!(
            matches!(watch.look(s(27), Look::Good), Judged::Sick(text) if text.contains("starting"))
        );
    }

    #[test]
    fn well_at_the_very_deadline_is_well() {
        let mut watch = watch();
        assert_eq!(watch.look(s(25), Look::Good), Judged::NotYet);
        assert_eq!(watch.look(s(30), Look::Good), Judged::Well);
    }
}
