use std::time::Duration;

use patchmesh_common::{
    rollout::spec::Asked,
    rollout::{OnHookFailure, OnSuperseded, Operation, RebootOption, limit::Ramp, spec::Targets},
    run::gate::Gate,
    time::WallTime,
};

use super::*;

const GOOD: &str = "\
apiVersion: patchmesh/v1
kind: Rollout
metadata: {name: weekly}
spec:
  operation: Install
  targets: {all: true}
  baseline: security
  maxConcurrency: 10%
";

fn parse(text: &str) -> Result<RolloutSpec, Fault> {
    parse_rollout("r.yaml", text)
}

#[test]
fn labels_are_read_and_change_nothing_of_what_is_asked_for() {
    let with = |labels: &str| GOOD.replace("weekly}", &format!("weekly, labels: {labels}}}"));
    let (spec, labels) = parse_labelled("r.yaml", &with("{team: web and mail, empty: ''}")).unwrap();
    assert_eq!((spec, labels["team"].as_str(), labels.len()), (parse(GOOD).unwrap(), "web and mail", 2));
    for (labels, told) in [
        ("{a b: c}", "r.yaml:3:34: metadata.labels: the key \"a b\" is not allowed: write 1 to 128 bytes"),
        ("[a]", "r.yaml:3:34: metadata.labels: write fields, such as {name: value}"),
    ] {
        assert!(message(&with(labels)).starts_with(told), "{}", message(&with(labels)));
    }
}

fn message(text: &str) -> String {
    let fault = parse(text).unwrap_err();
    assert_eq!(fault.exit, Exit::Error, "{}", fault.message);
    assert_eq!(fault.unchanged, "nothing was changed");
    fault.chain()
}

fn not_built(text: &str) -> String {
    let fault = parse(text).unwrap_err();
    assert_eq!(fault.exit, Exit::Usage, "{}", fault.message);
    assert!(fault.message.ends_with(" is not built yet"), "{}", fault.message);
    fault.message
}

#[test]
fn the_published_manifest_means_what_it_says() {
    let spec = parse(&format!(
        "{GOOD}  maxErrors: 2\n  openings: [{{opens: 2026-12-01T02:00:00Z, lastStart: 2026-12-01T05:30:00Z, \
         closes: 2026-12-01T06:00:00Z}}]\n  reboot: never\n  hooks: {{timeout: 15m}}\n"
    ))
    .unwrap();
    assert_eq!((spec.name.as_str(), spec.operation, spec.baseline), ("weekly", Operation::Install, Asked::Security));
    assert_eq!((spec.max_concurrency.given(), spec.max_errors.given()), ("10%", "2"));
    assert_eq!(spec.openings[0].last_start, WallTime::parse("2026-12-01T05:30:00Z").unwrap());
    assert_eq!((spec.reboot, spec.hook_timeout), (RebootOption::Never, Duration::from_secs(900)));
}

#[test]
fn what_a_failed_hook_means_is_a_word() {
    let of = |hooks: &str| parse(&format!("{GOOD}  hooks: {hooks}\n")).unwrap();
    assert_eq!(parse(GOOD).unwrap().on_hook_failure, OnHookFailure::Fail, "the default");
    for (word, meant) in [("fail", OnHookFailure::Fail), ("skip", OnHookFailure::Skip), ("halt", OnHookFailure::Halt)] {
        let spec = of(&format!("{{timeout: 15m, onFailure: {word}}}"));
        assert_eq!((spec.on_hook_failure, spec.hook_timeout), (meant, Duration::from_secs(900)));
    }
    assert_eq!(of("{onFailure: halt}").hook_timeout, Duration::from_secs(300));
    let wrong = message(&format!("{GOOD}  hooks: {{onFailure: ignore}}\n"));
    assert_eq!(wrong, "r.yaml:9:22: hooks.onFailure \"ignore\" is unknown: write fail or skip or halt");
}

#[test]
fn a_baseline_is_named_or_every_host_s_group_decides() {
    assert_eq!(parse(&GOOD.replace("security", "all")).unwrap().baseline, Asked::All);
    assert_eq!(parse(&GOOD.replace("security", "web")).unwrap().baseline, Asked::Baseline("web".into()));
    assert_eq!(parse(&GOOD.replace("  baseline: security\n", "")).unwrap().baseline, Asked::Group);
}

#[test]
fn a_list_of_patches_may_be_json() {
    let text = r#"{"patches": [{"id": "nano.amd64"}]}"#;
    for file in ["-", "list.json", "list.yaml"] {
        assert!(
            matches!(super::parse(file, text), Ok(Manifest::InstallList(list)) if list.patches.len() == 1),
            "{file}"
        );
    }
}

