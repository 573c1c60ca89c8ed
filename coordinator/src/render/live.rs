//! A rollout while it moves: moving lines on a terminal, one line per event elsewhere. Always with a reason.

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{duration, one_line};
use crate::{
    api::document::{EventDocument, EventKind, HostCounts, ProgressDocument, RingProgress, RingState},
    output,
};

/// Hosts at work that are shown one by one; more are counted.
const MAX_ACTIVE: usize = 16;
/// Reasons for waiting that are shown.
const MAX_WAITING: usize = 4;
/// Cells of a ring's bar.
const BAR: usize = 24;

/// Shows a rollout on stderr until it is dropped.
#[derive(Debug)]
pub struct Live {
    view: Option<View>,
    events: bool,
}

#[derive(Debug)]
struct View {
    screen: MultiProgress,
    lines: Vec<ProgressBar>,
    colour: bool,
}

impl Live {
    /// A view that suits stderr. `events`: without a terminal, print one line per event.
    pub fn new(events: bool) -> Self {
        let view = output::is_live().then(|| View {
            screen: MultiProgress::new(),
            lines: Vec::new(),
            colour: output::is_coloured(),
        });
        Self { view, events }
    }

    /// Something happened. On a terminal the next progress shows it.
    pub fn event(&mut self, event: &EventDocument) {
        if self.view.is_none() && self.events {
            output::talk(&event_line(event));
        }
    }

    /// How everything stands now.
    pub fn progress(&mut self, progress: &ProgressDocument) {
        if let Some(view) = &mut self.view {
            view.show(&progress_lines(progress, view.colour));
        }
    }

    /// A sentence that stays above the moving lines.
    pub fn say(&mut self, text: &str) {
        match &self.view {
            Some(view) if !view.lines.is_empty() => view.screen.suspend(|| output::talk(&format!("{text}\n"))),
            _ => output::talk(&format!("{text}\n")),
        }
    }

