//! Reports: what the last look behind a Scan or an Install found on a host, and how that is told to the fleet.
//!
//! A host keeps one current report, with a row per patch, and the standings of earlier ones beside it. Its gossiped record
//! carries the current standing as a tag; the rows are asked for.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::evaluation::{Reason, Row, State, Summary};
use crate::{
    id::SnapshotId,
    patch::Blocked,
    rollout::{Operation, RebootOption},
    time::WallTime,
    wire,
};

/// The tag of a host's record that carries its [`Standing`].
pub const TAG: &str = "patchmesh/compliance";
/// Most bytes of that tag's value.
pub const MAX_TAG: usize = 1024;
/// Most earlier standings that a host keeps.
pub const MAX_HISTORY: usize = 100;
/// Most bytes of the rows of one answer; what does not fit is counted.
pub const MAX_ROWS: usize = 1 << 20;

/// What a report says in short.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// When the host was looked at.
    pub at: WallTime,
    /// Scan or Install.
    pub operation: Operation,
    /// What it was judged by: `all`, `security`, or a baseline's name.
    pub baseline: String,
    /// The host's patch group.
    pub group: Option<String>,
    /// The counters.
    pub counters: Counters,
    /// A compliance level: the highest of what is not as it should be; `None` if the host is compliant.
    pub severity: Option<String>,
    /// How the operation was run.
    pub operated: Operated,
}

/// How the operation behind a report was run (spec 3.6).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Operated {
    /// When it began; it ended with the look.
    pub started: Option<WallTime>,
    /// The [`SnapshotId`] of what the host was judged by, in hex; `None` if nothing was frozen.
    pub snapshot: Option<String>,
    /// Whether a list of patches was installed instead of what the baseline approves.
    pub install_list: bool,
    /// Whether the host was to be rebooted; `None` for a Scan.
    pub reboot: Option<RebootOption>,
    /// When the last Install ended that was not to reboot the host; `None` if there was none.
    pub last_no_reboot: Option<WallTime>,
}

/// The counters of a report (spec 3.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Counters {
    /// Approved and present.
    pub installed: u32,
    /// Present, not approved.
    pub installed_other: u32,
    /// Installed by a run since the host started.
    pub installed_pending_reboot: u32,
    /// Present and rejected, where that blocks.
    pub installed_rejected: u32,
    /// Approved and not present.
    pub missing: u32,
    /// Tried and not present.
    pub failed: u32,
    /// Approved and not applicable.
    pub not_applicable: u32,
    /// Missing and held back by a hold, a pin, phasing or the resolver.
    pub blocked: u32,
    /// What is not as it should be and has the level `CRITICAL`.
    pub critical_non_compliant: u32,
    /// What is not as it should be and is a security update.
    pub security_non_compliant: u32,
    /// What is not as it should be and is neither.
    pub other_non_compliant: u32,
    /// Security updates of Windows that are not approved.
    pub available_security_update: u32,
}

/// One patch of a report.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PatchRow {
    /// Its name.
    pub name: String,
    /// Its architecture.
    pub arch: String,
    /// Installed version.
    pub installed: Option<String>,
    /// The newer version that is missing, or that the reason speaks of.
    pub available: Option<String>,
    /// Its state.
    pub state: State,
    /// A compliance level.
    pub level: String,
    /// Kind of update of what is not as it should be.
    pub classification: Option<String>,
    /// Why apt would not install what is missing.
    pub blocked: Option<Blocked>,
    /// A stable kebab-case word.
    pub code: String,
    /// Why, for people.
    pub text: String,
    /// The rule that decided, from 1.
    pub rule: Option<u32>,
    /// When the gate opens that keeps the patch from being approved.
    pub opens_at: Option<WallTime>,
    /// The rule has a date gate, and that does not count on this operating system.
    pub ignored_date_gate: bool,
}

/// The current report of a host with what was before it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostReport {
    /// In short.
    pub standing: Standing,
    /// By (name, arch, installed), unless some did not fit: then what is as it should be was left out first.
    pub rows: Vec<PatchRow>,
    /// Rows that did not fit.
    pub left_out: u32,
    /// Earlier standings, the newest first.
    pub history: Vec<Standing>,
}

impl Standing {
    /// Whether nothing is wrong.
    pub fn is_compliant(&self) -> bool {
        self.severity.is_none()
    }

    /// As the value of [`TAG`], without what is null, false or zero. Of a group that is too long the beginning; `None` if even
    /// that does not fit.
    pub fn to_tag(&self) -> Option<String> {
        let mut told = self.clone();
        loop {
            let mut value = serde_json::to_value(&told).ok()?;
            value.get_mut("counters").iter_mut().for_each(|counters| leave_out(counters, |count| *count == 0));
            let needless = |member: &Value| member.is_null() || *member == false;
            value.get_mut("operated").iter_mut().for_each(|operated| leave_out(operated, needless));
            leave_out(&mut value, Value::is_null);
            let tag = value.to_string();
            let Some(surplus) = tag.len().checked_sub(MAX_TAG).filter(|surplus| *surplus > 0) else { return Some(tag) };
            let group = told.group.as_mut().filter(|group| !group.is_empty())?;
            // An escaped character takes more in the tag, never less.
            let room = group.len().saturating_sub(surplus.div_ceil(MAX_ESCAPED));
            group.truncate(group.floor_char_boundary(room));
        }
    }

