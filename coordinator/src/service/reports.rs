//! Reports of single hosts, which are asked for them over the mesh.

use patchmesh_common::{id::NodeId, patch::compliance::HostReport, run::message::Refusal};
use patchmesh_node::{api::document::is_host, peer::Presence};

use super::Coordinator;
use crate::{
    actor::{CoordinatorActor, looks},
    api::not_found,
    fault::Fault,
};

/// Nothing is changed by a question.
const UNCHANGED: &str = "nothing was changed";

impl Coordinator {
    /// Asks the host `name` for its report.
    ///
    /// # Errors
    /// `not-found`, `host-silent`, `host-unanswered`, `busy`, or the host's own refusal.
    pub(super) async fn report(&self, name: &str) -> Result<(NodeId, HostReport), Fault> {
        let asked = name.to_owned();
        let (node, told) = self
            .ask(move |actor, _| {
                let node = heard(actor, &asked)?;
                actor.look(node).map(|told| (node, told)).ok_or_else(|| {
                    Fault::new("busy", "too many questions to hosts are waiting", UNCHANGED, "ask again in a while")
                })
            })
            .await??;
        match told.await {
            Ok(Ok(report)) => Ok((node, *report)),
            Ok(Err(refusal)) => Err(refused(name, refusal)),
            Err(_) => {
                let text = format!("{name} did not answer within {} s", looks::PATIENCE.as_secs());
                Err(Fault::new("host-unanswered", text, UNCHANGED, advice(name)))
            }
        }
    }
}

/// The host of that name, if the mesh hears it.
fn heard(actor: &CoordinatorActor, name: &str) -> Result<NodeId, Fault> {
    let mut named = actor.members().iter().filter(|member| is_host(member) && member.membership.name == name);
    let Some(first) = named.clone().next() else { return Err(not_found("host", name)) };
    match named.find(|host| host.presence == Presence::Alive) {
        Some(host) => Ok(host.node),
        None => {
            let since = first.record.sealed_at.rfc3339();
            let text = format!("the mesh does not hear {name}, which was last heard at {since}");
            Err(Fault::new("host-silent", text, UNCHANGED, advice(name)))
        }
    }
}

fn advice(name: &str) -> String {
    format!("start its daemon; see patchmesh why host {name}; patchmesh compliance shows what it reported last")
}

fn refused(name: &str, refusal: Refusal) -> Fault {
    Fault::new(refusal.code.as_str(), format!("{name} refuses: {}", refusal.text), UNCHANGED, refusal.remedy)
}

#[cfg(test)]
mod tests {
    use patchmesh_common::run::message::RefusalCode;

    use super::*;

    #[test]
    fn a_refusal_is_told_with_its_host_its_code_and_its_remedy() {
        let text = "the host has made no report yet".to_owned();
        let refusal = Refusal { code: RefusalCode::NoReport, text, remedy: "run a Scan".into() };
        let fault = refused("web-1", refusal);
        assert_eq!(
            fault.text(),
            "error: web-1 refuses: the host has made no report yet\n  unchanged: nothing was changed\n  try: run a Scan\n"
        );
        assert_eq!((fault.code, fault.exit.code()), ("no-report", 1));
    }
}
