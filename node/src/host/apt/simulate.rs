//! What apt says that it would do: the output of `apt-get -s`.

use std::collections::BTreeSet;

/// One `Inst` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Install {
    /// Binary package name.
    pub name: String,
    /// Architecture under which apt files the package: an `all` package counts as native.
    pub filed: String,
    /// Installed version; `None` for a new package.
    pub old: Option<String>,
    /// Version to be installed.
    pub new: String,
    /// Architecture of that version, `all` as it is.
    pub arch: String,
}

/// A simulation. An `all` package counts as native everywhere but in [`Install::arch`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Simulation {
    /// Upgrades and new packages, in apt's order.
    pub installs: Vec<Install>,
    /// Packages that would be removed: name, architecture, installed version.
    pub removes: Vec<(String, String, String)>,
    /// Packages with a better version that stay as they are.
    pub kept_back: BTreeSet<(String, String)>,
    /// The same because of phasing, where apt tells it apart.
    pub phased: BTreeSet<(String, String)>,
}

/// Reads the standard output of `apt-get -s …` in the C locale; `native` is the architecture of names without one.
///
/// # Errors
/// The offending line and what is wrong with it.
pub fn parse(text: &str, native: &str) -> Result<Simulation, String> {
    let mut simulation = Simulation::default();
    let mut section = Section::Other;
    for line in text.lines() {
        let bad = || format!("apt-get -s printed a line of unknown form: {line:?}");
        if let Some(rest) = line.strip_prefix("Inst ") {
            simulation.installs.push(install(rest, native).ok_or_else(bad)?);
        } else if let Some(rest) = line.strip_prefix("Remv ").or_else(|| line.strip_prefix("Purg ")) {
            let (name, rest) = rest.split_once(' ').ok_or_else(bad)?;
            let version = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')).ok_or_else(bad)?.0;
            let (name, arch) = filed(name, native);
            simulation.removes.push((name, arch, version.to_owned()));
        } else if line.starts_with("  ") {
            // With `APT::Get::Show-Versions` every name is followed by `(old => new)`.
            let names =
                line.split_ascii_whitespace().filter(|word| word.starts_with(|c: char| c.is_ascii_alphanumeric()));
            let names = if line.contains('(') { names.take(1) } else { names.take(usize::MAX) };
            match section {
                Section::KeptBack => simulation.kept_back.extend(names.map(|name| filed(name, native))),
                Section::Phased => simulation.phased.extend(names.map(|name| filed(name, native))),
                Section::Other => {}
            }
        } else {
            section = match line {
                "The following packages have been kept back:" => Section::KeptBack,
                "The following upgrades have been deferred due to phasing:" => Section::Phased,
                _ => Section::Other,
            };
        }
    }
    Ok(simulation)
}

enum Section {
    KeptBack,
    Phased,
    Other,
}

/// `NAME[:ARCH] [OLD] (NEW ARCHIVES [ARCH])`, after which apt lists what stays broken meanwhile.
fn install(rest: &str, native: &str) -> Option<Install> {
    let (full_name, rest) = rest.split_once(' ')?;
    let (old, rest) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (old, rest) = rest.split_once(']')?;
            (Some(old.to_owned()), rest.trim_start())
        }
        None => (None, rest),
    };
    let (offer, _) = rest.strip_prefix('(')?.split_once("])")?;
    let (before, arch) = offer.rsplit_once('[')?;
    let new = before.split(' ').next().filter(|version| !version.is_empty())?.to_owned();
    let (name, filed) = filed(full_name, native);
    Some(Install { name, filed, old, new, arch: arch.to_owned() })
}

fn filed(full_name: &str, native: &str) -> (String, String) {
    match full_name.split_once(':') {
        Some((name, arch)) if arch != "all" => (name.to_owned(), arch.to_owned()),
        Some((name, _)) => (name.to_owned(), native.to_owned()),
        None => (full_name.to_owned(), native.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPTURED: &str = "\
Reading package lists...
Calculating upgrade...
The following packages were automatically installed and are no longer required:
  lib:i386 other
Use 'apt autoremove' to remove them.
The following NEW packages will be installed:
  newdep
The following packages have been kept back:
  held kept
  tail:i386
The following upgrades have been deferred due to phasing:
  slow
The following packages will be upgraded:
  app lib lib:i386
3 upgraded, 1 newly installed, 1 to remove and 3 not upgraded.
Remv old [1.2-3] [lib:amd64 ]
Inst lib [1.0] (2.0 Test:stable-security, My Repo:1/x [amd64]) [lib:amd64 on lib:i386] [lib:i386 ]
Inst lib:i386 [1.0] (2.0 Test:stable-security [i386])
Inst newdep (1 Test:stable [amd64])
Inst app [1:1.0~rc1] (1:1.0 [all])
Conf lib (2.0 Test:stable-security [amd64])
";

    #[test]
    fn a_captured_simulation_is_read() {
        let simulation = parse(CAPTURED, "amd64").unwrap();
        let told: Vec<_> = simulation
            .installs
            .iter()
            .map(|i| format!("{} {} {} {} {}", i.name, i.filed, i.old.as_deref().unwrap_or("-"), i.new, i.arch))
            .collect();
        assert_eq!(
            told,
            [
                "lib amd64 1.0 2.0 amd64",
                "lib i386 1.0 2.0 i386",
                "newdep amd64 - 1 amd64",
                "app amd64 1:1.0~rc1 1:1.0 all"
            ]
        );
        assert_eq!(simulation.removes, [("old".to_owned(), "amd64".to_owned(), "1.2-3".to_owned())]);
        let kept: Vec<_> = simulation.kept_back.iter().map(|(name, arch)| format!("{name}:{arch}")).collect();
        assert_eq!(kept, ["held:amd64", "kept:amd64", "tail:i386"]);
        assert_eq!(simulation.phased.len(), 1);
    }

    #[test]
    fn versions_beside_the_names_are_no_names() {
        let text = "The following packages have been kept back:\n   held (1 => 2)\n   tail:i386 (1 => 2)\n";
        assert_eq!(parse(text, "amd64").unwrap().kept_back.len(), 2);
    }

    #[test]
    fn a_line_of_unknown_form_is_named() {
        for bad in ["Inst x", "Inst x [1] 2", "Inst x [1] ( [amd64])", "Inst x [1", "Remv x", "Remv x 1"] {
            assert!(parse(bad, "amd64").unwrap_err().contains(bad), "{bad}");
        }
    }
}
