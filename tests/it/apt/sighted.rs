//! What a host remembers of when it was offered versions.

use std::{fs, path::PathBuf};

use patchmesh_common::{patch::Baseline, time::WallTime};
use patchmesh_coordinator::{command, output::Format};
use patchmesh_node::{clock, host::sightings::Sightings};

use super::fixture::{Fixture, possible};

/// Makes the index of security updates look signed. Returns the file of the signature.
fn signed(fixture: &Fixture) -> PathBuf {
    let lists = fs::read_dir(fixture.root().join("var/lib/apt/lists")).unwrap();
    let mut releases = lists.map(|entry| entry.unwrap().path());
    let release = releases.find(|path| path.to_string_lossy().ends_with("_sec_Release")).unwrap();
    let signature = release.with_file_name(format!("{}.gpg", release.file_name().unwrap().display()));
    fs::write(&signature, "").unwrap();
    signature
}

#[tokio::test]
async fn a_daemon_remembers_what_it_is_offered_and_a_look_tells_it() {
    if !possible() {
        return;
    }
    let fixture = Fixture::new();
    let folder = fixture.root().join("var/lib/patchmesh");
    fs::create_dir_all(&folder).unwrap();
    fixture.publish(|deb| (deb.name, deb.version) != ("mixed", "3"));
    let apt = fixture.open().await.noting(folder.join("sightings"));
    apt.refresh().await.unwrap();
    let signature = signed(&fixture);
    let begun = clock::now().wall;
    apt.scan(Baseline::All).await.unwrap();
    let first = apt.sightings();
    let of = |sightings: &Sightings, name: &str, version: &str| {
        let found = sightings.iter().find(|((n, _, v, _), _)| n == name && v == version);
        found.map(|(_, sighting)| sighting)
    };
    let date = WallTime::parse("2026-01-01T00:00:00Z");
    assert_eq!(of(&first, "til", "1.0").unwrap().index, date);
    let unsigned = of(&first, "epo", "1:0.5").unwrap();
    assert!(unsigned.index.is_none() && unsigned.seen >= begun, "{unsigned:?}");
    // What is installed, and what is older, is not waited for.
    assert_eq!((of(&first, "til", "1.0~beta2"), of(&first, "mixed", "3")), (None, None));

    fs::remove_file(signature).unwrap();
    fixture.publish(|_| true);
    apt.refresh().await.unwrap();
    apt.scan(Baseline::Security).await.unwrap();
    let second = apt.sightings();
    assert_eq!(of(&second, "epo", "1:0.5"), Some(unsigned));
    assert!(of(&second, "mixed", "3").is_some());
    drop(apt);
    let again = fixture.open().await.noting(folder.join("sightings"));
    assert_eq!(again.sightings(), second);

    let args = command::inventory::Args { local: true, root: fixture.root(), output: Format::Json };
    let inventory = serde_json::to_value(command::inventory::document(&args).await.unwrap()).unwrap();
    let packages = inventory["packages"].as_array().unwrap();
    let til = packages.iter().find(|package| package["name"] == "til").unwrap();
    let dates: Vec<_> = til["candidates"].as_array().unwrap().iter().map(|offer| &offer["firstSeen"]).collect();
    let seen = unsigned.seen.rfc3339();
    let beta = of(&second, "til", "1.0~beta10").unwrap().seen.rfc3339();
    assert_eq!(dates, [&serde_json::Value::Null, &beta.into(), &"2026-01-01T00:00:00Z".into()]);
    let epo = packages.iter().find(|package| package["name"] == "epo").unwrap();
    assert_eq!(epo["candidates"].as_array().unwrap().last().unwrap()["firstSeen"], seen);
}

#[tokio::test]
async fn a_delay_counts_from_the_signed_date_where_there_is_one() {
    if !possible() {
        return;
    }
    let fixture = Fixture::new();
    let folder = fixture.root().join("var/lib/patchmesh");
    fs::create_dir_all(&folder).unwrap();
    let file = fixture.folder.path().join("mesh.yaml");
    let text = "apiVersion: patchmesh/v1\nkind: PatchBaseline\nmetadata: {name: late}\nspec:\n  operatingSystem: DEBIAN\n  \
                approvalClock: mesh\n  approvalRules:\n    patchRules:\n      - patchFilterGroup: {patchFilters: []}\n        \
                approveAfterDays: 7\n        enableNonSecurity: true\n";
    fs::write(&file, text).unwrap();
    signed(&fixture);
    let args = command::scan::Args {
        local: true,
        root: fixture.root(),
        baseline: file.display().to_string(),
        refresh: false,
        no_cache: true,
        output: Format::Json,
    };
    let reasons = async || {
        let found = serde_json::to_value(command::scan::document(&args).await.unwrap()).unwrap();
        let rows = found["patches"].as_array().unwrap().clone();
        ["til", "epo"].map(|name| {
            let row = rows.iter().find(|row| row["name"] == name).unwrap();
            format!("{} {}", row["state"].as_str().unwrap(), row["reason"].as_str().unwrap())
        })
    };
    let unknown = reasons().await;
    assert!(unknown.iter().all(|reason| reason.contains("nobody knows since when")), "{unknown:?}");
    fixture.open().await.noting(folder.join("sightings")).scan(Baseline::All).await.unwrap();
    let [til, epo] = reasons().await;
    assert!(til.starts_with("Missing 1.0 is approved by rule 1"), "{til}");
    assert!(epo.starts_with("InstalledOther 1:0.5 is not approved before "), "{epo}");
}
