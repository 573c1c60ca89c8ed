//! Where the logs of a policy's runs go: which files are owed. The shell writes them.
//!
//! One file for every planned host of a run that has ended, `FOLDER/ROLLOUT/HOST.json`. Everything is read from the ledger, so that a process
//! that knows nothing owes every file of the last days once more, and finds most of them written.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Policy;
use crate::{
    id::{LeaseId, RolloutId},
    rollout::{
        ledger::{Ledger, Progress, RolloutState, Tally},
        replan::lineage,
        started::Key,
        status::{Invocation, invocation},
    },
    time::{BootTime, Now, WallTime},
};

/// Longest path of a folder, in bytes.
pub const MAX_FOLDER: usize = 1024;
/// Files that are owed at once; what else is owed waits for a later look.
pub const MOST_AT_ONCE: usize = 64;
/// How long after the end of a run its files are kept as they should be. Whoever clears the folder of older ones is left alone.
pub const OWED_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// After a folder could not be written, how long it is left alone.
pub const PAUSE: Duration = Duration::from_secs(60);

/// Where the logs of a policy's runs go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogsText {
    /// A folder on the coordinator's machine, which must be there: an absolute path without links. Every run has a folder of its own
    /// in it, and every planned host of the run a file `HOST.json` there, once it has ended.
    #[schemars(length(min = 2, max = MAX_FOLDER))]
    pub folder: String,
}

/// Whether `path` can be a folder of logs: absolute, not `/`, no `.` and `..`, nothing empty, no control characters.
pub fn is_folder(path: &str) -> bool {
    let parts = path.strip_prefix('/').filter(|rest| !rest.is_empty() && path.len() <= MAX_FOLDER);
    let good = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(char::is_control);
    parts.is_some_and(|rest| rest.strip_suffix('/').unwrap_or(rest).split('/').all(good))
}

/// What a file says, as far as it can change: how the host stands, which report it gave, and whether its slot was released.
type Mark = (Invocation, Option<LeaseId>, bool);

/// A file that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owed {
    /// Of which run.
    pub rollout: RolloutId,
    /// Of the host at this position of its plan.
    pub at: usize,
    /// Below this folder.
    pub folder: String,
    mark: Mark,
}

