//! What `apt-get update` says about repositories.

/// A repository that could not be refreshed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unreachable {
    /// Its address and suite, as in the sources, e.g. `http://deb.example.org/debian stable`.
    pub repository: String,
    /// What apt says; empty if nothing.
    pub why: String,
}

/// Reads what `apt-get update` prints in the C locale: every failing repository once, sorted.
pub fn failures(stdout: &str, stderr: &str) -> Vec<Unreachable> {
    let mut found: Vec<Unreachable> = Vec::new();
    let mut add = |repository: String, why: String| match found.iter_mut().find(|known| known.repository == repository)
    {
        Some(known) if known.why.is_empty() => known.why = why,
        Some(_) => {}
        None => found.push(Unreachable { repository, why }),
    };
    let mut lines = stdout.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(rest) = line.strip_prefix("Err:") else { continue };
        // `Err:5 URI SUITE/COMPONENT ARCH Packages` or `Err:5 URI SUITE InRelease`; a flat repository's suite is a path.
        let mut words = rest.split_ascii_whitespace().skip(1);
        let uri = words.next().unwrap_or_default();
        let suite = words.next().unwrap_or_default();
        let kind = words.next();
        let suite = match suite.rsplit_once('/') {
            Some((suite, _)) if !suite.starts_with('.') && kind != Some("InRelease") && kind != Some("Release") => {
                suite
            }
            _ => suite,
        };
        let repository = format!("{uri} {suite}").trim().to_owned();
        let why = lines.next_if(|next| next.starts_with("  ")).unwrap_or_default().trim().to_owned();
        add(repository, why);
    }
    // What came as it should and is not believed, apt only complains of.
    for line in stderr.lines() {
        if let Some((repository, why)) =
            line.strip_prefix("E: ").and_then(|error| outdated(error).or(unsigned(error)).or(renamed(error)))
        {
            add(repository, why);
        }
    }
    found.sort();
    found
}

/// `Release file for URI/dists/SUITE/InRelease is expired (…). Updates for this repository will not be applied.`
fn outdated(error: &str) -> Option<(String, String)> {
    let (release, why) = error.strip_prefix("Release file for ")?.split_once(' ')?;
    let (folder, _) = release.rsplit_once('/')?;
    let repository = match folder.rsplit_once("/dists/") {
        Some((uri, suite)) => format!("{uri} {suite}"),
        None => folder.strip_suffix("/.").map_or_else(|| folder.to_owned(), |uri| format!("{uri} ./")),
    };
    let why = why.split_once(". ").map_or(why, |(first, _)| first);
    Some((repository, format!("Release file {why}")))
}

/// `The repository 'URI SUITE InRelease' is not signed.`
fn unsigned(error: &str) -> Option<(String, String)> {
    let (named, why) = error.strip_prefix("The repository '")?.split_once("' ")?;
    let (repository, _) = named.rsplit_once(' ')?;
    Some((repository.to_owned(), why.trim_end_matches('.').to_owned()))
}

/// `Repository 'URI SUITE InRelease' changed its 'Label' value from 'A' to 'B'`: apt wants to be told that this is right.
fn renamed(error: &str) -> Option<(String, String)> {
    let (named, why) = error.strip_prefix("Repository '")?.split_once("' ")?;
    let (repository, _) = named.rsplit_once(' ').filter(|_| why.starts_with("changed its '"))?;
    Some((repository.to_owned(), why.to_owned()))
}

/// Whether apt complains that somebody else holds a lock.
pub fn is_locked(stderr: &str) -> bool {
    stderr.lines().any(|line| line.starts_with("E: Could not get lock "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPTURED: &str = "\
Hit:1 http://mirror.example/debian bookworm InRelease
Ign:5 file:/srv/repo main/main amd64 Packages
Err:5 file:/srv/repo main/main amd64 Packages
  File not found - /srv/repo/dists/main/main/binary-amd64/Packages (2: No such file or directory)
Err:6 file:/srv/repo main/main i386 Packages
Get:10 file:/srv/repo sec/main all Packages
Err:13 http://127.0.0.1:9/x stable/updates InRelease
  Could not connect to 127.0.0.1:9 (127.0.0.1). - connect (111: Connection refused)
Reading package lists...
";

    const COMPLAINTS: &str = "\
E: The repository 'file:/srv/repo main Release' no longer has a Release file.
W: An error occurred during the signature verification. The repository is not updated and the previous index files will be \
used. GPG error: file:/srv/repo unknown InRelease: The following signatures couldn't be verified because the public key is \
not available: NO_PUBKEY 0123456789ABCDEF
E: The repository 'http://a b/updates InRelease' is not signed.
E: Release file for file:/srv/repo/dists/stable/updates/InRelease is expired (invalid since 1d 2h). Updates for this \
repository will not be applied.
E: Release file for file:/flat/./Release is not valid yet (invalid for another 3s). Updates for this repository will not be \
applied.
E: Repository 'file:/srv/repo testing InRelease' changed its 'Label' value from 'One' to 'The other'
N: This must be accepted explicitly before updates for this repository can be applied. See apt-secure(8) manpage for details.
E: Some index files failed to download. They have been ignored, or old ones used instead.
";

    #[test]
    fn what_came_and_is_not_believed_is_named_with_its_reason() {
        let told: Vec<_> = failures("Hit:1 http://a b/updates InRelease\n", COMPLAINTS)
            .into_iter()
            .map(|Unreachable { repository, why }| format!("{repository}: {why}"))
            .collect();
        assert_eq!(
            told,
            [
                "file:/flat ./: Release file is not valid yet (invalid for another 3s)",
                "file:/srv/repo main: no longer has a Release file",
                "file:/srv/repo stable/updates: Release file is expired (invalid since 1d 2h)",
                "file:/srv/repo testing: changed its 'Label' value from 'One' to 'The other'",
                "http://a b/updates: is not signed",
            ]
        );
        // One that could not be fetched is named once, with what it could not be fetched for.
        let both = failures(CAPTURED, COMPLAINTS);
        assert_eq!(both.len(), 6);
        assert!(
            both.iter().any(|one| one.repository == "file:/srv/repo main" && one.why.starts_with("File not found"))
        );
        for wrong in [
            "E: Release file for ",
            "E: Release file for a b",
            "E: The repository 'a' b",
            "E: The repository '",
            "E: Repository 'a b' is",
        ] {
            assert_eq!(failures("", wrong), [], "{wrong}");
        }
    }

    #[test]
    fn every_failing_repository_is_named_once_with_its_reason() {
        let found = failures(CAPTURED, "");
        let told: Vec<_> = found.iter().map(|f| f.repository.as_str()).collect();
        assert_eq!(told, ["file:/srv/repo main", "http://127.0.0.1:9/x stable/updates"]);
        assert!(found[0].why.starts_with("File not found") && found[1].why.contains("Connection refused"));
        assert!(failures("Hit:1 http://a b InRelease\n", "").is_empty());
    }

    #[test]
    fn a_lock_is_told_from_other_errors() {
        assert!(is_locked("E: Could not get lock /r/var/lib/apt/lists/lock. It is held by process 7 (apt-get)\n"));
        let denied =
            "E: Could not open lock file /l/lock - open (13: Permission denied)\nE: Unable to lock directory /l/\n";
        assert!(!is_locked(denied));
        assert!(!is_locked("E: Type 'x' is not known on line 1 in source list /etc/apt/sources.list\n"));
    }
}
