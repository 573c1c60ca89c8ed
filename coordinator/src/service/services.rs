//! Services as documents, and what operators do with them.

use patchmesh_common::rollout::{
    availability::Room,
    controller::Event,
    service::{MAX_SERVICES, ServiceSpec},
};

use super::{Coordinator, slots::check_words};
use crate::{
    api::{
        bad_request,
        document::{
            Change, KeptDocument, LimitDocument, SelectorDocument, ServiceDocument, ServiceMember, ServiceRow,
            ServicesDocument,
        },
        not_found,
    },
    fault::Fault,
    manifest::service::KIND,
    status::View,
};

impl Coordinator {
    pub(super) async fn list_services(&self) -> Result<ServicesDocument, Fault> {
        self.ask(|actor, _| {
            let view = actor.status();
            let services = &view.ledger.services;
            ServicesDocument {
                schema: ServicesDocument::SCHEMA.to_owned(),
                fleet_limit: services.fleet,
                services: services.specs.values().map(|spec| row(spec, &room(&view, spec))).collect(),
            }
        })
        .await
    }

    pub(super) async fn show_service(&self, name: String) -> Result<ServiceDocument, Fault> {
        self.ask(move |actor, _| {
            let view = actor.status();
            let spec = view.ledger.services.specs.get(&name).ok_or_else(|| not_found("service", &name))?;
            let room = room(&view, spec);
            Ok(ServiceDocument {
                schema: ServiceDocument::SCHEMA.to_owned(),
                row: row(spec, &room),
                hosts: hosts(&view, spec, &room),
            })
        })
        .await?
    }

    pub(super) async fn take_service(&self, spec: ServiceSpec, by: String) -> Result<KeptDocument, Fault> {
        check_words(&[("by", &by)])?;
        spec.check().map_err(|error| bad_request("the service is none").because(error))?;
        self.ask(move |actor, cx| {
            let known = &actor.status().ledger.services.specs;
            let change = match known.get(&spec.name) {
                Some(before) if *before == spec => Change::Unchanged,
                Some(_) => Change::Replaced,
                None if known.len() >= MAX_SERVICES => {
                    let text = format!("there are {MAX_SERVICES} services already");
                    let remedy = "delete one with patchmesh delete service NAME";
                    return Err(Fault::new("too-many-services", text, "nothing was changed", remedy));
                }
                None => Change::Created,
            };
            let name = spec.name.clone();
            actor.feed(Event::Keep { spec: Box::new(spec), by }, cx);
            Ok(KeptDocument::new(change, KIND, name))
        })
        .await?
    }

    pub(super) async fn delete_service(&self, name: String, by: String) -> Result<KeptDocument, Fault> {
        check_words(&[("by", &by)])?;
        self.ask(move |actor, cx| {
            if !actor.status().ledger.services.specs.contains_key(&name) {
                return Err(not_found("service", &name));
            }
            actor.feed(Event::Drop { name: name.clone(), by }, cx);
            Ok(KeptDocument::new(Change::Deleted, KIND, name))
        })
        .await?
    }
}

fn room(view: &View<'_>, spec: &ServiceSpec) -> Room {
    Room::of(view.ledger, view.desk, spec, view.now.boot)
}

fn row(spec: &ServiceSpec, room: &Room) -> ServiceRow {
    let selector =
        |labels: &patchmesh_common::rollout::service::Labels| SelectorDocument { match_labels: labels.clone() };
    ServiceRow {
        service: spec.name.clone(),
        selector: selector(&spec.selector),
        min_available: LimitDocument { given: spec.min_available.given().to_owned(), resolved: room.least },
        spread: spec.spread.clone(),
        last: spec.last.iter().map(selector).collect(),
        probe: spec.probe.clone(),
        members: room.members,
        up: room.up,
    }
}

fn hosts(view: &View<'_>, spec: &ServiceSpec, room: &Room) -> Vec<ServiceMember> {
    let members = view.ledger.services.members_of(&spec.name);
    let mut hosts: Vec<ServiceMember> = members
        .map(|member| {
            let down = room.down.get(&member.node);
            ServiceMember {
                host: member.name.clone(),
                node_id: member.node.to_string(),
                state: down.map_or("up", |down| down.code()).to_owned(),
                text: down.map(|down| format!("{} {}", member.name, down.text())),
                spread: member.of.get(&spec.name).and_then(|part| part.value.clone()),
                rank: member.rank,
            }
        })
        .collect();
    hosts.sort_by(|a, b| (&a.host, &a.node_id).cmp(&(&b.host, &b.node_id)));
    hosts
}
