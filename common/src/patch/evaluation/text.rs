//! Reasons in words.

use super::{Ground, Reason};
use crate::patch::baseline::{Checked, Gate, RejectedAction};

/// The reason for what `ground` says of `version`.
pub(super) fn reason(baseline: &Checked, ground: &Ground, version: &str) -> Reason {
    let mut reason =
        Reason { code: code(ground), text: String::new(), rule: None, opens_at: None, ignored_date_gate: false };
    let rules = baseline.rules.len();
    reason.text = match ground {
        Ground::List { entry } => format!("{version} is approved by {entry:?} of the approved list"),
        Ground::Rule { number, ignored_date_gate } => {
            (reason.rule, reason.ignored_date_gate) = (Some(*number), *ignored_date_gate);
            let ignored = if *ignored_date_gate { "; its date gate does not count here" } else { "" };
            format!("{version} is approved by rule {number}{ignored}")
        }
        Ground::Rejected { entry } => {
            let action = match baseline.action {
                RejectedAction::Block => "blocked",
                RejectedAction::AllowAsDependency => "allowed only as a dependency",
            };
            format!("{version} is rejected by {entry:?} of the rejected list, and {action}")
        }
        Ground::Waiting { number, opens_at } => {
            (reason.rule, reason.opens_at) = (Some(*number), Some(*opens_at));
            format!("{version} is not approved before {} (rule {number})", opens_at.rfc3339())
        }
        Ground::TooLate { number } => {
            reason.rule = Some(*number);
            let end = number.checked_sub(1).and_then(|at| baseline.rules.get(at as usize)).map(|rule| rule.gate);
            let end = match end {
                Some(Gate::Before(end)) => end.rfc3339(),
                _ => String::from("the last day"),
            };
            format!("{version} was not released before {end} (rule {number})")
        }
        Ground::Unseen { number } => {
            reason.rule = Some(*number);
            format!("nobody knows since when {version} exists, and rule {number} waits")
        }
        Ground::NotSecurity { number } => {
            reason.rule = Some(*number);
            format!("{version} is no security update (rule {number})")
        }
        Ground::ListedNotSecurity { entry } => {
            format!("{version} is no security update, and {entry:?} of the approved list is for those only")
        }
        Ground::GlobalFilter => format!("{version} does not pass the global filters"),
        Ground::NotInPatch => format!("{version} is not part of any patch"),
        Ground::NoKb => String::from("the update has no KB id"),
        Ground::NoRule => match rules {
            0 => format!("{version} is not on the approved list, and there are no rules"),
            1 => format!("the filters of the only rule do not match {version}"),
            _ => format!("the filters of none of the {rules} rules match {version}"),
        },
    };
    reason
}

fn code(ground: &Ground) -> &'static str {
    match ground {
        Ground::List { .. } => "approved-list",
        Ground::Rule { .. } => "approved-rule",
        Ground::Rejected { .. } => "rejected",
        Ground::Waiting { .. } => "date-gate",
        Ground::TooLate { .. } => "after-cutoff",
        Ground::Unseen { .. } => "unseen",
        Ground::NotSecurity { .. } | Ground::ListedNotSecurity { .. } => "not-security",
        Ground::GlobalFilter => "global-filter",
        Ground::NotInPatch => "not-in-patch",
        Ground::NoKb => "no-kb",
        Ground::NoRule => "no-rule",
    }
}
