//! Whether the package database is sound, and how it is repaired.

use patchmesh_common::{
    inventory::{PackageChange, Transaction},
    run::message::{Refusal, RefusalCode},
};

use super::{
    Apt, Step,
    command::{argv, environment, failed, list},
    config,
    resolve::exact_one,
    simulate::Install,
    status,
    status::Installed,
    unreadable,
};

impl Apt {
    /// What is wrong with the package database, one line each; empty if it is sound. `dpkg --audit` exits with 0 even when it
    /// prints problems, so its output is judged, and the half states in its file. dpkg's own prose is told only where the file
    /// shows nothing: it explains over many lines what the file says in a word.
    ///
    /// # Errors
    /// `ManagerFailed` if dpkg cannot be asked or its file cannot be read.
    pub async fn audit(&self) -> Result<Vec<String>, Refusal> {
        let mut words = argv(&["dpkg"]);
        // The log option is for what writes the log.
        words.extend(config::dpkg_options(&self.root).into_iter().filter(|option| option.starts_with("--root=")));
        words.push("--audit".into());
        let output = self.look_with(&words).await?;
        if !output.success() {
            return Err(failed(format!("dpkg --audit: {}", output.errors()), "repair dpkg"));
        }
        let problems = self.problems(&self.packages()?)?;
        Ok(if problems.is_empty() { prose(&output.stdout) } else { problems })
    }

    /// What dpkg's own files say is unfinished.
    pub(super) fn problems(&self, packages: &[Installed]) -> Result<Vec<String>, Refusal> {
        let broken = packages.iter().filter_map(|package| {
            package.broken.as_ref().map(|state| format!("{}:{} is {state}", package.name, package.arch))
        });
        let mut problems: Vec<_> = broken.collect();
        if status::interrupted(&self.root).map_err(|error| unreadable("var/lib/dpkg/updates", &error))? {
            problems.push("dpkg was interrupted and left notes in var/lib/dpkg/updates".into());
        }
        Ok(problems)
    }

    /// The command that finishes what an interrupted dpkg has unpacked, with the triggers that wait.
    pub fn configure_plan(&self) -> Step {
        let mut configure = argv(&["dpkg"]);
        configure.extend(config::dpkg_options(&self.root));
        configure.extend(argv(&["--force-confdef", "--force-confold", "--configure", "--pending"]));
        Step { argv: configure, env: environment(&self.change) }
    }

    /// The command by which apt supplies what is missing after `transaction` was cut off. What it would do is simulated first.
    /// A package that was cut off while it was unpacked has no whole version any more, and apt repairs it only by name: it gets
    /// the planned one, because repositories rarely keep the one before. Where that is refused, the rest of the plan is named,
    /// too: beside what is named, apt adds nothing, and what it adds by itself may have another version than the plan.
    ///
    /// # Errors
    /// `PlanChanged` naming what it would remove, or install beyond `transaction` and the versions that are there; otherwise
    /// `ManagerFailed` with apt's message.
    pub async fn complete_plan(&self, transaction: &Transaction) -> Result<Step, Refusal> {
        let packages = self.packages()?;
        let found = |change: &PackageChange| {
            packages.iter().find(|package| (&package.name, &package.arch) == (&change.name, &change.arch))
        };
        let torn = |change: &&PackageChange| found(change).is_some_and(Installed::is_torn);
        let behind = |change: &&PackageChange| found(change).is_none_or(|package| package.version != change.to);
        let changes = || transaction.changes.iter();
        let least: Vec<_> = changes().filter(torn).collect();
        let rest: Vec<_> = changes().filter(|change| torn(change) || behind(change)).collect();
        match self.fix(&least, transaction, &packages).await {
            Err(_) if rest.len() > least.len() => self.fix(&rest, transaction, &packages).await,
            tried => tried,
        }
    }

    /// The command that repairs with `named` and does nothing beyond `transaction`.
    async fn fix(
        &self,
        named: &[&PackageChange],
        transaction: &Transaction,
        packages: &[Installed],
    ) -> Result<Step, Refusal> {
        let exact = named.iter().map(|change| exact_one(change)).collect::<Result<Vec<_>, _>>()?;
        let fix = ["-y", "-q", "-f", "--no-remove", "--no-install-recommends", "--reinstall", "install"];
        let fix = [argv(&fix), exact].concat();
        let simulation = self.simulate(&[argv(&["apt-get", "-s"]), fix.clone()].concat()).await?;
        let installed = status::versions(packages);
        let allowed = |install: &Install| {
            let planned = transaction
                .changes
                .iter()
                .any(|change| (&change.name, &change.arch, &change.to) == (&install.name, &install.arch, &install.new));
            planned || installed.get(&(install.name.clone(), install.arch.clone())) == Some(&install.new)
        };
        let removed = simulation.removes.iter().map(|(name, arch, version)| format!("remove {name}:{arch} {version}"));
        let beyond = simulation.installs.iter().filter(|install| !allowed(install));
        let beyond = beyond.map(|install| format!("install {}:{} {}", install.name, install.arch, install.new));
        let beyond: Vec<_> = removed.chain(beyond).collect();
        if !beyond.is_empty() {
            return Err(Refusal {
                code: RefusalCode::PlanChanged,
                text: format!("apt-get -f install would {}, which the plan does not", list(&beyond, " and ")),
                remedy: "repair the host by hand".into(),
            });
        }
        Ok(Step { argv: [argv(&["apt-get"]), fix].concat(), env: environment(&self.change) })
    }
}

/// What `dpkg --audit` prints, one line for each package: a paragraph of advice, and a list of ` NAME  DESCRIPTION`.
fn prose(text: &str) -> Vec<String> {
    let mut advice = String::new();
    let mut listed = true;
    let mut problems = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let Some(package) = line.strip_prefix(' ').and_then(|entry| entry.split_ascii_whitespace().next()) else {
            if std::mem::take(&mut listed) {
                advice.clear();
            }
            advice.push_str(if advice.is_empty() { "" } else { " " });
            advice.push_str(line.trim());
            continue;
        };
        listed = true;
        problems.push(format!("{package}: {advice}"));
    }
    // Advice without a package is a problem too.
    if !listed {
        problems.push(advice);
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_becomes_one_line_for_each_package() {
        let text = "\
The following packages are missing the list control file in the
database, they need to be reinstalled:
 a:amd64              the first
 b                    the second

The following packages are missing the md5sums control file in the
database, they need to be reinstalled:
 c                    the third

";
        let advice = |what| {
            format!(
                "The following packages are missing the {what} control file in the database, they need to be reinstalled:"
            )
        };
        let expected = [("a:amd64", "list"), ("b", "list"), ("c", "md5sums")];
        assert_eq!(prose(text), expected.map(|(name, what)| format!("{name}: {}", advice(what))));
        assert_eq!(prose("dpkg is unwell\nvery\n"), ["dpkg is unwell very"]);
        assert!(prose("\n").is_empty());
    }
}
