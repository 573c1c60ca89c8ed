//! Operators' words on rings, as request bodies.

use patchmesh_common::{
    id::{hex, unhex},
    rollout::approval::{MAX_VERDICT, SignedVerdict},
    wire,
};

use super::{bad_request, document::VerdictRequest};
use crate::fault::Fault;

/// The body that carries `signed`.
pub fn encode(signed: &SignedVerdict) -> VerdictRequest {
    VerdictRequest { verdict: hex(&wire::encode(signed)) }
}

/// The verdict in a body. Nothing of it has been checked.
///
/// # Errors
/// `bad-request`.
pub fn decode(request: &VerdictRequest) -> Result<SignedVerdict, Fault> {
    let bytes = unhex(&request.verdict).ok_or_else(|| bad_request("`verdict` is not hex"))?;
    wire::decode(&bytes, MAX_VERDICT).map_err(|error| bad_request("`verdict` is no verdict").because(error))
}
