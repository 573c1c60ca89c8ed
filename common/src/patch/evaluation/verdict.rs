//! Whether a baseline approves one version of one package, and why (spec 1.4 to 1.7).

use core::cmp::Reverse;

use crate::{
    inventory::document::{Advisory, Offer, Package, Requirement},
    patch::baseline::{
        ApprovalClock, Checked, ComplianceLevel, Family, Filter, FilterKey, Gate, Rule,
        entry::{self, Subject},
    },
    time::WallTime,
};

const DAY: i64 = 24 * 60 * 60 * 1000;

/// Why a version is or is not approved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ground {
    /// An entry of the approved list.
    List {
        /// As it was written.
        entry: String,
    },
    /// A rule.
    Rule {
        /// Its place in the baseline, from 1.
        number: u32,
        /// It has a date gate, and that does not count on this operating system.
        ignored_date_gate: bool,
    },
    /// An entry of the rejected list.
    Rejected {
        /// As it was written.
        entry: String,
    },
    /// A rule would approve it, but only from this instant on.
    Waiting {
        /// The rule's place.
        number: u32,
        /// When its gate opens.
        opens_at: WallTime,
    },
    /// A rule would approve it, had it not been released behind the last day of the rule.
    TooLate {
        /// The rule's place.
        number: u32,
    },
    /// A rule with a date gate would approve it, but nobody knows since when it exists.
    Unseen {
        /// The rule's place.
        number: u32,
    },
    /// The approved list would approve it if it were a security update.
    ListedNotSecurity {
        /// The entry as it was written.
        entry: String,
    },
    /// A rule would approve it if it were a security update.
    NotSecurity {
        /// The rule's place.
        number: u32,
    },
    /// A global filter does not let it pass.
    GlobalFilter,
    /// It is not part of any patch, and this operating system is patched by patches.
    NotInPatch,
    /// An update without a KB id is never handled.
    NoKb,
    /// No rule's filters match.
    NoRule,
}

/// What a baseline says of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Why.
    pub ground: Ground,
    /// The level that comes with the approval; unspecified if there is none.
    pub level: ComplianceLevel,
}

impl Verdict {
    fn no(ground: Ground) -> Self {
        Self { ground, level: ComplianceLevel::Unspecified }
    }

    /// Whether it is approved.
    pub fn approves(&self) -> bool {
        matches!(self.ground, Ground::List { .. } | Ground::Rule { .. })
    }

    /// Whether it is rejected by name.
    pub fn rejects(&self) -> bool {
        matches!(self.ground, Ground::Rejected { .. })
    }
}

/// Judges versions of the packages of one host.
#[derive(Clone, Copy, Debug)]
pub struct Judge<'a> {
    /// The baseline.
    pub baseline: &'a Checked,
    /// What PRODUCT calls the host.
    pub product: &'a str,
    /// The instant for which dates are judged.
    pub at: WallTime,
}

