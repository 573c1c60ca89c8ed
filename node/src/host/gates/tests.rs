use std::os::unix::fs::PermissionsExt as _;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        for name in ["hooks", "hooks/gate", "hooks/probe", "run"] {
            std::fs::create_dir_all(place.path(name)).unwrap();
            std::fs::set_permissions(place.path(name), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn script(&self, name: &str, script: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn gates(&self, systemctl: Result<PathBuf, String>) -> Gates {
        Gates { home: self.path("hooks"), folder: PHASE, systemctl }
    }

    async fn ask(&self, gates: &Gates, asks: Vec<Ask>) -> HooksEnd {
        self.within(gates, asks, 60).await
    }

    async fn within(&self, gates: &Gates, asks: Vec<Ask>, timeout_seconds: u32) -> HooksEnd {
        let root = Path::new("/srv/root");
        let context = GateContext { rollout: RolloutId([0xab; 8]), attempt: 2, root, folder: self.path("run") };
        let asked: Vec<_> = asks.into_iter().map(|ask| Gate { ask, timeout_seconds }).collect();
        let end = gates.ask(&asked, &context).await;
        assert_eq!(std::fs::read_to_string(self.path("run/gates-2.txt")).unwrap(), end.output, "it is kept");
        end
    }
}

fn command(words: &[&str]) -> Ask {
    Ask::Command(words.iter().map(|word| (*word).to_owned()).collect())
}

fn absent() -> Result<PathBuf, String> {
    Err("this host was not booted by systemd".into())
}

#[tokio::test]
async fn a_command_is_told_its_arguments_and_the_first_that_fails_ends_the_asking() {
    let place = Place::new();
    place.script("hooks/gate/good", "echo \"$1 $PATCHMESH_PHASE $PATCHMESH_ATTEMPT $PATCHMESH_ROOT\"");
    place.script("hooks/gate/bad", "echo down; exit 3");
    let gates = place.gates(absent());
    let end = place.ask(&gates, vec![command(&["good", "a b"])]).await;
    assert_eq!((end.error, end.output.as_str()), (None, "command good a b: passed\na b gate 2 /srv/root\n"));
    let end = place.ask(&gates, vec![command(&["bad"]), command(&["good"])]).await;
    assert_eq!(end.error.as_deref(), Some("the gate command bad was not passed: it exited with 3"));
    assert_eq!(end.output, "command bad: it exited with 3\ndown\n");
}

#[tokio::test]
async fn a_command_that_others_could_have_written_or_that_is_elsewhere_is_not_run() {
    let place = Place::new();
    let path = place.script("hooks/gate/open", "true");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
    let gates = place.gates(absent());
    let refused = |ask: Ask| gates.hindrance(&[Gate { ask, timeout_seconds: 1 }]).unwrap();
    let refusal = refused(command(&["open"]));
    assert_eq!(refusal.code, RefusalCode::GateNotApplicable);
    assert!(refusal.text.contains("is writable by others (mode 0777)"), "{}", refusal.text);
    assert!(refused(command(&["none"])).text.contains("there is no "));
    assert!(refused(command(&["../gate/open"])).text.contains("is no file name"));
    let end = place.ask(&gates, vec![command(&["/bin/true"])]).await;
    assert!(end.error.unwrap().contains("is no file name"), "also where nobody checked before");
    let unit = refused(Ask::SystemdUnit("a.service".into()));
    assert_eq!(unit.text, "the gate systemdUnit a.service cannot be asked: this host was not booted by systemd");
    place.script("hooks/gate/good", "true");
    let good = [command(&["good"]), Ask::Http { url: "http://a".into(), status: 200 }];
    assert_eq!(gates.hindrance(&good.map(|ask| Gate { ask, timeout_seconds: 1 })), None);
}

#[tokio::test]
async fn only_units_that_failed_since_the_transaction_fail_the_gate() {
    let place = Place::new();
    let list = place.path("failed");
    std::fs::write(&list, "old.service loaded failed failed Old\n").unwrap();
    let gates = place.gates(Ok(place.script("systemctl", &format!("cat {}", list.display()))));
    let end = place.ask(&gates, vec![Ask::NoNewFailedUnits]).await;
    assert!(
        end.error.unwrap().contains("which units had failed before is not known"),
        "without a note it is not passed"
    );
    gates.note_units(&place.path("run")).await.unwrap();
    let end = place.ask(&gates, vec![Ask::NoNewFailedUnits]).await;
    assert_eq!((end.error, end.output.as_str()), (None, "noNewFailedUnits: passed\n1 failed, none of them new\n"));
    std::fs::write(&list, "new.service loaded failed failed New\nold.service loaded failed failed Old\n").unwrap();
    gates.note_units(&place.path("run")).await.unwrap();
    let end = place.ask(&gates, vec![Ask::NoNewFailedUnits]).await;
    let error = end.error.unwrap();
    assert!(
        error.ends_with("these have failed since the transaction began: new.service"),
        "the first note counts: {error}"
    );
}

#[tokio::test]
async fn a_unit_is_asked_again_until_it_is_active_or_its_time_is_over() {
    let place = Place::new();
    let mark = place.path("mark");
    let script = format!("[ -e {0} ] && echo active && exit 0; touch {0}; echo activating; exit 3", mark.display());
    let gates = place.gates(Ok(place.script("systemctl", &script)));
    let end = place.ask(&gates, vec![Ask::SystemdUnit("web.service".into())]).await;
    assert_eq!((end.error, end.output.as_str()), (None, "systemdUnit web.service: passed\nactive\n"));
    let gates = place.gates(Ok(place.script("dead", "echo failed; exit 3")));
    let end = place.within(&gates, vec![Ask::SystemdUnit("web.service".into())], 1).await;
    assert_eq!(
        end.error.as_deref(),
        Some("the gate systemdUnit web.service was not passed: the unit is failed, not active")
    );
}

/// Answers one connection after the other, each with the next of `statuses`, the last one for ever.
async fn server(statuses: &'static [&'static str]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/health?deep=1", listener.local_addr().unwrap());
    tokio::spawn(async move {
        for at in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; 4096];
            let size = stream.read(&mut asked).await.unwrap();
            let asked = String::from_utf8_lossy(&asked[..size]).into_owned();
            assert!(asked.starts_with("GET /health?deep=1 HTTP/1.1\r\nhost: 127.0.0.1:"), "{asked}");
            let status = statuses[at.min(statuses.len() - 1)];
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nok");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    url
}

#[tokio::test]
async fn an_answer_with_the_wanted_status_is_waited_for() {
    let place = Place::new();
    let gates = place.gates(absent());
    let url = server(&["503 Service Unavailable", "204 No Content"]).await;
    let end = place.ask(&gates, vec![Ask::Http { url: url.clone(), status: 204 }]).await;
    assert_eq!((end.error, end.output), (None, format!("http {url} (204): passed\nstatus 204\n")));
    let url = server(&["500 Internal Server Error"]).await;
    let end = place.within(&gates, vec![Ask::Http { url, status: 200 }], 1).await;
    assert!(end.error.unwrap().ends_with("it answered with status 500, not 200"));
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let end = place.within(&gates, vec![Ask::Http { url: format!("http://{free}"), status: 200 }], 1).await;
    assert!(end.error.unwrap().contains("it cannot be asked: "));
}

#[tokio::test]
async fn who_accepts_and_says_nothing_does_not_hold_the_run() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let end = place.within(&place.gates(absent()), vec![Ask::Http { url, status: 200 }], 1).await;
    assert!(end.error.unwrap().ends_with("it did not answer in time"));
}

#[tokio::test]
async fn after_a_ring_a_coordinator_runs_what_its_owner_put_into_its_own_folder_and_nothing_else() {
    let place = Place::new();
    std::fs::create_dir(place.path("gates")).unwrap();
    for name in ["", "gates"] {
        std::fs::set_permissions(place.path(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let told = "echo \"$1 $PATCHMESH_PHASE $PATCHMESH_ROLLOUT $PATCHMESH_RING $PATCHMESH_ATTEMPT ${PATCHMESH_MESH#??????????}\"; env | wc -l";
    place.script("gates/told", &format!("{told}; exit 4"));
    place.script("gates/good", "true");
    place.script("hooks/gate/elsewhere", "true");
    let gates = Gates::of_rings(&place.path(""));
    let mesh = MeshId([0xcd; 32]);
    let context = RingContext { rollout: RolloutId([0xab; 8]), attempt: 2, ring: "canary", mesh };
    let ask = async |asks: Vec<Ask>| {
        let asked: Vec<_> = asks.into_iter().map(|ask| Gate { ask, timeout_seconds: 60 }).collect();
        gates.ask_ring(&asked, &context).await
    };
    ask(vec![command(&["good"]), command(&["good", "again"])]).await.unwrap();
    let NotPassed { gate, text } = ask(vec![command(&["good"]), command(&["told", "a b"])]).await.unwrap_err();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((gate, lines[0]), (1, "it exited with 4"));
    assert_eq!(lines[1], format!("a b gate {} canary 2 {}", "ab".repeat(8), "cd".repeat(27)));
    let count: usize = lines[2].trim().parse().unwrap();
    assert!(count <= 9, "nothing of the coordinator's own environment: {count}");
    for (ask_of, why) in [
        (command(&["elsewhere"]), "there is no "),
        (command(&["../hooks/gate/elsewhere"]), "is no file name"),
        (Ask::NoNewFailedUnits, "nobody noted"),
        (Ask::SystemdUnit("a.service".into()), "a coordinator sees no host's services"),
    ] {
        let asked = vec![Gate { ask: ask_of, timeout_seconds: 1 }];
        let not = gates.ask_ring(&asked, &context).await.unwrap_err();
        assert!(not.text.contains(why), "{}", not.text);
    }
    std::fs::set_permissions(place.path("gates/good"), std::fs::Permissions::from_mode(0o666)).unwrap();
    let not = ask(vec![command(&["good"])]).await.unwrap_err();
    assert!(
        not.text.ends_with("gates/good is writable by others (mode 0666); chmod go-w it; nothing was run"),
        "{}",
        not.text
    );
}

impl Place {
    fn probes(&self) -> Gates {
        Gates { home: self.path("hooks"), folder: PROBE, systemctl: Ok(self.path("systemctl")) }
    }

    async fn probe(&self, ask: Ask) -> Result<(), String> {
        let probe = Gate { ask, timeout_seconds: 5 };
        self.probes().probe(&probe, Path::new("/srv/root")).await
    }
}

#[tokio::test]
async fn a_probe_is_an_executable_of_its_own_folder_and_belongs_to_no_run() {
    let place = Place::new();
    place.script("hooks/gate/pg", "true");
    let missing = place.probe(command(&["pg"])).await.unwrap_err();
    assert!(missing.starts_with("there is no ") && missing.ends_with("hooks/probe/pg"), "{missing}");
    place.script(
        "hooks/probe/pg",
        "[ \"$1 $PATCHMESH_PHASE $PATCHMESH_ROOT\" = '-q probe /srv/root' ] && [ -z \"$PATCHMESH_ROLLOUT\" ]",
    );
    assert_eq!(place.probe(command(&["pg", "-q"])).await, Ok(()));
    place.script("hooks/probe/pg", "echo 'no response'; echo more; exit 2");
    assert_eq!(place.probe(command(&["pg"])).await, Err("it exited with 2: no response".into()));
    std::fs::set_permissions(place.path("hooks/probe/pg"), std::fs::Permissions::from_mode(0o777)).unwrap();
    let open = place.probe(command(&["pg"])).await.unwrap_err();
    assert!(open.contains("hooks/probe/pg") && open.ends_with("nothing was run"), "{open}");
    assert!(place.probe(command(&["../gate/pg"])).await.unwrap_err().contains("folder probe of the host's hooks"));
}

#[tokio::test]
async fn a_probe_of_a_unit_is_asked_once() {
    let place = Place::new();
    place.script("systemctl", &format!("echo x >> {}; echo activating; exit 3", place.path("asked").display()));
    let unit = Ask::SystemdUnit("pg.service".into());
    assert_eq!(place.probe(unit).await, Err("the unit is activating, not active".into()));
    assert_eq!(std::fs::read_to_string(place.path("asked")).unwrap(), "x\n");
}
