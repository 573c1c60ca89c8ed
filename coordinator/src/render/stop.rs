//! How a STOP or a resume stands, in a few lines.

use super::{counted, one_line};
use crate::api::document::{Presence, StopDocument};

/// Most hosts that are named one by one.
const NAMED: usize = 10;

/// The standing of an order.
pub fn stop(document: &StopDocument) -> String {
    let order = &document.order;
    let what = order.rollout.as_ref().map_or("everything".to_owned(), |id| format!("rollout {id}"));
    let done = if order.stop { "stopped" } else { "resumed" };
    let hosts = counted(document.hosts as usize, "host");
    let mut text =
        format!("{what} is {done} (order {}): {} of {hosts} confirmed\n", order.sequence, document.confirmed);
    if document.is_complete() {
        return text;
    }
    let name = |host: &crate::api::document::Unconfirmed| {
        let silent = if host.presence == Presence::Live { "" } else { " (silent)" };
        format!("{}{silent}", one_line(&host.host))
    };
    let mut names: Vec<String> = document.unconfirmed.iter().take(NAMED).map(name).collect();
    if document.unconfirmed.len() > NAMED {
        names.push(format!("and {} more", document.unconfirmed.len() - NAMED));
    }
    text.push_str(&format!("not confirmed: {}\n", names.join(", ")));
    if order.stop {
        text.push_str(&match (document.leases.as_str(), &document.leases_until) {
            ("none", _) => "none of them holds a lease, and this coordinator grants none under the STOP\n".to_owned(),
            (_, Some(until)) => format!("they could begin steps of a lease until {until}\n"),
            _ => "whether they hold a lease, and until when, is unknown to this member: a coordinator may know\n"
                .to_owned(),
        });
    }
    text.push_str("they get it as soon as they meet any member that has it; ask again with the same command\n");
    text
}
