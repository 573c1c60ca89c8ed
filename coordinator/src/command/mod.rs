//! One file per verb.

pub mod inventory;
pub mod mesh;
pub mod scan;
pub mod version;
