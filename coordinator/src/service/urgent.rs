//! What is urgent, and the windows and blackouts that cover its hosts.

use std::collections::BTreeMap;

use patchmesh_common::{
    id::NodeId,
    rollout::{
        Operation,
        policy::Policy,
        spec::{MAX_WINDOWS, RolloutSpec, Urgent},
        urgent::{Cover, covered},
    },
    schedule::blackout::Blackout,
    time::WallTime,
};
use patchmesh_node::{
    api::document::{is_host, tags},
    clock,
    peer::KnownHost,
};

use super::{Coordinator, MAX_NAMED};
use crate::{
    api::NOT_FOUND,
    fault::Fault,
    store::{Store, policies::KeptPolicy},
};

/// Hosts with their keys and tags.
pub type Tagged = Vec<(String, NodeId, BTreeMap<String, String>)>;

/// Refuses what is urgent and installs where a policy waits for windows that are closed or for the end of a blackout, or where a window
/// that is closed installs by a task of its own, unless somebody said why.
///
/// # Errors
/// `window-covers` names the hosts, the policies and the windows; what the store says.
pub fn refuse_covered(spec: &RolloutSpec, hosts: &Tagged, store: &Store, now: WallTime) -> Result<(), Fault> {
    if !judges(spec) {
        return Ok(());
    }
    let (policies, windows) = (store.policies()?, store.windows()?);
    let mut closed = Vec::new();
    for KeptPolicy { policy, .. } in &policies {
        if let Some(cover) = Cover::of_policy(policy)
            && !is_open(policy, store, now)?
        {
            closed.push(cover);
        }
    }
    closed.extend(windows.iter().filter_map(|kept| Cover::of_window(&kept.window, now)));
    let tagged = hosts.iter().map(|(name, node, tags)| (name.as_str(), node, tags));
    let found = covered(&spec.targets, tagged, &closed);
    if found.is_empty() {
        return Ok(());
    }
    let told = |(host, cover): &(&str, &Cover<'_>)| match (cover.policy, cover.windows.join(", ").as_str()) {
        (Some(policy), "") => format!("{host} (policy {policy}: a blackout)"),
        (Some(policy), windows) => format!("{host} (policy {policy}: {windows})"),
        (None, windows) => format!("{host} (window {windows})"),
    };
    let named: Vec<_> = found.iter().take(MAX_NAMED).map(told).collect();
    let more = found.len() - named.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let (what, end) = match found.iter().all(|(_, cover)| !cover.windows.is_empty()) {
        true => ("a window that is closed", "the window"),
        false => ("a closed window or a blackout", "its end"),
    };
    let text = format!("{what} covers {}{more}", named.join(", "));
    let remedy = format!("wait for {end}, choose other hosts, or write --outside-window --because TEXT");
    Err(Fault::new("window-covers", text, "nothing was planned", remedy))
}

/// Whether installs of `policy` may start at `now`, as far as windows and blackouts go.
fn is_open(policy: &Policy, store: &Store, now: WallTime) -> Result<bool, Fault> {
    if policy.windows().is_empty() {
        let goes_on = |blackout: &Blackout| blackout.from <= now && now < blackout.to;
        return Ok(!policy.blackouts().iter().any(goes_on));
    }
    match store.openings(policy.windows(), policy.blackouts(), now, MAX_WINDOWS) {
        Ok(openings) => Ok(openings.iter().any(|opening| opening.admits_start(now))),
        // A window whose file somebody took away never opens; it is no reason to refuse hosts that have nothing to do with it.
        Err(fault) if fault.code == NOT_FOUND => Ok(false),
        Err(fault) => Err(fault),
    }
}

fn judges(spec: &RolloutSpec) -> bool {
    spec.operation == Operation::Install && matches!(&spec.urgent, Some(Urgent { because: None }))
}

impl Coordinator {
    /// As [`refuse_covered`], of the hosts that are known now.
    pub(super) async fn judge_urgent(&self, spec: &RolloutSpec) -> Result<(), Fault> {
        if !judges(spec) {
            return Ok(());
        }
        let tagged = |host: &KnownHost| (host.membership.name.clone(), host.node, tags(host));
        let hosts = self.ask(move |actor, _| actor.members().iter().filter(|host| is_host(host)).map(tagged).collect());
        let (hosts, spec, store): (Tagged, _, _) = (hosts.await?, spec.clone(), self.store.clone());
        self.on_disk(move |_| refuse_covered(&spec, &hosts, &store, clock::now().wall)).await
    }
}

#[cfg(test)]
mod tests {
    use patchmesh_common::rollout::{policy::predefined::host_management, spec::Targets};

    use super::*;
    use crate::{manifest, store::tests::unnoted};

    #[test]
    fn a_window_whose_file_is_gone_never_opens_and_covers_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        let window = include_str!("../../tests/scripts/patch-tuesday.yaml");
        store.put_window(manifest::window::parse("w", window).unwrap(), &unnoted).unwrap();
        let guarded = include_str!("../../tests/scripts/guarded.yaml");
        store.put_policy(manifest::policy::parse("p", guarded).unwrap(), &unnoted).unwrap();
        std::fs::remove_file(dir.path().join("windows/patch-tuesday.yaml")).unwrap();
        let mut spec = host_management().check().unwrap().rollout(Operation::Scan, WallTime(0));
        (spec.operation, spec.targets, spec.urgent) =
            (Operation::Install, Targets::All, Some(Urgent { because: None }));
        let now = WallTime::parse("2026-12-01T02:00:00Z").unwrap();
        let judged = |app: &str| {
            let host = ("web-1".to_owned(), NodeId([1; 32]), [("app".to_owned(), app.to_owned())].into());
            refuse_covered(&spec, &vec![host], &store, now).map_err(|fault| fault.code)
        };
        assert_eq!((judged("web"), judged("db")), (Err("window-covers"), Ok(())));
    }
}
