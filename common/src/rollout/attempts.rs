//! Which runs are to be started now, and which are being started: all that has to be remembered beside the ledger, and only for as
//! long as the process lives.

use core::time::Duration;
use std::collections::BTreeMap;

use super::{
    ledger::Ledger,
    planner::Desk,
    policy::Policy,
    replan,
    spec::RolloutSpec,
    started::{Key, runs},
    task,
};
use crate::{
    schedule::window::Window,
    time::{BootTime, Now, WallTime},
};

/// Runs that are being planned at the same time; what else is due waits for a later look.
pub const MOST_AT_ONCE: usize = 8;
/// How often a run that cannot be started is tried for one time.
pub const TRIES: u32 = 4;
/// Between two tries; the shortest pause where pauses grow.
pub const PAUSE: Duration = Duration::from_secs(60);

/// How often something is tried that cannot be started, and how long it rests between two tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Persistence {
    /// So often for one time; `None` without end.
    pub tries: Option<u32>,
    /// Every pause is twice the one before it, from [`PAUSE`] on, but none is longer.
    pub longest: Duration,
}

impl Persistence {
    /// That of runs of policies and tasks: the next time, and whatever waits for it, is not far.
    pub const RUNS: Self = Self { tries: Some(TRIES), longest: PAUSE };

    /// How long it rests after so many tries.
    fn pause(self, tries: u32) -> Duration {
        let doubled = 1u32.checked_shl(tries.saturating_sub(1)).unwrap_or(u32::MAX);
        PAUSE.saturating_mul(doubled).min(self.longest)
    }

    fn is_over(self, tries: u32) -> bool {
        self.tries.is_some_and(|most| tries >= most)
    }
}

/// What is kept and starts rollouts, each since when it is as it is: nothing before that is due.
#[derive(Clone, Debug, Default)]
pub struct Kept<'a> {
    /// Policies.
    pub policies: Vec<(&'a Policy, WallTime)>,
    /// Maintenance windows.
    pub windows: Vec<(&'a Window, WallTime)>,
}

impl Kept<'_> {
    /// Whether what `key` names is kept.
    fn has(&self, key: &Key) -> bool {
        match key {
            Key::Policy { policy, .. } => self.policies.iter().any(|(one, _)| one.name == *policy),
            Key::Task { window, .. } => self.windows.iter().any(|(one, _)| one.name == *window),
        }
    }
}

/// What is being started, and what could not be. Nothing of it has to outlive the process: the ledger says what was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempts<K: Ord = Key>(BTreeMap<K, Attempt>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Attempt {
    of: WallTime,
    tries: u32,
    persistence: Persistence,
    under_way: bool,
    again: BootTime,
    fault: Option<String>,
    is_empty: bool,
}

impl Attempt {
    fn is_over(&self, persistence: Persistence) -> bool {
        self.is_empty || persistence.is_over(self.tries)
    }
}

/// A run that is to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Whose.
    pub key: Key,
    /// For this time.
    pub of: WallTime,
    /// What it asks for.
    pub spec: RolloutSpec,
}

impl Start {
    /// When nothing of it starts any more; `None` if it has no openings of its own.
    pub fn last_start(&self) -> Option<WallTime> {
        self.spec.openings.iter().map(|opening| opening.last_start).max()
    }
}

/// A run that could not be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotStarted {
    /// For this time.
    pub of: WallTime,
    /// Why.
    pub because: String,
    /// Whether it is tried no more.
    pub gave_up: bool,
    /// Whether there was nothing to do: its targets matched none of the hosts that are known.
    pub is_empty: bool,
}

impl<K: Ord> Default for Attempts<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl Attempts {
    /// What is to be started at `now`, of what is `kept`, whose runs `ledger` knows. All of it is under way until
    /// [`Attempts::ended`]. Of what is kept no longer it is forgotten what could not be started.
    ///
    /// Nothing while the coordinator stands back from another one, or was succeeded by it: what is due is started there.
    pub fn due(&mut self, kept: &Kept<'_>, ledger: &Ledger, desk: &Desk, now: Now) -> Vec<Start> {
        self.keep(|key| kept.has(key));
        if replan::stands_back(desk, now) {
            return Vec::new();
        }
        let runs = runs(ledger, now.wall);
        let mut wanted = Vec::new();
        for (policy, since) in &kept.policies {
            wanted.extend(policy.wanted(*since, &runs, now.wall));
        }
        for (window, since) in &kept.windows {
            wanted.extend(task::wanted(window, *since, &runs, self, now.wall));
        }
        wanted.retain(|start| self.begin(&start.key, start.of, Persistence::RUNS, now.boot));
        wanted
    }
}

