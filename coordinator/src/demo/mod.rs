//! demo/mod
