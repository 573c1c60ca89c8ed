//! The baselines that exist without being written (spec 1.8).

use super::{FilterGroup, FilterKey, FilterText, OperatingSystem, PatchBaseline, RuleText, Rules, Spec};

/// How a predefined baseline waits, in days.
const WAIT: i64 = 7;

/// A predefined baseline: name, operating system, how the description calls it, and its rules.
type Row = (&'static str, OperatingSystem, &'static str, fn() -> Vec<RuleText>);

const ROWS: [Row; 17] = {
    use OperatingSystem as Os;
    [
        ("AWS-AlmaLinuxDefaultPatchBaseline", Os::Alma, "Alma Linux", severe_or_bugfix),
        ("AWS-AmazonLinux2022DefaultPatchBaseline", Os::AmazonLinux2022, "Amazon Linux 2022", severe_or_bugfix),
        ("AWS-AmazonLinux2023DefaultPatchBaseline", Os::AmazonLinux2023, "Amazon Linux 2023", severe_or_bugfix),
        ("AWS-AmazonLinux2DefaultPatchBaseline", Os::AmazonLinux2, "Amazon Linux 2", severe_or_bugfix),
        ("AWS-AmazonLinuxDefaultPatchBaseline", Os::AmazonLinux, "Amazon Linux", severe_or_bugfix),
        ("AWS-CentOSDefaultPatchBaseline", Os::CentOs, "CentOS", everything),
        ("AWS-DebianDefaultPatchBaseline", Os::Debian, "Debian", priorities),
        ("AWS-DefaultPatchBaseline", Os::Windows, "Windows", windows),
        ("AWS-DefaultRaspbianPatchBaseline", Os::Raspbian, "Raspbian", priorities),
        ("AWS-MacOSDefaultPatchBaseline", Os::MacOs, "MacOS", current),
        ("AWS-OracleLinuxDefaultPatchBaseline", Os::Oracle, "Oracle Linux", moderate_or_bugfix),
        ("AWS-RedHatDefaultPatchBaseline", Os::RedHat, "RedHat", severe_or_bugfix),
        ("AWS-RockyLinuxDefaultPatchBaseline", Os::Rocky, "Rocky Linux", severe_or_bugfix),
        ("AWS-SuseDefaultPatchBaseline", Os::Suse, "Suse", severe),
        ("AWS-UbuntuDefaultPatchBaseline", Os::Ubuntu, "Ubuntu", priorities),
        ("AWS-WindowsPredefinedPatchBaseline-OS", Os::Windows, "Windows OS", windows),
        (
            "AWS-WindowsPredefinedPatchBaseline-OS-Applications",
            Os::Windows,
            "Windows OS and applications",
            applications,
        ),
    ]
};

/// All of them, by name.
pub fn all() -> Vec<PatchBaseline> {
    ROWS.iter().map(baseline).collect()
}

/// The one of this name.
pub fn find(name: &str) -> Option<PatchBaseline> {
    // Two documents of AWS call it differently.
    let name = if name == "AWS-RaspbianDefaultPatchBaseline" { "AWS-DefaultRaspbianPatchBaseline" } else { name };
    ROWS.iter().find(|row| row.0 == name).map(baseline)
}

/// The name of the one that judges hosts of `os` unless another one was registered.
pub fn default_for(os: OperatingSystem) -> &'static str {
    // The first of the three of Windows is its default.
    ROWS.iter().find(|row| row.1 == os).map_or("AWS-DefaultPatchBaseline", |row| row.0)
}

fn baseline((name, os, called, rules): &Row) -> PatchBaseline {
    PatchBaseline {
        name: (*name).to_owned(),
        spec: Spec {
            operating_system: Some(os.as_str().to_owned()),
            description: Some(format!("Default Patch Baseline for {called} Provided by AWS.")),
            global_filters: Some(FilterGroup { patch_filters: vec![filter(FilterKey::Product, &["*"])] }),
            approval_rules: Some(Rules { patch_rules: rules() }),
            approved_patches: Some(Vec::new()),
            approved_patches_compliance_level: Some("UNSPECIFIED".into()),
            approved_patches_enable_non_security: Some(false),
            rejected_patches: Some(Vec::new()),
            rejected_patches_action: Some("ALLOW_AS_DEPENDENCY".into()),
            sources: Some(Vec::new()),
            ..Spec::default()
        },
        labels: Default::default(),
    }
}

fn filter(key: FilterKey, values: &[&str]) -> FilterText {
    FilterText { key: key.as_str().into(), values: values.iter().map(|value| (*value).into()).collect() }
}

fn rule(wait: Option<i64>, filters: &[(FilterKey, &[&str])]) -> RuleText {
    RuleText {
        patch_filter_group: FilterGroup {
            patch_filters: filters.iter().map(|(key, values)| filter(*key, values)).collect(),
        },
        compliance_level: Some("UNSPECIFIED".into()),
        approve_after_days: wait,
        approve_until_date: None,
        enable_non_security: Some(false),
    }
}

fn security(severities: &[&str]) -> RuleText {
    rule(Some(WAIT), &[(FilterKey::Classification, &["Security"]), (FilterKey::Severity, severities)])
}

fn bugfix() -> RuleText {
    rule(Some(WAIT), &[(FilterKey::Classification, &["Bugfix"])])
}

fn severe() -> Vec<RuleText> {
    vec![security(&["Critical", "Important"])]
}

fn severe_or_bugfix() -> Vec<RuleText> {
    vec![security(&["Critical", "Important"]), bugfix()]
}

fn moderate_or_bugfix() -> Vec<RuleText> {
    vec![security(&["Important", "Moderate"]), bugfix()]
}

fn everything() -> Vec<RuleText> {
    vec![RuleText { enable_non_security: Some(true), ..rule(Some(WAIT), &[(FilterKey::Product, &["*"])]) }]
}

fn priorities() -> Vec<RuleText> {
    vec![rule(None, &[(FilterKey::Priority, &["Required", "Important", "Standard", "Optional", "Extra"])])]
}

fn current() -> Vec<RuleText> {
    vec![rule(Some(0), &[(FilterKey::Classification, &["*"])])]
}

fn windows() -> Vec<RuleText> {
    vec![rule(
        Some(WAIT),
        &[
            (FilterKey::Classification, &["CriticalUpdates", "SecurityUpdates"]),
            (FilterKey::MsrcSeverity, &["Critical", "Important"]),
        ],
    )]
}

fn applications() -> Vec<RuleText> {
    let mut rules = windows();
    rules.push(rule(Some(WAIT), &[(FilterKey::PatchSet, &["APPLICATION"]), (FilterKey::Product, &["*"])]));
    rules
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_operating_system_has_a_default_and_all_are_right() {
        let names: BTreeSet<_> = all().into_iter().map(|baseline| baseline.name).collect();
        assert_eq!(names.len(), ROWS.len());
        assert!(ROWS.is_sorted_by_key(|row| row.0));
        for os in OperatingSystem::ALL {
            let default = find(default_for(*os)).unwrap();
            assert_eq!(default.check().unwrap().os, *os);
        }
        for baseline in all() {
            assert_eq!(baseline.check().map(|_| ()), Ok(()), "{}", baseline.name);
        }
    }
}