#[test]
fn awss_words_for_reboots_are_refused_by_name() {
    for word in ["RebootIfNeeded", "NoReboot"] {
        let told = not_built(&format!("{GOOD}  reboot: {word}\n"));
        assert_eq!(told, format!("r.yaml:9:11: reboot {word}, in AWS's meaning, is not built yet"));
    }
}

#[test]
fn defaults_are_only_those_that_are_documented() {
    let spec = parse(GOOD).unwrap();
    assert_eq!((spec.max_errors.given(), spec.openings.len()), ("0", 0));
    assert_eq!((spec.reboot, spec.hook_timeout), (RebootOption::IfNeeded, Duration::from_secs(300)));
    assert_eq!(message(&GOOD.replace("  targets: {all: true}\n", "")), "r.yaml:5:3: field spec.targets is missing");
    assert_eq!(
        message(&GOOD.replace("  maxConcurrency: 10%\n", "")),
        "r.yaml:5:3: field spec.maxConcurrency is missing"
    );
}

#[test]
fn a_reboot_is_a_word_or_a_time_that_an_opening_reaches() {
    let with = |reboot: &str| format!("{GOOD}  reboot: {reboot}\n");
    let four = RebootOption::At(patchmesh_common::time::WallTime::parse("2026-12-01T04:00:00Z").unwrap());
    for text in ["{at: 2026-12-01T04:00:00Z}", "{at: '2026-12-01T05:00:00.5+01:00'}"] {
        assert_eq!(parse(&with(text)).unwrap().reboot, four, "{text}");
    }
    assert_eq!(
        message(&with("sometimes")),
        "r.yaml:9:11: reboot \"sometimes\" is unknown: write never, ifNeeded or {at: TIME}, such as {at: 2026-12-01T04:00:00Z}"
    );
    assert_eq!(
        message(&with("{at: noon}")),
        "r.yaml:9:11: reboot at \"noon\" is no RFC 3339 time: write 2026-12-01T04:00:00Z"
    );
    for (text, told) in [("{}", "reboot is empty"), ("{on: x}", "unknown field \"on\" of reboot"), ("[a]", "")] {
        let said = message(&with(text));
        assert!(said.starts_with("r.yaml:9:") && said.contains(told) && said.contains("{at: TIME}"), "{said}");
    }
    let opening = "{opens: 2026-12-01T02:00:00Z, lastStart: 2026-12-01T03:00:00Z, closes: 2026-12-01T04:00:00Z}";
    assert_eq!(
        message(&format!("{}  openings: [{opening}]\n", with("{at: 2026-12-01T04:30:00Z}"))),
        "r.yaml:9:11: reboot at 2026-12-01T04:30:00Z is not before the last opening closes, which is at \
         2026-12-01T04:00:00Z: write an earlier time or a later opening"
    );
    parse(&format!("{}  openings: [{opening}]\n", with("{at: 2026-12-01T03:59:59Z}"))).unwrap();
    let scan = with("{at: 2026-12-01T04:00:00Z}").replace("Install", "Scan");
    assert!(message(&scan).contains("cannot be used with operation: Scan"), "{}", message(&scan));
}

#[test]
fn targets_are_exactly_one_of_three() {
    let with = |targets: &str| GOOD.replace("{all: true}", targets);
    assert_eq!(parse(&with("{names: [b, a]}")).unwrap().targets, Targets::Names(["a".into(), "b".into()].into()));
    let labels = Targets::Labels([("app".into(), "pg".into())].into());
    assert_eq!(parse(&with("{selector: {matchLabels: {app: pg}}}")).unwrap().targets, labels);
    for wrong in ["{}", "{all: true, names: [a]}", "{names: [a], selector: {matchLabels: {a: b}}}"] {
        assert!(message(&with(wrong)).starts_with("r.yaml:6:12: targets must hold exactly one of"), "{wrong}");
    }
    assert_eq!(
        message(&with("{all: false}")),
        "r.yaml:6:18: targets.all is false: write true, or names, or a selector"
    );
    assert!(message(&with("{names: []}")).contains("the names of the targets are empty"));
    assert_eq!(message(&with("{names: [a, b, a]}")), "r.yaml:6:12: targets.names holds \"a\" twice");
    assert!(message(&with("{all: yes}")).starts_with("r.yaml:6:18: "));
}

