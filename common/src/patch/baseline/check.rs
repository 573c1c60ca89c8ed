//! Judges a written baseline against every limit of spec 1.1 to 1.3, and turns it into what the evaluation reads.

use core::fmt;

use jiff::civil::Date;

use super::{
    ApprovalClock, ComplianceLevel, Family, FilterGroup, FilterKey, OperatingSystem, PatchBaseline, RejectedAction,
    RuleText, SecurityUpdates, Source,
    entry::{self, Subject},
    os::Values,
};
use crate::time::WallTime;

/// Longest name, in characters.
pub const MAX_NAME: usize = 128;
/// Longest description, in characters.
pub const MAX_DESCRIPTION: usize = 1024;
/// Most releases of one alternative repository.
pub const MAX_PRODUCTS: usize = 20;
/// Longest name of a release, in characters.
pub const MAX_PRODUCT: usize = 128;
/// Longest text of an alternative repository, in characters.
pub const MAX_CONFIGURATION: usize = 1024;
/// Most global filters.
pub const MAX_GLOBAL_FILTERS: usize = 4;
/// Most approval rules.
pub const MAX_RULES: usize = 10;
/// Most filters of one rule: as many as Windows has keys.
pub const MAX_RULE_FILTERS: usize = 5;
/// Most values of one filter.
pub const MAX_VALUES: usize = 20;
/// Longest value of a filter, in characters.
pub const MAX_VALUE: usize = 64;
/// Most entries of the approved and of the rejected list.
pub const MAX_ENTRIES: usize = 50;
/// Longest entry, in characters.
pub const MAX_ENTRY: usize = 100;
/// Longest wait, in days.
pub const MAX_DAYS: i64 = 360;
/// Most alternative repositories.
pub const MAX_SOURCES: usize = 20;
/// Most tags.
pub const MAX_TAGS: usize = 1000;
/// Most problems that are told at once.
const MAX_PROBLEMS: usize = 20;
/// Longest echo of what somebody wrote, in characters.
const MAX_ECHO: usize = 80;

/// One thing that is wrong with a baseline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Path of the field in the spelling of manifests, e.g. `approvalRules.patchRules[0].approveAfterDays`.
    pub field: String,
    /// The offending value; `None` if the field itself is missing or one too many.
    pub value: Option<String>,
    /// The limit that it breaks, as a fragment.
    pub limit: String,
}

impl Problem {
    /// The path in the spelling of AWS's JSON.
    pub fn aws_field(&self) -> String {
        let capital = |name: &str| name[..1].to_ascii_uppercase() + &name[1..];
        let names = self.field.split('.').filter(|name| !name.is_empty() && *name != "aws");
        names.map(capital).collect::<Vec<_>>().join(".")
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} {value}: {}", self.field, self.limit),
            None => write!(f, "{}: {}", self.field, self.limit),
        }
    }
}

impl core::error::Error for Problem {}

/// A baseline of which everything is known to be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Its name.
    pub name: String,
    /// Whose patches it judges.
    pub os: OperatingSystem,
    /// Which clock date gates read on Debian's family.
    pub clock: ApprovalClock,
    /// What every patch must pass, unless the approved list names it.
    pub global: Vec<Filter>,
    /// Of which one must approve.
    pub rules: Vec<Rule>,
    /// Approved by name.
    pub approved: Vec<String>,
    /// The level of what is approved by name.
    pub approved_level: ComplianceLevel,
    /// Whether the approved list may name what is no security update.
    pub approved_non_security: bool,
    /// Rejected by name.
    pub rejected: Vec<String>,
    /// What becomes of them.
    pub action: RejectedAction,
    /// Whether security updates that are not approved make a Windows host non-compliant.
    pub security_updates: SecurityUpdates,
    /// Alternative repositories, for some releases each; empty if hosts use their own.
    pub sources: Vec<Source>,
}

impl Checked {
    /// Whether a patch may be approved later that is not approved now, by nothing but the time.
    pub fn waits(&self) -> bool {
        let ignored = self.os.family() == Family::Apt && self.clock == ApprovalClock::Aws;
        !ignored && self.rules.iter().any(|rule| matches!(rule.gate, Gate::AfterDays(_)))
    }

    /// The entry of the rejected list that names a package in a version, whatever becomes of it.
    pub fn rejects(&self, name: &str, arch: &str, version: &str) -> Option<&str> {
        let subject = Subject { name, arch, version, advisories: &[], cves: &[], bugs: &[] };
        let names = |entry: &&String| entry::names(self.os.family(), entry, &subject);
        self.rejected.iter().find(names).map(String::as_str)
    }
}

