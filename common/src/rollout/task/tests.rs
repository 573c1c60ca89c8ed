//! Tests of tasks: what is wrong with them, what their rollouts ask for, and when those are started.

use core::time::Duration;
use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::{
    rollout::{
        attempts::{Attempts, Kept, PAUSE, TRIES},
        ledger::{Ledger, MAX_BY},
        planner::Desk,
        replan::AWAITED,
        started::{
            runs,
            tests::{at, follow, start, supersede},
        },
    },
    schedule::window::{MaintenanceWindow, Window},
    time::{BootTime, Now, WallTime},
};

fn target(name: &str) -> TargetText {
    TargetText { name: name.into(), matching: Some(format!("app={name}").parse().unwrap()), ..TargetText::default() }
}

fn task(name: &str, priority: u32, targets: &[&str]) -> TaskText {
    TaskText {
        name: name.into(),
        priority: Some(priority),
        operation: Operation::Install,
        targets: targets.iter().map(|name| (*name).to_owned()).collect(),
        baseline: Some("security".into()),
        baselines: None,
        max_concurrency: Limit::share(10),
        max_errors: Some(Limit::count(1)),
        reboot: None,
        hooks: None,
        gates: None,
        on_superseded: None,
        cutoff_behavior: None,
    }
}

/// Every night from 2:00 to 6:00, with the last start at 5:00.
fn written() -> MaintenanceWindow {
    let spec = Spec {
        schedule: "cron(0 2 * * ? *)".into(),
        duration: "4h".into(),
        cutoff: Some("1h".into()),
        targets: vec![target("web"), target("db")],
        tasks: vec![
            task("patch", 1, &["web", "db"]),
            TaskText { operation: Operation::Scan, ..task("scan", 0, &["db"]) },
        ],
        ..Spec::default()
    };
    MaintenanceWindow { name: "nightly".into(), spec, labels: Default::default() }
}

fn window() -> Window {
    written().check().unwrap()
}