#[test]
fn an_unknown_field_is_named_with_file_line_and_what_is_known() {
    assert_eq!(
        message(&format!("{GOOD}  maxErorrs: 2\n")),
        "r.yaml:9:3: unknown field \"maxErorrs\": known here are operation, targets, baseline, snapshot, baselineOverride, \
         installOverrideList, maxConcurrency, maxErrors, \
         openings, windows, blackouts, reboot, hooks, rings, ramp, gates, onLimit, onSuperseded"
    );
    assert_eq!(
        message(&format!("{GOOD}status: {{}}\n")),
        "r.yaml:9:1: unknown field \"status\": known here are apiVersion, kind, metadata, spec"
    );
    assert_eq!(
        message(&GOOD.replace("weekly}", "weekly, uid: 1}")),
        "r.yaml:3:26: unknown field \"uid\": known here are name, labels"
    );
    assert_eq!(
        message(&format!("{GOOD}  hooks: {{retries: 1}}\n")),
        "r.yaml:9:11: unknown field \"retries\": known here are timeout, onFailure"
    );
}

#[test]
fn windows_and_blackouts_say_when() {
    let times = "from: 2026-12-18T00:00:00Z, to: 2027-01-04T00:00:00+01:00";
    let spec = parse(&format!("{GOOD}  windows: [nightly, patch-tuesday]\n  blackouts: [{{{times}}}]\n")).unwrap();
    assert_eq!(spec.windows, ["nightly", "patch-tuesday"]);
    assert_eq!(spec.blackouts[0].to, WallTime::parse("2027-01-03T23:00:00Z").unwrap());
    let windows = |names: &str| message(&format!("{GOOD}  windows: {names}\n"));
    assert!(windows("[no]").starts_with("r.yaml:9:12: the window \"no\" is not allowed: write 3 to 128"));
    assert_eq!(windows("[nightly, nightly]"), "r.yaml:9:12: windows hold \"nightly\" twice");
    let opening =
        "openings: [{opens: 2026-12-01T02:00:00Z, lastStart: 2026-12-01T05:30:00Z, closes: 2026-12-01T06:00:00Z}]";
    let both = message(&format!("{GOOD}  {opening}\n  windows: [nightly]\n"));
    assert_eq!(both, "r.yaml:10:12: openings cannot be used with windows: leave one of them out");
    let blackouts = |times: &str| message(&format!("{GOOD}  blackouts:\n  - {{{times}}}\n"));
    let order = blackouts("from: 2026-12-18T00:00:00Z, to: 2026-12-18T00:00:00Z");
    assert!(order.starts_with("r.yaml:10:5: the blackout is not in order: from 2026-12-18T00:00:00Z < to"), "{order}");
    assert!(blackouts("from: xmas, to: x").starts_with("r.yaml:10:12: from \"xmas\" is no RFC 3339 time"));
    let unknown = blackouts("from: x, until: x");
    assert_eq!(unknown, "r.yaml:10:15: unknown field \"until\": known here are from, to");
    let many = vec![format!("{{{times}}}"); 65].join(", ");
    let many = message(&format!("{GOOD}  blackouts: [{many}]\n"));
    assert_eq!(many, "r.yaml:9:14: 65 blackouts are more than the 64 allowed");
}

#[test]
fn what_is_not_built_is_refused_by_name() {
    for (field, named) in [
        ("onLimit: pause", "onLimit pause"),
        ("gates: {afterRing: [{http: {url: 'https://a/'}}]}", "https in a gate"),
        ("gates: {afterHost: [{http: {url: 'https://a/'}}]}", "https in a gate"),
    ] {
        let message = not_built(&format!("{GOOD}  {field}\n"));
        assert!(message.starts_with("r.yaml:9:") && message.contains(named), "{message}");
    }
    assert!(not_built(&GOOD.replace("Rollout", "Calendar")).starts_with("r.yaml:2:7: kind Calendar"));
}

