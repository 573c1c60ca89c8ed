//! Each limit of spec 1.1 to 1.3, kept and broken by one.

use patchmesh_common::patch::baseline::{
    Checked, FilterGroup, FilterText, Gate, OperatingSystem, Origin, PatchBaseline, Problem, RuleText, Rules, Source,
    Spec, Tag, aws::AwsBaseline,
};

fn with(os: &str, change: impl FnOnce(&mut Spec)) -> PatchBaseline {
    let mut baseline = PatchBaseline { name: "web".into(), spec: Spec::default(), labels: Default::default() };
    baseline.spec.operating_system = Some(os.into());
    change(&mut baseline.spec);
    baseline
}

fn filter(key: &str, values: &[&str]) -> FilterText {
    FilterText { key: key.into(), values: values.iter().map(|value| (*value).into()).collect() }
}

fn rule(filters: Vec<FilterText>) -> RuleText {
    RuleText {
        patch_filter_group: FilterGroup { patch_filters: filters },
        approve_after_days: Some(7),
        ..RuleText::default()
    }
}

fn rules(rules: Vec<RuleText>) -> impl FnOnce(&mut Spec) {
    |spec| spec.approval_rules = Some(Rules { patch_rules: rules })
}

fn checked(baseline: &PatchBaseline) -> Checked {
    baseline.check().unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// The only problem, as people read it.
fn problem(baseline: &PatchBaseline) -> String {
    let problems = baseline.check().unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems[0].to_string()
}

#[test]
fn name() {
    for good in ["abc".to_owned(), "a_-.Z9".into(), "x".repeat(128)] {
        checked(&PatchBaseline { name: good, ..with("DEBIAN", |_| {}) });
    }
    let named = |name: &str| problem(&PatchBaseline { name: name.into(), ..with("DEBIAN", |_| {}) });
    assert_eq!(named("ab"), "name \"ab\": 2 characters, and 3 to 128 are allowed");
    assert!(named(&"x".repeat(129)).ends_with("129 characters, and 3 to 128 are allowed"));
    assert_eq!(named("a b"), "name \"a b\": ' ' is not one of the letters, digits and _-. allowed");
    assert!(named("../up").contains("'/'"));
}

#[test]
fn operating_system() {
    assert_eq!(checked(&with("DEBIAN", |spec| spec.operating_system = None)).os, OperatingSystem::Windows);
    for os in OperatingSystem::ALL {
        assert_eq!(checked(&with(os.as_str(), |_| {})).os, *os);
    }
    assert!(problem(&with("debian", |_| {})).starts_with("operatingSystem \"debian\": unknown: write WINDOWS, "));
}

#[test]
fn texts() {
    let description = |count: usize| with("DEBIAN", |spec| spec.description = Some("é".repeat(count)));
    checked(&description(1024));
    assert!(problem(&description(1025)).contains("1025 characters, and 1 to 1024 are allowed"));
    assert!(problem(&description(0)).starts_with("description \"\": 0 characters"));
    let origin = |origin: Origin| with("DEBIAN", |spec| spec.aws = Some(origin));
    let id = |count: usize| origin(Origin { baseline_id: Some("p".repeat(count)), ..Origin::default() });
    checked(&id(20));
    checked(&id(128));
    assert!(problem(&id(19)).starts_with("aws.baselineId"));
    assert!(problem(&id(129)).contains("129 characters, and 20 to 128 are allowed"));
    let token = |count: usize| origin(Origin { client_token: Some("t".repeat(count)), ..Origin::default() });
    checked(&token(64));
    assert!(problem(&token(65)).contains("1 to 64"));
    let tags = |count: usize| {
        let tag = Tag { key: "k".into(), value: String::new() };
        origin(Origin { tags: Some(vec![tag; count]), ..Origin::default() })
    };
    checked(&tags(1000));
    assert_eq!(problem(&tags(1001)), "aws.tags: 1001 entries, and 0 to 1000 are allowed");
}

#[test]
fn filters_and_their_values() {
    let global = |count: usize| {
        let group = FilterGroup { patch_filters: vec![filter("PRODUCT", &["*"]); count] };
        with("DEBIAN", |spec| spec.global_filters = Some(group))
    };
    checked(&global(4));
    assert_eq!(problem(&global(5)), "globalFilters.patchFilters: 5 entries, and 0 to 4 are allowed");
    let values = |values: &[&str]| with("DEBIAN", rules(vec![rule(vec![filter("SECTION", values)])]));
    checked(&values(&["x"; 20]));
    checked(&values(&[&"x".repeat(64)]));
    let place = "approvalRules.patchRules[0].patchFilterGroup.patchFilters[0].values";
    assert_eq!(problem(&values(&["x"; 21])), format!("{place}: 21 entries, and 1 to 20 are allowed"));
    assert_eq!(problem(&values(&[])), format!("{place}: 0 entries, and 1 to 20 are allowed"));
    assert!(problem(&values(&[&"x".repeat(65)])).ends_with("65 characters, and 1 to 64 are allowed"));
    assert!(problem(&values(&[""])).starts_with(&format!("{place}[0] \"\": 0 characters")));
    let windows = [
        filter("PATCH_SET", &["OS"]),
        filter("PRODUCT", &["*"]),
        filter("PRODUCT_FAMILY", &["Windows"]),
        filter("CLASSIFICATION", &["SecurityUpdates"]),
        filter("MSRC_SEVERITY", &["Critical"]),
    ];
    checked(&with("WINDOWS", rules(vec![rule(windows.to_vec())])));
    let six = [windows.to_vec(), vec![filter("PRODUCT", &["*"])]].concat();
    assert!(problem(&with("WINDOWS", rules(vec![rule(six)]))).ends_with("6 entries, and 0 to 5 are allowed"));
}

#[test]
fn every_key_and_value_belongs_to_an_operating_system() {
    for (os, key, good, bad) in [
        ("WINDOWS", "PATCH_SET", "APPLICATION", "application"),
        ("WINDOWS", "CLASSIFICATION", "SecurityUpdates", "Security"),
        ("WINDOWS", "MSRC_SEVERITY", "Unspecified", "Medium"),
        ("UBUNTU", "PRIORITY", "Required", "required"),
        ("DEBIAN", "PRIORITY", "Extra", "High"),
        ("RASPBIAN", "PRIORITY", "Standard", "Urgent"),
        ("AMAZON_LINUX", "CLASSIFICATION", "Bugfix", "SecurityUpdates"),
        ("AMAZON_LINUX_2", "SEVERITY", "Medium", "Moderate"),
        ("AMAZON_LINUX_2022", "SEVERITY", "Low", "None"),
        ("AMAZON_LINUX_2023", "SEVERITY", "None", "none"),
        ("REDHAT_ENTERPRISE_LINUX", "SEVERITY", "Moderate", "None"),
        ("CENTOS", "CLASSIFICATION", "Newpackage", "Optional"),
        ("ALMA_LINUX", "SEVERITY", "Medium", "High"),
        ("ROCKY_LINUX", "CLASSIFICATION", "Recommended", "Yast"),
        ("ORACLE_LINUX", "SEVERITY", "Moderate", "Medium"),
        ("SUSE", "CLASSIFICATION", "Yast", "Bugfix"),
        ("SUSE", "SEVERITY", "Important", "Medium"),
        ("MACOS", "CLASSIFICATION", "brew cask", "Security"),
    ] {
        let with = |value: &str| with(os, rules(vec![rule(vec![filter(key, &[value])])]));
        checked(&with(good));
        checked(&with("*"));
        let found = problem(&with(bad));
        assert!(found.contains(&format!("values[0] {bad:?}: {os} knows for {key}: *, ")), "{found}");
    }
    for (os, key) in [
        ("DEBIAN", "CLASSIFICATION"),
        ("UBUNTU", "SEVERITY"),
        ("RASPBIAN", "MSRC_SEVERITY"),
        ("SUSE", "SECTION"),
        ("MACOS", "SEVERITY"),
        ("AMAZON_LINUX_2", "PATCH_SET"),
        ("REDHAT_ENTERPRISE_LINUX", "NAME"),
        ("CENTOS", "CVE_ID"),
        ("ORACLE_LINUX", "PRIORITY"),
        ("DEBIAN", "product"),
        ("DEBIAN", ""),
    ] {
        let found = problem(&with(os, rules(vec![rule(vec![filter(key, &["*"])])])));
        assert!(found.contains(&format!("patchFilters[0].key {key:?}: {os} knows PRODUCT")), "{found}");
    }
    let windows = problem(&with("WINDOWS", rules(vec![rule(vec![filter("SEVERITY", &["*"])])])));
    assert!(windows.contains("patchFilters[0].key \"SEVERITY\": WINDOWS knows PATCH_SET, PRODUCT"), "{windows}");
}

#[test]
fn rules_and_their_dates() {
    let one = || rule(vec![]);
    checked(&with("DEBIAN", rules(vec![one(); 10])));
    let eleven = problem(&with("DEBIAN", rules(vec![one(); 11])));
    assert_eq!(eleven, "approvalRules.patchRules: 11 entries, and 0 to 10 are allowed");
    let days = |days| RuleText { approve_after_days: Some(days), ..one() };
    let until = |date: &str| RuleText { approve_until_date: Some(date.into()), approve_after_days: None, ..one() };
    let gate = |rule: RuleText| checked(&with("CENTOS", rules(vec![rule]))).rules[0].gate;
    assert_eq!((gate(days(0)), gate(days(360))), (Gate::AfterDays(0), Gate::AfterDays(360)));
    assert!(matches!(gate(until("2028-02-29")), Gate::Before(end) if end.rfc3339() == "2028-03-01T00:00:00Z"));
    let broken = |rule: RuleText| problem(&with("CENTOS", rules(vec![rule])));
    let place = "approvalRules.patchRules[0]";
    for wrong in [361, -1, i64::MAX, i64::MIN] {
        let expected = format!("{place}.approveAfterDays \"{wrong}\": 0 to 360 days are allowed");
        assert_eq!(broken(days(wrong)), expected);
    }
    let impossible = [
        "",
        "2026-02-29",
        "2026-13-01",
        "2026-00-10",
        "2026-1-1",
        "2026-12-01T00:00:00Z",
        "20261201",
        "tomorrow",
        "2026-12-0\u{661}",
        "+026-12-01",
        "0000-00-00",
        "2026/12/01",
    ];
    for wrong in impossible {
        let expected = format!("{place}.approveUntilDate {wrong:?}: this is no day of the calendar: write YYYY-MM-DD");
        assert_eq!(broken(until(wrong)), expected);
    }
    assert!(broken(RuleText { approve_after_days: Some(1), ..until("2026-12-01") }).contains("write one of the two"));
    let neither = RuleText { approve_after_days: None, ..one() };
    assert!(broken(neither.clone()).starts_with(&format!("{place}.approveAfterDays: missing")));
    for os in ["DEBIAN", "UBUNTU", "RASPBIAN"] {
        assert_eq!(checked(&with(os, rules(vec![neither.clone()]))).rules[0].gate, Gate::None);
    }
    let level = RuleText { compliance_level: Some("SEVERE".into()), ..one() };
    let found = broken(level);
    assert!(found.starts_with(&format!("{place}.complianceLevel \"SEVERE\": unknown: write UNSPECIFIED, ")), "{found}");
}

#[test]
fn lists() {
    let approved = |count: usize| with("DEBIAN", |spec| spec.approved_patches = Some(vec!["x".into(); count]));
    let rejected = |count: usize| with("DEBIAN", |spec| spec.rejected_patches = Some(vec!["x".into(); count]));
    checked(&approved(50));
    checked(&rejected(50));
    assert_eq!(problem(&approved(51)), "approvedPatches: 51 entries, and 0 to 50 are allowed");
    assert_eq!(problem(&rejected(51)), "rejectedPatches: 51 entries, and 0 to 50 are allowed");
    let entry = |count: usize| with("DEBIAN", |spec| spec.rejected_patches = Some(vec!["x".into(), "y".repeat(count)]));
    checked(&entry(100));
    assert!(problem(&entry(101)).starts_with("rejectedPatches[1] \"yyy"));
    assert!(problem(&entry(0)).ends_with("0 characters, and 1 to 100 are allowed"));
    let action = with("DEBIAN", |spec| spec.rejected_patches_action = Some("DENY".into()));
    assert_eq!(problem(&action), "rejectedPatchesAction \"DENY\": unknown: write ALLOW_AS_DEPENDENCY, BLOCK");
}

#[test]
fn sources() {
    let source = Source { name: "own".into(), products: vec!["*".into()], configuration: "deb".into() };
    let of = |sources: Vec<Source>| with("DEBIAN", |spec| spec.sources = Some(sources));
    checked(&of(vec![source.clone(); 20]));
    assert_eq!(problem(&of(vec![source.clone(); 21])), "sources: 21 entries, and 0 to 20 are allowed");
    let name = |count: usize| of(vec![Source { name: "n".repeat(count), ..source.clone() }]);
    checked(&name(50));
    assert!(problem(&name(2)).contains("2 characters, and 3 to 50 are allowed"));
    assert!(problem(&name(51)).contains("51 characters, and 3 to 50 are allowed"));
    let products = |count: usize| of(vec![Source { products: vec!["*".into(); count], ..source.clone() }]);
    checked(&products(20));
    assert!(problem(&products(21)).contains("sources[0].products: 21 entries, and 1 to 20 are allowed"));
    assert!(problem(&products(0)).contains("0 entries"));
    let text = |count: usize| of(vec![Source { configuration: "c".repeat(count), ..source.clone() }]);
    checked(&text(1024));
    assert!(problem(&text(1025)).contains("1 to 1024"));
    assert!(problem(&text(0)).contains("sources[0].configuration"));
}

#[test]
fn what_sources_and_aws_carry() {
    let source = |change: fn(&mut Source, usize), count: usize| {
        let mut source = Source { name: "own".into(), products: vec!["*".into()], configuration: "deb".into() };
        change(&mut source, count);
        with("DEBIAN", |spec| spec.sources = Some(vec![source]))
    };
    let product = |count| source(|source, count| source.products = vec!["p".repeat(count)], count);
    checked(&product(128));
    assert!(problem(&product(129)).ends_with("129 characters, and 1 to 128 are allowed"));
    assert!(problem(&product(0)).starts_with("sources[0].products[0] \"\": 0 characters"));
    let spaced = source(|source, _| source.name = "a b".into(), 0);
    assert!(problem(&spaced).starts_with("sources[0].name \"a b\": ' ' is not one of"));

    let aws = |origin: Origin| with("DEBIAN", |spec| spec.aws = Some(origin));
    let groups = |count: usize| aws(Origin { patch_groups: Some(vec!["g".repeat(count)]), ..Origin::default() });
    checked(&groups(256));
    assert!(problem(&groups(257)).ends_with("257 characters, and 1 to 256 are allowed"));
    assert!(problem(&groups(0)).starts_with("aws.patchGroups[0] \"\""));
    let tag = |key: usize, value: usize| {
        let tag = Tag { key: "k".repeat(key), value: "v".repeat(value) };
        aws(Origin { tags: Some(vec![tag]), ..Origin::default() })
    };
    checked(&tag(1, 0));
    checked(&tag(128, 256));
    assert!(problem(&tag(129, 0)).ends_with("129 characters, and 1 to 128 are allowed"));
    assert!(problem(&tag(0, 0)).starts_with("aws.tags[0].key \"\""));
    assert!(problem(&tag(1, 257)).ends_with("257 characters, and 0 to 256 are allowed"));
    let token = aws(Origin { client_token: Some(String::new()), ..Origin::default() });
    assert!(problem(&token).starts_with("aws.clientToken \"\": 0 characters"));
    let id = aws(Origin { baseline_id: Some("pb 0123456789abcdef0".into()), ..Origin::default() });
    assert!(problem(&id).contains("' ' is not one of"));
}

#[test]
fn words_of_levels_and_states() {
    let level = |word: &str| with("DEBIAN", |spec| spec.approved_patches_compliance_level = Some(word.into()));
    checked(&level("INFORMATIONAL"));
    assert!(
        problem(&level("critical")).starts_with("approvedPatchesComplianceLevel \"critical\": unknown: write UNSP")
    );
    let updates =
        |word: &str| with("WINDOWS", |spec| spec.available_security_updates_compliance_status = Some(word.into()));
    checked(&updates("COMPLIANT"));
    let found = problem(&updates("NONE"));
    assert!(found.starts_with("availableSecurityUpdatesComplianceStatus \"NONE\": unknown: write "), "{found}");
    let entry = |count: usize| with("DEBIAN", |spec| spec.approved_patches = Some(vec!["y".repeat(count)]));
    checked(&entry(100));
    assert!(problem(&entry(101)).ends_with("101 characters, and 1 to 100 are allowed"));
    assert!(problem(&entry(0)).starts_with("approvedPatches[0] \"\": 0 characters"));
}

#[test]
fn members_of_one_operating_system_only() {
    let updates =
        |os| with(os, |spec| spec.available_security_updates_compliance_status = Some("NON_COMPLIANT".into()));
    checked(&updates("WINDOWS"));
    assert!(problem(&updates("DEBIAN")).ends_with("only WINDOWS has it"));
    for (os, good) in [("SUSE", true), ("CENTOS", true), ("MACOS", false), ("WINDOWS", false)] {
        let list = with(os, |spec| spec.approved_patches_enable_non_security = Some(true));
        let rule = with(os, rules(vec![RuleText { enable_non_security: Some(true), ..rule(vec![]) }]));
        let source = Source { name: "own".into(), products: vec!["*".into()], configuration: "x".into() };
        let sources = with(os, |spec| spec.sources = Some(vec![source]));
        for baseline in [list, rule, sources] {
            assert_eq!(baseline.check().is_ok(), good, "{os} {baseline:?}");
        }
    }
    let clock = |os, word: &str| with(os, |spec| spec.approval_clock = Some(word.into()));
    checked(&clock("UBUNTU", "mesh"));
    checked(&clock("CENTOS", "aws"));
    assert!(problem(&clock("CENTOS", "mesh")).starts_with("approvalClock \"mesh\": only DEBIAN"));
    assert!(problem(&clock("UBUNTU", "MESH")).starts_with("approvalClock \"MESH\": unknown: write aws, mesh"));
    let refused = AwsBaseline::try_from(clock("UBUNTU", "mesh")).unwrap_err();
    assert_eq!(refused.to_string(), "approvalClock \"mesh\" has no counterpart in AWS's format");
    assert!(AwsBaseline::try_from(clock("UBUNTU", "aws")).is_ok());
}

#[test]
fn several_problems_are_told_at_once_and_in_both_spellings() {
    let baseline = with("DEBIAN", |spec| {
        spec.description = Some(String::new());
        spec.rejected_patches = Some(vec![String::new(); 50]);
    });
    let problems = baseline.check().unwrap_err();
    assert_eq!(problems.len(), 20);
    assert_eq!(problems[0].field, "description");
    let names: Vec<_> = problems[..2].iter().map(Problem::aws_field).collect();
    assert_eq!(names, ["Description", "RejectedPatches[0]"]);
    let deep =
        Problem { field: "approvalRules.patchRules[1].approveAfterDays".into(), value: None, limit: String::new() };
    assert_eq!(deep.aws_field(), "ApprovalRules.PatchRules[1].ApproveAfterDays");
    let carried = Problem { field: "aws.tags[0].key".into(), ..deep };
    assert_eq!(carried.aws_field(), "Tags[0].Key");
}
