//! Entries of the approved and rejected lists (spec 1.6): what each family lets them name.

use super::Family;
use crate::{inventory::rpm, patch::glob};

/// What an entry is compared with: one version of one package.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Binary package, patch or update.
    pub name: &'a str,
    /// Its architecture.
    pub arch: &'a str,
    /// The version, as the package manager writes it.
    pub version: &'a str,
    /// Ids of the advisories, patches or bulletins that name this version.
    pub advisories: &'a [&'a str],
    /// CVE ids of them.
    pub cves: &'a [&'a str],
    /// Bugzilla ids of them.
    pub bugs: &'a [&'a str],
}

/// Whether `entry` names `subject`.
pub fn names(family: Family, entry: &str, subject: &Subject<'_>) -> bool {
    let id = |ids: &[&str]| ids.iter().any(|id| id.eq_ignore_ascii_case(entry));
    match family {
        // The name covers every version and architecture; one with its architecture is understood.
        Family::Apt => is_package(entry, subject),
        Family::Rpm if entry.bytes().all(|byte| byte.is_ascii_digit()) => id(subject.bugs),
        Family::Rpm => {
            id(subject.cves)
                || subject.advisories.iter().any(|id| glob::matches(entry, id))
                || is_package(entry, subject)
                || expressions(subject).iter().any(|written| glob::matches(entry, written))
        }
        Family::Zypper => {
            let evr = rpm::Evr::parse(subject.version);
            let file =
                format!("{}-{}-{}.{}.rpm", subject.name, evr.version, evr.release.unwrap_or_default(), subject.arch);
            subject.advisories.iter().any(|id| glob::matches(entry, id))
                || glob::matches(entry, &file)
                || glob::matches(entry, subject.name)
        }
        Family::MacOs => entry == subject.name,
        Family::Windows => entry.eq_ignore_ascii_case(subject.name) || id(subject.advisories),
    }
}

fn is_package(entry: &str, subject: &Subject<'_>) -> bool {
    glob::matches(entry, subject.name) || glob::matches(entry, &format!("{}.{}", subject.name, subject.arch))
}

/// Every way to write a version of an rpm that is known as an entry. Without an epoch it is epoch 0.
fn expressions(subject: &Subject<'_>) -> Vec<String> {
    let (n, a) = (subject.name, subject.arch);
    let evr = rpm::Evr::parse(subject.version);
    let (v, r) = (evr.version, evr.release.unwrap_or_default());
    let e = match evr.epoch.trim_start_matches('0') {
        "" => "0",
        epoch => epoch,
    };
    let mut written = vec![
        format!("{e}:{v}-{r}"),
        format!("{n}-{e}:{v}-{r}"),
        format!("{n}-{e}:{v}-{r}.{a}"),
        format!("{e}:{n}-{v}-{r}.{a}"),
        format!("{n}.{a}:{e}:{v}-{r}"),
    ];
    if e == "0" {
        written.extend([
            format!("{n}-{v}"),
            format!("{n}-{v}-{r}"),
            format!("{n}-{v}-{r}.{a}"),
            v.to_owned(),
            format!("{v}-{r}"),
        ]);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(version: &str) -> Subject<'_> {
        Subject {
            name: "openssl-libs",
            arch: "x86_64",
            version,
            advisories: &["RHSA-2024:0864"],
            cves: &["CVE-2024-0727"],
            bugs: &["2259944"],
        }
    }

    #[test]
    fn every_expression_of_an_rpm_names_it() {
        let zero = subject("3.0.7-25.el9");
        for entry in [
            "openssl-libs",
            "openssl-libs.x86_64",
            "openssl-libs-3.0.7",
            "openssl-libs-3.0.7-25.el9",
            "openssl-libs-3.0.7-25.el9.x86_64",
            "3.0.7",
            "3.0.7-25.el9",
            "0:3.0.7-25.el9",
            "openssl-libs-0:3.0.7-25.el9",
            "openssl-libs-0:3.0.7-25.el9.x86_64",
            "0:openssl-libs-3.0.7-25.el9.x86_64",
            "openssl-libs.x86_64:0:3.0.7-25.el9",
            "openssl*",
            "RHSA-2024:0864",
            "rhsa-2024:*",
            "cve-2024-0727",
            "2259944",
        ] {
            let expected = entry != "rhsa-2024:*";
            assert_eq!(names(Family::Rpm, entry, &zero), expected, "{entry}");
        }
        let epoch = subject("1:3.0.7-25.el9");
        for (entry, expected) in [
            ("openssl-libs-3.0.7-25.el9", false),
            ("openssl-libs-1:3.0.7-25.el9", true),
            ("1:openssl-libs-3.0.7-25.el9.x86_64", true),
            ("3.0.7", false),
            ("openssl-libs", true),
            ("openssl", false),
            ("3", false),
        ] {
            assert_eq!(names(Family::Rpm, entry, &epoch), expected, "{entry}");
        }
    }

    #[test]
    fn the_other_families_name_less() {
        let rows = [
            (Family::Apt, "openssl-libs", true),
            (Family::Apt, "openssl*", true),
            (Family::Apt, "openssl-libs.x86_64", true),
            (Family::Apt, "openssl-libs-3.0.7", false),
            (Family::Apt, "CVE-2024-0727", false),
            (Family::Zypper, "RHSA-2024:0864", true),
            (Family::Zypper, "openssl-libs-3.0.7-25.el9.x86_64.rpm", true),
            (Family::Zypper, "openssl-libs-3.0.*", true),
            (Family::Zypper, "3.0.7", false),
            (Family::MacOs, "openssl-libs", true),
            (Family::MacOs, "openssl*", false),
            (Family::Windows, "OPENSSL-LIBS", true),
            (Family::Windows, "rhsa-2024:0864", true),
            (Family::Windows, "openssl*", false),
        ];
        for (family, entry, expected) in rows {
            assert_eq!(names(family, entry, &subject("3.0.7-25.el9")), expected, "{family:?} {entry}");
        }
    }
}
