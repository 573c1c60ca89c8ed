//! Probes of services: what a member must show by itself, again and again, to count as up.
//!
//! The coordinator asks, and the host answers with what it saw then. An answer is worth something for a while after its
//! question was asked, so that none that was delayed, overheard or said before a run makes anybody up.

use core::time::Duration;
use std::collections::BTreeMap;

use crate::{id::CommandId, run::gate::Gate, time::BootTime};

/// How long after a question a member that passed is asked again.
pub const PROBE_EVERY: Duration = Duration::from_secs(30);
/// How long after a question a member that did not pass is asked again.
pub const PROBE_AGAIN: Duration = Duration::from_secs(10);
/// How long after its question an answer counts: as long as it takes to notice that a member is silent.
pub const PROBE_FRESH: Duration = Duration::from_secs(90);
/// How long a question and its answer may travel, beyond the probe's own time-out, before it is asked again.
const TRAVEL: Duration = Duration::from_secs(10);
/// Most characters that are kept of what a member said.
const MAX_SAID: usize = 200;

/// What is known of one member's probe of one service. Lives in memory only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Probing {
    /// The question that is not answered, and when it was asked.
    asked: Option<(CommandId, BootTime)>,
    /// When the last question that was answered was asked, and what was said.
    shown: Option<(BootTime, Result<(), String>)>,
}

impl Probing {
    /// Whether `probe` is to be asked now.
    pub fn is_due(&self, probe: &Gate, now: BootTime) -> bool {
        if let Some((_, since)) = self.asked {
            return now.since(since) >= Duration::from_secs(probe.timeout_seconds.into()) + TRAVEL;
        }
        match &self.shown {
            None => true,
            Some((since, Ok(()))) => now.since(*since) >= PROBE_EVERY,
            Some((since, Err(_))) => now.since(*since) >= PROBE_AGAIN,
        }
    }

    /// When it was last asked.
    pub fn last_asked(&self) -> Option<BootTime> {
        let shown = self.shown.as_ref().map(|(since, _)| *since);
        self.asked.map(|(_, since)| since).or(shown)
    }

    /// Whether its question is not answered yet.
    pub fn is_open(&self) -> bool {
        self.asked.is_some()
    }

    /// It is asked at `now`.
    pub fn ask(&mut self, request: CommandId, now: BootTime) {
        self.asked = Some((request, now));
    }

    /// Takes an answer to the question that is open; no other one.
    pub fn answered(&mut self, request: CommandId, result: Result<(), String>) {
        if let Some((_, since)) = self.asked.take_if(|(asked, _)| *asked == request) {
            self.shown = Some((since, result.map_err(|said| credible(&said))));
        }
    }

    /// What the member has shown, as far as that still counts; `None` if nothing does.
    pub fn shown(&self, now: BootTime) -> Option<&Result<(), String>> {
        self.shown.as_ref().filter(|(since, _)| now.since(*since) <= PROBE_FRESH).map(|(_, shown)| shown)
    }
}

/// By service, what is known of one member.
pub type Probes = BTreeMap<String, Probing>;

/// The first line of what a host said, without what could draw on a terminal.
fn credible(said: &str) -> String {
    let line = said.lines().next().unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).take(MAX_SAID).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::gate::Ask;

    const FIRST: CommandId = CommandId([1; 16]);
    const SECOND: CommandId = CommandId([2; 16]);

    fn probe() -> Gate {
        Gate { ask: Ask::SystemdUnit("pg.service".into()), timeout_seconds: 5 }
    }

    fn at(seconds: u64) -> BootTime {
        BootTime(seconds * 1000)
    }

    #[test]
    fn an_answer_counts_from_its_question_on_and_is_asked_for_again_before_it_is_too_old() {
        let mut probing = Probing::default();
        assert!(probing.is_due(&probe(), at(0)) && probing.shown(at(0)).is_none());
        probing.ask(FIRST, at(0));
        assert!(!probing.is_due(&probe(), at(14)) && probing.is_due(&probe(), at(15)), "it was lost");
        probing.ask(SECOND, at(15));
        probing.answered(FIRST, Ok(()));
        assert!(probing.shown(at(20)).is_none(), "that question was given up");
        probing.answered(SECOND, Ok(()));
        assert_eq!((probing.shown(at(105)), probing.shown(at(106))), (Some(&Ok(())), None));
        assert!(!probing.is_due(&probe(), at(44)) && probing.is_due(&probe(), at(45)));
        probing.answered(SECOND, Err("again".into()));
        assert_eq!(probing.shown(at(50)), Some(&Ok(())), "an answer counts once");
    }

    #[test]
    fn what_failed_is_asked_again_sooner_and_its_words_are_one_harmless_line() {
        let mut probing = Probing::default();
        probing.ask(FIRST, at(0));
        probing.answered(FIRST, Err(format!("\u{1b}[31m{}\nmore", "x".repeat(300))));
        let Some(Err(said)) = probing.shown(at(1)) else { panic!("{probing:?}") };
        assert_eq!((said.len(), said.starts_with("[31mxx")), (200, true));
        assert!(!probing.is_due(&probe(), at(9)) && probing.is_due(&probe(), at(10)));
    }
}
