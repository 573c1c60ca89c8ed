//! What `apt-get update` says about repositories.

/// A repository that could not be refreshed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unreachable {
    /// Its address and suite, as in the sources, e.g. `http://deb.example.org/debian stable`.
    pub repository: String,
    /// What apt says; empty if nothing.
    pub why: String,
}

/// Reads the standard output of `apt-get update` in the C locale: every failing repository once, sorted.
pub fn failures(stdout: &str) -> Vec<Unreachable> {
    let mut found: Vec<Unreachable> = Vec::new();
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
        match found.iter_mut().find(|known| known.repository == repository) {
            Some(known) if known.why.is_empty() => known.why = why,
            Some(_) => {}
            None => found.push(Unreachable { repository, why }),
        }
    }
    found.sort();
    found
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

    #[test]
    fn every_failing_repository_is_named_once_with_its_reason() {
        let found = failures(CAPTURED);
        let told: Vec<_> = found.iter().map(|f| f.repository.as_str()).collect();
        assert_eq!(told, ["file:/srv/repo main", "http://127.0.0.1:9/x stable/updates"]);
        assert!(found[0].why.starts_with("File not found") && found[1].why.contains("Connection refused"));
        assert!(failures("Hit:1 http://a b InRelease\n").is_empty());
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
