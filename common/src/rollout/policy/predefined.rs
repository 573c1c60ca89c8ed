//! The policy that every coordinator has: AWS's host management (spec 4.4).
//!
//! It scans every host once a day by the baseline of its patch group, or by the default of its operating system, and installs
//! nothing. It is not enabled until somebody keeps it with `enabled: true`: AWS's has to be set up as well. Hosts gather their
//! inventory every 30 minutes by themselves, with or without it.

use super::{PatchPolicy, Spec, TargetsText, Timing};
use crate::rollout::limit::Limit;

/// Its name.
pub const HOST_MANAGEMENT: &str = "host-management";

/// The predefined policy.
pub fn host_management() -> PatchPolicy {
    let spec = Spec {
        description: Some("scans every host once a day and installs nothing".to_owned()),
        enabled: Some(false),
        timezone: None,
        scan: Some(Timing { schedule: "rate(1 day)".to_owned(), catch_up: None }),
        install: None,
        targets: TargetsText { all: Some(true), ..TargetsText::default() },
        baseline: None,
        baselines: None,
        // AWS's associations: 50 at once, and no number of errors stops them.
        max_concurrency: Limit::count(50),
        max_errors: Some(Limit::share(100)),
        reboot: None,
        hooks: None,
        windows: Vec::new(),
        blackouts: Vec::new(),
        rings: Vec::new(),
        gates: None,
        on_limit: None,
        on_superseded: None,
        logs: None,
    };
    PatchPolicy { name: HOST_MANAGEMENT.to_owned(), spec, labels: Default::default() }
}