    /// Of the value of [`TAG`]; `None` if a host says what is none.
    pub fn of_tag(value: &str) -> Option<Self> {
        if value.len() > MAX_TAG { None } else { serde_json::from_str(value).ok() }
    }
}

/// Most bytes that JSON makes of one.
const MAX_ESCAPED: usize = 6;

fn leave_out(object: &mut Value, needless: impl Fn(&Value) -> bool) {
    object.as_object_mut().into_iter().for_each(|members| members.retain(|_, member| !needless(member)));
}

impl Operated {
    /// Of an operation that began at `started` and ended at `ended`, after a report that tells of `last_no_reboot`.
    pub fn new(
        operation: Operation,
        reboot: RebootOption,
        started: WallTime,
        ended: WallTime,
        last_no_reboot: Option<WallTime>,
    ) -> Self {
        let install = operation == Operation::Install;
        Self {
            started: Some(started),
            reboot: install.then_some(reboot),
            last_no_reboot: if install && reboot == RebootOption::Never { Some(ended) } else { last_no_reboot },
            ..Self::default()
        }
    }

    /// By the snapshot `id`, which has an install override list or not.
    pub fn by(self, id: SnapshotId, install_list: bool) -> Self {
        Self { snapshot: Some(id.to_string()), install_list, ..self }
    }
}

impl Counters {
    /// The counters of an evaluation, with those that the package manager would not install.
    pub fn new(sums: &Summary, blocked: u32) -> Self {
        Self {
            installed: sums.installed,
            installed_other: sums.installed_other,
            installed_pending_reboot: sums.installed_pending_reboot,
            installed_rejected: sums.installed_rejected,
            missing: sums.missing,
            failed: sums.failed,
            not_applicable: sums.not_applicable,
            blocked,
            critical_non_compliant: sums.critical_non_compliant,
            security_non_compliant: sums.security_non_compliant,
            other_non_compliant: sums.other_non_compliant,
            available_security_update: sums.available_security_update,
        }
    }

    /// Adds one to every counter that is not zero in `host`: how many hosts have such patches.
    pub fn add_hosts(&mut self, host: &Self) {
        for (sum, count) in self.each().into_iter().zip(host.clone().each()) {
            *sum += u32::from(*count > 0);
        }
    }

    fn each(&mut self) -> [&mut u32; 12] {
        let Self {
            installed,
            installed_other,
            installed_pending_reboot,
            installed_rejected,
            missing,
            failed,
            not_applicable,
            blocked,
            critical_non_compliant,
            security_non_compliant,
            other_non_compliant,
            available_security_update,
        } = self;
        [
            installed,
            installed_other,
            installed_pending_reboot,
            installed_rejected,
            missing,
            failed,
            not_applicable,
            blocked,
            critical_non_compliant,
            security_non_compliant,
            other_non_compliant,
            available_security_update,
        ]
    }

    /// What the gossiped record counts.
    pub fn brief(&self) -> super::PatchCounters {
        super::PatchCounters {
            installed: self.installed,
            installed_other: self.installed_other + self.installed_rejected,
            installed_pending_reboot: self.installed_pending_reboot,
            missing: self.missing,
            failed: self.failed,
            blocked: self.blocked,
        }
    }
}

impl PatchRow {
    /// `row` of an evaluation.
    pub fn new(row: &Row, blocked: Option<Blocked>) -> Self {
        let Reason { code, text, rule, opens_at, ignored_date_gate } = row.reason.clone();
        Self {
            name: row.name.clone(),
            arch: row.arch.clone(),
            installed: row.installed.clone(),
            available: row.available.clone(),
            state: row.state,
            level: row.level.as_str().to_owned(),
            classification: row.classification.clone(),
            blocked,
            code: code.to_owned(),
            text,
            rule,
            opens_at,
            ignored_date_gate,
        }
    }

    fn is_wrong(&self) -> bool {
        !matches!(self.state, State::Installed | State::InstalledOther | State::NotApplicable)
    }
}

