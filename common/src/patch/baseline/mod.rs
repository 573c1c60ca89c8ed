//! Patch baselines: which patches are approved for one operating system (spec 1).
//!
//! [`PatchBaseline`] is what people write, member for member AWS's; [`check`] turns it into a [`Checked`], which is what the
//! evaluation reads. [`aws`] is the same in the spelling of AWS's JSON.

pub mod aws;
pub mod check;
pub mod entry;
pub mod os;
pub mod predefined;
pub mod schema;
pub mod sources;
pub mod words;

pub use check::{Checked, Filter, Gate, Problem, Rule};
use check::{
    MAX_CONFIGURATION, MAX_DAYS, MAX_DESCRIPTION, MAX_ENTRIES, MAX_ENTRY, MAX_PRODUCT, MAX_PRODUCTS, MAX_RULE_FILTERS,
    MAX_RULES, MAX_SOURCES, MAX_TAGS, MAX_VALUE, MAX_VALUES,
};
pub use os::{Family, OperatingSystem};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
pub use words::{ApprovalClock, ComplianceLevel, FilterKey, RejectedAction, SecurityUpdates};

use crate::labels;

/// A baseline as it is written: `metadata.name` and `spec` of a manifest of kind `PatchBaseline`.
///
/// What is absent stays absent, so that a file of AWS's is exported as it came. Words are texts here; [`Self::check`] judges them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PatchBaseline {
    /// 3 to 128 letters, digits and `_-.`.
    pub name: String,
    /// What people note of it.
    pub labels: labels::Labels,
    /// Everything else.
    pub spec: Spec,
}

/// `spec` of a manifest of kind `PatchBaseline`: the members of AWS's baseline in camelCase, and one of ours.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Spec {
    /// An [`OperatingSystem`]; absent is `WINDOWS`, as in AWS.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<OperatingSystem>")]
    pub operating_system: Option<String>,
    /// 1 to 1024 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_DESCRIPTION))]
    pub description: Option<String>,
    /// What every patch must pass; up to 4 filters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = schema::global_filters)]
    pub global_filters: Option<FilterGroup>,
    /// Up to 10 rules, of which one must approve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval_rules: Option<Rules>,
    /// Up to 50 entries of 1 to 100 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_ENTRIES), inner(length(min = 1, max = MAX_ENTRY)))]
    pub approved_patches: Option<Vec<String>>,
    /// A [`ComplianceLevel`].
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<ComplianceLevel>")]
    pub approved_patches_compliance_level: Option<String>,
    /// Whether the approved list may name what is no security update. Linux only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved_patches_enable_non_security: Option<bool>,
    /// Up to 50 entries of 1 to 100 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_ENTRIES), inner(length(min = 1, max = MAX_ENTRY)))]
    pub rejected_patches: Option<Vec<String>>,
    /// A [`RejectedAction`].
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<RejectedAction>")]
    pub rejected_patches_action: Option<String>,
    /// Up to 20 alternative repositories. Linux only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_SOURCES))]
    pub sources: Option<Vec<Source>>,
    /// A [`SecurityUpdates`]. Windows only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<SecurityUpdates>")]
    pub available_security_updates_compliance_status: Option<String>,
    /// An [`ApprovalClock`]. Ours; Debian's family only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<ApprovalClock>")]
    pub approval_clock: Option<String>,
    /// What AWS knew of a baseline that came from there. Carried, never read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aws: Option<Origin>,
}

/// Filters of which all must pass.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FilterGroup {
    /// The filters.
    #[schemars(length(max = MAX_RULE_FILTERS))]
    pub patch_filters: Vec<FilterText>,
}

/// One filter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FilterText {
    /// A [`FilterKey`] that the operating system knows.
    #[schemars(schema_with = "schema::filter_key")]
    pub key: String,
    /// 1 to 20 values of 1 to 64 characters; `*` is any.
    #[schemars(length(min = 1, max = MAX_VALUES), inner(length(min = 1, max = MAX_VALUE)))]
    pub values: Vec<String>,
}

/// Rules of which one must approve.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rules {
    /// The rules.
    #[schemars(length(max = MAX_RULES))]
    pub patch_rules: Vec<RuleText>,
}

/// One approval rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RuleText {
    /// What a patch must pass.
    pub patch_filter_group: FilterGroup,
    /// A [`ComplianceLevel`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<ComplianceLevel>")]
    pub compliance_level: Option<String>,
    /// 0 to 360 days after the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_DAYS))]
    pub approve_after_days: Option<i64>,
    /// `YYYY-MM-DD`: what was released up to the end of that day, in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 10, max = 10))]
    pub approve_until_date: Option<String>,
    /// Whether it also approves what is no security update. Linux only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_non_security: Option<bool>,
}

/// An alternative repository (spec 1.9).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Source {
    /// 3 to 50 characters.
    #[schemars(length(min = 3, max = 50))]
    pub name: String,
    /// 1 to 20 releases of the operating system, or `*`.
    #[schemars(length(min = 1, max = MAX_PRODUCTS), inner(length(min = 1, max = MAX_PRODUCT)))]
    pub products: Vec<String>,
    /// 1 to 1024 characters, as the package manager reads them.
    #[schemars(length(min = 1, max = MAX_CONFIGURATION))]
    pub configuration: String,
}

/// What AWS adds to a baseline: identity, times, registrations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Origin {
    /// Its id or ARN there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 20, max = 128))]
    pub baseline_id: Option<String>,
    /// The patch groups that used it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(inner(length(min = 1, max = 256)))]
    pub patch_groups: Option<Vec<String>>,
    /// When it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_date: Option<Stamp>,
    /// When it was last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modified_date: Option<Stamp>,
    /// The token of the request that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub client_token: Option<String>,
    /// Its tags, in their order.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_TAGS))]
    pub tags: Option<Vec<Tag>>,
}

/// A time as AWS's tools print it: seconds since 1970, or text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Stamp {
    /// Whole seconds.
    Seconds(i64),
    /// Seconds with a fraction.
    Fraction(f64),
    /// ISO 8601.
    Text(String),
}

/// A tag.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tag {
    /// 1 to 128 characters.
    #[schemars(length(min = 1, max = 128))]
    pub key: String,
    /// Up to 256 characters.
    #[schemars(length(max = 256))]
    pub value: String,
}
