//! Maintenance windows and their openings.

use patchmesh_common::schedule::window::{Window, WindowOpening};
use serde::{Deserialize, Serialize};

use super::Time;

/// One opening of a window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WindowOpeningDocument {
    /// First instant.
    pub opens: Time,
    /// No host starts at or after this instant.
    pub last_start: Time,
    /// No disruptive step begins at or after this instant.
    pub closes: Time,
    /// `opens` with the offset of the zone.
    pub local: String,
    /// The zone, by its IANA name.
    pub zone: String,
    /// `gap` or `overlap` if clocks are set around it; `null` on any other day.
    pub note: Option<String>,
}

impl WindowOpeningDocument {
    fn new(window: &Window, one: WindowOpening) -> Self {
        Self {
            opens: Time(one.opening.opens),
            last_start: Time(one.opening.last_start),
            closes: Time(one.opening.closes),
            local: one.local,
            zone: window.zone.name().to_owned(),
            note: one.note.map(|note| note.as_str().to_owned()),
        }
    }
}

/// `patchmesh.windows/v1`: `windows next`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NextDocument {
    /// [`Self::SCHEMA`].
    pub schema: String,
    /// Name of the window.
    pub window: String,
    /// In order; fewer than asked for if the window ends before.
    pub openings: Vec<WindowOpeningDocument>,
}

impl NextDocument {
    /// The first member.
    pub const SCHEMA: &str = "patchmesh.windows/v1";

    /// Up to `count` openings of `window` that open at or after `from`.
    pub fn new(window: &Window, from: Time, count: usize) -> Self {
        let openings = window.openings(from.0).take(count).map(|one| WindowOpeningDocument::new(window, one)).collect();
        Self { schema: Self::SCHEMA.to_owned(), window: window.name.clone(), openings }
    }
}
