//! STOPs: who is believed, how they travel, and what of them is kept.

use proptest::prelude::*;

use super::*;
use crate::{
    id::RolloutId,
    run::message::{OrderStamp, SignedStop, StopOrder, StopScope},
};

fn signed_by(seed: u8, role: Role, expires: i64, order: &StopOrder) -> SignedStop {
    let membership = Membership {
        mesh: mesh(),
        key: node(seed),
        name: format!("member-{seed}"),
        role,
        serial: 1,
        expires: WallTime(expires),
        may_issue: false,
        tags: BTreeMap::new(),
    };
    let credential = Credential { membership: Sealed::seal(&signer(1), &membership), issuer: None };
    SignedStop { order: Sealed::seal(&signer(seed), order), credential }
}

fn order(scope: StopScope, sequence: u64, stop: bool) -> SignedStop {
    signed_by(9, Role::Operator, EXPIRES, &StopOrder { mesh: mesh(), scope, sequence, stop })
}

fn asked(from: u8, orders: Vec<SignedStop>) -> Event {
    let request = ExchangeRequest::Orders { wall: WallTime(START), orders };
    Event::Asked { from: node(from), token: 1, request }
}

/// Who gets which orders by these effects.
fn passed(effects: &[Effect]) -> Vec<(NodeId, Vec<SignedStop>)> {
    let orders = |effect: &Effect| match effect {
        Effect::Exchange { to, request: ExchangeRequest::Orders { orders, .. } } => Some((*to, orders.clone())),
        _ => None,
    };
    effects.iter().filter_map(orders).collect()
}

fn handed(effects: &[Effect]) -> usize {
    effects.iter().filter(|effect| matches!(effect, Effect::Ordered(_))).count()
}

fn blocked(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Block { .. }))
}

fn linked(peers: &[u8]) -> Host {
    let mut host = Host::new(&[]);
    host.listen(0);
    for peer in peers {
        host.step(0, Event::LinkUp { peer: node(*peer), wall: WallTime(START) });
    }
    host
}

fn saying(seed: u8, version: u64, orders: Vec<OrderStamp>) -> Item {
    let mut record = record(1, version);
    record.body.orders = orders;
    seal(seed, &record)
}

#[test]
fn an_order_goes_to_every_other_neighbour_at_once_and_only_once() {
    let mut host = linked(&[3, 4, 5]);
    let stop = order(StopScope::All, 1, true);
    let effects = host.step(1, asked(3, vec![stop.clone()]));
    assert_eq!(passed(&effects), [(node(4), vec![stop.clone()]), (node(5), vec![stop.clone()])]);
    assert_eq!(handed(&effects), 1);
    assert!(effects.contains(&Effect::RememberOrders(vec![stop.clone()])));
    let effects = host.step(2, asked(4, vec![stop.clone()]));
    assert_eq!((passed(&effects), handed(&effects)), (vec![], 0));
    // One that is given here goes to all of them.
    let resume = order(StopScope::All, 2, false);
    assert_eq!(passed(&host.step(3, Event::Order(Box::new(resume)))).len(), 3);
    let effects = host.step(4, asked(5, vec![stop]));
    assert_eq!((passed(&effects), handed(&effects)), (vec![], 0), "a lower one is no news");
}

#[test]
fn it_is_handed_up_until_the_own_record_names_it() {
    let mut host = linked(&[]);
    let stop = order(StopScope::All, 1, true);
    host.step(1, Event::Order(Box::new(stop)));
    assert_eq!(handed(&host.step(1_500, Event::Tick)), 1);
    let saved = OrderStamp { scope: StopScope::All, sequence: 1, stop: true };
    let said = RecordBody { orders: vec![saved], ..RecordBody::default() };
    let record = host.publish(1_600, Event::Describe(said)).expect("whoever asks must not wait for it");
    assert!(record.body.confirms(&saved));
    assert_eq!(handed(&host.step(2_700, Event::Tick)), 0);
}

#[test]
fn who_comes_later_gets_what_its_record_does_not_name() {
    let mut host = linked(&[]);
    let stop = order(StopScope::All, 1, true);
    host.step(1, Event::Order(Box::new(stop.clone())));
    let up = |peer| Event::LinkUp { peer: node(peer), wall: WallTime(START) };
    assert_eq!(passed(&host.step(2, up(3))), [(node(3), vec![stop.clone()])]);
    // It was lost, so the next exchange brings it again, until the record says that it is saved.
    let again = host.step(20_000, Event::Tick);
    assert_eq!(passed(&again), [(node(3), vec![stop])]);
    let saved = OrderStamp { scope: StopScope::All, sequence: 1, stop: true };
    host.step(20_001, Event::Announced { token: 1, item: saying(3, 1, vec![saved]) });
    assert_eq!(passed(&host.step(40_000, Event::Tick)), []);
    // The highest that anybody names is outranked, also if the order itself never came here.
    let far = OrderStamp { scope: scope(7), sequence: 40, stop: false };
    host.step(40_001, Event::Announced { token: 2, item: saying(4, 1, vec![far]) });
    assert_eq!(host.machine.next_sequence(), 41);
}

