//! What the steps of the fake's rollout said, after it was halted: one host succeeded, one failed, one never began.

use patchmesh_common::{run::Phase, time::WallTime};
use patchmesh_coordinator::{api::document::*, fault::Fault};

fn step(name: Phase, began: &str, seconds: u64, output: &str) -> StepDocument {
    let began = WallTime::parse(began).unwrap();
    StepDocument {
        name,
        attempt: 1,
        status: StepStatus::Succeeded,
        code: None,
        text: None,
        started_at: Time(began),
        ended_at: Time(WallTime(began.0 + i64::try_from(seconds).unwrap() * 1000)),
        duration_seconds: Seconds(seconds * 1000),
        output: Some(output.into()),
    }
}

fn of(host: &str) -> Vec<StepDocument> {
    let unpacking = "Preparing to unpack nginx\nSetting up nginx\n";
    let hook = step(Phase::PreInstall, "2026-12-01T02:00:01Z", 2, "drained");
    let failed = StepDocument {
        status: StepStatus::Failed,
        code: Some("transaction-failed".into()),
        text: Some("/usr/bin/apt-get failed: exit status: 100".into()),
        ..step(
            Phase::Transaction,
            "2026-12-01T02:01:00Z",
            71,
            "Setting up nginx\ndpkg: error processing package nginx\n",
        )
    };
    let unfit = StepDocument { output: None, ..step(Phase::OnExit, "2026-12-01T02:02:11Z", 0, "") };
    match host {
        "web-1" => vec![
            hook,
            step(Phase::Transaction, "2026-12-01T02:00:03Z", 40, unpacking),
            step(Phase::Verify, "2026-12-01T02:00:43Z", 1, ""),
        ],
        "web-2" => vec![failed, unfit],
        _ => vec![],
    }
}

pub(crate) fn steps(rollout: RolloutDocument, only: Option<&str>) -> Result<StepsDocument, Fault> {
    let chosen = rollout.results.into_iter().filter(|result| only.is_none_or(|only| only == result.host));
    let host = |result: HostResult| HostSteps {
        steps: of(&result.host),
        host: result.host,
        node_id: result.node_id,
        outcome: result.outcome,
    };
    let hosts: Vec<_> = chosen.map(host).collect();
    match only.filter(|_| hosts.is_empty()) {
        Some(name) => {
            let text = format!("rollout {} has no host {name:?}", rollout.name);
            Err(Fault::new(
                "not-found",
                text,
                "nothing was changed",
                format!("see patchmesh rollout status {}", rollout.id),
            ))
        }
        None => {
            let left_out = u32::from(hosts.iter().any(|host| host.host == "web-2"));
            Ok(StepsDocument {
                schema: StepsDocument::SCHEMA.into(),
                id: rollout.id,
                name: rollout.name,
                hosts,
                left_out,
            })
        }
    }
}
