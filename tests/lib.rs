//! The shells together, for real: the tests live in the integration binary `it`, what fuzzers and replays feed in [`decoders`].

pub mod decoders;
