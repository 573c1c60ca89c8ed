//! Where a field is: rules of content are judged after reading, when positions are gone.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{Location, Spanned};

/// Any value, with positions.
struct Node(Spanned<Tree>);

enum Tree {
    Leaf,
    Map(BTreeMap<String, Node>),
    List(Vec<Node>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Node)
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_unit<E: Error>(self) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_none<E: Error>(self) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        Tree::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((name, member)) = access.next_entry()? {
            members.insert(name, member);
        }
        Ok(Tree::Map(members))
    }
}

/// Where `paths` (`spec.rules[0].name`) are in `text`, YAML or JSON: each the place of the field, or of the nearest one around
/// it that is there. `None` where nothing is known.
pub(super) fn locate(text: &str, paths: &[String]) -> Vec<Option<Location>> {
    match serde_saphyr::from_str_with_options::<Node>(text, super::options()) {
        Ok(root) => paths.iter().map(|path| find(&root, path)).collect(),
        Err(_) => vec![None; paths.len()],
    }
}

fn find(root: &Node, path: &str) -> Option<Location> {
    let mut node = root;
    for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
        let inner = match &node.0.value {
            Tree::Map(members) => members.get(step),
            Tree::List(items) => step.strip_suffix(']').and_then(|at| items.get(at.parse::<usize>().ok()?)),
            Tree::Leaf => None,
        };
        match inner {
            Some(inner) => node = inner,
            None => break,
        }
    }
    Some(node.0.referenced).filter(|at| *at != Location::UNKNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_in_yaml_and_in_json() {
        let at = |text: &str, path: &str| locate(text, &[path.to_owned()])[0].map(|at| (at.line(), at.column()));
        let yaml = "a:\n  - b: 1\n  - b: x\nc: {d: true, e: ~}\n";
        assert_eq!(at(yaml, "a[1].b"), Some((3, 8)));
        assert_eq!(at(yaml, "c.d"), Some((4, 8)));
        assert_eq!(at(yaml, "a[1].missing"), Some((3, 5)));
        assert_eq!(at(yaml, "a[7].b"), Some((2, 3)));
        let json = "{\n  \"A\": [{\"B\": 1.5},\n    {\"B\": null}]\n}";
        assert_eq!(at(json, "A[1].B"), Some((3, 11)));
        assert_eq!(at("{", "a"), None);
    }
}
