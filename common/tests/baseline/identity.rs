//! AWS's JSON to ours and back is the identity.

use patchmesh_common::patch::baseline::{PatchBaseline, aws::AwsBaseline, predefined};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::arbitrary::baseline;

/// What a file becomes if it is imported, kept as ours, and exported again.
fn around(file: &Value) -> Value {
    let theirs: AwsBaseline = serde_json::from_value(file.clone()).unwrap();
    let ours = PatchBaseline::from(theirs);
    let kept = PatchBaseline { name: ours.name.clone(), spec: yaml(&ours.spec), labels: Default::default() };
    assert_eq!(kept, ours);
    serde_json::to_value(AwsBaseline::try_from(kept).unwrap()).unwrap()
}

fn yaml<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    let text = serde_saphyr::to_string(value).unwrap();
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[test]
fn a_file_with_every_documented_member() {
    let file = json!({
        "BaselineId": "arn:aws:ssm:eu-west-1:123456789012:patchbaseline/pb-0123456789abcdef0",
        "Name": "prod.web_1",
        "OperatingSystem": "AMAZON_LINUX_2",
        "GlobalFilters": {"PatchFilters": [{"Key": "PRODUCT", "Values": ["AmazonLinux2", "*"]}]},
        "ApprovalRules": {"PatchRules": [
            {"PatchFilterGroup": {"PatchFilters": [{"Key": "SEVERITY", "Values": ["Critical"]}]},
             "ComplianceLevel": "CRITICAL", "ApproveAfterDays": 0, "EnableNonSecurity": false},
            {"PatchFilterGroup": {"PatchFilters": []}, "ApproveUntilDate": "2026-12-01", "EnableNonSecurity": true}]},
        "ApprovedPatches": ["CVE-2024-0727", "kernel*"],
        "ApprovedPatchesComplianceLevel": "HIGH",
        "ApprovedPatchesEnableNonSecurity": true,
        "RejectedPatches": [],
        "RejectedPatchesAction": "BLOCK",
        "PatchGroups": ["prod"],
        "CreatedDate": 1_893_553_445.678,
        "ModifiedDate": "2024-05-01T10:00:00.123000+02:00",
        "Description": "no: \"comment\" # here\n",
        "Sources": [{"Name": "own", "Products": ["AmazonLinux2"], "Configuration": "[own]\nbaseurl=file:///x\n"}],
        "ClientToken": "4f1c",
        "Tags": [{"Key": "b", "Value": ""}, {"Key": "a", "Value": "1"}]
    });
    assert_eq!(around(&file), file);
    let windows = json!({"Name": "win", "AvailableSecurityUpdatesComplianceStatus": "NON_COMPLIANT"});
    assert_eq!(around(&windows), windows);
}

#[test]
fn the_predefined_ones() {
    for baseline in predefined::all() {
        let file = serde_json::to_value(AwsBaseline::try_from(baseline.clone()).unwrap()).unwrap();
        assert_eq!(around(&file), file);
        assert_eq!(PatchBaseline::from(serde_json::from_value::<AwsBaseline>(file).unwrap()), baseline);
    }
}

#[test]
fn an_unknown_member_is_named() {
    for file in [
        json!({"Name": "web", "Nam": 1}),
        json!({"Name": "web", "ApprovalRules": {"PatchRules": [], "Rules": []}}),
        json!({"Name": "web", "GlobalFilters": {"PatchFilters": [{"Key": "PRODUCT", "Values": [], "Value": "x"}]}}),
    ] {
        let error = serde_json::from_value::<AwsBaseline>(file).unwrap_err().to_string();
        assert!(error.starts_with("unknown field `"), "{error}");
    }
    let nameless = serde_json::from_value::<AwsBaseline>(json!({})).unwrap();
    assert_eq!(serde_json::to_value(&nameless).unwrap(), json!({}));
    assert_eq!(PatchBaseline::from(nameless).check().unwrap_err()[0].field, "name");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn generated_ones(baseline in baseline()) {
        prop_assert!(baseline.check().is_ok(), "{:?}", baseline.check());
        let file = serde_json::to_value(AwsBaseline::try_from(baseline.clone()).unwrap()).unwrap();
        prop_assert_eq!(around(&file), file.clone());
        let text = serde_json::to_string(&file).unwrap();
        prop_assert_eq!(around(&serde_json::from_str(&text).unwrap()), file);
    }
}
