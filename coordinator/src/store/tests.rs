use patchmesh_common::{
    patch::baseline::{OperatingSystem, Spec},
    rollout::intent::digest,
};

use super::*;
use crate::api::document::{Change, ChangedDocument, RegisterRequest};
use crate::manifest::MAX_MANIFEST;

const DEBIAN: OperatingSystem = OperatingSystem::Debian;

/// Of a test that looks at files alone.
pub(crate) fn unnoted(_: Intent) -> Result<(), Fault> {
    Ok(())
}

fn own(name: &str) -> PatchBaseline {
    let spec = Spec { operating_system: Some("DEBIAN".into()), ..Spec::default() };
    PatchBaseline { name: name.into(), spec, labels: Default::default() }
}

fn described(name: &str, text: &str) -> PatchBaseline {
    let mut baseline = own(name);
    baseline.spec.description = Some(text.into());
    baseline
}

fn asked(name: &str) -> RegisterRequest {
    RegisterRequest { baseline: name.into(), operating_system: None }
}

fn register(store: &Store, name: &str, group: &str) -> Result<ChangedDocument, Fault> {
    store.register(group, &asked(name), &unnoted)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_is_kept_is_there_for_the_next_process() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    assert_eq!(store.read().unwrap(), Library::default());
    assert_eq!(store.put(own("web"), &unnoted).unwrap().change, Change::Created);
    assert_eq!(store.put(own("web"), &unnoted).unwrap().change, Change::Unchanged);
    assert_eq!(store.put(described("web", "new"), &unnoted).unwrap().change, Change::Replaced);
    register(&store, "web", "prod").unwrap();
    store.set_default("web", &unnoted).unwrap();
    let kept = Store::new(dir.path()).read().unwrap();
    assert_eq!(kept.find("web"), Some(described("web", "new")));
    assert_eq!(kept.groups().registered().collect::<Vec<_>>(), [("prod", DEBIAN, "web")]);
    assert_eq!(kept.groups().default_of(DEBIAN).baseline, "web");
    assert_eq!(names(dir.path()), ["baselines", "groups.yaml"]);
    assert_eq!(names(&dir.path().join("baselines")), ["web.yaml"], "no temporary files stay behind");
}

#[test]
fn a_change_is_noted_before_its_file_changes_and_what_is_not_noted_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    let noted = std::cell::RefCell::new(Vec::new());
    let file = dir.path().join("baselines/web.yaml");
    let note = |intent: Intent| {
        // Readers do not wait while somebody writes this down.
        store.read().unwrap();
        noted.borrow_mut().push((intent, fs::read_to_string(&file).ok()));
        Ok(())
    };
    let refuse = |_| Err(Fault::new("busy", "no", UNCHANGED, "try again"));
    assert_eq!(store.put(own("web"), &refuse).unwrap_err().code, "busy");
    assert!(!file.exists());
    store.put(own("web"), &note).unwrap();
    let first = fs::read_to_string(&file).unwrap();
    store.put(own("web"), &note).unwrap();
    store.put(described("web", "new"), &note).unwrap();
    let second = fs::read_to_string(&file).unwrap();
    store.register("prod", &asked("web"), &note).unwrap();
    store.register("prod", &asked("web"), &note).unwrap();
    assert_eq!(store.delete("web", &note).unwrap_err().code, "baseline-in-use");
    assert_eq!(store.deregister("prod", &asked("web"), &refuse).unwrap_err().code, "busy");
    store.deregister("prod", &asked("web"), &note).unwrap();
    store.set_default("web", &note).unwrap();
    store.set_default("AWS-DebianDefaultPatchBaseline", &note).unwrap();
    assert_eq!(store.delete("web", &refuse).unwrap_err().code, "busy");
    store.delete("web", &note).unwrap();
    let (kind, name, group) = (Kind::Baseline, || "web".to_owned(), || "prod".to_owned());
    let expected = [
        (Intent::Created { kind, name: name(), digest: digest(&first) }, None),
        (Intent::Replaced { kind, name: name(), digest: digest(&second) }, Some(first)),
        (Intent::Registered { group: group(), baseline: name() }, Some(second.clone())),
        (Intent::Deregistered { group: group(), baseline: name() }, Some(second.clone())),
        (Intent::MadeDefault { baseline: name() }, Some(second.clone())),
        (Intent::MadeDefault { baseline: "AWS-DebianDefaultPatchBaseline".into() }, Some(second.clone())),
        (Intent::Deleted { kind, name: name() }, Some(second)),
    ];
    assert_eq!(noted.into_inner(), expected);
    assert!(!file.exists());
}

#[test]
fn what_is_in_use_is_not_deleted_and_what_is_not_goes() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    store.put(own("web"), &unnoted).unwrap();
    register(&store, "web", "prod").unwrap();
    let fault = store.delete("web", &unnoted).unwrap_err();
    assert_eq!(fault.code, "baseline-in-use");
    assert!(fault.message.ends_with("it is the baseline of patch group \"prod\""), "{}", fault.message);
    assert_eq!(store.read().unwrap().find("web"), Some(own("web")));
    store.deregister("prod", &asked("web"), &unnoted).unwrap();
    assert_eq!(store.delete("web", &unnoted).unwrap().change, Change::Deleted);
    assert_eq!(names(&dir.path().join("baselines")), [""; 0]);
    assert_eq!(store.delete("web", &unnoted).unwrap_err().code, "not-found");
    assert_eq!(store.delete("../groups", &unnoted).unwrap_err().code, "not-found");
    assert_eq!(store.delete("AWS-DebianDefaultPatchBaseline", &unnoted).unwrap_err().code, "baseline-predefined");
}

