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
    /// prints problems, so its output is judged, and the half states in its file.
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
            return Err(failed(format!("dpkg --audit: {}", output.errors()), "nothing was changed; repair dpkg"));
        }
        let mut problems = self.problems(&self.packages()?)?;
        problems.extend(output.stdout.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
        Ok(problems)
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
