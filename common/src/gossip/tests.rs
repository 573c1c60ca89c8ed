//! Effect tests, crash tests and laws of the [`Gossip`] machine and its view.

use std::collections::BTreeMap;

use rand::{SeedableRng as _, rngs::Xoshiro256PlusPlus};

use super::*;
use crate::{
    id::MeshId,
    machine::{Cx, Machine as _},
    membership::Role,
    seal::{Signature, Signer, Verifier},
    time::{BootTime, Now},
};

const EXPIRES: i64 = 1_000_000_000;
const START: i64 = 1_000_000;

mod orders;
mod view;

/// Signatures that cost nothing: anybody could make them, but nothing here makes those of others.
struct Keyed(NodeId);

impl Signer for Keyed {
    fn id(&self) -> NodeId {
        self.0
    }

    fn sign(&self, context: &str, body: &[u8]) -> Signature {
        let mut bytes = [0; 64];
        let mut hasher = blake3::Hasher::new_keyed(&self.0.0);
        hasher.update(context.as_bytes()).update(&[0]).update(body).finalize_xof().fill(&mut bytes);
        Signature::from_bytes(&bytes)
    }
}

struct AnyKey;

impl Verifier for AnyKey {
    fn verify(&self, author: &NodeId, context: &str, body: &[u8], signature: &Signature) -> bool {
        Keyed(*author).sign(context, body) == *signature
    }
}

fn signer(seed: u8) -> Keyed {
    Keyed(NodeId([seed; 32]))
}

fn node(seed: u8) -> NodeId {
    signer(seed).id()
}

/// Seed 1 is the owner.
fn mesh() -> MeshId {
    MeshId(node(1).0)
}

fn credential(seed: u8, serial: u64, expires: i64) -> Credential {
    let membership = Membership {
        mesh: mesh(),
        key: node(seed),
        name: format!("host-{seed}"),
        role: Role::Node,
        serial,
        expires: WallTime(expires),
        may_issue: false,
        tags: BTreeMap::new(),
    };
    Credential { membership: Sealed::seal(&signer(1), &membership), issuer: None }
}

fn record(incarnation: u64, version: u64) -> NodeRecord {
    let addresses = vec![format!("/ip4/10.0.0.1/tcp/{version}")];
    let body = RecordBody { addresses, ..RecordBody::default() };
    let incarnation = Incarnation(incarnation);
    NodeRecord { mesh: mesh(), incarnation, version, sealed_at: WallTime(START), body }
}

fn seal(seed: u8, record: &NodeRecord) -> Item {
    Item { credential: credential(seed, 1, EXPIRES), record: Sealed::seal(&signer(seed), record) }
}

fn item(seed: u8, incarnation: u64, version: u64) -> Item {
    seal(seed, &record(incarnation, version))
}

fn now(millis: u64) -> Now {
    Now { wall: WallTime(START + millis as i64), boot: BootTime(millis) }
}

/// A machine of host 2 with its clock, as a shell would drive it; it seals at once, like every shell.
struct Host {
    machine: Gossip,
    rng: Xoshiro256PlusPlus,
    saved: BTreeMap<NodeId, Item>,
}

fn start(saved: Vec<Item>, bootstrap: &[u8]) -> Start {
    let bootstrap = bootstrap.iter().map(|seed| (node(*seed), vec![String::from("/ip4/10.0.0.9/tcp/9")])).collect();
    Start { me: node(2), mesh: mesh(), settings: Settings::default(), bootstrap, saved, orders: Vec::new() }
}

impl Host {
    fn new(bootstrap: &[u8]) -> Self {
        let machine = Gossip::new(start(Vec::new(), bootstrap), now(0), &AnyKey);
        Self { machine, rng: Xoshiro256PlusPlus::seed_from_u64(7), saved: BTreeMap::new() }
    }

    /// The process dies and starts again with what was remembered.
    fn crash(&mut self, millis: u64) {
        let saved = self.saved.values().cloned().collect();
        self.machine = Gossip::new(start(saved, &[]), now(millis), &AnyKey);
    }

