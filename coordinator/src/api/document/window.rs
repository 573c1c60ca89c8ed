//! Maintenance windows and their openings.

use patchmesh_common::schedule::window::{Window, WindowOpening};
use serde::{Deserialize, Serialize};

use super::{Change, TaskRow, Time};
use crate::{manifest::window::Written, store::windows::KeptWindow};

/// Openings that `describe window` shows.
const SHOWN: usize = 5;

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
        Self { schema: Self::SCHEMA.to_owned(), window: window.name.clone(), openings: next(window, from, count) }
    }
}

fn next(window: &Window, from: Time, count: usize) -> Vec<WindowOpeningDocument> {
    window.openings(from.0).take(count).map(|one| WindowOpeningDocument::new(window, one)).collect()
}

/// A window in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WindowRow {
    /// Its name.
    pub name: String,
    /// What it says of itself.
    pub description: Option<String>,
    /// As written.
    pub schedule: String,
    /// By its IANA name.
    pub zone: String,
    /// Whether it opens at all.
    pub enabled: bool,
    /// The first opening that opens now or later; `null` if there is none any more.
    pub next: Option<WindowOpeningDocument>,
    /// What is done in every opening, in the order in which it is started.
    pub tasks: Vec<TaskRow>,
}

impl WindowRow {
    /// The row of `kept`, which does `tasks`, at `now`.
    pub fn new(kept: &KeptWindow, tasks: Vec<TaskRow>, now: Time) -> Self {
        let KeptWindow { written, window, .. } = kept;
        Self {
            name: written.name.clone(),
            description: written.spec.description.clone(),
            schedule: written.spec.schedule.clone(),
            zone: window.zone.name().to_owned(),
            enabled: window.enabled,
            next: next(window, now, 1).pop(),
            tasks,
        }
    }
}

/// `patchmesh.window-list/v1`: `get windows`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WindowListDocument {
    /// [`Self::SCHEMA`].
    pub schema: String,
    /// By name.
    pub windows: Vec<WindowRow>,
}

impl WindowListDocument {
    /// The first member.
    pub const SCHEMA: &str = "patchmesh.window-list/v1";

    /// The list of `windows`.
    pub fn new(mut windows: Vec<WindowRow>) -> Self {
        windows.sort_by(|a, b| a.name.cmp(&b.name));
        Self { schema: Self::SCHEMA.to_owned(), windows }
    }
}

/// `patchmesh.window/v1`: `describe window`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WindowDocument {
    /// [`Self::SCHEMA`].
    pub schema: String,
    /// Its name.
    pub name: String,
    /// The openings that open now or later: up to five.
    pub next: Vec<WindowOpeningDocument>,
    /// What is done in every opening, in the order in which it is started.
    pub tasks: Vec<TaskRow>,
    /// As it is written.
    pub manifest: Written,
}

impl WindowDocument {
    /// The first member.
    pub const SCHEMA: &str = "patchmesh.window/v1";

    /// The document of `kept`, which does `tasks`, at `now`.
    pub fn new(kept: KeptWindow, tasks: Vec<TaskRow>, now: Time) -> Self {
        let KeptWindow { written, window, .. } = kept;
        Self {
            schema: Self::SCHEMA.to_owned(),
            name: written.name.clone(),
            next: next(&window, now, SHOWN),
            tasks,
            manifest: Written::from(written),
        }
    }
}

/// `patchmesh.kept/v1`: what became of a manifest that the coordinator keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeptDocument {
    /// [`Self::SCHEMA`].
    pub schema: String,
    /// Created, replaced, unchanged or deleted.
    pub change: Change,
    /// The kind of the manifest.
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl KeptDocument {
    /// The first member.
    pub const SCHEMA: &str = "patchmesh.kept/v1";

    /// That `change` became of the `kind` called `name`.
    pub fn new(change: Change, kind: &str, name: String) -> Self {
        Self { schema: Self::SCHEMA.to_owned(), change, kind: kind.to_owned(), name }
    }
}