#[test]
fn a_damaged_file_is_refused_by_name_and_nothing_is_written_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    store.put(own("web"), &unnoted).unwrap();
    register(&store, "web", "prod").unwrap();
    let (web, groups) = (dir.path().join("baselines/web.yaml"), dir.path().join("groups.yaml"));
    let good = |path: &Path| fs::read_to_string(path).unwrap();
    let (good_web, good_groups) = (good(&web), good(&groups));
    let refused = |path: &Path, what: &str| {
        let faults = [
            store.read().unwrap_err(),
            store.put(own("new"), &unnoted).unwrap_err(),
            store.delete("web", &unnoted).unwrap_err(),
            register(&store, "web", "dev").unwrap_err(),
        ];
        for fault in faults {
            assert_eq!((fault.code, fault.unchanged.as_str()), ("store-damaged", UNCHANGED));
            let named = fault.message.strip_prefix("cannot read ").unwrap_or(&fault.message);
            assert!(named.starts_with(path.to_str().unwrap()) && fault.message.contains(what), "{}", fault.message);
        }
        assert!(!dir.path().join("baselines/new.yaml").exists());
    };
    fs::write(&web, &good_web[..good_web.len() / 2]).unwrap();
    refused(&web, "");
    fs::write(&web, good_web.replace("DEBIAN", "DEBAIN")).unwrap();
    refused(&web, ":6:20: spec.operatingSystem \"DEBAIN\"");
    fs::write(&web, b"\xff\xfe").unwrap();
    refused(&web, "not UTF-8");
    fs::write(&web, "").unwrap();
    refused(&web, "");
    fs::write(&web, "x".repeat(MAX_MANIFEST + 1)).unwrap();
    refused(&web, "larger than");
    fs::write(&web, good_web.replace("web", "other")).unwrap();
    refused(&web, "it holds baseline other");
    fs::write(&web, &good_web).unwrap();
    fs::write(&groups, good_groups.replace("DEBIAN", "LINUX")).unwrap();
    refused(&groups, "\"LINUX\" is no operating system");
    fs::remove_file(&groups).unwrap();
    fs::create_dir(&groups).unwrap();
    refused(&groups, "");
    fs::remove_dir(&groups).unwrap();
    fs::write(&groups, &good_groups).unwrap();
    let other = dir.path().join("baselines/other.yml");
    fs::write(&other, &good_web).unwrap();
    refused(&other, "NAME.yaml");
    fs::remove_file(&other).unwrap();
    let predefined = dir.path().join("baselines/AWS-DebianDefaultPatchBaseline.yaml");
    fs::write(&predefined, good_web.replace("name: web", "name: AWS-DebianDefaultPatchBaseline")).unwrap();
    refused(&predefined, "is predefined");
    fs::remove_file(&predefined).unwrap();
    store.read().unwrap();
}

#[test]
fn a_registration_whose_baseline_is_gone_is_named_and_can_be_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    store.put(own("web"), &unnoted).unwrap();
    register(&store, "web", "prod").unwrap();
    fs::remove_file(dir.path().join("baselines/web.yaml")).unwrap();
    let fault = store.read().unwrap_err();
    assert!(
        fault
            .message
            .ends_with("groups.yaml: patch group \"prod\" has baseline web for DEBIAN, and there is no such baseline"),
        "{}",
        fault.message
    );
    assert!(fault.remedy.contains("baselines/web.yaml back"), "{}", fault.remedy);
    store.deregister("prod", &asked("web"), &unnoted).unwrap();
    store.read().unwrap();
}

#[test]
fn what_a_crash_or_a_person_left_beside_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    store.put(own("web"), &unnoted).unwrap();
    for name in ["baselines/web.yaml.4711.new", "baselines/notes.txt", "groups.yaml.4711.new"] {
        fs::write(dir.path().join(name), "half: {").unwrap();
    }
    assert_eq!(store.read().unwrap().own().count(), 1);
    assert_eq!(store.put(described("web", "new"), &unnoted).unwrap().change, Change::Replaced);
}

#[test]
fn a_file_that_cannot_be_replaced_keeps_what_it_said() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    store.put(own("web"), &unnoted).unwrap();
    // The folder is gone when its turn comes, and something else has its name.
    let (folder, away) = (dir.path().join("baselines"), dir.path().join("away"));
    let fails = |_| {
        fs::rename(&folder, &away).unwrap();
        fs::write(&folder, "").unwrap();
        Ok(())
    };
    assert_eq!(store.put(described("web", "new"), &fails).unwrap_err().code, "store-unwritable");
    fs::remove_file(&folder).unwrap();
    fs::rename(&away, &folder).unwrap();
    assert_eq!(store.read().unwrap().find("web"), Some(own("web")));
    assert_eq!(store.put(described("web", "new"), &unnoted).unwrap().change, Change::Replaced);
}

#[test]
fn many_at_once_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    store.put(own("web"), &unnoted).unwrap();
    std::thread::scope(|scope| {
        for n in 0..8 {
            let store = &store;
            scope.spawn(move || {
                register(store, "web", &format!("group-{n}")).unwrap();
                store.put(own(&format!("base-{n}")), &unnoted).unwrap();
            });
        }
    });
    let library = store.read().unwrap();
    assert_eq!((library.own().count(), library.groups().groups("web").count()), (9, 8));
}
