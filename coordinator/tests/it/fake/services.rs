//! One service with a member down, and what becomes of those that are kept or dropped.

use patchmesh_common::{
    rollout::service::ServiceSpec,
    run::gate::{Ask, Gate},
};
use patchmesh_coordinator::{
    api::{document::*, not_found},
    fault::Fault,
};

use super::node;

fn selector(key: &str, value: &str) -> SelectorDocument {
    SelectorDocument { match_labels: [(key.to_owned(), value.to_owned())].into() }
}

fn row() -> ServiceRow {
    ServiceRow {
        service: "pg".into(),
        selector: selector("app", "pg"),
        min_available: LimitDocument { given: "60%".into(), resolved: 2 },
        spread: Some("zone".into()),
        last: vec![selector("pg-role", "primary")],
        probe: Some(Gate { ask: Ask::SystemdUnit("pg.service".into()), timeout_seconds: 10 }),
        members: 3,
        up: 2,
    }
}

pub(crate) fn services() -> ServicesDocument {
    ServicesDocument { schema: ServicesDocument::SCHEMA.into(), fleet_limit: Some(20), services: vec![row()] }
}

pub(crate) fn service(name: &str) -> Result<ServiceDocument, Fault> {
    if name != "pg" {
        return Err(not_found("service", name));
    }
    let up = |number: u8, zone: &str, rank| ServiceMember {
        host: format!("db-{number}"),
        node_id: node(number),
        state: "up".into(),
        text: None,
        spread: Some(zone.into()),
        rank,
    };
    let down = ServiceMember {
        state: "silent".into(),
        text: Some("db-3 is silent: start its daemon there".into()),
        ..up(3, "b", 0)
    };
    let hosts = vec![up(1, "a", 1), up(2, "b", 0), down];
    Ok(ServiceDocument { schema: ServiceDocument::SCHEMA.into(), row: row(), hosts })
}

pub(crate) fn kept(spec: &ServiceSpec) -> KeptDocument {
    let change = if spec.name == "pg" { Change::Replaced } else { Change::Created };
    KeptDocument::new(change, "Service", spec.name.clone())
}

pub(crate) fn dropped(name: &str) -> Result<KeptDocument, Fault> {
    service(name).map(|_| KeptDocument::new(Change::Deleted, "Service", name.to_owned()))
}
