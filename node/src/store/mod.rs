//! What is kept on disk.

pub mod cache;
pub mod durable;
pub mod lock;
pub mod log;
mod log_format;
pub mod trust;