impl<K: Ord + Clone> Attempts<K> {
    /// Forgets what could not be started, of all but those that are `wanted`.
    pub(super) fn keep(&mut self, wanted: impl Fn(&K) -> bool) {
        self.0.retain(|key, one| one.under_way || wanted(key));
    }

    /// Whether the run of `key` for `of` is to be tried at `now`, with this `persistence`; if so, it is under way.
    pub(super) fn begin(&mut self, key: &K, of: WallTime, persistence: Persistence, now: BootTime) -> bool {
        let all = &mut self.0;
        if all.values().filter(|one| one.under_way).count() >= MOST_AT_ONCE {
            return false;
        }
        let tries = match all.get(key) {
            Some(known) if known.under_way => return false,
            Some(known) if known.of == of && (known.is_over(persistence) || now < known.again) => return false,
            Some(known) if known.of == of => known.tries,
            _ => 0,
        };
        let fault = all.remove(key).and_then(|known| known.fault).filter(|_| tries > 0);
        all.insert(
            key.clone(),
            Attempt {
                of,
                tries: tries.saturating_add(1),
                persistence,
                under_way: true,
                again: now,
                fault,
                is_empty: false,
            },
        );
        true
    }

    /// Whether the run of `key` for `of` is tried no more.
    pub fn gave_up(&self, key: &K, of: WallTime) -> bool {
        self.0.get(key).is_some_and(|known| known.of == of && known.is_over(known.persistence) && !known.under_way)
    }

    /// How often the run of `key` for `of` was tried in vain, or is being tried.
    pub fn tried(&self, key: &K, of: WallTime) -> u32 {
        self.0.get(key).filter(|known| known.of == of).map_or(0, |known| known.tries)
    }

    /// How the try of `key` ended: `fault` says why nothing was started.
    pub fn ended(&mut self, key: &K, fault: Option<String>, now: BootTime) {
        match (self.0.get_mut(key), fault) {
            (Some(known), Some(fault)) => {
                let pause = known.persistence.pause(known.tries);
                (known.under_way, known.again, known.fault) = (false, now.plus(pause), Some(fault));
            }
            _ => {
                self.0.remove(key);
            }
        }
    }

    /// The try of `key` ended: its targets match no host, as `because` says. Nothing is left to do for this time.
    pub fn was_empty(&mut self, key: &K, because: String) {
        if let Some(known) = self.0.get_mut(key) {
            (known.under_way, known.fault, known.is_empty) = (false, Some(because), true);
        }
    }