/// What this process has written, and where it could not. Nothing of it has to outlive the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logs {
    runs: BTreeMap<RolloutId, Written>,
    failed: BTreeMap<String, (BootTime, String)>,
    /// The same of runs of which a file could not be written: others of the folder go on.
    stuck: BTreeMap<RolloutId, (BootTime, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Written {
    folder: String,
    files: BTreeMap<usize, Mark>,
    /// The run as it was when nothing of it was owed: until it changes nothing is.
    settled: Option<Stand>,
}

/// What decides how the hosts of a run stand: their own counters, when it ended, and whether it was halted or called off.
type Stand = (Tally, Option<WallTime>, bool, bool);

fn stand(state: &RolloutState) -> Stand {
    (state.tally.clone(), state.ended_at, state.halted, state.is_called_off())
}

impl Logs {
    /// Which files are owed at `now`, of the runs of the policies `kept` that `ledger` knows; at most [`MOST_AT_ONCE`]. Those of one
    /// folder that failed are not, until [`PAUSE`] is over. What is given here is owed again until [`Logs::written`].
    pub fn owed(&mut self, kept: &[&Policy], ledger: &Ledger, now: Now) -> Vec<Owed> {
        let folders: BTreeMap<&str, &str> =
            kept.iter().filter_map(|policy| Some((policy.name.as_str(), policy.logs.as_deref()?))).collect();
        let in_use: BTreeSet<&str> = folders.values().copied().collect();
        self.failed.retain(|folder, _| in_use.contains(folder.as_str()));
        if folders.is_empty() {
            self.runs.clear();
            self.stuck.clear();
            return Vec::new();
        }
        let runs = runs(&folders, ledger, now.wall);
        self.runs.retain(|id, written| runs.get(id).is_some_and(|(folder, _)| written.folder == *folder));
        self.stuck.retain(|id, _| self.runs.contains_key(id));
        let mut owed = Vec::new();
        for (id, (folder, state)) in runs {
            let failures = [self.failed.get(folder), self.stuck.get(&id)];
            let waits = failures.into_iter().flatten().any(|(again, _)| now.boot < *again);
            if !waits && owed.len() < MOST_AT_ONCE {
                self.owed_of(id, folder, state, &mut owed);
            }
        }
        owed
    }

    fn owed_of(&mut self, id: RolloutId, folder: &str, state: &RolloutState, owed: &mut Vec<Owed>) {
        let fresh = || Written { folder: folder.to_owned(), files: BTreeMap::new(), settled: None };
        let written = self.runs.entry(id).or_insert_with(fresh);
        let present = stand(state);
        if written.settled.as_ref() == Some(&present) {
            return;
        }
        let before = owed.len();
        for at in 0..state.hosts.len() {
            let Some(mark) = ended(state, at).filter(|mark| written.files.get(&at) != Some(mark)) else { continue };
            if owed.len() == MOST_AT_ONCE {
                return;
            }
            owed.push(Owed { rollout: id, at, folder: folder.to_owned(), mark });
        }
        if owed.len() == before {
            written.settled = Some(present);
            self.stuck.remove(&id);
        }
    }

    /// `owed` is written, or was found to be.
    pub fn written(&mut self, owed: &Owed) {
        self.failed.remove(&owed.folder);
        if let Some(written) = self.runs.get_mut(&owed.rollout).filter(|written| written.folder == owed.folder) {
            written.files.insert(owed.at, owed.mark);
        }
    }

    /// Something of `folder` could not be written at `now`, because of `fault`. `true` if that is news.
    pub fn failed(&mut self, folder: &str, fault: String, now: BootTime) -> bool {
        let news = self.fault(folder) != Some(&fault);
        self.failed.insert(folder.to_owned(), (now.plus(PAUSE), fault));
        news
    }

    /// `owed` could not be written at `now`, because of `fault`: its run is left alone for a while. `true` if that is news.
    pub fn run_failed(&mut self, owed: &Owed, fault: String, now: BootTime) -> bool {
        let news = self.stuck.get(&owed.rollout).is_none_or(|(_, known)| *known != fault);
        self.stuck.insert(owed.rollout, (now.plus(PAUSE), fault));
        news
    }

    /// Why `folder`, or something in it, could not be written when it was last tried; `None` if it could, or was not tried.
    pub fn fault(&self, folder: &str) -> Option<&str> {
        let of_runs = || {
            let own = |id: &RolloutId| self.runs.get(id).is_some_and(|run| run.folder == folder);
            self.stuck.iter().find(|(id, _)| own(id)).map(|(_, failed)| failed)
        };
        self.failed.get(folder).or_else(of_runs).map(|(_, fault)| fault.as_str())
    }
}

/// The runs whose files are kept as they should be, with their policy's folder: of one name the newest.
fn runs<'a>(
    folders: &BTreeMap<&str, &'a str>,
    ledger: &'a Ledger,
    now: WallTime,
) -> BTreeMap<RolloutId, (&'a str, &'a RolloutState)> {
    let least = now.0.saturating_sub(i64::try_from(OWED_FOR.as_millis()).unwrap_or(i64::MAX));
    let mut newest: BTreeMap<&str, (WallTime, RolloutId, &str, &RolloutState)> = BTreeMap::new();
    for (id, state) in &ledger.rollouts {
        if state.ended_at.is_some_and(|end| end.0 < least) {
            continue;
        }
        let name = state.plan.name.as_str();
        // What plans a run again is the policy's, too.
        let (first, _) = lineage(ledger, state);
        let Some((Key::Policy { policy, .. }, _)) = Key::of(&first.by, &first.plan.name) else { continue };
        let Some(folder) = folders.get(policy.as_str()).copied() else { continue };
        let known = newest.get(name).is_some_and(|(started, ..)| *started > state.started_at);
        if !known {
            newest.insert(name, (state.started_at, *id, folder, state));
        }
    }
    newest.into_values().map(|(_, id, folder, state)| (id, (folder, state))).collect()
}

