//! Generated baselines: right in every limit, with every member absent or there.

use patchmesh_common::patch::baseline::{
    ComplianceLevel, Family, FilterGroup, FilterText, OperatingSystem, Origin, PatchBaseline, RejectedAction, RuleText,
    Rules, SecurityUpdates, Source, Spec, Stamp, Tag, os::Values,
};
use proptest::{collection::vec, option, prelude::*, sample::select};

fn any_text(most: usize) -> impl Strategy<Value = String> {
    vec(any::<char>(), 1..=most).prop_map(|chars| chars.into_iter().collect())
}

/// Texts that look like something else in YAML.
fn text() -> impl Strategy<Value = String> {
    const HARD: &[&str] = &[
        "yes",
        "null",
        "~",
        "1",
        "1e3",
        "0x1",
        "- a",
        "a: b",
        "#",
        "'",
        "\"",
        " x ",
        "x\n y\n",
        "2026-12-01",
        ".",
        "|",
        "true",
        "\u{feff}x",
        "\u{85}",
        "a\tb",
        "\u{0}",
        "!x",
        "&x",
        "*x",
        "{",
        "[",
        "%",
        "@",
        "`",
        "x #y",
        "\r\n",
        "\n",
        "---",
    ];
    prop_oneof![select(HARD).prop_map(str::to_owned), any_text(30)]
}

fn filters(os: OperatingSystem, most: usize) -> impl Strategy<Value = FilterGroup> {
    let one = select(os.filters()).prop_flat_map(|(key, values)| {
        let value = match values {
            Values::Any => prop_oneof![Just("*".to_owned()), text()].boxed(),
            Values::OneOf(words) => prop_oneof![Just("*"), select(words)].prop_map(str::to_owned).boxed(),
        };
        vec(value, 1..4).prop_map(move |values| FilterText { key: key.as_str().into(), values })
    });
    vec(one, 0..=most).prop_map(|patch_filters| FilterGroup { patch_filters })
}

fn level() -> impl Strategy<Value = Option<String>> {
    option::of(select(ComplianceLevel::ALL).prop_map(|level| level.as_str().to_owned()))
}

fn rule(os: OperatingSystem) -> impl Strategy<Value = RuleText> {
    let linux = os.family().is_linux();
    let date = (2000..2100, 1..13, 1..29).prop_map(|(y, m, d)| format!("{y}-{m:02}-{d:02}"));
    let gate = prop_oneof![(0..=360_i64).prop_map(|days| (Some(days), None)), date.prop_map(|date| (None, Some(date)))];
    let gate = if os.family() == Family::Apt { prop_oneof![gate, Just((None, None))].boxed() } else { gate.boxed() };
    (filters(os, 4), level(), gate, option::of(any::<bool>())).prop_map(
        move |(group, compliance_level, gate, non_security)| RuleText {
            patch_filter_group: group,
            compliance_level,
            approve_after_days: gate.0,
            approve_until_date: gate.1,
            enable_non_security: non_security.map(|on| on && linux),
        },
    )
}

fn origin() -> impl Strategy<Value = Option<Origin>> {
    let stamp = || {
        option::of(prop_oneof![
            any::<i32>().prop_map(|seconds| Stamp::Seconds(seconds.into())),
            // AWS has milliseconds; microseconds are what every decimal reader keeps exactly.
            (0..2_000_000_000_000_000_i64).prop_map(|micros| Stamp::Fraction((micros | 1) as f64 / 1e6)),
            Just(Stamp::Text("2024-05-01T10:00:00.123000+02:00".into())),
        ])
    };
    let tag = (text(), text()).prop_map(|(key, value)| Tag { key, value });
    let parts = (
        option::of("pb-[0-9a-f]{17}"),
        option::of(vec(text(), 0..3)),
        stamp(),
        stamp(),
        option::of(text()),
        option::of(vec(tag, 0..3)),
    );
    parts.prop_map(|(baseline_id, patch_groups, created_date, modified_date, client_token, tags)| {
        let origin = Origin { baseline_id, patch_groups, created_date, modified_date, client_token, tags };
        (origin != Origin::default()).then_some(origin)
    })
}

/// A baseline of `os`.
pub(crate) fn baseline_of(os: OperatingSystem) -> impl Strategy<Value = PatchBaseline> {
    let linux = os.family().is_linux();
    let source = ("[a-z]{3,50}", vec(text(), 1..3), text()).prop_map(|(name, products, configuration)| Source {
        name,
        products,
        configuration,
    });
    let action = select(RejectedAction::ALL).prop_map(|action| action.as_str().to_owned());
    let updates = select(SecurityUpdates::ALL).prop_map(|updates| updates.as_str().to_owned());
    let (lists, rest) = (
        (
            option::of(vec(text(), 0..4)),
            level(),
            option::of(any::<bool>()),
            option::of(vec(text(), 0..4)),
            option::of(action),
        ),
        (option::of(vec(source, 0..3)), option::of(updates), origin()),
    );
    let head =
        ("[a-zA-Z0-9_.-]{3,128}", option::of(text()), option::of(filters(os, 4)), option::of(vec(rule(os), 0..4)));
    (head, lists, rest).prop_map(move |(head, lists, rest)| PatchBaseline {
        name: head.0,
        spec: Spec {
            operating_system: Some(os.as_str().into()),
            description: head.1,
            global_filters: head.2,
            approval_rules: head.3.map(|patch_rules| Rules { patch_rules }),
            approved_patches: lists.0,
            approved_patches_compliance_level: lists.1,
            approved_patches_enable_non_security: lists.2.map(|on| on && linux),
            rejected_patches: lists.3,
            rejected_patches_action: lists.4,
            sources: rest.0.map(|sources| if linux { sources } else { Vec::new() }),
            available_security_updates_compliance_status: rest.1.filter(|_| os == OperatingSystem::Windows),
            approval_clock: None,
            aws: rest.2,
        },
        labels: Default::default(),
    })
}

/// A baseline of any operating system; `WINDOWS` may be left out.
pub(crate) fn baseline() -> impl Strategy<Value = PatchBaseline> {
    let silent = baseline_of(OperatingSystem::Windows).prop_map(|mut baseline| {
        baseline.spec.operating_system = None;
        baseline
    });
    prop_oneof![1 => silent, 15 => select(OperatingSystem::ALL).prop_flat_map(baseline_of)]
}
