//! Server and client over a real socket, and the built binary as a client.

use std::{
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream, process::CommandExt},
    process::Stdio,
    sync::atomic::AtomicU32,
    time::Duration,
};

use patchmesh_common::{
    rollout::{intent::Intent, spec::RolloutSpec},
    selector::Selector,
};
use patchmesh_coordinator::{
    api::{MAX_BODY, client::Client, document::*, server},
    fault::{Exit, Fault},
    manifest::{self, baseline::Written},
};
use tokio::sync::oneshot;

use super::{
    demo::wait_for,
    fake::{self, Fake, ID, Served, patchmesh},
};

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn spec() -> RolloutSpec {
    manifest::parse_rollout("weekly.yaml", include_str!("../scripts/weekly.yaml")).unwrap()
}

#[test]
fn whoever_gives_an_order_is_named_by_what_they_say_and_by_what_the_kernel_says() {
    let fake = Fake::default();
    let by = fake.by.clone();
    let served = Served::start(fake);
    let client = Client::new(&served.socket);
    block_on(async {
        let plan = client.plan(&SpecDocument::from(&spec())).await.unwrap();
        client.apply(&plan).await.unwrap();
        for act in ["pause", "resume", "stop"] {
            client.act(ID, act).await.unwrap();
        }
        let asked = ReleaseRequest { by: "maria".into(), because: "dead".into(), even_if_heard: true };
        client.release("db-1", &asked).await.unwrap();
    });
    let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&served.socket).unwrap());
    let kernel = format!("uid {uid}");
    let named = by.lock().unwrap().clone();
    assert_eq!(named.len(), 5);
    assert!(named.iter().all(|by| by.contains(&kernel)), "{named:?}");
    assert_eq!(named[4], format!("maria ({kernel})"));
}

#[test]
fn whoever_changes_what_is_kept_is_named_and_so_is_the_change() {
    let fake = Fake::default();
    let (by, intents) = (fake.by.clone(), fake.intents.clone());
    let served = Served::start(fake);
    let client = Client::new(&served.socket);
    let window = manifest::window::parse("last.yaml", include_str!("../scripts/last.yaml")).unwrap();
    let policy = manifest::policy::parse("weekly.yaml", include_str!("../scripts/weekly-policy.yaml")).unwrap();
    let baseline = manifest::baseline::parse("mesh.yaml", include_str!("../scripts/mesh.yaml")).unwrap();
    let names = [window.name.clone(), policy.name.clone(), baseline.name.clone()];
    let [window_name, policy_name, baseline_name] = &names;
    block_on(async {
        for _ in 0..2 {
            client.put_window(window_name, &window.clone().into()).await.unwrap();
        }
        client.put_policy(policy_name, &policy.into()).await.unwrap();
        client.put_baseline(baseline_name, &Written::from(baseline)).await.unwrap();
        let asked = RegisterRequest { baseline: baseline_name.clone(), operating_system: None };
        client.register("prod", &asked).await.unwrap();
        client.deregister("prod", &asked).await.unwrap();
        client.delete_baseline(baseline_name).await.unwrap();
        client.delete_policy(policy_name).await.unwrap();
        client.delete_window(window_name).await.unwrap();
    });
    let told: Vec<_> = intents
        .lock()
        .unwrap()
        .iter()
        .map(|intent| match intent {
            Intent::Created { kind, name, digest } => {
                assert_ne!(*digest, [0; 32]);
                format!("created {} {name}", kind.as_str())
            }
            Intent::Deleted { kind, name } => format!("deleted {} {name}", kind.as_str()),
            other => format!("{other:?}"),
        })
        .collect();
    let expected = [
        format!("created window {window_name}"),
        format!("created policy {policy_name}"),
        format!("created baseline {baseline_name}"),
        format!("{:?}", Intent::Registered { group: "prod".into(), baseline: baseline_name.clone() }),
        format!("{:?}", Intent::Deregistered { group: "prod".into(), baseline: baseline_name.clone() }),
        format!("deleted baseline {baseline_name}"),
        format!("deleted policy {policy_name}"),
        format!("deleted window {window_name}"),
    ];
    assert_eq!(told, expected);
    let named = by.lock().unwrap().clone();
    assert!(named.len() == told.len() && named.iter().all(|by| by.contains("uid ")), "{named:?}");
}

