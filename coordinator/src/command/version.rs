//! `patchmesh version compare`: the order of versions, for scripts. Offline.

use std::cmp::Ordering;

use patchmesh_common::inventory::{deb, rpm};

use super::scan::print;
use crate::fault::{Exit, Fault};

/// Compares versions as package managers do.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:\n  patchmesh version compare deb 1.0~rc1 1.0")]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What can be done with versions.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Action {
    /// Prints lt, eq or gt.
    #[command(
        after_help = "Examples:\n  patchmesh version compare deb 1:2.0-1 2.1-1\n  patchmesh version compare rpm 1.0^git1-1.el9 1.0-1.el9"
    )]
    Compare {
        /// Whose order.
        family: Family,
        /// The one version.
        a: String,
        /// The other.
        b: String,
    },
}

/// Whose order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Family {
    /// Debian's.
    Deb,
    /// RPM's.
    Rpm,
}

/// Compares and prints.
///
/// # Errors
/// A text that is no version.
pub fn run(args: &Args) -> Result<Exit, Fault> {
    let Action::Compare { family, a, b } = &args.action;
    print(&format!("{}\n", compare(*family, a, b)?))?;
    Ok(Exit::Done)
}

fn compare(family: Family, a: &str, b: &str) -> Result<&'static str, Fault> {
    let refused = |message: String, remedy: &str| Fault::new("bad-version", message, "nothing was changed", remedy);
    for text in [a, b] {
        match family {
            Family::Deb => deb::check(text)
                .map_err(|error| refused(error.to_string(), "write it as [epoch:]upstream[-revision]"))?,
            Family::Rpm => {
                rpm::check(text).map_err(|error| refused(error.to_string(), "write it as [epoch:]version[-release]"))?
            }
        }
    }
    let order = match family {
        Family::Deb => deb::compare(a, b),
        Family::Rpm => rpm::compare(a, b),
    };
    Ok(match order {
        Ordering::Less => "lt",
        Ordering::Equal => "eq",
        Ordering::Greater => "gt",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_and_what_is_none_is_refused() {
        assert_eq!(compare(Family::Deb, "1.0~rc1", "1.0").unwrap(), "lt");
        assert_eq!(compare(Family::Deb, "1.0", "0:1.00").unwrap(), "eq");
        assert_eq!(compare(Family::Deb, "1:0", "9").unwrap(), "gt");
        let fault = compare(Family::Deb, "1.0", "x y").unwrap_err();
        assert!(fault.message.starts_with("\"x y\" is not a Debian version"), "{}", fault.message);
        assert_eq!(compare(Family::Rpm, "1.0^git1", "1.0").unwrap(), "gt");
        assert_eq!(compare(Family::Rpm, "1.0-1", "1_0-1").unwrap(), "eq");
        assert_eq!(compare(Family::Rpm, "1.0~rc1-1", "1.0-1").unwrap(), "lt");
        let fault = compare(Family::Rpm, "1.0", "é").unwrap_err();
        assert!(fault.message.starts_with("\"é\" is not an rpm version"), "{}", fault.message);
    }
}
