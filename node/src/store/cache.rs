//! The only file that knows sled.
