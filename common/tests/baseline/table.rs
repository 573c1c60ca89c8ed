//! The hand-worked cases of `cases.yaml`.

use std::{collections::BTreeSet, sync::OnceLock};

use patchmesh_common::{
    inventory::document::{self, Host, Inventory, Offer, Package},
    patch::{
        baseline::{Family, PatchBaseline, Spec, predefined},
        evaluation::{Evaluation, Row, evaluate},
    },
    time::WallTime,
};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Group {
    group: String,
    host: String,
    predefined: Option<String>,
    baseline: Option<Spec>,
    at: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    spec: String,
    want: String,
    #[serde(default = "name")]
    name: String,
    #[serde(default = "arch")]
    arch: String,
    has: Option<String>,
    #[serde(default = "yes")]
    applicable: bool,
    priority: Option<String>,
    offers: Vec<Offer>,
}

fn name() -> String {
    "p".into()
}

fn arch() -> String {
    "amd64".into()
}

fn yes() -> bool {
    true
}

impl Group {
    pub(crate) fn baseline(&self) -> PatchBaseline {
        match (&self.predefined, &self.baseline) {
            (Some(name), None) => predefined::find(name).unwrap(),
            (None, Some(spec)) => PatchBaseline { name: "own".into(), spec: spec.clone(), labels: Default::default() },
            _ => panic!("{}: a group has one baseline", self.group),
        }
    }

    pub(crate) fn at(&self) -> WallTime {
        WallTime::parse(&self.at).unwrap()
    }

    /// One inventory per case.
    pub(crate) fn inventories(&self) -> impl Iterator<Item = Inventory> {
        let (os, version) = self.host.split_once(' ').unwrap();
        self.cases.iter().map(move |case| Inventory {
            schema: document::SCHEMA.into(),
            host: Host { os: Some(os.into()), os_version: Some(version.into()), ..Host::default() },
            collected_at: None,
            packages: vec![Package {
                name: case.name.clone(),
                arch: case.arch.clone(),
                installed: case.has.clone(),
                applicable: case.applicable,
                section: None,
                priority: case.priority.clone(),
                candidates: case.offers.clone(),
            }],
        })
    }
}

pub(crate) fn groups() -> &'static [Group] {
    static GROUPS: OnceLock<Vec<Group>> = OnceLock::new();
    let read = || serde_saphyr::from_str(include_str!("cases.yaml")).unwrap_or_else(|error| panic!("{error}"));
    GROUPS.get_or_init(read)
}

fn shown(evaluation: &Evaluation) -> String {
    match evaluation.rows.as_slice() {
        [] if evaluation.not_applicable == 1 => "counted".into(),
        [] => "nothing".into(),
        [row] => show(row),
        rows => panic!("{rows:?}"),
    }
}

fn show(row: &Row) -> String {
    let level = row.level.as_str();
    let mut text = format!(
        "{} {} {} {} {}",
        row.state.as_str(),
        row.available.as_deref().unwrap_or("-"),
        if level == "UNSPECIFIED" { "-" } else { level },
        row.reason.code,
        row.reason.rule.map_or("-".into(), |rule| rule.to_string())
    );
    if let Some(opens) = row.reason.opens_at {
        text.push_str(&format!(" opens={}", opens.rfc3339()));
    }
    if row.reason.ignored_date_gate {
        text.push_str(" ignored");
    }
    assert!(!row.reason.text.is_empty());
    text
}

#[test]
fn every_case_comes_out_as_worked_by_hand() {
    let (mut wrong, mut count, mut families) = (Vec::new(), 0, BTreeSet::<Family>::new());
    let mut systems = BTreeSet::new();
    for group in groups() {
        let checked = group.baseline().check().unwrap_or_else(|problems| panic!("{}: {problems:?}", group.group));
        families.insert(checked.os.family());
        systems.insert(checked.os);
        for (case, inventory) in group.cases.iter().zip(group.inventories()) {
            inventory.check().unwrap();
            count += 1;
            let found = shown(&evaluate(&checked, &inventory, group.at()).unwrap());
            if found != case.want {
                wrong.push(format!("{} ({}):\n  {found}\n  {}", group.group, case.spec, case.want));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {count} cases come out otherwise:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count >= 120 && families.len() == 5, "{count} cases, {families:?}");
    assert_eq!(systems.len(), 15);
    println!("{count} cases over {} operating systems", systems.len());
}