impl Judge<'_> {
    /// What the baseline says of `offer` of `package`. Rejected, then the approved list, then rules (spec 1.6).
    pub fn verdict(&self, package: &Package, offer: &Offer) -> Verdict {
        let baseline = self.baseline;
        if let Some(entry) = self.named(&baseline.rejected, package, offer) {
            return Verdict::no(Ground::Rejected { entry });
        }
        if self.family() == Family::Windows && !is_kb(&package.name) {
            return Verdict::no(Ground::NoKb);
        }
        let listed = self.named(&baseline.approved, package, offer);
        let gate = baseline.approved_non_security || self.passes_security(offer);
        match listed {
            Some(entry) if gate => Verdict { ground: Ground::List { entry }, level: baseline.approved_level },
            Some(entry) => match self.unlisted(package, offer) {
                // What the list would say is nearer to an approval than that no rule fits.
                verdict if rank(&verdict.ground) >= RANK_OF_NEVER => Verdict::no(Ground::ListedNotSecurity { entry }),
                verdict => verdict,
            },
            None => self.unlisted(package, offer),
        }
    }

    /// What the baseline says of a version that the lists do not decide.
    fn unlisted(&self, package: &Package, offer: &Offer) -> Verdict {
        if self.family() == Family::Zypper && offer.advisories.is_empty() {
            return Verdict::no(Ground::NotInPatch);
        }
        self.by_rules(package, offer)
    }

    /// The entry of the rejected list that names what would come along with `offer`, and what that is. `known` looks a version up
    /// in the inventory, whose advisories the entry may name.
    pub fn rejected_requirement<'p>(
        &self,
        offer: &Offer,
        known: impl Fn(&Requirement) -> Option<(&'p Package, &'p Offer)>,
    ) -> Option<(String, String)> {
        offer.requires.iter().find_map(|needed| {
            let found = match known(needed) {
                Some((package, offer)) => self.named(&self.baseline.rejected, package, offer),
                None => self.baseline.rejects(&needed.name, &needed.arch, &needed.version).map(str::to_owned),
            };
            Some((needed.name.clone(), found?))
        })
    }

    fn family(&self) -> Family {
        self.baseline.os.family()
    }

    fn named(&self, entries: &[String], package: &Package, offer: &Offer) -> Option<String> {
        if entries.is_empty() {
            return None;
        }
        let all = |pick: fn(&Advisory) -> &Vec<String>| -> Vec<&str> {
            offer.advisories.iter().flat_map(pick).map(String::as_str).collect()
        };
        let advisories: Vec<_> = offer.advisories.iter().map(|advisory| advisory.id.as_str()).collect();
        let (cves, bugs) = (all(|advisory| &advisory.cves), all(|advisory| &advisory.bugs));
        let subject = Subject {
            name: &package.name,
            arch: &package.arch,
            version: &offer.version,
            advisories: &advisories,
            cves: &cves,
            bugs: &bugs,
        };
        entries.iter().find(|entry| entry::names(self.family(), entry, &subject)).cloned()
    }

    /// Whether a version passes the security gate without `EnableNonSecurity`. On rpm systems whatever an advisory names does,
    /// also one of bug fixes (spec 2.2).
    fn passes_security(&self, offer: &Offer) -> bool {
        match self.family() {
            Family::Apt => offer.security,
            Family::Rpm => offer.security || !offer.advisories.is_empty(),
            Family::Zypper | Family::MacOs | Family::Windows => true,
        }
    }

    fn by_rules(&self, package: &Package, offer: &Offer) -> Verdict {
        // Without advisories there is one look at the version alone.
        let looks: Vec<Option<&Advisory>> =
            if offer.advisories.is_empty() { vec![None] } else { offer.advisories.iter().map(Some).collect() };
        let mut best: Option<(Reverse<ComplianceLevel>, u32, bool)> = None;
        let mut nearest = (RANK_OF_NONE, Ground::NoRule);
        let mut global = false;
        for (rule, number) in self.baseline.rules.iter().zip(1..) {
            for advisory in &looks {
                // What a rule lifts, it lifts of its own filters only.
                let any = Look { judge: self, package, offer, advisory: *advisory, non_security: false };
                if !self.baseline.global.iter().all(|filter| any.passes(filter)) {
                    continue;
                }
                let look = Look { non_security: rule.non_security, ..any };
                global = true;
                if !look.passes_rule(rule) {
                    continue;
                }
                match look.gate(rule, number) {
                    Ok(ignored) => {
                        let found = (Reverse(rule.level), number, ignored);
                        best = Some(best.map_or(found, |known| known.min(found)));
                    }
                    Err(ground) => {
                        let ranked = (rank(&ground), ground);
                        if ranked.0 < nearest.0 {
                            nearest = ranked;
                        }
                    }
                }
            }
        }
        match best {
            Some((Reverse(level), number, ignored_date_gate)) => {
                Verdict { ground: Ground::Rule { number, ignored_date_gate }, level }
            }
            None if !global && !self.baseline.rules.is_empty() => Verdict::no(Ground::GlobalFilter),
            None => Verdict::no(nearest.1),
        }
    }
}

/// How far from an approval: what opens soonest comes first.
fn rank(ground: &Ground) -> (u8, WallTime) {
    match ground {
        Ground::Waiting { opens_at, .. } => (0, *opens_at),
        Ground::Unseen { .. } => (1, WallTime::MAX),
        Ground::TooLate { .. } => (2, WallTime::MAX),
        Ground::List { .. } | Ground::Rule { .. } => (0, WallTime(0)),
        _ => RANK_OF_NEVER,
    }
}

/// What no date changes.
const RANK_OF_NEVER: (u8, WallTime) = (3, WallTime::MAX);
const RANK_OF_NONE: (u8, WallTime) = (4, WallTime::MAX);

/// Whether an update is named by a KB id.
fn is_kb(name: &str) -> bool {
    let digits = name.get(..2).filter(|two| two.eq_ignore_ascii_case("KB")).and_then(|_| name.get(2..));
    digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// One version under one of its advisories.
struct Look<'a> {
    judge: &'a Judge<'a>,
    package: &'a Package,
    offer: &'a Offer,
    advisory: Option<&'a Advisory>,
    /// Whether what no advisory names may pass filters of advisories.
    non_security: bool,
}