#[test]
fn a_plan_shows_what_people_note_of_it() {
    let served = Served::start(Fake::default());
    let client = Client::new(&served.socket);
    block_on(async {
        let plain = client.plan(&SpecDocument::from(&spec())).await.unwrap();
        assert!(!serde_json::to_string(&plain).unwrap().contains("labels"), "nothing is noted");
        let noted = SpecDocument::labelled(&spec(), [("team".to_owned(), "web".to_owned())].into());
        let plan = client.plan(&noted).await.unwrap();
        assert_eq!(plan.spec.labels["team"], "web");
        assert_eq!(plan.hash, plan.computed_hash().unwrap());
        assert_ne!(plan.hash, plain.hash);
        client.apply(&plan).await.unwrap();
        let wrong = SpecDocument::labelled(&spec(), [("a b".to_owned(), String::new())].into());
        let fault = client.plan(&wrong).await.unwrap_err();
        assert!(fault.chain().contains("labels: the key \"a b\" is not allowed"), "{}", fault.chain());
    });
}

#[test]
fn every_question_is_answered_as_the_service_said() {
    let served = Served::start(Fake::default());
    let client = Client::new(&served.socket);
    block_on(async {
        assert_eq!(client.hosts().await.unwrap(), fake::hosts());
        assert_eq!(client.host("web-1").await.unwrap(), fake::host("web-1").unwrap());
        assert_eq!(client.why_host("web-2").await.unwrap(), fake::why());
        assert_eq!(client.why_rollout("weekly").await.unwrap(), fake::why_rollout());
        assert_eq!(client.why_patch("nginx").await.unwrap().chain[0].code, "not-planned");
        let selector = "app in (web,db),app!=db";
        let chosen = fake::reports::compliance(&Selector::parse(selector).unwrap());
        assert_eq!(client.compliance(Some(selector)).await.unwrap(), chosen);
        assert_eq!(chosen.fleet.hosts, 2);
        assert_eq!(client.compliance(None).await.unwrap().fleet.hosts, 4);
        assert_eq!(client.patches("db-1").await.unwrap().patches.len(), 5);
        assert_eq!(client.history("db-1").await.unwrap().reports.len(), 2);
        let plan = client.plan(&SpecDocument::from(&spec())).await.unwrap();
        assert_eq!(plan, fake::plan(&spec()));
        assert_eq!(client.apply(&plan).await.unwrap().id, ID);
        assert_eq!(client.rollouts().await.unwrap().rollouts[0].id, ID);
        assert_eq!(client.rollout("weekly").await.unwrap(), fake::rollout(RolloutState::Running));
        for (act, state) in
            [("pause", RolloutState::Paused), ("resume", RolloutState::Running), ("stop", RolloutState::Stopped)]
        {
            assert_eq!(client.act(ID, act).await.unwrap().state, state);
        }
        assert_eq!(client.steps("weekly", None).await.unwrap().hosts.len(), 3);
        assert_eq!(client.steps(ID, Some("web-2")).await.unwrap().hosts[0].steps.len(), 2);
        assert_eq!(client.steps(ID, Some("web/2")).await.unwrap_err().document().code, "not-found");
        let snapshots = client.snapshots().await.unwrap().snapshots;
        assert_eq!(client.snapshot(&snapshots[0].id[..6]).await.unwrap().row, snapshots[0]);
        let mut events = client.watch(ID).await.unwrap();
        assert_eq!(events.next().await.unwrap(), Some(WatchEvent::Progress(fake::progress())));
        assert_eq!(events.next().await.unwrap(), Some(WatchEvent::Event(fake::event())));
        assert!(matches!(events.next().await.unwrap(), Some(WatchEvent::Recap(recap)) if recap.is_over()));
        assert_eq!(events.next().await.unwrap(), None);
    });
}

#[test]
fn faults_travel_with_their_code_remedy_and_exit() {
    let served = Served::start(Fake::default());
    let client = Client::new(&served.socket);
    block_on(async {
        let fault = client.host("../x y").await.unwrap_err();
        assert_eq!(fault.document().code, "not-found");
        assert_eq!(fault.message, "there is no host \"../x y\"");
        let unwatched = client.watch("monthly").await.unwrap_err();
        assert_eq!(unwatched.message, "there is no rollout \"monthly\"");
        let mut spec = spec();
        spec.name = "stale".into();
        let plan = client.plan(&SpecDocument::from(&spec)).await.unwrap();
        assert_eq!(client.apply(&plan).await.unwrap_err().exit, Exit::StalePlan);
    });
}

