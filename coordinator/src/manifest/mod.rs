//! manifest/mod
