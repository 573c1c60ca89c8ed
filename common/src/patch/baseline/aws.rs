//! AWS's JSON: what create-patch-baseline takes and what get-patch-baseline prints. Only the spelling differs from ours.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    ComplianceLevel, FilterGroup, FilterText, OperatingSystem, Origin, PatchBaseline, RejectedAction, RuleText, Rules,
    SecurityUpdates, Source, Spec, Stamp, Tag,
    check::{
        MAX_CONFIGURATION, MAX_DAYS, MAX_DESCRIPTION, MAX_ENTRIES, MAX_ENTRY, MAX_NAME, MAX_PRODUCT, MAX_PRODUCTS,
        MAX_RULE_FILTERS, MAX_RULES, MAX_SOURCES, MAX_TAGS, MAX_VALUE, MAX_VALUES,
    },
    schema,
};

/// A baseline in the spelling of AWS.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[expect(missing_docs, reason = "the members of the baseline that it becomes say what they are")]
pub struct AwsBaseline {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 20, max = 128))]
    pub baseline_id: Option<String>,
    /// Only a baseline of a `BaselineOverride` may be without one; it is empty then.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = MAX_NAME))]
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<OperatingSystem>")]
    pub operating_system: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = schema::global_filters)]
    pub global_filters: Option<AwsFilterGroup>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval_rules: Option<AwsRules>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_ENTRIES), inner(length(min = 1, max = MAX_ENTRY)))]
    pub approved_patches: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<ComplianceLevel>")]
    pub approved_patches_compliance_level: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_patches_enable_non_security: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_ENTRIES), inner(length(min = 1, max = MAX_ENTRY)))]
    pub rejected_patches: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<RejectedAction>")]
    pub rejected_patches_action: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(inner(length(min = 1, max = 256)))]
    pub patch_groups: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_date: Option<Stamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified_date: Option<Stamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_DESCRIPTION))]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_SOURCES))]
    pub sources: Option<Vec<AwsSource>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<SecurityUpdates>")]
    pub available_security_updates_compliance_status: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub client_token: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_TAGS))]
    pub tags: Option<Vec<AwsTag>>,
}

/// Filters of which all must pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct AwsFilterGroup {
    /// The filters.
    #[schemars(length(max = MAX_RULE_FILTERS))]
    pub patch_filters: Vec<AwsFilter>,
}

/// One filter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct AwsFilter {
    /// What it compares.
    #[schemars(schema_with = "schema::filter_key")]
    pub key: String,
    /// With what.
    #[schemars(length(min = 1, max = MAX_VALUES), inner(length(min = 1, max = MAX_VALUE)))]
    pub values: Vec<String>,
}

/// Rules of which one must approve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct AwsRules {
    /// The rules.
    #[schemars(length(max = MAX_RULES))]
    pub patch_rules: Vec<AwsRule>,
}

/// One approval rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[expect(missing_docs, reason = "the members of the rule that it becomes say what they are")]
pub struct AwsRule {
    pub patch_filter_group: AwsFilterGroup,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<ComplianceLevel>")]
    pub compliance_level: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_DAYS))]
    pub approve_after_days: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 10, max = 10))]
    pub approve_until_date: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_non_security: Option<bool>,
}

/// An alternative repository.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct AwsSource {
    /// Its name.
    #[schemars(length(min = 3, max = 50))]
    pub name: String,
    /// The releases that it is for.
    #[schemars(length(min = 1, max = MAX_PRODUCTS), inner(length(min = 1, max = MAX_PRODUCT)))]
    pub products: Vec<String>,
    /// As the package manager reads it.
    #[schemars(length(min = 1, max = MAX_CONFIGURATION))]
    pub configuration: String,
}

/// A tag.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct AwsTag {
    /// Its key.
    #[schemars(length(min = 1, max = 128))]
    pub key: String,
    /// Its value.
    #[schemars(length(max = 256))]
    pub value: String,
}