/// How the host at `at` stands; `None` while more may come of it.
fn ended(state: &RolloutState, at: usize) -> Option<Mark> {
    let status = invocation(state, at);
    let report = state.hosts[at].report.as_ref().map(|report| report.lease);
    let released = matches!(state.hosts[at].progress, Progress::Released(_));
    (status.is_terminal() || state.ended_at.is_some()).then_some((status, report, released))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        rollout::{
            ledger::{LedgerAct, LedgerEntry},
            plan::Rollout,
            policy::tests::policy,
            tests::plan_of,
        },
        schedule::Opening,
    };

    const LATER: i64 = 60_000;

    fn kept(folder: Option<&str>) -> Policy {
        let mut written = policy();
        written.spec.logs = folder.map(|folder| LogsText { folder: folder.to_owned() });
        written.check().unwrap()
    }

    /// A ledger with a run of so many hosts of the policy, and its id.
    fn begun(ledger: &mut Ledger, id: u8, name: &str, hosts: u8, at: i64) -> RolloutId {
        let mut plan = plan_of(hosts, 1, 0, vec![Opening::endless(WallTime(0))]);
        plan.name = name.to_owned();
        let id = RolloutId([id; 8]);
        let by = format!("policy {}", name.split('-').next().unwrap_or(name));
        let act = LedgerAct::Started(Box::new(Rollout { id, plan, by, replans: None }));
        ledger.fold(&LedgerEntry { at: WallTime(at), act }).unwrap();
        id
    }

    fn end(ledger: &mut Ledger, rollout: RolloutId, at: i64) {
        ledger.fold(&LedgerEntry { at: WallTime(at), act: LedgerAct::Ended { rollout } }).unwrap();
    }

    fn now(wall: i64) -> Now {
        Now { wall: WallTime(wall), boot: BootTime(u64::try_from(wall).unwrap()) }
    }

    const RUN: &str = "nightly-scan-19700101t000000z";

    #[test]
    fn a_folder_is_absolute_and_plain() {
        for good in ["/var/log/patchmesh", "/l", "/srv/logs/"] {
            assert!(is_folder(good), "{good}");
        }
        let long = format!("/{}", "a".repeat(MAX_FOLDER));
        for bad in ["", "/", "//", "logs", "./logs", "/var/../etc", "/var/./log", "/var//log", "/a\nb", "/a\0", &long] {
            assert!(!is_folder(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_file_is_owed_once_its_host_has_ended_and_again_by_a_process_that_knows_nothing() {
        let (mut ledger, mut logs, policy) = (Ledger::default(), Logs::default(), kept(Some("/l")));
        let run = begun(&mut ledger, 1, RUN, 2, 0);
        begun(&mut ledger, 2, "weekly", 2, 0);
        begun(&mut ledger, 3, "other-scan-19700101t000000z", 2, 0);
        assert_eq!(logs.owed(&[&policy], &ledger, now(LATER)), [], "both hosts wait");
        end(&mut ledger, run, LATER);
        let owed = logs.owed(&[&policy], &ledger, now(LATER));
        let told: Vec<_> = owed.iter().map(|one| (one.rollout, one.at, one.folder.as_str())).collect();
        assert_eq!(told, [(run, 0, "/l"), (run, 1, "/l")]);
        logs.written(&owed[0]);
        assert_eq!(logs.owed(&[&policy], &ledger, now(LATER)), owed[1..]);
        logs.written(&owed[1]);
        assert_eq!(logs.owed(&[&policy], &ledger, now(LATER)), []);
        assert_eq!(Logs::default().owed(&[&policy], &ledger, now(LATER)), owed, "after a restart");
        // Another folder is another place for all of it; no folder is none.
        assert_eq!(logs.owed(&[&kept(Some("/m"))], &ledger, now(LATER))[0].folder, "/m");
        assert_eq!(logs.owed(&[&kept(None)], &ledger, now(LATER)), []);
        assert_eq!(logs, Logs::default());
        let late = LATER + i64::try_from(OWED_FOR.as_millis()).unwrap();
        assert_eq!(logs.owed(&[&policy], &ledger, now(late)).len(), 2);
        assert_eq!(Logs::default().owed(&[&policy], &ledger, now(late + 1)), [], "whoever cleared it is left alone");
    }

    #[test]
    fn a_host_that_stands_otherwise_than_its_file_says_is_owed_again() {
        let (mut ledger, mut logs, policy) = (Ledger::default(), Logs::default(), kept(Some("/l")));
        let run = begun(&mut ledger, 1, RUN, 2, 0);
        end(&mut ledger, run, LATER);
        logs.owed(&[&policy], &ledger, now(LATER)).iter().for_each(|one| logs.written(one));
        assert_eq!(logs.owed(&[&policy], &ledger, now(LATER)), []);
        let state = ledger.rollouts.get_mut(&run).unwrap();
        state.hosts[1].progress = crate::rollout::ledger::Progress::Skipped;
        (state.tally.skipped, _) = (1, state.tally.eligible.remove(&1));
        let owed = logs.owed(&[&policy], &ledger, now(LATER));
        assert_eq!(owed.iter().map(|one| one.at).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn of_many_some_are_owed_at_a_time_and_of_one_name_only_the_newest_run() {
        let (mut ledger, mut logs, policy) = (Ledger::default(), Logs::default(), kept(Some("/l")));
        let old = begun(&mut ledger, 1, RUN, 1, 0);
        let run = begun(&mut ledger, 2, RUN, 100, 1);
        end(&mut ledger, old, 2);
        end(&mut ledger, run, 2);
        let first = logs.owed(&[&policy], &ledger, now(LATER));
        assert_eq!(first.len(), MOST_AT_ONCE);
        first.iter().for_each(|one| logs.written(one));
        let second = logs.owed(&[&policy], &ledger, now(LATER));
        assert_eq!(second.len(), 100 - MOST_AT_ONCE);
        assert!(first.iter().chain(&second).all(|one| one.rollout == run));
    }

    #[test]
    fn a_folder_that_could_not_be_written_is_left_alone_for_a_minute_and_holds_up_no_other() {
        let (mut ledger, mut logs) = (Ledger::default(), Logs::default());
        let (bad, mut other) = (kept(Some("/bad")), policy());
        (other.name, other.spec.logs) = ("other".into(), Some(LogsText { folder: "/good".into() }));
        let other = other.check().unwrap();
        for (id, name) in [(1, RUN), (2, "other-scan-19700101t000000z")] {
            let run = begun(&mut ledger, id, name, 1, 0);
            end(&mut ledger, run, 1);
        }
        let folders = |logs: &mut Logs, wall: i64| -> Vec<String> {
            logs.owed(&[&bad, &other], &ledger, now(wall)).into_iter().map(|one| one.folder).collect()
        };
        assert_eq!(folders(&mut logs, LATER), ["/bad", "/good"]);
        assert!(logs.failed("/bad", "it is not there".into(), now(LATER).boot), "news");
        assert_eq!(folders(&mut logs, LATER), ["/good"]);
        let over = LATER + i64::try_from(PAUSE.as_millis()).unwrap();
        assert_eq!(folders(&mut logs, over), ["/bad", "/good"]);
        assert!(!logs.failed("/bad", "it is not there".into(), now(over).boot), "it was told");
        assert_eq!((logs.fault("/bad"), logs.fault("/good")), (Some("it is not there"), None));
        let again = logs.owed(&[&bad, &other], &ledger, now(over + LATER)).remove(0);
        logs.written(&again);
        assert_eq!(logs.fault("/bad"), None);
    }

    #[test]
    fn a_run_that_could_not_be_written_holds_up_no_other_of_its_folder() {
        let (mut ledger, mut logs, policy) = (Ledger::default(), Logs::default(), kept(Some("/l")));
        let (bad, good) =
            (begun(&mut ledger, 1, RUN, 100, 0), begun(&mut ledger, 2, "nightly-scan-19700102t000000z", 1, 0));
        end(&mut ledger, bad, 1);
        end(&mut ledger, good, 1);
        let owed = logs.owed(&[&policy], &ledger, now(LATER));
        assert!(owed.iter().all(|one| one.rollout == bad), "there are too many");
        assert!(logs.run_failed(&owed[0], "it is a link".into(), now(LATER).boot), "news");
        let next: Vec<_> = logs.owed(&[&policy], &ledger, now(LATER)).into_iter().map(|one| one.rollout).collect();
        assert_eq!((next, logs.fault("/l")), (vec![good], Some("it is a link")));
        let over = LATER + i64::try_from(PAUSE.as_millis()).unwrap();
        let again = logs.owed(&[&policy], &ledger, now(over)).remove(0);
        assert!(!logs.run_failed(&again, "it is a link".into(), now(over).boot), "it was told");
    }
}