    fn step(&mut self, millis: u64, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.machine.step(&mut Cx::new(now(millis), &mut self.rng, &AnyKey, &mut effects), event);
        for effect in &effects {
            match effect {
                Effect::Remember(item) => {
                    self.saved.insert(item.record.author, item.clone());
                }
                Effect::Forget(node) => {
                    self.saved.remove(node);
                }
                _ => {}
            }
        }
        effects
    }

    /// As [`Host::step`], with the seal answered; the record that was published, if one was.
    fn publish(&mut self, millis: u64, event: Event) -> Option<NodeRecord> {
        let effects = self.step(millis, event);
        let sealed = effects.into_iter().find_map(|effect| match effect {
            Effect::Seal(record) => Some(record),
            _ => None,
        })?;
        let item = seal(2, &sealed);
        let effects = self.step(millis, Event::Sealed(item.clone()));
        assert!(effects.contains(&Effect::Announce(item.clone())) && effects.contains(&Effect::Remember(item)));
        Some(sealed)
    }

    fn listen(&mut self, millis: u64) -> NodeRecord {
        self.publish(millis, Event::Listening(vec![String::from("/ip4/10.0.0.2/tcp/2")])).unwrap()
    }

    fn names(&self) -> Vec<(String, Presence)> {
        self.machine.hosts().into_iter().map(|host| (host.membership.name, host.presence)).collect()
    }
}

fn reboot_required() -> Event {
    Event::Describe(RecordBody { reboot_required: true, ..RecordBody::default() })
}

#[test]
fn nothing_is_published_before_there_is_an_address_and_then_at_once() {
    let mut host = Host::new(&[]);
    assert_eq!(host.publish(0, Event::Describe(RecordBody::default())), None);
    let record = host.listen(5);
    assert_eq!((record.incarnation, record.version), (Incarnation(START as u64), 1));
    assert_eq!(record.body.addresses, ["/ip4/10.0.0.2/tcp/2"]);
    assert_eq!(host.names(), [("host-2".into(), Presence::Alive)]);
}

#[test]
fn own_versions_keep_their_distance_unless_a_lease_is_at_stake() {
    let mut host = Host::new(&[]);
    host.listen(0);
    assert_eq!(host.publish(100, reboot_required()), None);
    assert_eq!(host.publish(999, Event::Tick), None);
    let second = host.publish(1000, Event::Tick).unwrap();
    assert!(second.version == 2 && second.body.reboot_required && !second.body.addresses.is_empty());
    let held = Some((crate::id::LeaseId([1; 16]), crate::id::RolloutId([2; 8])));
    let third = host.publish(1001, Event::Describe(RecordBody { held, ..RecordBody::default() })).unwrap();
    assert_eq!((third.version, third.body.held), (3, held));
    assert_eq!(host.publish(30_000, Event::Tick), None);
    assert_eq!(host.publish(31_001, Event::Tick).unwrap().version, 4, "the heartbeat");
}

#[test]
fn the_deadline_is_when_something_is_due() {
    let mut host = Host::new(&[]);
    host.listen(0);
    let mut at = 0;
    for _ in 0..200 {
        let next = host.machine.deadline().unwrap().0;
        assert!(next > at, "a tick at {at} leaves something due at {next}");
        at = next;
        host.publish(at, Event::Tick);
    }
    assert!(at > 60_000);
}

#[test]
fn news_are_accepted_once_and_only_from_members() {
    let mut host = Host::new(&[]);
    let announced = |item| Event::Announced { token: 7, item };
    let verdict = |effects: &[Effect]| match effects.last() {
        Some(Effect::Judge { token: 7, verdict }) => verdict.clone(),
        other => panic!("{other:?}"),
    };
    host.step(0, Event::Tick);
    let effects = host.step(1, announced(item(3, 1, 1)));
    let until = WallTime(EXPIRES);
    assert_eq!(
        effects,
        [
            Effect::Admit { node: node(3), until },
            Effect::Remember(item(3, 1, 1)),
            Effect::Changed,
            Effect::Judge { token: 7, verdict: Verdict::Accept }
        ]
    );
    for old in [item(3, 1, 1), item(3, 1, 0), item(3, 0, 9)] {
        assert_eq!(host.step(2, announced(old)), [Effect::Judge { token: 7, verdict: Verdict::Ignore }]);
    }
    assert_eq!(verdict(&host.step(3, announced(item(3, 2, 0)))), Verdict::Accept);

    let mut forged = item(4, 1, 1);
    forged.record.body[40] ^= 1;
    let mut borrowed = item(4, 1, 1);
    borrowed.credential = credential(3, 1, EXPIRES);
    let mut foreign = record(1, 1);
    foreign.mesh = MeshId([9; 32]);
    let self_made = Item {
        credential: Credential { membership: Sealed::seal(&signer(4), &membership_of(4)), issuer: None },
        ..item(4, 1, 1)
    };
    for bad in [forged, borrowed, seal(4, &foreign), self_made] {
        let effects = host.step(4, announced(bad));
        assert!(matches!(verdict(&effects), Verdict::Reject(_)), "{effects:?}");
        assert_eq!(effects.len(), 1, "nothing else happens");
    }
    let expired = Item { credential: credential(4, 1, START), ..item(4, 1, 1) };
    assert_eq!(verdict(&host.step(5, announced(expired))), Verdict::Ignore, "clocks differ: nobody is to blame");
    assert_eq!(host.names(), [("host-3".into(), Presence::Alive)]);
}

