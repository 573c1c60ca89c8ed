//! Stories: a simulated fleet, what goes wrong in it, and exactly what its coordinator wrote down and said when it was asked.
//!
//! `tests/stories/NAME.yaml` is the scenario and the questions, `NAME.txt` what came of it (`UPDATE_SCRIPTS=1` writes that down).

use std::{fmt::Write as _, fs};

use patchmesh_common::rollout::ledger::LedgerAct;
use patchmesh_coordinator::{
    audit::{Names, told},
    render,
    service::why,
    status::View,
};
use patchmesh_simulations::{
    scenario::Scenario,
    world::{Finish, World},
};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Story {
    /// What it tells.
    story: String,
    seed: u64,
    scenario: Scenario,
    asks: Vec<Ask>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    /// When, in seconds.
    at: u64,
    /// `rollout status NAME` or `why host NAME`, as `patchmesh` is asked.
    ask: String,
}

/// Virtual time, as hours, minutes and seconds.
fn clock(millis: u64) -> String {
    let seconds = millis / 1000;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Tells what was written down since the last time.
fn tell(world: &World, told_until: &mut usize, text: &mut String) {
    let entries = world.entries();
    let mut names = Names::default();
    for (number, entry) in entries.iter().enumerate() {
        names.learn(&entry.act);
        // What hosts hold when they are met is asked at every start, and says nothing in a story.
        if number < *told_until || matches!(entry.act, LedgerAct::Adopted { held: None, .. }) {
            continue;
        }
        let [act, by, what] = told(&entry.act, &names);
        let time = entry.at.rfc3339();
        let time = time.split('T').nth(1).unwrap_or(&time).trim_end_matches('Z');
        writeln!(text, "{time}  {act:<13} {by:<12} {what}").unwrap();
    }
    *told_until = entries.len();
}

fn answer(world: &World, ask: &str) -> String {
    let Some((ledger, desk, now)) = world.coordinator() else { return "the coordinator is switched off\n".into() };
    let view = View { ledger, desk, now };
    if let Some(name) = ask.strip_prefix("rollout status ") {
        let (id, state) = ledger.rollouts.iter().find(|(_, state)| state.plan.name == name).expect("no such rollout");
        return render::recap(&view.recap(*id, state));
    }
    let name = ask.strip_prefix("why host ").unwrap_or_else(|| panic!("stories do not ask {ask:?}"));
    let (document, _) = why::host(&view, &world.members(), name).unwrap_or_else(|| panic!("no such host: {name}"));
    render::why(&document)
}

fn play(name: &str) {
    let folder = super::own("stories");
    let story: Story =
        serde_saphyr::from_str(&fs::read_to_string(folder.join(format!("{name}.yaml"))).unwrap()).unwrap();
    let mut text = format!("# {}\n", story.story);
    let mut world = World::new(story.seed, story.scenario, false);
    let mut until = 0;
    for Ask { at, ask } in &story.asks {
        world.advance(at * 1000);
        tell(&world, &mut until, &mut text);
        // A blank line stands around every answer, and recaps end with one.
        let before = if text.ends_with("\n\n") { "" } else { "\n" };
        writeln!(
            text,
            "{before}$ {ask}    # {} after the beginning\n{}\n",
            clock(at * 1000),
            answer(&world, ask).trim_end()
        )
        .unwrap();
    }
    let outcome = world.run();
    assert_eq!((outcome.finish, &outcome.record.violations), (Finish::Completed, &Vec::new()), "{name}");
    outcome.rollouts.iter().for_each(|end| writeln!(text, "in the end: {end}").unwrap());
    let path = folder.join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_SCRIPTS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(&path).unwrap(), "{name} (UPDATE_SCRIPTS=1 writes down what happens now)");
}

#[test]
fn every_story_goes_as_it_was_told() {
    let folder = super::own("stories");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    names.iter().for_each(|name| play(name));
    assert!(names.len() >= 8, "{names:?}");
}