impl Look<'_> {
    fn passes_rule(&self, rule: &Rule) -> bool {
        let has_set = rule.filters.iter().any(|filter| filter.key == FilterKey::PatchSet);
        // A rule of Windows without a patch set is for the operating system (spec 1.3).
        let set_fits = self.judge.family() != Family::Windows || has_set || self.patch_set() == "OS";
        set_fits && rule.filters.iter().all(|filter| self.passes(filter))
    }

    fn patch_set(&self) -> &str {
        self.offer.patch_set.as_deref().unwrap_or("OS")
    }

    fn passes(&self, filter: &Filter) -> bool {
        let known = |attribute: Option<&str>| match attribute.filter(|text| !text.is_empty()) {
            Some(text) => filter.holds(text),
            None => filter.is_any(),
        };
        match filter.key {
            FilterKey::Product => self.products().any(|product| filter.holds(&product)),
            FilterKey::ProductFamily => known(self.offer.product_family.as_deref()),
            FilterKey::PatchSet => filter.holds(self.patch_set()),
            FilterKey::Priority => known(self.offer.priority.as_deref().or(self.package.priority.as_deref())),
            FilterKey::Section => known(self.offer.section.as_deref().or(self.package.section.as_deref())),
            FilterKey::Classification if self.judge.family() == Family::MacOs => {
                let kind = self.advisory.and_then(|advisory| advisory.kind.as_deref());
                known(self.offer.archive.as_deref().or(kind))
            }
            FilterKey::Classification => match self.advisory {
                Some(advisory) => known(advisory.kind.as_deref()),
                None => filter.is_any() || self.lifted(),
            },
            FilterKey::Severity => match self.advisory.map(|advisory| advisory.severity.as_deref()) {
                // An advisory without a severity is compared by its classification only (spec 1.4).
                Some(severity) => severity.is_none_or(|text| text.is_empty() || self.severity_holds(filter, text)),
                None => filter.is_any() || self.lifted(),
            },
            FilterKey::MsrcSeverity => {
                let severity = self.advisory.and_then(|advisory| advisory.severity.as_deref());
                filter.holds(severity.filter(|text| !text.is_empty()).unwrap_or("Unspecified"))
            }
            // No operating system offers the others, so that no checked baseline has them.
            _ => false,
        }
    }

    /// Whether filters of advisories do not count, because none names the version and the rule is not for security updates only.
    fn lifted(&self) -> bool {
        self.judge.family() == Family::Rpm && self.non_security
    }

    /// Medium and Moderate are the same thing (spec 1.3).
    fn severity_holds(&self, filter: &Filter, severity: &str) -> bool {
        let other = match severity.to_ascii_lowercase().as_str() {
            "medium" => "Moderate",
            "moderate" => "Medium",
            _ => severity,
        };
        filter.holds(severity) || (self.judge.family() == Family::Rpm && filter.holds(other))
    }

    fn products(&self) -> impl Iterator<Item = String> {
        let own = self.offer.product.clone().unwrap_or_else(|| self.judge.product.to_owned());
        // Both spellings are met in files.
        let alias = (own == "AmazonLinux2").then(|| "AmazonLinux2.0".to_owned());
        [Some(own), alias].into_iter().flatten()
    }

    /// Whether the security gate and the date gate of a rule with fitting filters let the version pass: `Ok` says whether a date
    /// gate was ignored.
    fn gate(&self, rule: &Rule, number: u32) -> Result<bool, Ground> {
        if !rule.non_security && !self.judge.passes_security(self.offer) {
            return Err(Ground::NotSecurity { number });
        }
        if rule.gate == Gate::None {
            return Ok(false);
        }
        let released = match self.released() {
            Released::At(instant) => instant,
            Released::Ignored => return Ok(true),
            Released::Unknown => return Err(Ground::Unseen { number }),
        };
        match rule.gate {
            Gate::None => Ok(false),
            Gate::AfterDays(days) => {
                let opens_at = WallTime(released.0.saturating_add(i64::from(days) * DAY));
                if self.judge.at >= opens_at { Ok(false) } else { Err(Ground::Waiting { number, opens_at }) }
            }
            Gate::Before(end) if released < end => Ok(false),
            Gate::Before(_) => Err(Ground::TooLate { number }),
        }
    }

    /// The date that gates read (spec 1.5).
    fn released(&self) -> Released {
        let (baseline, offer) = (self.judge.baseline, self.offer);
        let advised = self.advisory.and_then(|advisory| advisory.updated.or(advisory.issued));
        // What has no date passes every gate.
        const EPOCH: WallTime = WallTime(0);
        match baseline.os.family() {
            Family::Apt if baseline.clock == ApprovalClock::Aws => Released::Ignored,
            // A sighting cannot be older than the signed index that carried the version: a clock that is wrong opens nothing early.
            Family::Apt => match offer.first_seen {
                Some(seen) => Released::At(offer.released.map_or(seen, |index| index.max(seen))),
                None => Released::Unknown,
            },
            Family::Rpm => {
                let built = offer.released.filter(|_| baseline.os.knows_build_times());
                Released::At(advised.or(built).unwrap_or(EPOCH))
            }
            Family::Zypper => Released::At(advised.unwrap_or(EPOCH)),
            Family::MacOs => Released::At(EPOCH),
            Family::Windows => Released::At(advised.or(offer.released).unwrap_or(EPOCH)),
        }
    }
}

enum Released {
    At(WallTime),
    /// Dates do not count on this operating system.
    Ignored,
    /// They count, and there is none.
    Unknown,
}
