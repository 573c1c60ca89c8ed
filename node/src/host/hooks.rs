//! Hooks: executables of the host's owner in `HOOKS/<point>/`, run in name order.
//!
//! A hook is trusted as far as its file is: it and the folders that hold it must belong to root (or to the daemon's user) and
//! be writable by nobody else. All hooks of a point are inspected before the first one runs.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use patchmesh_common::{
    id::RolloutId,
    run::{HookPoint, act::HooksEnd},
};

use super::{
    adopt::printable,
    executable::{NOTHING, Told, folder, inspect, run_one},
};

/// Most hooks at one point: more is a mistake, such as a folder that something fills.
pub const MAX_HOOKS: usize = 64;

/// What hooks are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookContext {
    /// `PATCHMESH_PHASE`, and the name of the folder.
    pub point: HookPoint,
    /// `PATCHMESH_ROLLOUT`.
    pub rollout: RolloutId,
    /// `PATCHMESH_ATTEMPT`.
    pub attempt: u32,
    /// `PATCHMESH_ROOT`.
    pub root: PathBuf,
    /// Of every single hook.
    pub timeout: Duration,
}

/// Runs the hooks of one point below `hooks`. A missing folder has none. The first failure ends it, except on exit, where the
/// remaining hooks still run, because each undoes something.
pub async fn run(hooks: &Path, context: &HookContext) -> HooksEnd {
    let mut end = HooksEnd::default();
    let found = match find(hooks, context.point) {
        Ok(found) => found,
        Err(error) => return HooksEnd { error: Some(error), ..HooksEnd::default() },
    };
    for hook in found {
        let told = Told {
            phase: context.point.as_str(),
            run: Some((context.rollout, context.attempt)),
            more: &[("PATCHMESH_ROOT", context.root.as_os_str())],
        };
        let (output, failure) = run_one(&hook, &[], told, context.timeout).await;
        let name = name(&hook);
        if !output.is_empty() {
            end.output.push_str(&format!("{name}: {output}\n"));
            end.output = printable(end.output.as_bytes());
        }
        if let Some(failure) = failure {
            if end.error.is_none() {
                end.error = Some(format!("{} hook {name} {failure}", context.point.as_str()));
                end.timed_out = failure.timed_out;
            }
            if context.point != HookPoint::OnExit {
                break;
            }
        }
    }
    end
}

/// The inspected hooks of `point`, by name. Names that begin with a dot are not hooks.
fn find(hooks: &Path, point: HookPoint) -> Result<Vec<PathBuf>, String> {
    let Some(folder) = folder(hooks, point.as_str())? else { return Ok(Vec::new()) };
    let unreadable = |error: io::Error| format!("the folder {} cannot be read: {error}; {NOTHING}", folder.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            found.push(entry.path());
        }
    }
    if found.len() > MAX_HOOKS {
        return Err(format!(
            "{} holds {} hooks, at most {MAX_HOOKS} are run; {NOTHING}",
            folder.display(),
            found.len()
        ));
    }
    found.sort();
    for hook in &found {
        inspect(hook, &std::fs::symlink_metadata(hook).map_err(unreadable)?)?;
    }
    Ok(found)
}

fn name(hook: &Path) -> String {
    hook.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