#[test]
fn gates_and_what_follows_a_superseded_version_are_read() {
    let gates = "  onLimit: halt
  onSuperseded: wait
  gates:
    afterHost:
      - {command: [check-web, --fast], timeout: 2m}
      - systemdUnit: nginx.service
      - noNewFailedUnits: true
      - http: {url: 'http://127.0.0.1:8080/health'}
";
    let spec = parse(&format!("{GOOD}{gates}")).unwrap();
    assert_eq!(spec.on_superseded, OnSuperseded::Wait);
    let seconds: Vec<_> = spec.gates.iter().map(|gate| gate.timeout_seconds).collect();
    assert_eq!(seconds, [120, 30, 30, 30]);
    let names: Vec<_> = spec.gates.iter().map(Gate::name).collect();
    let http = "http http://127.0.0.1:8080/health (200)";
    assert_eq!(names, ["command check-web --fast", "systemdUnit nginx.service", "noNewFailedUnits", http]);
    let plain = parse(GOOD).unwrap();
    assert_eq!((plain.gates.len(), plain.on_superseded), (0, OnSuperseded::Replan), "the default");
    let scan = parse(&GOOD.replace("Install", "Scan")).unwrap();
    assert_eq!(scan.on_superseded, OnSuperseded::Skip, "a Scan installs no versions");
    let with = |from: &str, to: &str| message(&format!("{GOOD}{}", gates.replace(from, to)));
    let starts = |message: String, with: &str| assert!(message.starts_with(with), "{message}");
    starts(
        with("systemdUnit: nginx.service", "systemdUnit: nginx"),
        "r.yaml:14:9: gates.afterHost: the unit \"nginx\"",
    );
    starts(with("check-web,", "/bin/sh,"), "r.yaml:13:9: gates.afterHost: the command \"/bin/sh\" is no file name");
    starts(with("2m", "2d"), "r.yaml:13:49: timeout \"2d\" is not allowed: write 1s to 1h");
    starts(with("noNewFailedUnits: true", "noNewFailedUnits: false"), "r.yaml:15:9: a gate must hold exactly one of");
    starts(with("onLimit: halt", "onLimit: go"), "r.yaml:9:12: onLimit \"go\" is unknown: write halt");
    starts(with("wait", "retry"), "r.yaml:10:17: onSuperseded \"retry\" is unknown: write replan or wait or skip");
    let scan = message(&format!("{}{gates}", GOOD.replace("Install", "Scan")));
    starts(scan, "r.yaml:13:9: gates cannot be used with operation: Scan");
}

#[test]
fn gates_after_a_ring_are_read_and_are_only_what_a_coordinator_can_ask() {
    let gates = "  gates:
    afterRing:
      - {command: [check-shop, --all], timeout: 5m}
      - http: {url: 'http://shop/health', status: 204}
";
    let spec = parse(&format!("{GOOD}{gates}")).unwrap();
    let asked: Vec<_> = spec.ring_gates.iter().map(|gate| (gate.name(), gate.timeout_seconds)).collect();
    assert_eq!(asked, [("command check-shop --all".into(), 300), ("http http://shop/health (204)".into(), 30)]);
    assert!(spec.gates.is_empty());
    let with = |from: &str, to: &str| message(&format!("{GOOD}{}", gates.replace(from, to)));
    let starts = |message: String, with: &str| assert!(message.starts_with(with), "{message}");
    for (gate, what) in [("systemdUnit: a.service", "systemdUnit"), ("noNewFailedUnits: true", "noNewFailedUnits")] {
        let message = with("http: {url: 'http://shop/health', status: 204}", gate);
        starts(message, &format!("r.yaml:12:9: gates.afterRing: {what} is asked on a host: write it under afterHost"));
    }
    let path = with("check-shop", "/bin/sh");
    starts(
        path,
        "r.yaml:11:9: gates.afterRing: the command \"/bin/sh\" is no file name: name an executable in the folder gates of",
    );
    let scan = message(&format!("{}{gates}", GOOD.replace("Install", "Scan")));
    starts(scan, "r.yaml:11:9: gates cannot be used with operation: Scan");
}

const RINGED: &str = "  ramp: aws
  rings:
    - {name: canary, names: [a, b], bake: 1h}
    - name: web
      selector: {matchLabels: {app: web}}
      steps: [1, 10%, 50%, 100%]
      wait: 10m
      approvals: 2
    - {name: rest, all: true}
";

#[test]
fn rings_are_read_in_order_with_everything_that_they_have() {
    let spec = parse(&format!("{GOOD}{RINGED}")).unwrap();
    let names: Vec<_> = spec.rings.iter().map(|ring| (ring.name.as_str(), ring.approvals)).collect();
    assert_eq!((names, spec.ramp), (vec![("canary", 0), ("web", 2), ("rest", 0)], Ramp::Aws));
    assert_eq!(spec.rings[0].selects, Targets::Names(["a".into(), "b".into()].into()));
    assert_eq!((spec.rings[0].bake, spec.rings[1].wait), (Duration::from_secs(3600), Duration::from_secs(600)));
    let steps: Vec<_> = spec.rings[1].steps.iter().map(|step| step.given()).collect();
    assert_eq!(steps, ["1", "10%", "50%", "100%"]);
    assert_eq!(spec.rings[2].selects, Targets::All);
    let plain = parse(GOOD).unwrap();
    assert_eq!((plain.rings.len(), plain.ramp), (0, Ramp::Full));
}

