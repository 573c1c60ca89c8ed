//! Configuration files that were changed on both sides: here, and by the package that is to be installed. That is where dpkg
//! stops and asks.
//!
//! A transaction of ours is never asked: dpkg keeps the file that is here and puts the packaged one beside it. But nobody may
//! have wanted that, and a new program may not run with its old file. So the offer is refused, unless the host's own
//! configuration of apt or dpkg answers such questions (`--force-confold`, `--force-confnew`): then that is what is done.
//!
//! What the new package holds is only in its archive. So the archives of those packages, and only those, are fetched whose
//! files were changed here.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use patchmesh_common::{
    inventory::{PackageChange, Transaction},
    run::message::{Refusal, RefusalCode},
};

use super::{
    Apt, READ_LIMIT, REFRESH_LIMIT, Scratch,
    command::{self, argv, failed, list},
    resolve::exact_one,
    stanza::Capped,
    status::MAX_STATUS,
    unreadable,
};
use crate::host::root::{Root, STATUS};

/// Options of dpkg that answer its question.
const ANSWERS: [&str; 2] = ["force-confold", "force-confnew"];
/// Where dpkg reads options, below a root: the file, and the folder of more.
const DPKG_OPTIONS: [&str; 2] = ["etc/dpkg/dpkg.cfg", "etc/dpkg/dpkg.cfg.d"];
/// Most files that one `md5sum` is asked about: its command line has a limit.
const MAX_ASKED: usize = 512;

/// The configuration files of one package: path, and MD5 of what it shipped.
type Shipped = Vec<(String, String)>;

impl Apt {
    /// Refuses `transaction` if dpkg would have to ask about a configuration file. Changes nothing below the root.
    ///
    /// # Errors
    /// `ConfigConflict` naming the files, or `ManagerFailed` if that cannot be found out.
    pub(super) async fn require_no_conflict(&self, transaction: &Transaction) -> Result<(), Refusal> {
        let path = self.root.join(STATUS);
        let failure = |error: &io::Error| unreadable(&path.display().to_string(), error);
        let file = fs::File::open(&path).map_err(|error| failure(&error))?;
        let shipped = shipped(BufReader::new(Capped::new(file, MAX_STATUS))).map_err(|error| failure(&error))?;
        let upgraded = transaction.changes.iter().filter(|change| change.from.is_some());
        let recorded: Vec<_> = upgraded
            .filter_map(|change| Some((change, shipped.get(&(change.name.clone(), change.arch.clone()))?)))
            .collect();
        let all = recorded.iter().flat_map(|(_, shipped)| shipped.iter().map(|(path, _)| path.as_str()));
        let here = self.sums(self.root.path(), all.collect()).await?;
        let edited: Vec<(&PackageChange, Shipped)> = recorded
            .into_iter()
            .map(|(change, shipped)| {
                let edited = shipped.iter().filter(|(path, sum)| here.get(path.as_str()) != Some(sum));
                (change, edited.cloned().collect::<Vec<_>>())
            })
            .filter(|(_, edited)| !edited.is_empty())
            .collect();
        if edited.is_empty() || self.answers().await? {
            return Ok(());
        }
        let mut conflicts = Vec::new();
        for (change, edited) in edited {
            let scratch = Scratch::new().map_err(|error| unreadable("cannot create a temporary folder", &error))?;
            self.unpack(change, &scratch.0).await?;
            let new = self.sums(&scratch.0, edited.iter().map(|(path, _)| path.as_str()).collect()).await?;
            let both = edited.iter().filter(|(path, sum)| {
                new.get(path).is_some_and(|packaged| packaged != sum && here.get(path) != Some(packaged))
            });
            conflicts
                .extend(both.map(|(path, _)| format!("{path} was changed here and by {} {}", change.name, change.to)));
        }
        if conflicts.is_empty() {
            return Ok(());
        }
        Err(Refusal {
            code: RefusalCode::ConfigConflict,
            text: format!("dpkg would ask what to do: {}", list(&conflicts, "; ")),
            remedy: "install these by hand, or answer for good in the host's own configuration: \
                     `DPkg::Options:: \"--force-confold\";` keeps its files"
                .into(),
        })
    }

    /// Whether the host's own configuration answers dpkg's question.
    async fn answers(&self) -> Result<bool, Refusal> {
        let output = self.look_with(&argv(&["apt-config", "dump", "--format", "%v%n", "DPkg::Options"])).await?;
        if !output.success() {
            return Err(failed(format!("apt-config: {}", output.errors()), "repair the configuration of apt"));
        }
        Ok(answer(&output.stdout) || answer(&dpkg_options(&self.root)))
    }

