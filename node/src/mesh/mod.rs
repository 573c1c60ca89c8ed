//! libp2p, and nothing else knows libp2p.