/// What a patch is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Which attribute.
    pub key: FilterKey,
    /// Of which one must be it.
    pub values: Vec<String>,
}

impl Filter {
    /// Whether one of the values is `*`.
    pub fn is_any(&self) -> bool {
        self.values.iter().any(|value| value == "*")
    }

    /// Whether one of the values is `attribute` or `*`. Letters' case does not count: archives and files differ in it.
    pub fn holds(&self, attribute: &str) -> bool {
        self.is_any() || self.values.iter().any(|value| value.eq_ignore_ascii_case(attribute))
    }
}

/// An approval rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// All must pass.
    pub filters: Vec<Filter>,
    /// The level of what it approves.
    pub level: ComplianceLevel,
    /// When it approves.
    pub gate: Gate,
    /// Whether it also approves what is no security update.
    pub non_security: bool,
}

/// The date gate of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Always open.
    None,
    /// Opens this many times 24 hours after the release.
    AfterDays(u16),
    /// Open for what was released before this instant, the end of the day that was written.
    Before(WallTime),
}

impl PatchBaseline {
    /// Judges everything.
    ///
    /// # Errors
    /// What is wrong, in the order of the fields; at most 20.
    pub fn check(&self) -> Result<Checked, Vec<Problem>> {
        let mut judge = Judge::default();
        let checked = judge.baseline(self);
        match checked {
            Some(checked) if judge.problems.is_empty() => Ok(checked),
            _ => Err(judge.problems),
        }
    }
}

#[derive(Default)]
struct Judge {
    problems: Vec<Problem>,
}

impl Judge {
    fn refuse(&mut self, field: &str, value: Option<&str>, limit: impl Into<String>) {
        if self.problems.len() < MAX_PROBLEMS {
            let value = value.map(|value| {
                let echo: String = value.chars().take(MAX_ECHO).collect();
                format!("{echo:?}")
            });
            self.problems.push(Problem { field: field.to_owned(), value, limit: limit.into() });
        }
    }

    /// Whether `text` has between `least` and `most` characters.
    fn length(&mut self, field: &str, text: &str, least: usize, most: usize) {
        let count = text.chars().count();
        if !(least..=most).contains(&count) {
            self.refuse(field, Some(text), format!("{count} characters, and {least} to {most} are allowed"));
        }
    }

    fn count(&mut self, field: &str, count: usize, least: usize, most: usize) {
        if !(least..=most).contains(&count) {
            self.refuse(field, None, format!("{count} entries, and {least} to {most} are allowed"));
        }
    }