#[test]
fn an_edited_plan_is_refused_before_the_service_sees_it() {
    let served = Served::start(Fake::default());
    let client = Client::new(&served.socket);
    let refused = |change: fn(&mut PlanDocument)| -> Fault {
        let mut plan = fake::plan(&spec());
        change(&mut plan);
        block_on(client.apply(&plan)).unwrap_err()
    };
    let edited = refused(|plan| plan.rings[0].hosts[0].install[0].to = "6.6.6".into());
    assert_eq!((edited.document().code.as_str(), edited.exit), ("plan-edited", Exit::StalePlan));
    assert_eq!(refused(|plan| plan.spec.targets.all = None).document().code, "bad-request");
    assert_eq!(refused(|plan| plan.schema = "x".into()).document().code, "bad-request");
    // Its times are no part of the hash.
    let mut plan = fake::plan(&spec());
    plan.created_at = plan.expires_at;
    assert_eq!(block_on(client.apply(&plan)).unwrap().id, ID);
}

#[test]
fn baselines_and_groups_are_kept_over_the_socket() {
    let served = Served::start(Fake::default());
    let client = Client::new(&served.socket);
    let baseline = manifest::baseline::parse("mesh.yaml", include_str!("../scripts/mesh.yaml")).unwrap();
    let written = Written::from(baseline.clone());
    let asked = RegisterRequest { baseline: "web-mesh".into(), operating_system: None };
    block_on(async {
        assert_eq!(client.put_baseline("web-mesh", &written).await.unwrap().change, Change::Created);
        let elsewhere = client.put_baseline("other", &written).await.unwrap_err();
        assert_eq!(elsewhere.document().code, "bad-request");
        assert_eq!(client.baseline("web-mesh").await.unwrap().manifest.baseline(), Some(baseline));
        // A group's name may hold what separates a path.
        let group = "a/b c";
        assert_eq!(client.register(group, &asked).await.unwrap().group.as_deref(), Some(group));
        assert_eq!(client.groups().await.unwrap().groups[0].group, group);
        assert_eq!(client.baseline("web-mesh").await.unwrap().groups, [group]);
        let used = client.delete_baseline("web-mesh").await.unwrap_err();
        assert_eq!((used.document().code.as_str(), used.exit), ("baseline-in-use", Exit::Error));
        let unknown = RegisterRequest { operating_system: Some("BEOS".into()), ..asked.clone() };
        assert_eq!(client.register(group, &unknown).await.unwrap_err().exit, Exit::Usage);
        assert_eq!(client.deregister(group, &asked).await.unwrap().change, Change::Deregistered);
        assert_eq!(client.set_default("web-mesh").await.unwrap().change, Change::MadeDefault);
        assert!(client.baselines().await.unwrap().baselines.iter().any(|row| row.name == "web-mesh" && row.default));
        client.set_default("AWS-DebianDefaultPatchBaseline").await.unwrap();
        assert_eq!(client.delete_baseline("web-mesh").await.unwrap().change, Change::Deleted);
        assert_eq!(client.baseline("web-mesh").await.unwrap_err().document().code, "not-found");
    });
}

#[test]
fn a_damaged_file_is_named_to_whoever_needs_it_and_to_nobody_else() {
    let fake = Fake::default();
    let groups = fake.folder.path().join("groups.yaml");
    std::fs::write(&groups, "apiVersion: patchmesh/v1\nkind: PatchGroups\nspec: {groups: [").unwrap();
    let served = Served::start(fake);
    let client = Client::new(&served.socket);
    block_on(async {
        for fault in [client.baselines().await.unwrap_err(), client.set_default("web").await.unwrap_err()] {
            assert_eq!(fault.document().code, "store-damaged");
            assert!(fault.message.starts_with(groups.to_str().unwrap()), "{}", fault.message);
        }
        assert_eq!(client.hosts().await.unwrap(), fake::hosts());
    });
}

