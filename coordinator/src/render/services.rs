//! Services.

use patchmesh_common::{rollout::limit::based, run::gate::Gate};

use super::one_line;
use crate::{
    api::document::{LimitDocument, SelectorDocument, ServiceDocument, ServiceRow, ServicesDocument},
    output::Rows,
};

fn labels(selector: &SelectorDocument) -> String {
    let pairs = selector.match_labels.iter().map(|(key, value)| format!("{key}={value}"));
    one_line(&pairs.collect::<Vec<_>>().join(","))
}

/// `2`, or `50 % of 3 = 2`.
fn least(limit: &LimitDocument, members: u32) -> String {
    match limit.given.ends_with('%') {
        true => based(&limit.given, limit.resolved, members as usize),
        false => limit.given.clone(),
    }
}

/// `-` without one.
fn probe(row: &ServiceRow) -> String {
    let told = |probe: &Gate| one_line(&format!("{}, within {} s", probe.name(), probe.timeout_seconds));
    row.probe.as_ref().map_or_else(|| "-".to_owned(), told)
}

/// `get services`; with `wide` also what restricts the order, and what members must show.
pub fn services(document: &ServicesDocument, wide: bool) -> Rows {
    let header = ["service", "selector", "min available", "members", "up", "spread", "last", "probe"];
    let mut rows = Rows::new(&header[..if wide { header.len() } else { 5 }]);
    for row in &document.services {
        let mut cells = vec![
            row.service.clone(),
            labels(&row.selector),
            least(&row.min_available, row.members),
            row.members.to_string(),
            row.up.to_string(),
        ];
        if wide {
            cells.push(row.spread.clone().unwrap_or_default());
            cells.push(row.last.iter().map(labels).collect::<Vec<_>>().join("; "));
            cells.push(probe(row));
        }
        rows.push(cells);
    }
    rows
}

/// The whole of `describe service`.
pub fn service(document: &ServiceDocument) -> String {
    let row = &document.row;
    let lines = [
        ("service", row.service.clone()),
        ("selector", labels(&row.selector)),
        ("min available", least(&row.min_available, row.members)),
        ("spread", row.spread.clone().unwrap_or_else(|| "-".to_owned())),
        ("last", row.last.iter().map(labels).collect::<Vec<_>>().join("; ")),
        ("probe", probe(row)),
        ("up", format!("{} of {}", row.up, row.members)),
    ];
    let mut text: String = lines
        .iter()
        .filter(|(name, value)| *name != "last" || !value.is_empty())
        .map(|(name, value)| format!("{:<15}{value}\n", format!("{name}:")))
        .collect();
    let mut rows = Rows::new(&["host", "state", "spread", "rank", "reason"]);
    for host in &document.hosts {
        let spread = one_line(host.spread.as_deref().unwrap_or_default());
        let reason = one_line(host.text.as_deref().unwrap_or_default());
        rows.push(vec![one_line(&host.host), host.state.clone(), spread, host.rank.to_string(), reason]);
    }
    text.push('\n');
    text.push_str(&rows.table());
    text
}