    fn characters(&mut self, field: &str, text: &str, more: &str) {
        if let Some(bad) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || more.contains(*c))) {
            self.refuse(field, Some(text), format!("{bad:?} is not one of the letters, digits and {more} allowed"));
        }
    }

    /// What a word means; `usual` if it is absent.
    fn word<T: Copy>(
        &mut self,
        field: &str,
        given: Option<&String>,
        usual: T,
        all: &[T],
        as_str: impl Fn(T) -> &'static str,
    ) -> T {
        let Some(given) = given else { return usual };
        if let Some(found) = all.iter().copied().find(|word| as_str(*word) == given) {
            return found;
        }
        let words: Vec<_> = all.iter().map(|word| as_str(*word)).collect();
        self.refuse(field, Some(given), format!("unknown: write {}", words.join(", ")));
        usual
    }

    fn baseline(&mut self, written: &PatchBaseline) -> Option<Checked> {
        let spec = &written.spec;
        self.length("name", &written.name, 3, MAX_NAME);
        self.characters("name", &written.name, "_-.");
        let before = self.problems.len();
        let os = self.word(
            "operatingSystem",
            spec.operating_system.as_ref(),
            OperatingSystem::Windows,
            OperatingSystem::ALL,
            OperatingSystem::as_str,
        );
        if self.problems.len() > before {
            // What else is allowed depends on it.
            return None;
        }
        if let Some(text) = &spec.description {
            self.length("description", text, 1, MAX_DESCRIPTION);
        }
        let level = ComplianceLevel::Unspecified;
        let checked = Checked {
            name: written.name.clone(),
            os,
            clock: self.clock(os, spec.approval_clock.as_ref()),
            global: match &spec.global_filters {
                Some(group) => self.filters(os, "globalFilters", group, MAX_GLOBAL_FILTERS),
                None => Vec::new(),
            },
            rules: self.rules(os, written),
            approved: self.entries("approvedPatches", spec.approved_patches.as_ref()),
            approved_level: self.word(
                "approvedPatchesComplianceLevel",
                spec.approved_patches_compliance_level.as_ref(),
                level,
                ComplianceLevel::ALL,
                ComplianceLevel::as_str,
            ),
            approved_non_security: self.non_security(
                os,
                "approvedPatchesEnableNonSecurity",
                spec.approved_patches_enable_non_security,
            ),
            rejected: self.entries("rejectedPatches", spec.rejected_patches.as_ref()),
            action: self.word(
                "rejectedPatchesAction",
                spec.rejected_patches_action.as_ref(),
                RejectedAction::AllowAsDependency,
                RejectedAction::ALL,
                RejectedAction::as_str,
            ),
            security_updates: self.security_updates(os, spec.available_security_updates_compliance_status.as_ref()),
            sources: self.sources(os, written),
        };
        self.origin(written);
        Some(checked)
    }

    fn clock(&mut self, os: OperatingSystem, given: Option<&String>) -> ApprovalClock {
        let field = "approvalClock";
        let clock = self.word(field, given, ApprovalClock::Aws, ApprovalClock::ALL, ApprovalClock::as_str);
        if clock == ApprovalClock::Mesh && os.family() != Family::Apt {
            let limit = "only DEBIAN, UBUNTU and RASPBIAN need the mesh's clock: the others have dates of their own";
            self.refuse(field, Some(clock.as_str()), limit);
        }
        clock
    }

    fn security_updates(&mut self, os: OperatingSystem, given: Option<&String>) -> SecurityUpdates {
        let field = "availableSecurityUpdatesComplianceStatus";
        if let (Some(given), false) = (given, os == OperatingSystem::Windows) {
            self.refuse(field, Some(given), "only WINDOWS has it");
        }
        self.word(field, given, SecurityUpdates::Compliant, SecurityUpdates::ALL, SecurityUpdates::as_str)
    }

    fn non_security(&mut self, os: OperatingSystem, field: &str, given: Option<bool>) -> bool {
        let on = given.unwrap_or(false);
        if on && !os.family().is_linux() {
            self.refuse(field, Some("true"), "only operating systems of Linux have it");
        }
        on
    }

    fn entries(&mut self, field: &str, given: Option<&Vec<String>>) -> Vec<String> {
        let entries = given.map(Vec::as_slice).unwrap_or_default();
        self.count(field, entries.len(), 0, MAX_ENTRIES);
        for (at, entry) in entries.iter().enumerate().take(MAX_ENTRIES) {
            self.length(&format!("{field}[{at}]"), entry, 1, MAX_ENTRY);
        }
        entries.to_vec()
    }

    fn filters(&mut self, os: OperatingSystem, field: &str, group: &FilterGroup, most: usize) -> Vec<Filter> {
        let field = format!("{field}.patchFilters");
        self.count(&field, group.patch_filters.len(), 0, most);
        let known = os.filters();
        let mut filters = Vec::new();
        for (at, filter) in group.patch_filters.iter().enumerate().take(most) {
            let field = format!("{field}[{at}]");
            let Some((key, allowed)) = known.iter().find(|(key, _)| key.as_str() == filter.key) else {
                let keys: Vec<_> = known.iter().map(|(key, _)| key.as_str()).collect();
                let limit = format!("{} knows {}", os.as_str(), keys.join(", "));
                self.refuse(&format!("{field}.key"), Some(&filter.key), limit);
                continue;
            };
            self.count(&format!("{field}.values"), filter.values.len(), 1, MAX_VALUES);
            for (at, value) in filter.values.iter().enumerate().take(MAX_VALUES) {
                let field = format!("{field}.values[{at}]");
                self.length(&field, value, 1, MAX_VALUE);
                match allowed {
                    Values::OneOf(words) if value != "*" && !words.contains(&value.as_str()) => {
                        let limit = format!("{} knows for {}: *, {}", os.as_str(), key.as_str(), words.join(", "));
                        self.refuse(&field, Some(value), limit);
                    }
                    _ => {}
                }
            }
            filters.push(Filter { key: *key, values: filter.values.clone() });
        }
        filters
    }

    fn rules(&mut self, os: OperatingSystem, written: &PatchBaseline) -> Vec<Rule> {
        let Some(rules) = &written.spec.approval_rules else { return Vec::new() };
        let field = "approvalRules.patchRules";
        self.count(field, rules.patch_rules.len(), 0, MAX_RULES);
        let numbered = rules.patch_rules.iter().enumerate().take(MAX_RULES);
        numbered.map(|(at, rule)| self.rule(os, &format!("{field}[{at}]"), rule)).collect()
    }

    fn rule(&mut self, os: OperatingSystem, field: &str, rule: &RuleText) -> Rule {
        let group = format!("{field}.patchFilterGroup");
        Rule {
            filters: self.filters(os, &group, &rule.patch_filter_group, MAX_RULE_FILTERS),
            level: self.word(
                &format!("{field}.complianceLevel"),
                rule.compliance_level.as_ref(),
                ComplianceLevel::Unspecified,
                ComplianceLevel::ALL,
                ComplianceLevel::as_str,
            ),
            gate: self.gate(os, field, rule),
            non_security: self.non_security(os, &format!("{field}.enableNonSecurity"), rule.enable_non_security),
        }
    }

    fn gate(&mut self, os: OperatingSystem, field: &str, rule: &RuleText) -> Gate {
        let (days, until) = (format!("{field}.approveAfterDays"), format!("{field}.approveUntilDate"));
        match (rule.approve_after_days, &rule.approve_until_date) {
            (Some(_), Some(text)) => {
                self.refuse(&until, Some(text), "a number of days is given too: write one of the two");
                Gate::None
            }
            (Some(number), None) => match u16::try_from(number).ok().filter(|_| number <= MAX_DAYS) {
                Some(number) => Gate::AfterDays(number),
                None => {
                    self.refuse(&days, Some(&number.to_string()), format!("0 to {MAX_DAYS} days are allowed"));
                    Gate::None
                }
            },
            (None, Some(text)) => match end_of_day(text) {
                Some(end) => Gate::Before(end),
                None => {
                    self.refuse(&until, Some(text), "this is no day of the calendar: write YYYY-MM-DD");
                    Gate::None
                }
            },
            // Date gates do not count there, so that files come with and without (spec 10, P).
            (None, None) if os.family() == Family::Apt => Gate::None,
            (None, None) => {
                self.refuse(&days, None, "missing: write a number of days, or a last day");
                Gate::None
            }
        }
    }

    fn sources(&mut self, os: OperatingSystem, written: &PatchBaseline) -> Vec<Source> {
        let sources = written.spec.sources.as_deref().unwrap_or_default();
        self.count("sources", sources.len(), 0, MAX_SOURCES);
        if !sources.is_empty() && !os.family().is_linux() {
            self.refuse("sources", None, "only operating systems of Linux have them");
        }
        for (at, source) in sources.iter().enumerate().take(MAX_SOURCES) {
            let field = format!("sources[{at}]");
            self.length(&format!("{field}.name"), &source.name, 3, 50);
            self.characters(&format!("{field}.name"), &source.name, "_-.");
            self.count(&format!("{field}.products"), source.products.len(), 1, MAX_PRODUCTS);
            for (at, product) in source.products.iter().enumerate().take(MAX_PRODUCTS) {
                self.length(&format!("{field}.products[{at}]"), product, 1, MAX_PRODUCT);
            }
            self.length(&format!("{field}.configuration"), &source.configuration, 1, MAX_CONFIGURATION);
        }
        sources.to_vec()
    }

    fn origin(&mut self, written: &PatchBaseline) {
        let Some(origin) = &written.spec.aws else { return };
        if let Some(id) = &origin.baseline_id {
            self.length("aws.baselineId", id, 20, 128);
            self.characters("aws.baselineId", id, "_-:/");
        }
        if let Some(token) = &origin.client_token {
            self.length("aws.clientToken", token, 1, 64);
        }
        let groups = origin.patch_groups.as_deref().unwrap_or_default();
        for (at, group) in groups.iter().enumerate() {
            self.length(&format!("aws.patchGroups[{at}]"), group, 1, 256);
        }
        let tags = origin.tags.as_deref().unwrap_or_default();
        self.count("aws.tags", tags.len(), 0, MAX_TAGS);
        for (at, tag) in tags.iter().enumerate().take(MAX_TAGS) {
            self.length(&format!("aws.tags[{at}].key"), &tag.key, 1, 128);
            self.length(&format!("aws.tags[{at}].value"), &tag.value, 0, 256);
        }
    }
}

/// The first instant behind the day `text`, in UTC. `None` if it is no day.
fn end_of_day(text: &str) -> Option<WallTime> {
    let shaped = text.len() == 10
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    let day = text.parse::<Date>().ok().filter(|_| shaped)?;
    // Behind the last day of the calendar there is nothing more.
    let Ok(next) = day.tomorrow() else { return Some(WallTime::MAX) };
    WallTime::parse(&format!("{next}T00:00:00Z"))
}
