//! Laws that hold for every sequence of events.

use proptest::prelude::*;

use super::*;
use crate::run::{act::Adoption, journal::Journal};

#[derive(Clone, Debug)]
enum Move {
    Offer(u8),
    Go(bool),
    End(u8),
    Tick(u16),
    Skew(Option<i64>),
    Stop(u64, bool),
    Acknowledge,
    Adopt(u64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        3 => (0u8..3).prop_map(Move::Offer),
        3 => any::<bool>().prop_map(Move::Go),
        8 => any::<u8>().prop_map(Move::End),
        3 => (0u16..20_000).prop_map(Move::Tick),
        1 => prop_oneof![Just(None), Just(Some(0)), Just(Some(40_000))].prop_map(Move::Skew),
        1 => (0u64..4, any::<bool>()).prop_map(|(sequence, stop)| Move::Stop(sequence, stop)),
        1 => Just(Move::Acknowledge),
        1 => (1u64..3).prop_map(Move::Adopt),
    ];
    prop::collection::vec(one, 0..60)
}

/// Turns a move into an event with what the machine last said.
struct Player {
    bench: Bench,
    nonce: Nonce,
    acts: Vec<(ActId, Act)>,
    played: Vec<(u64, Event)>,
    log: Vec<Effect>,
}

impl Player {
    fn new() -> Self {
        Self { bench: Bench::new(), nonce: Nonce([0; 16]), acts: Vec::new(), played: Vec::new(), log: Vec::new() }
    }

    fn play(&mut self, step: &Move) {
        let wall = self.bench.now().wall;
        let say = |body| frame(&command_at(wall, epoch(1), body));
        let event = match step {
            Move::Offer(n) => {
                let operation = if *n == 2 { Operation::Scan } else { Operation::Install };
                say(ToHost::Offer(Box::new(Lease { id: LeaseId([*n; 16]), operation, ..lease() })))
            }
            Move::Go(right) => {
                let nonce = if *right { self.nonce } else { Nonce([9; 16]) };
                say(ToHost::Go { lease: LeaseId([0; 16]), nonce })
            }
            Move::End(seed) => match self.acts.pop() {
                Some((act, what)) => Event::Ended { act, end: end(&what, *seed) },
                None => Event::Tick,
            },
            Move::Tick(by) => {
                self.bench.boot += u64::from(*by);
                Event::Tick
            }
            Move::Skew(skew) => Event::Skew(*skew),
            Move::Stop(sequence, stop) => {
                say(ToHost::Stop(Box::new(stop_order(*sequence, *stop, OPERATOR, Role::Operator))))
            }
            Move::Acknowledge => say(ToHost::Acknowledge { lease: LeaseId([0; 16]) }),
            Move::Adopt(counter) => frame(&command_at(wall, epoch(*counter), ToHost::Adopt)),
        };
        self.played.push((self.bench.boot, event.clone()));
        let effects = self.bench.send(event);
        for body in answers(&effects) {
            if let ToCoordinator::Ready { nonce, .. } = body {
                self.nonce = nonce;
            }
        }
        self.acts.extend(starts(&effects));
        self.log.extend(effects);
    }
}

fn end(act: &Act, seed: u8) -> ActEnd {
    let failed = seed.is_multiple_of(4);
    match act {
        Act::Resolve { .. } | Act::ResolveBy { .. } | Act::Patches | Act::Sightings | Act::Check { .. } => {
            ActEnd::Checked(Ok(()))
        }
        Act::Probe { .. } => ActEnd::Probed(Ok(())),
        Act::Hooks { .. } => {
            ActEnd::Hooks(HooksEnd { error: failed.then(|| "bad".into()), output: String::new(), timed_out: false })
        }
        Act::Gates { .. } => {
            ActEnd::Gates(HooksEnd { error: failed.then(|| "bad".into()), output: String::new(), timed_out: false })
        }
        Act::Transaction { .. } => {
            let end = transaction_end(match seed % 5 {
                0 => Verdict::Failed("bad".into()),
                1 => Verdict::Declined { code: "stopped".into(), text: "a STOP".into() },
                _ => Verdict::Ok,
            });
            ActEnd::Transaction(TransactionEnd { dirty: seed.is_multiple_of(3).then(|| "half".into()), ..end })
        }
        Act::Repair { .. } => {
            let end = transaction_end(if failed { Verdict::Failed("bad".into()) } else { Verdict::Ok });
            ActEnd::Repaired(TransactionEnd { dirty: seed.is_multiple_of(3).then(|| "half".into()), ..end })
        }
        Act::Adopt { .. } => ActEnd::Adopted(Adoption::Dead),
        Act::Reboot { .. } => ActEnd::Reboot(if failed { Err("no".into()) } else { Ok(()) }),
        Act::Verify { .. } => verified(if failed { &["tool differs"] } else { &[] }),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn the_state_is_the_fold_of_what_was_saved(steps in moves()) {
        let mut player = Player::new();
        for step in &steps {
            player.play(step);
            prop_assert_eq!(player.bench.machine.journal(), &Journal::fold(&player.bench.saved));
        }
        for entry in &player.bench.saved {
            prop_assert_eq!(&JournalEntry::decode(&entry.encode()).unwrap(), entry);
        }
    }

    #[test]
    fn a_batch_equals_its_sequence(steps in moves()) {
        let mut player = Player::new();
        steps.iter().for_each(|step| player.play(step));
        let mut batch = Bench::new();
        let mut effects = Vec::new();
        for (boot, event) in player.played {
            batch.boot = boot;
            let now = batch.now();
            batch.machine.step(&mut Cx::new(now, &mut batch.rng, &Keys, &mut effects), event);
        }
        prop_assert_eq!(effects, player.log);
        prop_assert_eq!(batch.machine, player.bench.machine);
    }

    #[test]
    fn nothing_disruptive_starts_under_a_saved_stop_or_after_a_failed_hook(steps in moves()) {
        let mut player = Player::new();
        steps.iter().for_each(|step| player.play(step));
        let mut journal = Journal::default();
        for effect in &player.log {
            match effect {
                Effect::Save(entry) => {
                    if let JournalEntry::Began { phase, .. } = entry && phase.is_disruptive() {
                        prop_assert!(!journal.stopped(ROLLOUT), "{} under a STOP", phase.as_str());
                        let run = journal.run.as_ref().unwrap();
                        prop_assert!(run.fault.is_none(), "{} after a fault", phase.as_str());
                        prop_assert!(run.last.phase <= *phase, "phases only in order");
                    }
                    journal.push(entry);
                }
                Effect::Start { act: Act::Transaction { .. }, .. } => {
                    prop_assert_eq!(journal.run.as_ref().unwrap().last.phase, crate::run::Phase::Transaction);
                }
                _ => {}
            }
        }
    }
}