impl From<AwsBaseline> for PatchBaseline {
    fn from(theirs: AwsBaseline) -> Self {
        let origin = Origin {
            baseline_id: theirs.baseline_id,
            patch_groups: theirs.patch_groups,
            created_date: theirs.created_date,
            modified_date: theirs.modified_date,
            client_token: theirs.client_token,
            tags: theirs.tags.map(|tags| tags.into_iter().map(|AwsTag { key, value }| Tag { key, value }).collect()),
        };
        let source = |AwsSource { name, products, configuration }| Source { name, products, configuration };
        Self {
            name: theirs.name,
            labels: crate::labels::Labels::new(),
            spec: Spec {
                operating_system: theirs.operating_system,
                description: theirs.description,
                global_filters: theirs.global_filters.map(filters),
                approval_rules: theirs
                    .approval_rules
                    .map(|rules| Rules { patch_rules: rules.patch_rules.into_iter().map(rule).collect() }),
                approved_patches: theirs.approved_patches,
                approved_patches_compliance_level: theirs.approved_patches_compliance_level,
                approved_patches_enable_non_security: theirs.approved_patches_enable_non_security,
                rejected_patches: theirs.rejected_patches,
                rejected_patches_action: theirs.rejected_patches_action,
                sources: theirs.sources.map(|sources| sources.into_iter().map(source).collect()),
                available_security_updates_compliance_status: theirs.available_security_updates_compliance_status,
                approval_clock: None,
                aws: (origin != Origin::default()).then_some(origin),
            },
        }
    }
}

fn filters(theirs: AwsFilterGroup) -> FilterGroup {
    let filter = |AwsFilter { key, values }| FilterText { key, values };
    FilterGroup { patch_filters: theirs.patch_filters.into_iter().map(filter).collect() }
}

fn rule(theirs: AwsRule) -> RuleText {
    RuleText {
        patch_filter_group: filters(theirs.patch_filter_group),
        compliance_level: theirs.compliance_level,
        approve_after_days: theirs.approve_after_days,
        approve_until_date: theirs.approve_until_date,
        enable_non_security: theirs.enable_non_security,
    }
}

/// A baseline says something that AWS has no word for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("approvalClock {0:?} has no counterpart in AWS's format")]
pub struct NoCounterpart(pub String);

impl TryFrom<PatchBaseline> for AwsBaseline {
    type Error = NoCounterpart;

    /// The way back, without loss.
    ///
    /// # Errors
    /// If date gates read the mesh's clock: in AWS the same file would mean something else.
    fn try_from(ours: PatchBaseline) -> Result<Self, NoCounterpart> {
        let PatchBaseline { name, spec, .. } = ours;
        if let Some(clock) = spec.approval_clock.filter(|clock| clock != super::ApprovalClock::Aws.as_str()) {
            return Err(NoCounterpart(clock));
        }
        let origin = spec.aws.unwrap_or_default();
        let source = |Source { name, products, configuration }| AwsSource { name, products, configuration };
        Ok(Self {
            baseline_id: origin.baseline_id,
            name,
            operating_system: spec.operating_system,
            global_filters: spec.global_filters.map(aws_filters),
            approval_rules: spec
                .approval_rules
                .map(|rules| AwsRules { patch_rules: rules.patch_rules.into_iter().map(aws_rule).collect() }),
            approved_patches: spec.approved_patches,
            approved_patches_compliance_level: spec.approved_patches_compliance_level,
            approved_patches_enable_non_security: spec.approved_patches_enable_non_security,
            rejected_patches: spec.rejected_patches,
            rejected_patches_action: spec.rejected_patches_action,
            patch_groups: origin.patch_groups,
            created_date: origin.created_date,
            modified_date: origin.modified_date,
            description: spec.description,
            sources: spec.sources.map(|sources| sources.into_iter().map(source).collect()),
            available_security_updates_compliance_status: spec.available_security_updates_compliance_status,
            client_token: origin.client_token,
            tags: origin.tags.map(|tags| tags.into_iter().map(|Tag { key, value }| AwsTag { key, value }).collect()),
        })
    }
}

fn aws_filters(ours: FilterGroup) -> AwsFilterGroup {
    let filter = |FilterText { key, values }| AwsFilter { key, values };
    AwsFilterGroup { patch_filters: ours.patch_filters.into_iter().map(filter).collect() }
}

fn aws_rule(ours: RuleText) -> AwsRule {
    AwsRule {
        patch_filter_group: aws_filters(ours.patch_filter_group),
        compliance_level: ours.compliance_level,
        approve_after_days: ours.approve_after_days,
        approve_until_date: ours.approve_until_date,
        enable_non_security: ours.enable_non_security,
    }
}
