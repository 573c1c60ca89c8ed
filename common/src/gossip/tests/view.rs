//! Laws and bounds of the view.

use proptest::prelude::*;

use super::*;

/// Counts how often it is asked.
struct Counting(core::cell::Cell<u32>);

impl Verifier for Counting {
    fn verify(&self, author: &NodeId, context: &str, body: &[u8], signature: &Signature) -> bool {
        self.0.set(self.0.get() + 1);
        AnyKey.verify(author, context, body, signature)
    }
}

#[test]
fn a_credential_is_checked_once_and_still_ends() {
    let keys = Counting(core::cell::Cell::new(0));
    let mut view = View::new(mesh());
    let merge = |view: &mut View, item, at| {
        let before = keys.0.get();
        let merged = view.merge(item, WallTime(at), &keys);
        (merged, keys.0.get() - before)
    };
    assert_eq!(merge(&mut view, item(3, 1, 1), START), (Ok(Merged::Newer), 2), "the credential and the record");
    assert_eq!(merge(&mut view, item(3, 1, 2), START), (Ok(Merged::Newer), 1), "the record");
    let mut forged = item(3, 1, 3);
    forged.record.body[0] ^= 1;
    assert!(merge(&mut view, forged, START).0.is_err());
    let mut other = item(3, 1, 3);
    other.credential = credential(3, 2, EXPIRES);
    assert_eq!(merge(&mut view, other, START), (Ok(Merged::Newer), 2), "another credential is checked");
    let late = merge(&mut view, item(3, 1, 4), EXPIRES).0;
    assert!(matches!(late, Err(Rejected::Credential(_))), "{late:?}");
}

fn any_item() -> impl Strategy<Value = Item> {
    (3u8..6, 0u64..3, 0u64..3, 1u64..4, any::<bool>()).prop_map(|(seed, incarnation, version, serial, expired)| {
        let expires = if expired && serial == 1 { START } else { EXPIRES };
        Item { credential: credential(seed, serial, expires), ..item(seed, incarnation, version) }
    })
}

fn view_of<'a>(items: impl IntoIterator<Item = &'a Item>) -> View {
    let mut view = View::new(mesh());
    for item in items {
        let before = view.digest();
        let _ = view.merge(item.clone(), WallTime(START), &AnyKey);
        for stamp in before {
            let after = view.get(&stamp.author).map(|member| member.stamp().rank());
            assert!(after >= Some(stamp.rank()), "versions never fall");
        }
    }
    view
}

fn contents(view: &View) -> Vec<Item> {
    view.members().map(|(_, member)| member.item.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn merging_is_commutative_associative_and_idempotent(
        a in prop::collection::vec(any_item(), 0..6),
        b in prop::collection::vec(any_item(), 0..6),
        c in prop::collection::vec(any_item(), 0..6),
    ) {
        let all = view_of(a.iter().chain(&b).chain(&c));
        prop_assert_eq!(&all, &view_of(c.iter().chain(&a).chain(&b)));
        prop_assert_eq!(&all, &view_of(a.iter().rev().chain(c.iter().rev()).chain(b.iter().rev())));
        let (ab, bc) = (view_of(a.iter().chain(&b)), view_of(b.iter().chain(&c)));
        prop_assert_eq!(&view_of(contents(&ab).iter().chain(&c)), &all);
        prop_assert_eq!(&view_of(a.iter().chain(&contents(&bc))), &all);
        prop_assert_eq!(&view_of(contents(&all).iter().chain(&contents(&all))), &all);
    }

    #[test]
    fn digest_and_delta_make_two_views_alike(
        a in prop::collection::vec(any_item(), 0..6),
        b in prop::collection::vec(any_item(), 0..6),
    ) {
        let (mut left, mut right) = (view_of(&a), view_of(&b));
        let (to_left, wanted) = (right.delta(&left.digest()), right.lacks(&left.digest()));
        let to_right = left.items(&wanted);
        for item in to_left {
            prop_assert!(left.merge(item, WallTime(START), &AnyKey).is_ok());
        }
        for item in to_right {
            prop_assert!(right.merge(item, WallTime(START), &AnyKey).is_ok());
        }
        prop_assert_eq!(left.digest(), right.digest());
    }
}

#[test]
fn a_delta_is_bounded_and_goes_on_where_it_stopped() {
    let items: Vec<Item> = (2..=MAX_DELTA as u8 + 10).map(|seed| item(seed, 1, 1)).collect();
    let (full, mut late) = (view_of(&items), View::new(mesh()));
    let first = full.delta(&late.digest());
    assert_eq!(first.len(), MAX_DELTA);
    for item in first {
        late.merge(item, WallTime(START), &AnyKey).unwrap();
    }
    assert_eq!(full.delta(&late.digest()).len(), items.len() - MAX_DELTA);
    assert_eq!(late.lacks(&full.digest()).len(), items.len() - MAX_DELTA);
    assert!(full.delta(&full.digest()).is_empty());
}