fn wrong(change: impl FnOnce(&mut MaintenanceWindow)) -> Vec<String> {
    let mut changed = written();
    change(&mut changed);
    changed.check().unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn everything_that_is_wrong_is_named_with_its_place() {
    for (change, told) in [
        (
            Box::new(|w: &mut MaintenanceWindow| w.name = "Patch_Tuesday".into())
                as Box<dyn Fn(&mut MaintenanceWindow)>,
            "name \"Patch_Tuesday\": it begins the names of its tasks' rollouts",
        ),
        (Box::new(|w| w.spec.tasks[1].name = "patch".into()), "tasks[1].name \"patch\": an earlier task has this name"),
        (Box::new(|w| w.spec.tasks[0].name = "Patch".into()), "tasks[0].name \"Patch\": write a-z, 0-9"),
        (
            Box::new(|w| w.spec.tasks[0].name = "p".repeat(26)),
            "tasks[0].name \"pppppppppppppppppppppppppp\": a rollout of it would be called \
             WINDOW-TASK-TARGET-TIME-replan-N, in 64 characters: 63 are allowed",
        ),
        (
            Box::new(|w| w.spec.tasks[1].name = "s".repeat(39)),
            "tasks[1].name \"sssssssssssssssssssssssssssssssssssssss\": a rollout of it would be called \
             WINDOW-TASK-TIME, in 64 characters: 63 are allowed",
        ),
        (
            Box::new(|w| w.spec.tasks[1].targets[0] = "dbs".into()),
            "tasks[1].targets[0] \"dbs\": no target of the window",
        ),
        (Box::new(|w| w.spec.tasks[0].targets[1] = "web".into()), "tasks[0].targets[1] \"web\": it is named twice"),
        (Box::new(|w| w.spec.tasks[1].targets.clear()), "tasks[1].targets \"\": name at least one"),
        (Box::new(|w| w.spec.tasks[0].max_concurrency = Limit::count(0)), "tasks[0].maxConcurrency"),
        (Box::new(|w| w.spec.tasks[0].cutoff_behavior = Some("STOP".into())), "tasks[0].cutoffBehavior \"STOP\""),
        (Box::new(|w| w.spec.tasks[0].baselines = Some([].into())), "tasks[0].baselines"),
        (Box::new(|w| w.spec.tasks[1].on_superseded = Some(OnSuperseded::Wait)), "tasks[1].onSuperseded"),
        (Box::new(|w| w.spec.targets.push(target("web"))), "targets[2].name \"web\": an earlier target has this name"),
        (Box::new(|w| w.spec.targets.push(target("ui"))), "targets[2].name \"ui\": no task names it: leave it out"),
        (Box::new(|w| w.spec.targets[0].all = Some(true)), "targets[0] \"\": write exactly one of all: true"),
        (
            Box::new(|w| {
                w.spec.targets[0].matching = None;
                w.spec.targets[0].names = Some(Vec::new());
            }),
            "targets[0] \"\": the names of the targets are empty",
        ),
        (
            Box::new(|w| w.spec.tasks = (0..=MAX_TASKS).map(|n| task(&format!("t{n}"), 0, &["web", "db"])).collect()),
            "tasks \"\": 21 tasks are more than the 20 allowed",
        ),
        (
            Box::new(|w| w.spec.targets = (0..=MAX_TARGETS).map(|n| target(&format!("t{n}"))).collect()),
            "targets \"\": 101 targets are more than the 100 allowed",
        ),
    ] {
        let found = wrong(change);
        assert!(found.first().is_some_and(|one| one.starts_with(told)), "{told}: {found:?}");
    }
    let many = wrong(|w| {
        w.spec.targets = (0..11).map(|n| target(&format!("t{n}"))).collect();
        w.spec.tasks = vec![task("patch", 0, &[])];
        w.spec.tasks[0].targets = w.spec.targets.iter().map(|one| one.name.clone()).collect();
    });
    assert_eq!(many, ["tasks[0].targets \"\": 11 targets are more than the 10 allowed"]);
    let free = MaintenanceWindow {
        name: "Patch_Tuesday".into(),
        spec: Spec { tasks: vec![], targets: vec![], ..written().spec },
        labels: Default::default(),
    };
    free.check().unwrap();
}

#[test]
fn a_task_asks_for_a_rollout_on_each_of_its_targets_in_one_opening() {
    let mut manifest = written();
    manifest.spec.tasks[0].cutoff_behavior = Some("CANCEL_TASK".into());
    let window = manifest.check().unwrap();
    assert_eq!(
        window.tasks.iter().map(|task| task.name.as_str()).collect::<Vec<_>>(),
        ["scan", "patch"],
        "by priority"
    );
    let opening = window.newest(WallTime(0), at("2026-12-01T02:30:00Z")).unwrap();
    let (scan, patch) = (&window.tasks[0], &window.tasks[1]);
    let start = scan.start(scan.key("nightly", "db"), &scan.targets[0].1, opening);
    assert_eq!(start.last_start(), Some(opening.last_start));
    let scans = start.spec;
    scans.check().unwrap();
    assert_eq!((scans.name.as_str(), scans.operation), ("nightly-scan-20261201t020000z", Operation::Scan));
    assert_eq!(scans.openings, [opening]);
    let installs = patch.start(patch.key("nightly", "db"), &patch.targets[1].1, opening).spec;
    installs.check().unwrap();
    assert_eq!(installs.name, "nightly-patch-db-20261201t020000z", "it has several targets");
    assert_eq!(installs.targets, Targets::Matching("app=db".parse().unwrap()));
    assert_eq!((&installs.baseline, installs.max_errors.given()), (&Asked::Security, "1"));
    assert_eq!(installs.openings, [Opening { closes: opening.last_start, ..opening }], "its own word counts");
    manifest.spec.cutoff_behavior = Some("CANCEL_TASK".into());
    let window = manifest.check().unwrap();
    assert_eq!(window.tasks[0].cutoff_behavior, CutoffBehavior::CancelTask, "that of the window");
    // The longest names that are taken are names of rollouts.
    manifest.spec.tasks[0].name = "p".repeat(25);
    manifest.spec.tasks[1].name = "s".repeat(38);
    let window = manifest.check().unwrap();
    let patch = &window.tasks[1];
    let longest = patch.start(patch.key("nightly", "web"), &patch.targets[0].1, opening);
    longest.spec.check().unwrap();
    assert_eq!(longest.spec.name.len() + replan::TAIL, MAX_NAME, "what plans it again is called so to the end");
    assert!(longest.key.by().len() <= MAX_BY);
}

/// A coordinator with a clock of its own.
struct World {
    window: Window,
    since: WallTime,
    ledger: Ledger,
    attempts: Attempts,
    now: Now,
    ids: u8,
}

impl World {
    fn new(window: Window, now: WallTime) -> Self {
        let now = Now { wall: now, boot: BootTime(0) };
        let (ledger, attempts) = (Ledger::default(), Attempts::default());
        Self { window, since: now.wall, ledger, attempts, now, ids: 0 }
    }

    fn pass(&mut self, time: Duration) {
        self.now = Now { wall: self.now.wall.plus(time), boot: self.now.boot.plus(time) };
    }

    fn to(&mut self, text: &str) {
        let wait = u64::try_from(at(text).0 - self.now.wall.0).unwrap();
        self.pass(Duration::from_millis(wait));
    }

    fn due(&mut self) -> Vec<Start> {
        let kept = Kept { windows: vec![(&self.window, self.since)], ..Kept::default() };
        self.attempts.due(&kept, &self.ledger, &Desk::default(), self.now)
    }

    fn start(&mut self, one: &Start) {
        self.ids += 1;
        start(&mut self.ledger, self.ids, &one.key.by(), &one.spec.name, self.now.wall, None);
        self.attempts.ended(&one.key, None, self.now.boot);
    }

    /// Starts everything that is due; the names.
    fn start_due(&mut self) -> Vec<String> {
        let due = self.due();
        due.iter().for_each(|one| self.start(one));
        due.into_iter().map(|one| one.spec.name).collect()
    }

    fn end(&mut self, name: &str) {
        let state = self.ledger.rollouts.values_mut().find(|state| state.plan.name == name).unwrap();
        assert_eq!(state.ended_at, None);
        state.ended_at = Some(self.now.wall);
    }

    fn standing(&self) -> Vec<Standing> {
        let runs = runs(&self.ledger, self.now.wall);
        let gave_up = |key: &Key, of| self.attempts.gave_up(key, of);
        let stages = stages(&self.window, self.since, |key| runs.get(key).map(|(_, run)| *run), gave_up, self.now.wall);
        stages.map(|(_, stages)| stages.into_iter().map(|stage| stage.standing).collect()).unwrap_or_default()
    }
}

const SCAN: &str = "nightly-scan-20261201t020000z";
const WEB: &str = "nightly-patch-web-20261201t020000z";
const DB: &str = "nightly-patch-db-20261201t020000z";

#[test]
fn tasks_go_by_priority_and_targets_one_after_the_other() {
    let mut world = World::new(window(), at("2026-12-01T00:00:00Z"));
    assert_eq!((world.start_due(), world.standing()), (vec![], vec![]), "nothing has opened");
    world.to("2026-12-01T02:00:00Z");
    let waits = |task: usize, target: &str| Standing::Waits(window().tasks[task].key("nightly", target));
    assert_eq!(world.standing(), [Standing::Due, waits(0, "db"), waits(0, "db")]);
    assert_eq!(world.start_due(), [SCAN]);
    assert!(world.start_due().is_empty());
    world.to("2026-12-01T03:00:00Z");
    world.end(SCAN);
    assert_eq!(world.start_due(), [WEB], "whatever the result");
    assert_eq!(world.standing(), [Standing::Started, Standing::Started, waits(1, "web")]);
    world.to("2026-12-01T04:59:59Z");
    world.end(WEB);
    assert_eq!(world.start_due(), [DB], "a second before the last start");
    world.end(DB);
    assert!(world.start_due().is_empty());
    world.to("2026-12-02T02:00:00Z");
    assert_eq!(world.start_due(), ["nightly-scan-20261202t020000z"]);
}

#[test]
fn the_next_target_waits_for_what_plans_the_one_before_it_again_but_not_for_ever() {
    let to_web = || {
        let mut world = World::new(window(), at("2026-12-01T00:00:00Z"));
        world.to("2026-12-01T02:00:00Z");
        assert_eq!(world.start_due(), [SCAN]);
        world.end(SCAN);
        assert_eq!(world.start_due(), [WEB]);
        world.pass(Duration::from_secs(600));
        supersede(&mut world.ledger, 2);
        world.end(WEB);
        world
    };
    let mut world = to_web();
    let web = Standing::Waits(window().tasks[1].key("nightly", "web"));
    assert!(world.start_due().is_empty(), "it is to be planned again");
    assert_eq!(world.standing()[2], web);
    world.ids = 9;
    follow(&mut world.ledger, 9, 2, world.now.wall);
    world.pass(AWAITED * 2);
    assert!(world.start_due().is_empty(), "that goes on");
    world.end("again-replan-1");
    assert_eq!(world.start_due(), [DB]);

    let mut world = to_web();
    world.pass(AWAITED);
    assert!(world.start_due().is_empty());
    world.pass(Duration::from_millis(1));
    assert_eq!(world.start_due(), [DB], "whatever comes of the other");
}

#[test]
fn nothing_starts_at_the_last_start_or_after_it_and_late_only_in_an_opening_that_goes_on() {
    let mut world = World::new(window(), at("2026-12-01T00:00:00Z"));
    world.to("2026-12-01T02:00:00Z");
    assert_eq!(world.start_due(), [SCAN]);
    world.to("2026-12-01T05:00:00Z");
    world.end(SCAN);
    assert!(world.start_due().is_empty());
    assert_eq!(world.standing()[1..], [Standing::Missed, Standing::Missed]);
    // Nobody looked for some hours.
    world.to("2026-12-02T04:59:00Z");
    assert_eq!(world.start_due(), ["nightly-scan-20261202t020000z"], "late");
    let mut away = World::new(window(), at("2026-12-01T00:00:00Z"));
    away.to("2026-12-01T05:00:00Z");
    assert!(away.start_due().is_empty() && away.standing() == [Standing::Missed, Standing::Missed, Standing::Missed]);
    // What is changed while it is open waits for the next opening, and what is off for ever.
    let mut changed = World::new(window(), at("2026-12-01T02:00:00Z"));
    assert!(changed.start_due().is_empty());
    let mut off = written();
    off.spec.enabled = Some(false);
    let mut off = World::new(off.check().unwrap(), at("2026-12-01T00:00:00Z"));
    off.to("2026-12-01T02:00:00Z");
    assert!(off.start_due().is_empty());
}

#[test]
fn what_was_on_its_way_when_the_window_opened_is_skipped_and_what_comes_after_it_waits() {
    let mut world = World::new(window(), at("2026-12-01T00:00:00Z"));
    world.to("2026-12-01T02:00:00Z");
    assert_eq!(world.start_due(), [SCAN]);
    world.to("2026-12-02T02:00:00Z");
    assert!(world.start_due().is_empty());
    assert_eq!(world.standing()[0], Standing::Skipped);
    world.to("2026-12-02T03:00:00Z");
    world.end(SCAN);
    assert_eq!(world.start_due(), ["nightly-patch-web-20261202t020000z"], "its end makes up for nothing");
    assert_eq!(world.standing()[0], Standing::Skipped);
}

#[test]
fn a_target_that_matches_no_host_keeps_nobody_waiting() {
    let mut world = World::new(window(), at("2026-12-01T00:00:00Z"));
    world.to("2026-12-01T02:00:00Z");
    let due = world.due();
    assert_eq!(due.iter().map(|one| one.spec.name.as_str()).collect::<Vec<_>>(), [SCAN]);
    world.attempts.was_empty(&due[0].key, "none of 3 hosts".into());
    assert_eq!(world.start_due(), [WEB], "at once");
}

#[test]
fn what_cannot_be_started_keeps_the_rest_from_it_only_while_it_is_tried() {
    let mut world = World::new(window(), at("2026-12-01T00:00:00Z"));
    world.to("2026-12-01T02:00:00Z");
    for _ in 0..TRIES {
        let due = world.due();
        assert_eq!(due.iter().map(|one| one.spec.name.as_str()).collect::<Vec<_>>(), [SCAN]);
        assert!(world.due().is_empty(), "it is being planned");
        world.attempts.ended(&due[0].key, Some("no host".into()), world.now.boot);
        world.pass(PAUSE);
    }
    assert_eq!(world.start_due(), [WEB]);
    assert_eq!(world.standing()[0], Standing::GivenUp);
    // A new process does not know that, and still does not go back.
    world.attempts = Attempts::default();
    assert_eq!(world.standing()[..2], [Standing::Missed, Standing::Started]);
    world.end(WEB);
    assert_eq!(world.start_due(), [DB]);
}

proptest! {
    /// Whatever the window, the lengths and failures of runs, and the pauses of the coordinator: by priority and target by target,
    /// once in an opening and in no other time, one run of a stage at a time, and nothing is forgotten while there is time.
    #[test]
    fn by_priority_once_and_before_the_last_start(
        tasks in prop::collection::vec((0u32..3, 1usize..4, any::<bool>()), 1..5),
        (every, lasts, cutoff) in (20u64..120, 10u64..120, 0u64..10),
        turns in prop::collection::vec((0u64..30, any::<u16>(), 0u8..8), 1..80),
    ) {
        let names = ["a", "b", "c"];
        let mut manifest = written();
        manifest.spec.schedule = format!("rate({every} minutes)");
        manifest.spec.duration = format!("{lasts}m");
        manifest.spec.cutoff = Some(format!("{cutoff}m")).filter(|_| cutoff < lasts);
        manifest.spec.tasks = tasks.iter().enumerate().map(|(at, (priority, targets, cancels))| TaskText {
            cutoff_behavior: cancels.then(|| "CANCEL_TASK".to_owned()),
            ..task(&format!("t{at}"), *priority, &names[..*targets])
        }).collect();
        let used = tasks.iter().map(|(_, targets, _)| *targets).max().unwrap();
        manifest.spec.targets = names[..used].iter().map(|name| target(name)).collect();
        let window = manifest.check().unwrap();
        let order: Vec<_> = window
            .tasks
            .iter()
            .flat_map(|task| task.targets.iter().enumerate().map(move |(at, (name, _))| (task.priority, &task.name, at, task.key("nightly", name), task.cutoff_behavior)))
            .collect();
        let mut world = World::new(window.clone(), at("2026-12-01T00:00:00Z"));
        let mut begun: BTreeSet<(Key, WallTime)> = BTreeSet::new();
        for (minutes, draw, chance) in turns {
            world.pass(Duration::from_secs(60 * minutes));
            // Some runs end.
            let going: Vec<_> = world.ledger.rollouts.values().filter(|one| one.ended_at.is_none()).map(|one| one.plan.name.clone()).collect();
            for (at, name) in going.iter().enumerate() {
                if draw >> (at % 16) & 1 == 1 {
                    world.end(name);
                }
            }
            if chance == 0 {
                world.attempts = Attempts::default();
            }
            let before = runs(&world.ledger, world.now.wall);
            let due = world.due();
            for one in &due {
                let opening = window.newest(world.since, world.now.wall).unwrap();
                prop_assert_eq!(one.of, opening.opens);
                prop_assert!(opening.opens <= world.now.wall && world.now.wall < opening.last_start);
                prop_assert!(!begun.contains(&(one.key.clone(), one.of)), "twice in one opening");
                let (priority, task, at, _, behavior) = order.iter().find(|(.., key, _)| *key == one.key).unwrap();
                prop_assert_eq!(&one.spec.openings, &vec![behavior.cut(opening)]);
                prop_assert!(before.get(&one.key).is_none_or(|(_, run)| run.ended.is_some()));
                for (other, name, place, key, _) in &order {
                    let earlier = other < priority || (name == task && place < at);
                    let later = other > priority || (name == task && place > at);
                    let goes = before.get(key).is_some_and(|(_, run)| run.ended.is_none());
                    prop_assert!(!(earlier && goes), "{key:?} goes, which is before {:?}", one.key);
                    prop_assert!(!(later && begun.contains(&(key.clone(), one.of))), "{key:?} began before");
                    prop_assert!(!(earlier && due.iter().any(|start| start.key == *key)));
                }
            }
            for one in &due {
                if chance == 1 {
                    world.attempts.ended(&one.key, Some("no host".into()), world.now.boot);
                } else if world.ids < u8::MAX {
                    begun.insert((one.key.clone(), one.of));
                    world.start(one);
                }
            }
            // Whoever waits, waits for something that moves, or is tried again.
            let standing = world.standing();
            let moves = standing.contains(&Standing::Due) || world.ledger.rollouts.values().any(|one| one.ended_at.is_none());
            prop_assert!(moves || !standing.iter().any(|one| matches!(one, Standing::Waits(_))), "{standing:?}");
        }
    }
}