fn membership_of(seed: u8) -> Membership {
    credential(seed, 1, EXPIRES).membership.open(&AnyKey).unwrap()
}

#[test]
fn an_exchange_brings_both_sides_what_they_lack() {
    let (mut asker, mut asked) = (Host::new(&[]), Host::new(&[]));
    let both = |host: &mut Host, item: Item| host.step(0, Event::Announced { token: 0, item });
    both(&mut asker, item(3, 1, 5));
    both(&mut asker, item(4, 1, 1));
    both(&mut asked, item(3, 1, 4));
    both(&mut asked, item(5, 1, 1));
    let effects = asker.step(1, Event::LinkUp { peer: node(9), wall: WallTime(START) });
    let Some(Effect::Exchange { request, .. }) = effects.iter().find(|e| matches!(e, Effect::Exchange { .. })) else {
        panic!("{effects:?}")
    };
    let effects = asked.step(1, Event::Asked { from: node(8), token: 3, request: request.clone() });
    let Some(Effect::Answer { token: 3, answer }) = effects.first() else { panic!("{effects:?}") };
    let ExchangeAnswer::Delta { items, want, .. } = answer else { panic!("{answer:?}") };
    assert_eq!(items, &[item(5, 1, 1)]);
    assert_eq!(want.len(), 2);
    let effects = asker.step(2, Event::Answered { from: node(9), answer: answer.clone() });
    let Some(Effect::Exchange { request, .. }) = effects.last() else { panic!("{effects:?}") };
    asked.step(2, Event::Asked { from: node(8), token: 4, request: request.clone() });
    assert_eq!(asker.machine.view(), asked.machine.view());
}

#[test]
fn a_forged_delta_costs_its_sender_the_link() {
    let mut host = Host::new(&[]);
    let mut forged = item(4, 1, 1);
    forged.record.body[40] ^= 1;
    let items = vec![item(3, 1, 1), forged, item(5, 1, 1)];
    let answer = ExchangeAnswer::Delta { wall: WallTime(START), items, want: Vec::new() };
    let effects = host.step(0, Event::Answered { from: node(9), answer });
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Block { node: who, .. } if *who == node(9))));
    assert_eq!(host.names().len(), 1, "what came before it was sealed by its author, and stays");
}

#[test]
fn a_first_record_heard_from_its_author_is_announced_for_it() {
    let mut host = Host::new(&[]);
    let push =
        |from, items| Event::Asked { from, token: 0, request: ExchangeRequest::Push { wall: WallTime(START), items } };
    let effects = host.step(0, push(node(3), vec![item(3, 1, 1), item(4, 1, 1)]));
    let announced: Vec<_> = effects.iter().filter(|effect| matches!(effect, Effect::Announce(_))).collect();
    assert_eq!(announced, [&Effect::Announce(item(3, 1, 1))]);
}

