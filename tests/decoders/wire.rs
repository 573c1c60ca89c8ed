//! What comes over the wire, and what is sealed in it.

use core::fmt::Debug;

use patchmesh_common::{
    gossip::{ExchangeAnswer, ExchangeRequest, Hello, Item, MAX_EXCHANGE, MAX_HELLO, MAX_ITEM, NodeRecord},
    membership::Membership,
    patch::compliance::{MAX_TAG, Standing},
    rollout::approval::{MAX_VERDICT, SignedVerdict, Verdict},
    run::message::{Answer, Command, LeaseFrame, MAX_FRAME, StopOrder},
    seal::Payload,
    wire,
};
use serde::{Serialize, de::DeserializeOwned};

/// The first byte chooses the type, the rest are its bytes.
pub(super) fn messages(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind {
        0 => comes_back::<Hello>(bytes, MAX_HELLO),
        1 => comes_back::<ExchangeRequest>(bytes, MAX_EXCHANGE),
        2 => comes_back::<ExchangeAnswer>(bytes, MAX_EXCHANGE),
        3 => comes_back::<Item>(bytes, MAX_ITEM),
        4 => comes_back::<LeaseFrame>(bytes, MAX_FRAME),
        5 => comes_back::<Command>(bytes, Command::LIMIT),
        6 => comes_back::<Answer>(bytes, Answer::LIMIT),
        7 => comes_back::<Membership>(bytes, Membership::LIMIT),
        8 => comes_back::<NodeRecord>(bytes, NodeRecord::LIMIT),
        9 => comes_back::<StopOrder>(bytes, StopOrder::LIMIT),
        10 => standing(bytes),
        11 => comes_back::<SignedVerdict>(bytes, MAX_VERDICT),
        12 => comes_back::<Verdict>(bytes, Verdict::LIMIT),
        _ => {}
    }
}

/// The tag that says of a host in short how it stands.
fn standing(bytes: &[u8]) {
    let value = String::from_utf8_lossy(bytes);
    if let Some(standing) = Standing::of_tag(&value) {
        assert!(value.len() <= MAX_TAG);
        // Another may have left out spaces and what is unknown here, and written letters as they are.
        assert_eq!(standing.to_tag().and_then(|tag| serde_json::from_str(&tag).ok()), Some(standing));
    }
}

/// What decodes is the same after it was encoded anew, in no more bytes than it came in.
pub(super) fn comes_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8], limit: usize) {
    if let Ok(value) = wire::decode::<T>(bytes, limit) {
        let again = wire::encode(&value);
        assert!(again.len() <= bytes.len() && again.len() == wire::size(&value), "{value:?} grew");
        assert_eq!(wire::decode::<T>(&again, limit), Ok(value));
    }
}