/// What the socket says to a request as it is.
fn raw(served: &Served, request: &[u8]) -> String {
    let mut stream = UnixStream::connect(&served.socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    // A refused body is not read to its end.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn strange_requests_are_refused_with_a_document() {
    let served = Served::start(Fake::default());
    let ask = |head: &str, body: &str| {
        let length = body.len();
        raw(
            &served,
            format!("{head} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
                .as_bytes(),
        )
    };
    for (head, body, status, code) in [
        ("GET /v2/hosts", "", "404", "not-found"),
        ("DELETE /v1/hosts", "", "400", "bad-request"),
        ("GET /v1/compliance?selector=a,,b", "", "400", "bad-request"),
        ("GET /v1/compliance?selectr=a", "", "400", "bad-request"),
        ("POST /v1/plans", "{", "400", "bad-request"),
        ("POST /v1/plans", "{\"name\":\"x\"}", "400", "bad-request"),
        ("POST /v1/rollouts", "[]", "400", "bad-request"),
        ("POST /v1/rollouts/weekly/explode", "", "404", "not-found"),
        ("PUT /v1/baselines/web", "{}", "400", "bad-request"),
        ("PUT /v1/baselines/..%2Fgroups", "{}", "400", "bad-request"),
        ("DELETE /v1/baselines/..%2Fgroups", "", "404", "not-found"),
        ("POST /v1/groups/prod/explode", "{}", "404", "not-found"),
        ("POST /v1/groups/prod/register", "{}", "400", "bad-request"),
    ] {
        let answer = ask(head, body);
        assert!(answer.contains("\"schema\":\"patchmesh.error/v1\""), "{head}: {answer}");
        assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{head}: {answer}");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{head}: {answer}");
    }
    let mut huge =
        format!("POST /v1/plans HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", MAX_BODY + 1)
            .into_bytes();
    huge.resize(huge.len() + MAX_BODY + 1, b' ');
    assert!(raw(&served, &huge).contains("larger than 67108864 bytes"));
}

#[test]
fn the_socket_is_its_owners_and_replaced_only_if_nobody_answers() {
    let served = Served::start(Fake::default());
    assert_eq!(std::fs::metadata(&served.socket).unwrap().permissions().mode() & 0o777, 0o600);
    block_on(async {
        assert_eq!(server::open(&served.socket).unwrap_err().code, "socket-in-use");
        let stale = served.folder.path().join("stale.sock");
        drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
        // A process that another test is just beginning has a copy of the listener, until its own program runs.
        wait_for("a socket that nobody answers", || server::open(&stale).ok()).await;
        let file = served.folder.path().join("file");
        std::fs::write(&file, "not a socket").unwrap();
        assert!(server::open(&file).is_err());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "not a socket");
        let long = served.folder.path().join("x".repeat(120));
        assert_eq!(server::open(&long).unwrap_err().code, "socket-failed");
    });
}

#[test]
fn a_watcher_outlives_broken_streams_and_ends_with_the_states_exit_code() {
    for (ending, exit) in
        [(RolloutState::Halted, 3), (RolloutState::CompletedWithFailures, 4), (RolloutState::CompletedWithLost, 5)]
    {
        let served = Served::start(Fake { ending: Some(ending), breaks: AtomicU32::new(2), ..Fake::default() });
        let output = patchmesh(served.folder.path())
            .args(["rollout", "watch", "weekly", "-o", "jsonl", "--socket", "api.sock"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(exit), "{}", String::from_utf8_lossy(&output.stderr));
        let stdout = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<WatchEvent> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 4, "an event for every stream, and the recap last: {stdout}");
        assert!(matches!(lines.last(), Some(WatchEvent::Recap(recap)) if recap.state == ending));
    }
}

#[test]
fn a_watcher_waits_for_a_coordinator_that_starts_again() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("api.sock");
    let (stop, stopped) = oneshot::channel();
    let first = fake::serve(socket.clone(), Fake { hangs: true, ..Fake::default() }, stopped);
    let mut watcher = patchmesh(folder.path())
        .args(["rollout", "watch", ID, "--socket", "api.sock", "-o", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = watcher.stderr.take().unwrap();
    // Its first event says that it watches.
    let mut said = [0; 1];
    stderr.read_exact(&mut said).unwrap();
    std::fs::remove_file(&socket).unwrap();
    drop(stop);
    // The stream of the first one never ends by itself; it is cut when its thread gives up.
    first.join().unwrap();
    let (stop, stopped) = oneshot::channel();
    let second = fake::serve(socket, Fake::default(), stopped);
    let output = watcher.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let recap: RolloutDocument = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(recap.state, RolloutState::Succeeded);
    drop(stop);
    second.join().unwrap();
}

#[test]
fn ctrl_c_detaches_and_says_how_to_come_back() {
    let served = Served::start(Fake { hangs: true, ..Fake::default() });
    let mut watcher = patchmesh(served.folder.path())
        .args(["rollout", "watch", "weekly", "--socket", "api.sock"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut stderr = watcher.stderr.take().unwrap();
    let mut said = [0; 1];
    stderr.read_exact(&mut said).unwrap();
    let pid = rustix::process::Pid::from_raw(watcher.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(watcher.wait().unwrap().code(), Some(130));
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with(&format!(
        "detached: rollout {ID} goes on\n  watch it:  patchmesh rollout watch {ID}\n  stop it:   patchmesh rollout stop {ID}\n"
    )), "{rest}");
}

#[test]
fn a_closed_pipe_is_success() {
    let served = Served::start(Fake::default());
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output =
        patchmesh(served.folder.path()).args(["get", "hosts", "--socket", "api.sock"]).stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(0), ""));
}