#[test]
fn exchanges_are_quick_while_there_are_news_and_rare_at_rest() {
    let mut host = Host::new(&[]);
    let exchanges = |host: &mut Host, from: u64, to: u64| -> Vec<u64> {
        (from / 100..to / 100)
            .map(|tenth| tenth * 100)
            .filter(|at| host.step(*at, Event::Tick).iter().any(|effect| matches!(effect, Effect::Exchange { .. })))
            .collect()
    };
    host.step(0, Event::LinkUp { peer: node(9), wall: WallTime(START) });
    assert_eq!(exchanges(&mut host, 100, 20_000), [500, 1500, 3500, 7500, 12_500, 17_500]);
    let answer = ExchangeAnswer::Delta { wall: WallTime(START), items: vec![item(3, 1, 1)], want: Vec::new() };
    host.step(20_000, Event::Answered { from: node(9), answer });
    assert_eq!(exchanges(&mut host, 20_100, 24_000), [20_500, 21_000, 22_000]);
}

#[test]
fn a_sign_of_life_that_an_exchange_brings_hurries_nobody() {
    let mut host = Host::new(&[]);
    let told = |record: NodeRecord| {
        let answer = ExchangeAnswer::Delta { wall: WallTime(START), items: vec![seal(3, &record)], want: Vec::new() };
        Event::Answered { from: node(4), answer }
    };
    host.step(0, Event::LinkUp { peer: node(4), wall: WallTime(START) });
    host.step(1, told(record(1, 1)));
    // Once at rest, exchanges are five seconds apart.
    let exchanges = |host: &mut Host, from: u64, to: u64| {
        let steps = (from..to).step_by(500).flat_map(|millis| host.step(millis, Event::Tick));
        steps.filter(|effect| matches!(effect, Effect::Exchange { .. })).count()
    };
    exchanges(&mut host, 500, 30_000);
    let mut sign = record(1, 1);
    sign.version = 2;
    host.step(30_000, told(sign.clone()));
    assert!(exchanges(&mut host, 30_000, 40_000) <= 2);
    let change = NodeRecord { version: 3, body: RecordBody { reboot_required: true, ..sign.body.clone() }, ..sign };
    host.step(40_000, told(change));
    assert!(exchanges(&mut host, 40_000, 50_000) > 3);
}

#[test]
fn silence_is_told_and_news_or_a_link_refute_it() {
    let mut host = Host::new(&[]);
    host.listen(0);
    host.step(0, Event::Announced { token: 0, item: item(3, 1, 1) });
    let presence = |host: &Host| host.names()[1].1;
    host.step(89_999, Event::Tick);
    assert_eq!(presence(&host), Presence::Alive);
    let effects = host.step(91_000, Event::Tick);
    assert_eq!((presence(&host), effects.contains(&Effect::Changed)), (Presence::Silent, true));
    host.step(92_000, Event::Announced { token: 0, item: item(3, 1, 2) });
    assert_eq!(presence(&host), Presence::Alive);
    host.step(200_000, Event::Tick);
    assert_eq!(presence(&host), Presence::Silent);
    host.step(200_001, Event::LinkUp { peer: node(3), wall: WallTime(0) });
    host.step(900_000, Event::Tick);
    assert_eq!(presence(&host), Presence::Alive, "a link is enough");
    host.step(900_001, Event::LinkDown(node(3)));
    host.step(901_500, Event::Tick);
    assert_eq!(presence(&host), Presence::Alive, "it was there until a moment ago");
    host.step(991_000, Event::Tick);
    assert_eq!(presence(&host), Presence::Silent);
}

#[test]
fn the_end_of_a_membership_ends_the_record() {
    let mut host = Host::new(&[]);
    let short = Item { credential: credential(3, 1, START + 5000), ..item(3, 1, 1) };
    host.step(0, Event::Announced { token: 0, item: short });
    host.step(4999, Event::Tick);
    assert_eq!(host.names().len(), 1);
    let effects = host.step(6000, Event::Tick);
    assert!(effects.contains(&Effect::Forget(node(3))) && effects.contains(&Effect::Changed));
    assert!(host.names().is_empty() && host.saved.is_empty());
}

#[test]
fn a_host_that_meets_its_own_newer_record_jumps_above_it() {
    let mut host = Host::new(&[]);
    host.listen(0);
    let met = item(2, u64::try_from(START).unwrap() + 500, 9);
    let record = host.publish(10, Event::Announced { token: 0, item: met }).unwrap();
    assert_eq!((record.incarnation.0, record.version), (START as u64 + 501, 1));
    assert_eq!(host.machine.hosts()[0].record, record);
}

