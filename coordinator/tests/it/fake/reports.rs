//! What the fake's hosts reported: one lacks patches, one waits for a reboot, one is as it should be, one made no report.

use patchmesh_common::{
    id::SnapshotId,
    patch::{
        Blocked,
        compliance::{Counters, HostReport, Operated, PatchRow, Standing},
        evaluation::State,
    },
    rollout::{Operation, RebootOption},
    selector::Selector,
    time::WallTime,
};
use patchmesh_coordinator::{
    api::{document::*, not_found},
    fault::Fault,
};

use super::{hosts, node};

fn at(text: &str) -> WallTime {
    WallTime::parse(text).unwrap()
}

fn standing(host: &str) -> Option<Standing> {
    let fine = Standing {
        at: at("2026-12-01T01:55:00Z"),
        operation: Operation::Scan,
        baseline: "web".into(),
        group: Some("prod".into()),
        counters: Counters { installed: 290, installed_other: 10, not_applicable: 3, ..Counters::default() },
        severity: None,
        operated: Operated { started: Some(at("2026-12-01T01:54:30Z")), ..Operated::default() }
            .by(SnapshotId([0x35; 32]), false),
    };
    let lacks = Counters {
        installed: 1,
        installed_other: 1,
        installed_rejected: 1,
        missing: 2,
        blocked: 1,
        critical_non_compliant: 1,
        security_non_compliant: 2,
        other_non_compliant: 1,
        ..fine.counters
    };
    let waits = Counters { installed: 289, installed_pending_reboot: 1, other_non_compliant: 1, ..fine.counters };
    match host {
        "db-1" => Some(Standing {
            baseline: "AWS-DebianDefaultPatchBaseline".into(),
            group: None,
            counters: lacks,
            severity: Some("CRITICAL".into()),
            operated: Operated { last_no_reboot: Some(at("2026-11-24T01:55:00Z")), ..fine.operated },
            ..fine
        }),
        "web-1" => Some(Standing {
            operation: Operation::Install,
            counters: waits,
            severity: Some("UNSPECIFIED".into()),
            operated: Operated {
                install_list: true,
                reboot: Some(RebootOption::Never),
                last_no_reboot: Some(fine.at),
                ..fine.operated
            },
            ..fine
        }),
        "web-2" => Some(fine),
        _ => None,
    }
}

pub(crate) fn compliance(selector: &Selector) -> ComplianceDocument {
    let row = |row: HostRow| ComplianceRow {
        standing: standing(&row.host).map(StandingDocument::from).unwrap_or_default(),
        host: row.host,
        node_id: row.node_id,
    };
    ComplianceDocument::new(hosts().hosts.into_iter().filter(|row| selector.admits(&row.tags)).map(row).collect())
}

fn rows() -> Vec<PatchRow> {
    let installed = PatchRow {
        name: "adduser".into(),
        arch: "all".into(),
        installed: Some("3.134".into()),
        available: None,
        state: State::Installed,
        level: "UNSPECIFIED".into(),
        classification: None,
        blocked: None,
        code: "approved-rule".into(),
        text: "3.134 is approved by rule 1".into(),
        rule: Some(1),
        opens_at: None,
        ignored_date_gate: true,
    };
    let patch = |name: &str, state, from: &str, to: Option<&str>, code: &str, text: &str| PatchRow {
        name: name.into(),
        arch: "amd64".into(),
        installed: Some(from.into()),
        available: to.map(str::to_owned),
        state,
        code: code.into(),
        text: text.into(),
        rule: None,
        ignored_date_gate: false,
        ..installed.clone()
    };
    let missing = |name: &str, from: &str, to: &str| PatchRow {
        level: "CRITICAL".into(),
        classification: Some("Security".into()),
        rule: Some(2),
        ..patch(name, State::Missing, from, Some(to), "approved-rule", &format!("{to} is approved by rule 2"))
    };
    let held =
        PatchRow { level: "LOW".into(), blocked: Some(Blocked::Hold), ..missing("postgresql-15", "15.8-0", "15.12-0") };
    let waits = PatchRow {
        rule: Some(3),
        opens_at: Some(at("2026-12-08T00:00:00Z")),
        ..patch(
            "nano",
            State::InstalledOther,
            "7.2-1",
            Some("7.2-2"),
            "date-gate",
            "rule 3 approves 7.2-2 from 2026-12-08T00:00:00Z on",
        )
    };
    let text = "0.17 is rejected by \"telnetd\" of the rejected list, and blocked";
    let rejected = patch("telnetd", State::InstalledRejected, "0.17", None, "rejected", text);
    vec![installed.clone(), waits, missing("openssl", "3.0.15-1", "3.0.16-1"), held, rejected]
}

/// What `host` answers, or what the coordinator says in its place.
pub(crate) fn report(host: &str) -> Result<(String, HostReport), Fault> {
    let said = |code, text: &str, remedy: &str| Fault::new(code, text, "nothing was changed", remedy);
    match host {
        "db-1" => {
            let now = standing(host).unwrap();
            let counters = Counters { missing: 0, critical_non_compliant: 0, ..now.counters };
            let before = Standing {
                at: at("2026-11-24T01:55:00Z"),
                operation: Operation::Install,
                counters,
                severity: Some("UNSPECIFIED".into()),
                operated: Operated {
                    started: Some(at("2026-11-24T01:50:00Z")),
                    reboot: Some(RebootOption::Never),
                    ..now.operated.clone()
                },
                ..now.clone()
            };
            Ok((node(3), HostReport { standing: now, rows: rows(), left_out: 2, history: vec![before] }))
        }
        "old-1" => {
            let text = "the mesh does not hear old-1, which was last heard at 2026-11-30T02:00:00Z";
            Err(said("host-silent", text, "start its daemon"))
        }
        "web-1" => {
            let text = "web-1 refuses: the host has made no report yet";
            Err(said("no-report", text, "run a rollout with operation: Scan"))
        }
        _ => Err(not_found("host", host)),
    }
}