    /// What could not be started.
    pub fn not_started(&self) -> BTreeMap<K, NotStarted> {
        let told = |(key, one): (&K, &Attempt)| {
            let gave_up = self.gave_up(key, one.of);
            Some((key.clone(), NotStarted { of: one.of, because: one.fault.clone()?, gave_up, is_empty: one.is_empty }))
        };
        self.0.iter().filter_map(told).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::{Operation, policy::predefined::host_management};

    const RUNS: Persistence = Persistence::RUNS;

    fn key(policy: &str, operation: Operation) -> Key {
        Key::Policy { policy: policy.to_owned(), operation }
    }

    #[test]
    fn a_run_that_cannot_be_started_is_tried_a_few_times_for_one_time() {
        let mut attempts = Attempts::default();
        let key = key("nightly", Operation::Scan);
        let (mut now, of) = (BootTime(0), WallTime(1000));
        for tried in 0..TRIES {
            assert!(attempts.begin(&key, of, RUNS, now));
            assert!(
                !attempts.begin(&key, of, RUNS, now) && !attempts.begin(&key, WallTime(2000), RUNS, now),
                "it is under way"
            );
            attempts.ended(&key, Some("no host".into()), now);
            assert!(!attempts.begin(&key, of, RUNS, now), "not at once");
            let gave_up = tried + 1 == TRIES;
            let because = "no host".into();
            assert_eq!(attempts.not_started()[&key], NotStarted { of, because, gave_up, is_empty: false });
            assert_eq!(attempts.gave_up(&key, of), gave_up);
            now = now.plus(PAUSE);
        }
        assert!(!attempts.begin(&key, of, RUNS, now), "no more of this time");
        assert!(attempts.begin(&key, WallTime(2000), RUNS, now), "the next one");
        assert!(attempts.not_started().is_empty());
        attempts.ended(&key, None, now);
        assert_eq!(attempts, Attempts::default());
    }

    #[test]
    fn a_run_over_targets_that_match_no_host_is_over_at_once() {
        let mut attempts = Attempts::default();
        let key = key("nightly", Operation::Install);
        let (now, of) = (BootTime(0), WallTime(1000));
        assert!(attempts.begin(&key, of, RUNS, now));
        attempts.was_empty(&key, "none of 3 hosts".into());
        assert!(attempts.gave_up(&key, of));
        let told = NotStarted { of, because: "none of 3 hosts".into(), gave_up: true, is_empty: true };
        assert_eq!(attempts.not_started()[&key], told);
        assert!(!attempts.begin(&key, of, RUNS, now.plus(PAUSE)), "no more of this time");
        assert!(attempts.begin(&key, WallTime(2000), RUNS, now), "the next one");
        assert!(attempts.not_started().is_empty() && !attempts.gave_up(&key, WallTime(2000)));
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_what_has_no_end_is_never_given_up() {
        let endless = Persistence { tries: None, longest: Duration::from_secs(3600) };
        let mut attempts = Attempts::default();
        let key = key("nightly", Operation::Install);
        let (mut now, of) = (BootTime(0), WallTime(1000));
        for (tried, minutes) in (1..).zip([1, 2, 4, 8, 16, 32, 60, 60, 60]) {
            assert!(attempts.begin(&key, of, endless, now));
            assert_eq!(attempts.tried(&key, of), tried);
            attempts.ended(&key, Some("no host".into()), now);
            assert!(!attempts.gave_up(&key, of) && !attempts.not_started()[&key].gave_up);
            let pause = Duration::from_secs(60 * minutes);
            assert!(!attempts.begin(&key, of, endless, now.plus(pause - Duration::from_millis(1))), "{minutes}");
            now = now.plus(pause);
        }
        assert_eq!(endless.pause(u32::MAX), endless.longest);
    }

    #[test]
    fn only_so_many_are_planned_at_the_same_time() {
        let mut attempts = Attempts::default();
        let key = |at: usize| key(&format!("policy-{at}"), Operation::Install);
        for at in 0..MOST_AT_ONCE {
            assert!(attempts.begin(&key(at), WallTime(0), RUNS, BootTime(0)));
        }
        assert!(!attempts.begin(&key(MOST_AT_ONCE), WallTime(0), RUNS, BootTime(0)));
        attempts.ended(&key(0), None, BootTime(0));
        assert!(attempts.begin(&key(MOST_AT_ONCE), WallTime(0), RUNS, BootTime(0)));
    }

    #[test]
    fn what_is_due_is_under_way_until_it_ended_and_forgotten_with_its_policy() {
        let mut written = host_management();
        written.spec.enabled = Some(true);
        let policy = written.check().unwrap();
        let recurring = policy.recurring(Operation::Scan).unwrap();
        let of = recurring.next(WallTime(1_800_000_000_000)).unwrap();
        let now = Now { wall: of, boot: BootTime(0) };
        let kept = Kept { policies: vec![(&policy, WallTime(0))], ..Kept::default() };
        let (ledger, desk) = (Ledger::default(), Desk::default());
        let mut attempts = Attempts::default();
        let copy = Desk { rival: Some(BootTime(1)), ..Desk::default() };
        let listens = Desk { listening: Some(BootTime(1)), ..Desk::default() };
        let succeeded = Desk { superseded: true, ..Desk::default() };
        for back in [copy, listens, succeeded] {
            assert!(attempts.due(&kept, &ledger, &back, now).is_empty(), "another one starts it");
        }
        let starts = attempts.due(&kept, &ledger, &desk, now);
        assert_eq!(starts.iter().map(|one| one.of).collect::<Vec<_>>(), [of]);
        assert_eq!(starts[0].spec, policy.rollout(Operation::Scan, of));
        assert!(attempts.due(&kept, &ledger, &desk, now).is_empty());
        assert!(
            attempts.due(&Kept::default(), &ledger, &desk, now).is_empty(),
            "a plan that is being made is still somebody's"
        );
        attempts.ended(&starts[0].key, Some("no host".into()), now.boot);
        assert_eq!(attempts.not_started().len(), 1);
        assert!(attempts.due(&Kept::default(), &ledger, &desk, now).is_empty() && attempts.not_started().is_empty());
    }
}
