//! Counters of a host, and whether it is compliant (spec 3.5 to 3.7).

use super::{Evaluation, Row, State};
use crate::patch::baseline::{ComplianceLevel, SecurityUpdates};

/// The counters of one host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
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
    /// Approved and not applicable, listed or not.
    pub not_applicable: u32,
    /// Security updates of Windows that are not approved.
    pub available_security_update: u32,
    /// What is not as it should be and has the level `CRITICAL`.
    pub critical_non_compliant: u32,
    /// What is not as it should be and is a security update. May be counted as critical too.
    pub security_non_compliant: u32,
    /// What is not as it should be and is neither.
    pub other_non_compliant: u32,
    /// The highest level of what is not as it should be; `None` if the host is compliant.
    pub severity: Option<ComplianceLevel>,
}

impl Summary {
    /// Whether nothing is wrong.
    pub fn is_compliant(&self) -> bool {
        self.severity.is_none()
    }
}

impl Evaluation {
    /// Counts. `updates` says whether security updates that are not approved count as wrong.
    pub fn summary(&self, updates: SecurityUpdates) -> Summary {
        let mut sums = Summary { not_applicable: self.not_applicable, ..Summary::default() };
        for row in &self.rows {
            *sums.of(row.state) += 1;
            if row.is_compliant(updates) {
                continue;
            }
            sums.severity = sums.severity.max(Some(row.level));
            let critical = row.level == ComplianceLevel::Critical;
            let security = row.classification.as_deref().is_some_and(is_security);
            sums.critical_non_compliant += u32::from(critical);
            sums.security_non_compliant += u32::from(security);
            sums.other_non_compliant += u32::from(!critical && !security);
        }
        sums
    }
}

impl Summary {
    fn of(&mut self, state: State) -> &mut u32 {
        match state {
            State::Installed => &mut self.installed,
            State::InstalledOther => &mut self.installed_other,
            State::InstalledPendingReboot => &mut self.installed_pending_reboot,
            State::InstalledRejected => &mut self.installed_rejected,
            State::Missing => &mut self.missing,
            State::Failed => &mut self.failed,
            State::NotApplicable => &mut self.not_applicable,
            State::AvailableSecurityUpdate => &mut self.available_security_update,
        }
    }
}

impl Row {
    /// Whether the patch is as it should be (spec 3.1).
    pub fn is_compliant(&self, updates: SecurityUpdates) -> bool {
        match self.state {
            State::Installed | State::InstalledOther | State::NotApplicable => true,
            State::InstalledPendingReboot | State::InstalledRejected | State::Missing | State::Failed => false,
            State::AvailableSecurityUpdate => updates == SecurityUpdates::Compliant,
        }
    }
}

/// Whether a kind of update is security: Microsoft's word is longer.
pub(super) fn is_security(kind: &str) -> bool {
    kind.eq_ignore_ascii_case("Security") || kind.eq_ignore_ascii_case("SecurityUpdates")
}

#[cfg(test)]
mod tests {
    use super::{super::Reason, *};

    fn row(state: State, level: ComplianceLevel, classification: Option<&str>) -> Row {
        Row {
            name: "p".into(),
            arch: String::new(),
            installed: None,
            available: None,
            state,
            level,
            classification: classification.map(str::to_owned),
            reason: Reason {
                code: "no-rule",
                text: String::new(),
                rule: None,
                opens_at: None,
                ignored_date_gate: false,
            },
        }
    }

    fn sums(rows: Vec<Row>, updates: SecurityUpdates) -> Summary {
        Evaluation { rows, not_applicable: 0 }.summary(updates)
    }

    #[test]
    fn a_patch_may_be_critical_and_security_at_once() {
        use ComplianceLevel as L;
        let rows = vec![
            row(State::Missing, L::Critical, Some("Security")),
            row(State::Missing, L::Low, Some("Security")),
            row(State::Failed, L::Unspecified, Some("Bugfix")),
            row(State::InstalledRejected, L::Unspecified, None),
            row(State::InstalledPendingReboot, L::Critical, None),
            row(State::InstalledOther, L::Critical, Some("Security")),
            row(State::NotApplicable, L::Critical, Some("Security")),
        ];
        let sums = sums(rows, SecurityUpdates::Compliant);
        assert_eq!((sums.critical_non_compliant, sums.security_non_compliant, sums.other_non_compliant), (2, 2, 2));
        assert_eq!((sums.missing, sums.failed, sums.installed_rejected, sums.installed_pending_reboot), (2, 1, 1, 1));
        assert_eq!((sums.severity, sums.is_compliant()), (Some(L::Critical), false));
    }

    #[test]
    fn unspecified_counts_lowest_and_is_still_non_compliant() {
        use ComplianceLevel as L;
        let missing = |level| row(State::Missing, level, None);
        let severity =
            |levels: &[L]| sums(levels.iter().map(|l| missing(*l)).collect(), SecurityUpdates::Compliant).severity;
        assert_eq!(severity(&[]), None);
        assert_eq!(severity(&[L::Unspecified]), Some(L::Unspecified));
        assert_eq!(severity(&[L::Unspecified, L::Informational]), Some(L::Informational));
        assert_eq!(severity(&[L::High, L::Medium]), Some(L::High));
    }

    #[test]
    fn security_updates_of_windows_count_if_the_baseline_says_so() {
        let update =
            || vec![row(State::AvailableSecurityUpdate, ComplianceLevel::Unspecified, Some("SecurityUpdates"))];
        let (silent, loud) =
            (sums(update(), SecurityUpdates::Compliant), sums(update(), SecurityUpdates::NonCompliant));
        assert_eq!(
            (silent.available_security_update, silent.security_non_compliant, silent.is_compliant()),
            (1, 0, true)
        );
        assert_eq!(
            (loud.available_security_update, loud.security_non_compliant, loud.critical_non_compliant),
            (1, 1, 0)
        );
        assert_eq!(loud.severity, Some(ComplianceLevel::Unspecified));
    }
}