#[test]
fn what_is_wrong_with_a_ring_is_named_where_the_ring_is() {
    let with = |from: &str, to: &str| message(&format!("{GOOD}{}", RINGED.replace(from, to)));
    let line = |message: &str, at: &str| assert!(message.starts_with(&format!("r.yaml:{at}: ")), "{message}");
    let falls = with("[1, 10%, 50%, 100%]", "[50%, 10%, 100%]");
    line(&falls, "12:7");
    assert!(falls.contains("ring \"web\": the step 10% does not come after 50%"), "{falls}");
    line(&with("bake: 1h", "bake: soon"), "11:43");
    let idle = with("all: true}", "all: true, bake: 1h}");
    line(&idle, "17:7");
    assert!(idle.ends_with("bake is before the next ring, and no ring follows: leave it out"), "{idle}");
    assert!(with("all: true}", "all: true, names: [a]}").contains("ring \"rest\" must hold exactly one of"));
    line(&with("ramp: aws", "ramp: fast"), "9:9");
    let unknown = with("all: true}", "all: true, pause: 1h}");
    assert!(
        unknown
            .contains("known here are name, all, names, selector, matching, patchGroups, steps, wait, bake, approvals"),
        "{unknown}"
    );
    let gates = not_built(&format!("{GOOD}{}", RINGED.replace("all: true}", "all: true, gates: []}")));
    assert!(gates.contains("field gates of a ring"), "{gates}");
}

#[test]
fn wrong_values_are_named_where_they_are() {
    let replaced = |from: &str, to: &str| message(&GOOD.replace(from, to));
    assert!(replaced("Rollout", "Pod").starts_with("r.yaml:2:7: kind \"Pod\" is unknown"));
    assert!(replaced("patchmesh/v1", "v2").starts_with("r.yaml:1:13: apiVersion \"v2\" is unknown"));
    assert!(replaced("weekly", "Weekly").starts_with("r.yaml:3:18: the name \"Weekly\" is not allowed"));
    assert!(
        replaced("Install", "install")
            .starts_with("r.yaml:5:14: operation \"install\" is unknown: write Scan or Install")
    );
    for limit in ["0", "101%", "1.5", "01", "-1", "ten", "[]"] {
        let message = replaced("10%", limit);
        assert!(message.starts_with("r.yaml:8:"), "{limit}: {message}");
        assert!(limit == "[]" || message.contains(&format!("{limit:?}")), "{limit}: {message}");
    }
    let opening = |times: &str| message(&format!("{GOOD}  openings:\n  - {{{times}}}\n"));
    let order = "opens: 2026-12-01T02:00:00Z, lastStart: 2026-12-01T06:30:00Z, closes: 2026-12-01T06:00:00Z";
    assert!(opening(order).starts_with("r.yaml:10:5: the opening is not in order: opens 2026-12-01T02:00:00Z"));
    assert!(opening("opens: soon, lastStart: x, closes: y").starts_with("r.yaml:10:13: opens \"soon\" is no RFC 3339"));
    assert!(message(&format!("{GOOD}  hooks: {{timeout: 5}}\n")).starts_with("r.yaml:9:20: hooks.timeout \"5\" is no"));
    assert!(message(&format!("{GOOD}  hooks: {{timeout: 7d}}\n")).contains("the hook time-out"));
}

#[test]
fn hostile_and_empty_files_are_refused_quickly() {
    for text in ["", "[]", "a: b", "{", "\t", "kind: Rollout"] {
        assert!(message(text).starts_with("r.yaml:"), "{text:?}");
    }
    assert!(message(&format!("{GOOD}---\n{GOOD}")).contains("several documents"));
    let bomb = (1..9).fold("a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, n| {
        let below = format!("*a{}, ", n - 1).repeat(9);
        format!("{text}a{n}: &a{n} [{below}]\n")
    });
    assert!(message(&bomb).starts_with("r.yaml"));
    assert!(message(&format!("{GOOD}  maxErrors: 1\n  maxErrors: 2\n")).contains("maxErrors"));
}

#[test]
fn a_file_that_is_absent_or_too_large_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.yaml");
    assert_eq!(read_rollout(&path).unwrap_err().code, "manifest-unreadable");
    std::fs::write(&path, vec![b'#'; MAX_MANIFEST + 1]).unwrap();
    assert!(read_rollout(&path).unwrap_err().message.ends_with("the file is larger than 1048576 bytes"));
    std::fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(read_rollout(&path).unwrap_err().message.ends_with("the file is not UTF-8 text"));
}
