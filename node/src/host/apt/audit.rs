//! Whether the package database is sound, and how it is repaired.

use patchmesh_common::run::message::Refusal;

use super::{
    Apt, Step,
    command::{argv, environment, failed},
    config, status,
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

    /// The commands that repair the database after an interrupted dpkg: finish what was unpacked, then let apt supply what is
    /// missing, removing nothing.
    pub fn repair_plan(&self) -> Vec<Step> {
        let env = environment(&self.change);
        let mut configure = argv(&["dpkg"]);
        configure.extend(config::dpkg_options(&self.root));
        configure.extend(argv(&["--force-confdef", "--force-confold", "--configure", "--pending"]));
        let fix = argv(&["apt-get", "-y", "-q", "-f", "--no-remove", "install"]);
        [configure, fix].map(|argv| Step { argv, env: env.clone() }).into()
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
