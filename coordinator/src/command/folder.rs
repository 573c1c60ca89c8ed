//! Folders of manifests, read as they are: every file is judged by itself, and then beside the others.

use std::{collections::BTreeMap, fs, path::Path};

use crate::{
    fault::Fault,
    manifest::{self, Manifest},
};

/// Most manifests in one folder.
pub(super) const MAX_FILES: usize = 1_000;
/// Ends of names that are read.
const ENDS: [&str; 3] = ["yaml", "yml", "json"];

/// One file, and what it says or why it says nothing.
#[derive(Debug)]
pub(super) struct Read {
    /// Its path, as shown.
    pub(super) file: String,
    /// What it says.
    pub(super) manifest: Result<Manifest, Fault>,
}

/// Every manifest of `folder`, or the one that it is, by name. Folders inside are not looked at.
///
/// # Errors
/// A folder that cannot be read, holds more than [`MAX_FILES`] of them, or none.
pub(super) fn read(folder: &Path) -> Result<Vec<Read>, Fault> {
    let shown = folder.display();
    let unread = |error: std::io::Error| {
        let message = format!("cannot read the folder {shown}");
        Fault::new("manifest-unreadable", message, "nothing was done", "check the path given with -f").because(error)
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(unread)? {
        let path = entry.map_err(unread)?.path();
        let named = path.extension().and_then(|end| end.to_str()).is_some_and(|end| ENDS.contains(&end));
        if !named || !path.is_file() {
            continue;
        }
        if paths.len() == MAX_FILES {
            let message = format!("the folder {shown} has more than {MAX_FILES} manifests");
            return Err(Fault::new("manifest-invalid", message, "nothing was done", "split it"));
        }
        paths.push(path);
    }
    paths.sort();
    if paths.is_empty() {
        let message = format!("the folder {shown} has no file that ends in .{}", ENDS.join(", ."));
        return Err(Fault::new("manifest-unreadable", message, "nothing was done", "check the path given with -f"));
    }
    Ok(paths.iter().map(|path| one(path)).collect())
}

/// The manifest at `path`; `-` is stdin.
pub(super) fn one(path: &Path) -> Read {
    match manifest::read_text(path, manifest::MAX_MANIFEST, "check the path given with -f") {
        Ok((file, text)) => Read { manifest: manifest::parse(&file, &text), file },
        Err(fault) => Read { file: path.display().to_string(), manifest: Err(fault) },
    }
}

/// Of two files that are the same thing by kind and name, the second is wrong: which one counts would be a guess.
pub(super) fn refuse_twins(read: &mut [Read]) {
    let mut seen: BTreeMap<(&'static str, String), String> = BTreeMap::new();
    for one in read {
        let Ok((kind, Some(name))) = one.manifest.as_ref().map(Manifest::identity) else { continue };
        if let Some(first) = seen.get(&(kind, name.clone())) {
            let message = format!("{}: {kind} {name} is also in {first}", one.file);
            one.manifest = Err(Fault::new("manifest-invalid", message, "nothing was done", "keep one of them"));
            continue;
        }
        seen.insert((kind, name), one.file.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASELINE: &str = include_str!("../../tests/scripts/mesh.yaml");

    #[test]
    fn files_are_read_in_order_and_twins_name_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        put("b.yaml", BASELINE);
        put("a.yml", BASELINE);
        put("c.json", "{");
        put("notes.txt", "nothing");
        fs::create_dir(folder.path().join("d.yaml")).unwrap();
        let mut found = read(folder.path()).unwrap();
        refuse_twins(&mut found);
        let told: Vec<_> =
            found.iter().map(|one| one.manifest.as_ref().map_err(|fault| fault.message.clone())).collect();
        assert_eq!(told.len(), 3);
        assert!(told[0].is_ok());
        let twin = told[1].as_ref().unwrap_err();
        assert!(twin.ends_with(&format!("is also in {}", found[0].file)) && twin.starts_with(&found[1].file), "{twin}");
        assert!(told[2].as_ref().unwrap_err().starts_with(&found[2].file));
    }

    #[test]
    fn a_folder_of_nothing_and_one_of_too_much_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).unwrap_err().message.contains("has no file that ends in .yaml"));
        for at in 0..=MAX_FILES {
            fs::write(folder.path().join(format!("{at}.yaml")), "").unwrap();
        }
        assert!(read(folder.path()).unwrap_err().message.contains("more than 1000 manifests"));
        assert!(read(&folder.path().join("none")).is_err());
    }
}