#[test]
fn two_machines_with_one_key_do_not_answer_each_other_for_ever() {
    let mut host = Host::new(&[]);
    host.listen(0);
    // Another machine has the same key, and publishes above whatever this one says within a millisecond.
    let mut published = 0;
    for millis in 1..60_000 {
        let above = host.machine.hosts()[0].record.incarnation.0 + 1;
        let met = Event::Announced { token: 0, item: item(2, above, 1) };
        published += u32::from(host.publish(millis, met).is_some());
    }
    assert!((2..=4).contains(&published), "at once, and then with every heartbeat: {published}");
}

#[test]
fn links_are_sought_until_there_are_enough_and_a_silent_half_is_sought_again() {
    let mut host = Host::new(&[9]);
    let dialled = |effects: Vec<Effect>| -> Vec<NodeId> {
        effects.into_iter().filter_map(|e| if let Effect::Dial { node, .. } = e { Some(node) } else { None }).collect()
    };
    assert_eq!(dialled(host.step(0, Event::Tick)), [node(9)]);
    for seed in 10..30 {
        host.step(1, Event::Announced { token: 0, item: item(seed, 1, 1) });
    }
    let first = dialled(host.step(1500, Event::Tick));
    assert_eq!(first.len(), Settings::default().links);
    for peer in &first {
        host.step(1600, Event::LinkUp { peer: *peer, wall: WallTime(START) });
    }
    let quiet: Vec<NodeId> = (2..19).flat_map(|s| dialled(host.step(s * 1000, Event::Tick))).collect();
    assert_eq!(quiet, [], "six links are enough");
    let healed: Vec<NodeId> = (20..200).flat_map(|s| dialled(host.step(s * 1000, Event::Tick))).collect();
    assert!(!healed.is_empty() && healed.len() <= 9, "one at a time: {}", healed.len());
    assert!(healed.iter().all(|node| !first.contains(node)));
}

#[test]
fn the_clock_is_compared_with_every_word_of_a_neighbour() {
    let mut host = Host::new(&[]);
    assert_eq!(host.machine.skew(), None);
    let ahead = |millis: i64| WallTime(START + 1000 + millis);
    host.step(1000, Event::LinkUp { peer: node(3), wall: ahead(60_000) });
    host.step(1000, Event::LinkUp { peer: node(4), wall: ahead(60_000) });
    assert_eq!(host.machine.skew(), Some(60_000));
    host.step(1000, Event::Answered { from: node(3), answer: ExchangeAnswer::Taken { wall: ahead(0) } });
    let request = ExchangeRequest::Pull { wall: ahead(-10), digest: Vec::new() };
    host.step(1000, Event::Asked { from: node(4), token: 0, request });
    assert_eq!(host.machine.skew(), Some(0));
    host.step(1000, Event::LinkDown(node(3)));
    host.step(1000, Event::LinkDown(node(4)));
    assert_eq!(host.machine.skew(), None);
}

#[test]
fn killed_after_any_step_a_host_knows_whom_it_knew_and_publishes_above_itself() {
    let script: Vec<Event> = vec![
        Event::Listening(vec![String::from("/ip4/10.0.0.2/tcp/2")]),
        Event::Announced { token: 0, item: item(3, 1, 1) },
        reboot_required(),
        Event::Announced { token: 0, item: item(4, 1, 1) },
        Event::Announced { token: 0, item: item(3, 1, 2) },
        Event::Tick,
    ];
    for killed in 1..=script.len() {
        let mut host = Host::new(&[]);
        for (n, event) in script[..killed].iter().enumerate() {
            host.publish(n as u64 * 2000, event.clone());
        }
        let (view, millis) = (host.machine.view().clone(), 20_000);
        let before = view.get(&node(2)).unwrap().stamp();
        host.crash(millis);
        assert_eq!(host.machine.view(), &view, "killed after {killed}");
        let effects = host.step(millis, Event::Tick);
        let admitted = effects.iter().filter(|effect| matches!(effect, Effect::Admit { .. })).count();
        assert_eq!(admitted, view.members().count() - 1, "every other member is let in");
        let record = host.listen(millis);
        assert!((record.incarnation, record.version) > before.rank());
    }
}