#[test]
fn only_coordinators_and_operators_with_a_membership_that_holds_are_believed() {
    let all = StopOrder { mesh: mesh(), scope: StopScope::All, sequence: 1, stop: true };
    let mut bent = order(StopScope::All, 1, true);
    bent.order.body[33] ^= 1;
    let mut stolen = order(StopScope::All, 1, true);
    stolen.order.author = node(8);
    let foreign = StopOrder { mesh: MeshId([8; 32]), ..all };
    let cases = [
        (signed_by(9, Role::Node, EXPIRES, &all), true),
        (signed_by(9, Role::Operator, START, &all), false),
        (signed_by(9, Role::Operator, EXPIRES, &foreign), true),
        (bent, true),
        (stolen, true),
    ];
    for (signed, blames) in cases {
        let mut host = linked(&[3, 4]);
        let effects = host.step(1, asked(3, vec![signed.clone()]));
        assert_eq!((passed(&effects), handed(&effects), blocked(&effects)), (vec![], 0, blames), "{signed:?}");
        assert_eq!(host.machine.orders().stamps().count(), 0);
    }
    let mut host = linked(&[3]);
    let many = (0..=MAX_ORDERS as u64).map(|sequence| order(StopScope::All, sequence, true)).collect();
    assert!(blocked(&host.step(1, asked(3, many))), "more than anybody has");
    let effects =
        host.step(1, asked(3, vec![signed_by(9, Role::Coordinator, EXPIRES, &StopOrder { sequence: 99, ..all })]));
    assert_eq!(handed(&effects), 1);
}

#[test]
fn an_order_is_remembered_and_ends_with_its_signer() {
    let all = StopOrder { mesh: mesh(), scope: StopScope::All, sequence: 1, stop: true };
    let stop = signed_by(9, Role::Operator, START + 5_000, &all);
    let begin =
        |orders: Vec<SignedStop>, at| Gossip::new(Start { orders, ..super::start(Vec::new(), &[]) }, now(at), &AnyKey);
    assert_eq!(begin(vec![stop.clone()], 0).orders().get(StopScope::All), Some(all.stamp()));
    assert_eq!(begin(vec![stop.clone()], 5_000).orders().get(StopScope::All), None);
    let mut host = linked(&[]);
    host.step(1, Event::Order(Box::new(stop)));
    assert!(host.step(5_000, Event::Tick).contains(&Effect::RememberOrders(Vec::new())));
}

fn scope(n: u8) -> StopScope {
    if n == 0 { StopScope::All } else { StopScope::Rollout(RolloutId([n; 8])) }
}

proptest! {
    #[test]
    fn orders_come_to_the_same_in_any_sequence_and_however_often(
        given in proptest::collection::vec((0u8..60, 0u64..90, any::<bool>()), 0..120),
        turn in 0usize..120,
    ) {
        let kept = |list: &mut dyn Iterator<Item = &(u8, u64, bool)>| {
            let mut orders = super::super::orders::Orders::new(mesh());
            for (n, sequence, stop) in list {
                let before = orders.get(scope(*n)).map(|stamp| stamp.rank());
                let news = orders.take(order(scope(*n), *sequence, *stop), WallTime(START), &AnyKey).unwrap();
                let after = orders.get(scope(*n)).map(|stamp| stamp.rank());
                assert!(after >= before && news == (after != before));
            }
            orders.stamps().collect::<Vec<_>>()
        };
        let once = kept(&mut given.iter());
        prop_assert!(once.len() <= MAX_ORDERS);
        let turn = turn.min(given.len());
        prop_assert_eq!(&once, &kept(&mut given[turn..].iter().chain(&given[..turn])));
        prop_assert_eq!(&once, &kept(&mut given.iter().rev().chain(&given)));
        if let Some(top) = given.iter().filter(|(n, ..)| *n == 0).map(|(_, sequence, stop)| (*sequence, *stop)).max() {
            prop_assert!(once.iter().any(|stamp| stamp.scope == StopScope::All && stamp.rank() == top));
        }
    }
}