impl HostReport {
    /// The report, with as many of `rows` as an answer holds; what is wrong comes first.
    pub fn bounded(standing: Standing, mut rows: Vec<PatchRow>, history: Vec<Standing>) -> Self {
        let size = rows.iter().map(wire::size).sum::<usize>();
        let all = rows.len();
        if size > MAX_ROWS {
            rows.sort_by_key(|row| !row.is_wrong());
            let mut room = MAX_ROWS;
            rows.retain(|row| {
                room = room.saturating_sub(wire::size(row));
                room > 0
            });
            rows.sort_by(|a, b| (&a.name, &a.arch, &a.installed).cmp(&(&b.name, &b.arch, &b.installed)));
        }
        let left_out = u32::try_from(all - rows.len()).unwrap_or(u32::MAX);
        Self { standing, rows, left_out, history }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn standing(baseline: &str) -> Standing {
        Standing {
            at: WallTime(5),
            operation: Operation::Scan,
            baseline: baseline.into(),
            group: Some("prod".into()),
            counters: Counters { missing: 2, installed: 9, ..Counters::default() },
            severity: Some("HIGH".into()),
            operated: Operated::new(Operation::Scan, RebootOption::Never, WallTime(4), WallTime(5), Some(WallTime(3))),
        }
    }

    fn row(name: String, state: State) -> PatchRow {
        PatchRow {
            name,
            arch: "amd64".into(),
            installed: Some("1".into()),
            available: None,
            state,
            level: "HIGH".into(),
            classification: None,
            blocked: None,
            code: "approved-rule".into(),
            text: "x".repeat(1000),
            rule: None,
            opens_at: None,
            ignored_date_gate: false,
        }
    }

    #[test]
    fn a_standing_travels_in_a_tag_however_long_its_names_may_be() {
        let longest =
            Standing { group: Some("g".repeat(super::super::groups::MAX_GROUP)), ..standing(&"b".repeat(128)) };
        for standing in [standing("web"), longest] {
            let tag = standing.to_tag().unwrap();
            assert!(tag.len() <= MAX_TAG, "{}", tag.len());
            assert_eq!(Standing::of_tag(&tag), Some(standing));
        }
        let tag = standing("web").to_tag().unwrap();
        assert!(!tag.contains("null") && !tag.contains("failed"), "{tag}");
        assert_eq!(Standing::of_tag(&format!("{tag}{}", " ".repeat(MAX_TAG))), None);
    }

    #[test]
    fn of_a_group_that_does_not_fit_the_beginning_is_told_and_nothing_of_what_never_fits() {
        for letter in ["𝒢", "字", "\u{2028}", "\"", "\u{1}"] {
            let group = letter.repeat(super::super::groups::MAX_GROUP);
            let mut long = Standing { group: Some(group.clone()), ..standing(&"b".repeat(128)) };
            long.operated = long.operated.by(SnapshotId([7; 32]), true);
            long.counters = Counters { installed: u32::MAX, installed_other: u32::MAX, ..long.counters };
            let tag = long.to_tag().unwrap();
            assert!(tag.len() <= MAX_TAG, "{letter:?}: {}", tag.len());
            let told = Standing::of_tag(&tag).unwrap();
            let clipped = told.group.clone().unwrap();
            assert!(clipped.len() >= 64 && group.starts_with(&clipped), "{letter:?}: {clipped:?}");
            assert_eq!(Standing { group: long.group.clone(), ..told }, long);
            assert_eq!(Standing { baseline: letter.repeat(MAX_TAG), ..long }.to_tag(), None);
        }
    }

    #[test]
    fn the_last_install_without_a_reboot_is_told_until_the_next() {
        let (started, ended, before) = (WallTime(7), WallTime(9), Some(WallTime(1)));
        let last = |operation, reboot| Operated::new(operation, reboot, started, ended, before);
        let install = last(Operation::Install, RebootOption::Never);
        assert_eq!((install.last_no_reboot, install.reboot), (Some(ended), Some(RebootOption::Never)));
        for other in [last(Operation::Install, RebootOption::IfNeeded), last(Operation::Scan, RebootOption::Never)] {
            assert_eq!(other.last_no_reboot, before);
        }
        assert_eq!(last(Operation::Scan, RebootOption::Never).reboot, None);
    }

    #[test]
    fn of_a_report_that_is_too_long_what_is_as_it_should_be_is_left_out_first() {
        let mut rows: Vec<_> = (0..3000).map(|n| row(format!("p{n:04}"), State::Installed)).collect();
        rows.push(row("zzz".into(), State::Missing));
        let report = HostReport::bounded(standing("web"), rows.clone(), vec![]);
        assert!(wire::size(&report) <= MAX_ROWS + 4096);
        assert_eq!(report.rows.len() + report.left_out as usize, 3001);
        assert!(report.rows.is_sorted_by_key(|row| row.name.clone()) && report.rows.iter().any(PatchRow::is_wrong));
        let short = HostReport::bounded(standing("web"), rows[..10].to_vec(), vec![]);
        assert_eq!((short.rows.len(), short.left_out), (10, 0));
    }

    proptest! {
        #[test]
        fn no_tag_of_a_peer_does_more_than_be_none(text in ".{0,200}") {
            let _ = Standing::of_tag(&text);
        }
    }
}