    /// Unpacks the archive of `change` into `folder`.
    async fn unpack(&self, change: &PackageChange, folder: &Path) -> Result<(), Refusal> {
        let env = command::environment(&self.read);
        let fetch = argv(&["apt-get", "-q", "download", &exact_one(change)?]);
        let output = command::read_in(folder, &fetch, &env, REFRESH_LIMIT).await?;
        let archive = fs::read_dir(folder).ok().and_then(|mut entries| Some(entries.next()?.ok()?.path()));
        let Some(archive) = archive.filter(|_| output.success()) else {
            return Err(Refusal {
                code: RefusalCode::RepositoryUnreachable,
                text: format!("cannot fetch {} {}: {}", change.name, change.to, output.errors()),
                remedy: "check the repository; the archive is needed to compare its configuration files".into(),
            });
        };
        let words =
            ["dpkg-deb".to_owned(), "-x".to_owned(), archive.display().to_string(), folder.display().to_string()];
        let output = command::read(&words, &env, READ_LIMIT).await?;
        if output.success() {
            return Ok(());
        }
        Err(failed(format!("cannot unpack {}: {}", archive.display(), output.errors()), "free some room there"))
    }

    /// MD5 of each of `paths` below `root`, as dpkg's database has them. What is not there has none.
    async fn sums(&self, root: &Path, paths: Vec<&str>) -> Result<BTreeMap<String, String>, Refusal> {
        let mut found = BTreeMap::new();
        for paths in paths.chunks(MAX_ASKED) {
            let there = |path: &&&str| below(root, path).is_file();
            let paths: Vec<_> = paths.iter().filter(there).collect();
            if paths.is_empty() {
                continue;
            }
            // Each line begins with the sum, and names with odd characters are escaped: the order tells which is which.
            let mut words = argv(&["md5sum", "--"]);
            words.extend(paths.iter().map(|path| below(root, path).display().to_string()));
            let output = self.look_with(&words).await?;
            let lines: Vec<_> = output.stdout.lines().collect();
            if !output.success() || lines.len() != paths.len() {
                return Err(failed(format!("md5sum: {}", output.errors()), "make the configuration files readable"));
            }
            let sum = |line: &str| line.trim_start_matches('\\').chars().take(32).collect::<String>();
            found.extend(paths.iter().zip(lines).map(|(path, line)| ((***path).to_owned(), sum(line))));
        }
        Ok(found)
    }
}

fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// The recorded configuration files of every (name, architecture). Those that a package has given up are left out.
fn shipped(reader: impl BufRead) -> io::Result<BTreeMap<(String, String), Shipped>> {
    let mut packages = BTreeMap::new();
    let (mut name, mut arch, mut files, mut listing) = (String::new(), String::new(), Vec::new(), false);
    for line in reader.lines().chain([Ok(String::new())]) {
        let line = line?;
        if let Some(entry) = line.strip_prefix(' ').filter(|_| listing) {
            if let [path, sum] = entry.split_ascii_whitespace().collect::<Vec<_>>()[..]
                && sum.len() == 32
            {
                files.push((path.to_owned(), sum.to_owned()));
            }
            continue;
        }
        listing = line.starts_with("Conffiles:");
        if let Some(value) = line.strip_prefix("Package: ") {
            value.trim().clone_into(&mut name);
        } else if let Some(value) = line.strip_prefix("Architecture: ") {
            value.trim().clone_into(&mut arch);
        } else if line.is_empty() && !files.is_empty() {
            packages.insert((std::mem::take(&mut name), std::mem::take(&mut arch)), std::mem::take(&mut files));
        }
    }
    Ok(packages)
}

/// Whether one of these lines of options answers.
fn answer(options: &str) -> bool {
    options.lines().any(|line| ANSWERS.contains(&line.trim().trim_start_matches("--")))
}

/// The lines of dpkg's own configuration; what cannot be read answers nothing.
fn dpkg_options(root: &Root) -> String {
    let [file, folder] = DPKG_OPTIONS.map(|path| root.join(path));
    let more = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let text = |path: PathBuf| fs::read_to_string(path).unwrap_or_default() + "\n";
    std::iter::once(file).chain(more).map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_files_are_found_and_given_up_ones_are_not() {
        let (a, b) = ("a".repeat(32), "b".repeat(32));
        let text = format!(
            "Package: tool\nArchitecture: all\nConffiles:\n /etc/tool.conf {a}\n /etc/old {b} obsolete\n /etc/new newconffile\n\
             Description: x\n not /etc/a {a}\n\nPackage: none\nArchitecture: all\n\nPackage: last\nArchitecture: amd64\nConffiles:\n /etc/l {b}\n"
        );
        let found = shipped(text.as_bytes()).unwrap();
        let key = |name: &str, arch: &str| (name.to_owned(), arch.to_owned());
        assert_eq!(found.len(), 2);
        assert_eq!(found[&key("tool", "all")], [("/etc/tool.conf".to_owned(), a)]);
        assert_eq!(found[&key("last", "amd64")], [("/etc/l".to_owned(), b)]);
    }

    #[test]
    fn only_an_answer_is_one() {
        assert!(answer("--root=/r\n--force-confold\n") && answer("# mine\nforce-confnew\n"));
        assert!(!answer("--force-confdef\n# force-confold\nlog /var/log/dpkg.log\n"));
    }
}
