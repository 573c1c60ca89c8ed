//! A scan by a baseline of rules, as the document of every scan.

use std::collections::BTreeMap;

use patchmesh_common::{
    inventory::document::Package,
    patch::evaluation::{Row, State},
    time::WallTime,
};
use patchmesh_node::host::apt::judged::Look;

use super::scan::{Document, Host, Patch, Summary};

pub(super) fn document(host: Host, at: WallTime, look: Look) -> Document {
    let sums = look.evaluation.summary(look.baseline.security_updates);
    let packages = look.inventory.packages.iter();
    let packages: BTreeMap<_, _> =
        packages.map(|package| ((package.name.as_str(), package.arch.as_str()), package)).collect();
    let patch = |row: &Row| patch(row, packages.get(&(row.name.as_str(), row.arch.as_str())).copied(), &look);
    Document {
        schema: "patchmesh.scan/v1",
        host,
        scanned_at: at.rfc3339(),
        source: look.source.as_str(),
        summary: Summary {
            installed: sums.installed,
            installed_other: sums.installed_other,
            installed_pending_reboot: sums.installed_pending_reboot,
            installed_rejected: sums.installed_rejected,
            missing: sums.missing,
            failed: sums.failed,
            not_applicable: sums.not_applicable,
            blocked: look.counters().blocked,
        },
        patches: look.evaluation.rows.iter().map(patch).collect(),
        baseline: look.baseline.name,
    }
}

fn patch(row: &Row, package: Option<&Package>, look: &Look) -> Patch {
    let offers = package.map(|package| package.candidates.as_slice()).unwrap_or_default();
    // Of several archives with the same version the security pocket tells more.
    let of = |version: &str| {
        let mut same = offers.iter().filter(|offer| offer.version == version);
        same.clone().find(|offer| offer.security).or_else(|| same.next())
    };
    let available = row.available.as_deref().and_then(of);
    let missing = available.filter(|_| row.state == State::Missing);
    let told = missing.or_else(|| row.installed.as_deref().and_then(of));
    let own_priority = package.and_then(|package| package.priority.clone());
    let other = row.state == State::InstalledOther;
    let blocked = look.blocked.get(&(row.name.clone(), row.arch.clone()));
    let why = blocked.map(|blocked| format!("; {}", blocked.words())).unwrap_or_default();
    Patch {
        name: row.name.clone(),
        arch: row.arch.clone(),
        installed: row.installed.clone().unwrap_or_default(),
        available: row.available.clone(),
        classification: told.filter(|offer| offer.security && !other).map(|_| "Security".to_owned()),
        severity: told.and_then(|offer| offer.priority.clone()).or(own_priority).filter(|_| !other),
        archive: available.and_then(|offer| offer.archive.clone()),
        state: row.state.as_str(),
        blocked: blocked.map(|blocked| blocked.as_str()),
        reason: Some(format!("{}{why}", row.reason.text)),
    }
}

#[cfg(test)]
mod tests {
    use patchmesh_common::{
        inventory::document::{self, Inventory, Offer, SCHEMA},
        patch::{
            Blocked,
            baseline::{PatchBaseline, RuleText, Rules, Spec},
            evaluation::evaluate,
        },
    };
    use patchmesh_node::host::apt::scan::Source;

    use super::{super::scan::tests as scan, *};

    #[test]
    fn the_output_is_the_one_of_the_schema_of_scans() {
        let offer = |version: &str, archive: &str, security| Offer {
            version: version.into(),
            archive: Some(archive.into()),
            priority: Some("important".into()),
            security,
            ..Offer::default()
        };
        let package = |name: &str, candidates| Package {
            name: name.into(),
            arch: "amd64".into(),
            installed: Some("1".into()),
            priority: Some("optional".into()),
            candidates,
            ..Package::default()
        };
        let inventory = Inventory {
            schema: SCHEMA.into(),
            host: document::Host { os: Some("debian".into()), ..document::Host::default() },
            collected_at: None,
            packages: vec![
                package("openssl", vec![offer("2", "stable", false), offer("2", "stable-security", true)]),
                package("nano", vec![offer("3", "stable", false)]),
                package("telnetd", vec![]),
            ],
        };
        let spec = Spec {
            operating_system: Some("DEBIAN".into()),
            approval_rules: Some(Rules { patch_rules: vec![RuleText::default()] }),
            rejected_patches: Some(vec!["telnetd".into()]),
            rejected_patches_action: Some("BLOCK".into()),
            ..Spec::default()
        };
        let baseline = PatchBaseline { name: "web".into(), spec, labels: Default::default() }.check().unwrap();
        let look = Look {
            source: Source::Manager,
            evaluation: evaluate(&baseline, &inventory, WallTime(0)).unwrap(),
            baseline,
            inventory,
            blocked: [(("openssl".into(), "amd64".into()), Blocked::Pin)].into(),
            targets: vec![],
            listed: false,
        };
        let document = document(scan::example_host(), WallTime(0), look);
        let rows: Vec<_> = document
            .patches
            .iter()
            .map(|patch| {
                let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
                let told = [&patch.available, &patch.archive, &patch.classification, &patch.severity].map(or);
                format!("{} {} {} {}", patch.name, patch.state, told.join(" "), or(&patch.reason))
            })
            .collect();
        assert_eq!(
            rows,
            [
                "nano InstalledOther 3 stable - - 3 is no security update (rule 1)",
                "openssl Missing 2 stable-security Security important 2 is approved by rule 1; a pin keeps another version",
                "telnetd InstalledRejected - - - optional 1 is rejected by \"telnetd\" of the rejected list, and blocked",
            ]
        );
        let sums = document.summary;
        assert_eq!((sums.missing, sums.blocked, sums.installed_rejected, sums.installed_other), (1, 1, 1, 1));
        let (schema, shown) =
            (include_str!("../../schemas/scan.v1.schema.json"), include_str!("../../schemas/scan.v1.example.json"));
        scan::hold(schema, shown, &crate::command::scan::to_json(&document).unwrap());
    }
}
