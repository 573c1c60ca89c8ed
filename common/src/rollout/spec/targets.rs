//! Which hosts a rollout is for.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{MAX_LABELS, MAX_NAMES, SpecError, bounded, filled, word};
use crate::{
    id::NodeId,
    patch::groups::{check_name, group_of},
    selector::Selector,
};

/// Which hosts a rollout is for. There is no default: never an implicit all.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Targets {
    /// Every host of the mesh.
    All,
    /// Hosts by name, or by the 64 hex digits of their keys.
    Names(BTreeSet<String>),
    /// Hosts that carry every one of these tags.
    Labels(BTreeMap<String, String>),
    /// Hosts that a selector admits.
    Matching(Selector),
    /// Hosts of these patch groups.
    Groups(BTreeSet<String>),
}

impl Targets {
    pub(in crate::rollout) fn check(&self) -> Result<(), SpecError> {
        match self {
            Self::All => {}
            Self::Names(names) => {
                bounded("host names", names.len(), MAX_NAMES)?;
                filled("names", names.len())?;
                names.iter().try_for_each(|name| word("host name", name))?;
            }
            Self::Labels(labels) => {
                bounded("labels", labels.len(), MAX_LABELS)?;
                filled("labels", labels.len())?;
                for (key, value) in labels {
                    word("label", key)?;
                    word("label value", value)?;
                }
            }
            Self::Matching(selector) => filled("terms", selector.to_string().len())?,
            Self::Groups(groups) => {
                bounded("patch groups", groups.len(), MAX_LABELS)?;
                filled("patch groups", groups.len())?;
                for group in groups {
                    check_name(group).map_err(|_| SpecError::Group(group.chars().take(40).collect()))?;
                }
            }
        }
        Ok(())
    }

    /// Whether the host `node` called `name` with `tags` is meant. One whose tags name two patch groups is in neither.
    pub fn admits(&self, name: &str, node: &NodeId, tags: &BTreeMap<String, String>) -> bool {
        match self {
            Self::All => true,
            Self::Names(names) => names.contains(name) || names.contains(&node.to_string()),
            Self::Labels(labels) => labels.iter().all(|(key, value)| tags.get(key) == Some(value)),
            Self::Matching(selector) => selector.admits(tags),
            Self::Groups(groups) => group_of(tags).ok().flatten().is_some_and(|group| groups.contains(group)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId([0xab; 32]);

    fn tags(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn targets_admit_by_name_by_every_label_by_selector_or_by_patch_group() {
        let own = tags(&[("app", "pg"), ("zone", "a"), ("Patch Group", "prod")]);
        assert!(Targets::All.admits("x", &NODE, &own));
        assert!(Targets::Names(["x".into()].into()).admits("x", &NODE, &own));
        assert!(!Targets::Names(["y".into()].into()).admits("x", &NODE, &own));
        assert!(Targets::Names(["ab".repeat(32)].into()).admits("x", &NODE, &own), "by its key");
        assert!(Targets::Labels(tags(&[("app", "pg")])).admits("x", &NODE, &own));
        assert!(!Targets::Labels(tags(&[("app", "pg"), ("b", "c")])).admits("x", &NODE, &own));
        for (text, admits) in [("app", true), ("app=pg,!b", true), ("b", false), ("zone in (b,c)", false)] {
            assert_eq!(Targets::Matching(Selector::parse(text).unwrap()).admits("x", &NODE, &own), admits, "{text}");
        }
        let groups = Targets::Groups(["prod".into(), "dev".into()].into());
        assert!(groups.admits("x", &NODE, &own) && groups.admits("x", &NODE, &tags(&[("PatchGroup", "dev")])));
        for other in
            [tags(&[]), tags(&[("PatchGroup", "test")]), tags(&[("PatchGroup", "dev"), ("Patch Group", "prod")])]
        {
            assert!(!groups.admits("x", &NODE, &other), "{other:?}");
        }
    }

    #[test]
    fn what_selects_nothing_or_cannot_be_is_refused_by_name() {
        assert_eq!(Targets::Matching(Selector::default()).check(), Err(SpecError::NoTargets("terms")));
        assert_eq!(Targets::Groups([].into()).check(), Err(SpecError::NoTargets("patch groups")));
        assert_eq!(Targets::Groups(["a\u{7}".into()].into()).check(), Err(SpecError::Group("a\u{7}".into())));
        Targets::Groups(["web servers".into()].into()).check().unwrap();
    }
}