    /// Takes the moving lines away.
    pub fn clear(&mut self) {
        if let Some(view) = &mut self.view {
            view.show(&[]);
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.clear();
    }
}

impl View {
    fn show(&mut self, texts: &[String]) {
        while self.lines.len() > texts.len() {
            if let Some(line) = self.lines.pop() {
                line.finish_and_clear();
                self.screen.remove(&line);
            }
        }
        while self.lines.len() < texts.len() {
            let line = self.screen.add(ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
                line.set_style(style);
            }
            self.lines.push(line);
        }
        for (line, text) in self.lines.iter().zip(texts) {
            line.set_message(text.clone());
        }
    }
}

fn event_line(event: &EventDocument) -> String {
    let phase = event.phase.map(|phase| phase.as_str());
    let outcome = event.outcome.map(|outcome| outcome.as_str());
    let what = match event.kind {
        EventKind::HostPhase => phase.or(outcome),
        EventKind::HostOutcome | EventKind::HostWaiting => outcome.or(phase),
        EventKind::State => event.state.map(|state| state.as_str()),
    };
    let what = what.unwrap_or("waiting");
    let reason = match (&event.code, one_line(&event.text)) {
        (Some(code), text) if text.is_empty() => code.clone(),
        (Some(code), text) => format!("{text} ({code})"),
        (None, text) if text.is_empty() => "-".to_owned(),
        (None, text) => text,
    };
    format!("{} {} {what} {reason}\n", event.at, event.host.as_deref().unwrap_or("rollout"))
}

fn progress_lines(progress: &ProgressDocument, colour: bool) -> Vec<String> {
    let mut lines = Vec::new();
    for ring in &progress.rings {
        let (bar, counts) = (bar(ring.hosts), counts(ring.hosts, colour));
        lines.push(format!("ring {} {bar} {counts}  {}", ring.name, standing(progress, ring)));
    }
    let width = progress.active.iter().take(MAX_ACTIVE).map(|active| active.host.len()).max().unwrap_or(0);
    for active in progress.active.iter().take(MAX_ACTIVE) {
        let detail = one_line(&active.detail);
        let detail = if detail.is_empty() { "-" } else { &detail };
        let (host, phase) = (&active.host, active.phase.as_str());
        lines.push(format!("  {host:width$}  {phase:<12} {:>7}  {detail}", duration(active.seconds)));
    }
    if progress.active.len() > MAX_ACTIVE {
        lines.push(format!("  and {} more at work", progress.active.len() - MAX_ACTIVE));
    }
    for group in progress.waiting.iter().take(MAX_WAITING) {
        lines.push(format!("  {} waiting: {} ({})", group.hosts, one_line(&group.text), group.code));
    }
    lines
}

/// Where a ring stands and why: the whole rollout's reason stands beside the ring that is at work.
fn standing(progress: &ProgressDocument, ring: &RingProgress) -> String {
    let reason = progress.reason.as_ref().map_or("-", |reason| reason.text.as_str());
    let waiting = ring.waiting.as_ref().map_or("-", |waiting| waiting.text.as_str());
    let step = if ring.steps > 1 { format!("step {} of {}: ", ring.step, ring.steps) } else { String::new() };
    match ring.state {
        _ if progress.rings.len() == 1 => format!("{step}{} {}", progress.state.as_str(), one_line(reason)),
        RingState::Settled => match &ring.gates {
            Some(gates) => format!("settled gates {}", gates.state.as_str()),
            None => "settled -".to_owned(),
        },
        RingState::Open => format!("{step}{} {}", progress.state.as_str(), one_line(reason)),
        RingState::Pending => format!("pending {}", one_line(waiting)),
    }
}

fn done(hosts: HostCounts) -> u32 {
    hosts.total - hosts.running.min(hosts.total) - hosts.not_started.min(hosts.total - hosts.running.min(hosts.total))
}

fn bar(hosts: HostCounts) -> String {
    let cells = |count: u32| (count as usize * BAR).checked_div(hosts.total as usize).unwrap_or(BAR);
    let full = cells(done(hosts));
    let begun = cells(done(hosts) + hosts.running).max(full).min(BAR);
    format!("[{}{}{}]", "#".repeat(full), ">".repeat(begun - full), ".".repeat(BAR - begun))
}

fn counts(hosts: HostCounts, colour: bool) -> String {
    let mut text = format!("{}/{}", done(hosts), hosts.total);
    for (count, word, code) in
        [(hosts.failed, "failed", "31"), (hosts.lost, "lost", "33"), (hosts.refused, "refused", "33")]
    {
        match (count, colour) {
            (0, _) => {}
            (_, true) => text.push_str(&format!(" \x1b[{code}m{count} {word}\x1b[0m")),
            (_, false) => text.push_str(&format!(" {count} {word}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use patchmesh_common::run::Phase;

    use super::*;
    use crate::api::document::{Active, HostOutcome, Reason, RolloutState, WaitingDocument, WaitingGroup};

    fn ring(name: &str, hosts: HostCounts) -> RingProgress {
        RingProgress {
            name: name.into(),
            state: RingState::Open,
            step: 1,
            steps: 1,
            hosts,
            settled_at: None,
            approved_by: vec![],
            approvals: 0,
            gates: None,
            waiting: None,
        }
    }

    #[test]
    fn an_event_is_one_line_with_a_reason() {
        let mut event = EventDocument {
            schema: EventDocument::SCHEMA.into(),
            at: "2026-12-01T02:00:00.250Z".into(),
            rollout: "00".into(),
            kind: EventKind::HostPhase,
            host: Some("web-1".into()),
            node_id: None,
            phase: Some(Phase::Transaction),
            outcome: None,
            state: None,
            code: None,
            text: String::new(),
        };
        assert_eq!(event_line(&event), "2026-12-01T02:00:00.250Z web-1 transaction -\n");
        event.code = Some("locked".into());
        event.text = "pid 7\nholds the lock".into();
        assert_eq!(event_line(&event), "2026-12-01T02:00:00.250Z web-1 transaction pid 7 holds the lock (locked)\n");
        (event.kind, event.outcome) = (EventKind::HostOutcome, Some(HostOutcome::Lost));
        (event.code, event.text) = (None, String::new());
        assert_eq!(event_line(&event), "2026-12-01T02:00:00.250Z web-1 lost -\n");
    }

    #[test]
    fn progress_has_a_line_per_ring_host_and_reason() {
        let hosts = HostCounts { total: 12, succeeded: 5, failed: 1, running: 3, not_started: 3, ..Default::default() };
        let progress = ProgressDocument {
            schema: ProgressDocument::SCHEMA.into(),
            rollout: "00".into(),
            state: RolloutState::Running,
            reason: Some(Reason { code: "slots".into(), text: "every slot is taken".into() }),
            rings: vec![ring("all", hosts)],
            active: vec![Active { host: "web-1".into(), phase: Phase::Transaction, seconds: 7, detail: String::new() }],
            waiting: vec![WaitingGroup { code: "slots".into(), text: "every slot is taken".into(), hosts: 3 }],
        };
        assert_eq!(
            progress_lines(&progress, false),
            [
                "ring all [############>>>>>>......] 6/12 1 failed  Running every slot is taken",
                "  web-1  transaction       7s  -",
                "  3 waiting: every slot is taken (slots)",
            ]
        );
        assert!(progress_lines(&progress, true)[0].contains("\x1b[31m1 failed\x1b[0m"));
    }

    #[test]
    fn each_ring_says_where_it_stands_and_what_it_waits_for() {
        let hosts = |total, succeeded, running| HostCounts {
            total,
            succeeded,
            running,
            not_started: total - succeeded - running,
            ..Default::default()
        };
        let bake = WaitingDocument { code: "ring".into(), text: "ring web has not settled".into(), command: None };
        let progress = ProgressDocument {
            schema: ProgressDocument::SCHEMA.into(),
            rollout: "00".into(),
            state: RolloutState::Running,
            reason: None,
            rings: vec![
                RingProgress { state: RingState::Settled, ..ring("canary", hosts(1, 1, 0)) },
                RingProgress { step: 2, steps: 4, ..ring("web", hosts(10, 1, 1)) },
                RingProgress { state: RingState::Pending, waiting: Some(bake), ..ring("rest", hosts(4, 0, 0)) },
            ],
            active: vec![],
            waiting: vec![],
        };
        assert_eq!(
            progress_lines(&progress, false),
            [
                "ring canary [########################] 1/1  settled -",
                "ring web [##>>....................] 1/10  step 2 of 4: Running -",
                "ring rest [........................] 0/4  pending ring web has not settled",
            ]
        );
    }

    #[test]
    fn counts_that_do_not_add_up_draw_a_bar_all_the_same() {
        for (total, running, not_started) in [(0, 0, 0), (1, 5, 5), (3, 0, 9)] {
            let hosts = HostCounts { total, running, not_started, ..Default::default() };
            assert_eq!(bar(hosts).len(), BAR + 2);
        }
    }
}
