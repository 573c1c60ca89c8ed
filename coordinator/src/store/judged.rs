//! Manifests that are judged by nothing but themselves: how windows and policies are kept.

use patchmesh_common::{labels::Labels, schedule::window::Problem};

use super::{
    Changing, UNCHANGED,
    folder::{Folder, Kept},
};
use crate::{
    api::document::{Change, KeptDocument},
    fault::Fault,
};

/// Longest echo of a name that somebody asked for, in characters.
const MAX_ECHO: usize = 128;

/// What is kept and judged by itself.
pub(crate) trait Judged: Kept + Clone + PartialEq {
    /// Its kind.
    const KIND: &'static str;
    /// What people call several of them.
    const NOUNS: &'static str;

    /// The code of the error that there is one too many.
    const TOO_MANY: &'static str;

    /// Its labels, which decide nothing.
    fn labels(&mut self) -> &mut Labels;

    /// What it is once everything about it is known to be right.
    type Checked;

    /// Judges it.
    fn judge(&self) -> Result<Self::Checked, Vec<Problem>>;
}

/// What `one` is, if it keeps every limit: what came over the API has not been judged yet.
pub(super) fn checked<K: Judged>(one: &K) -> Result<K::Checked, Fault> {
    one.judge().map_err(|problems| {
        let first = problems.first().map(ToString::to_string).unwrap_or_default();
        let message = format!("{} {:?}: {first}", K::NOUN, clip(one.name()));
        Fault::new("manifest-invalid", message, UNCHANGED, format!("correct the {} and try again", K::NOUN))
    })
}

/// The one of `known` that is called `name`.
pub(super) fn find<'a, K: Judged>(known: &'a [K], name: &str) -> Result<&'a K, Fault> {
    known.iter().find(|one| one.name() == name).ok_or_else(|| {
        let remedy = format!("see patchmesh get {}, or keep it with patchmesh apply -f FILE first", K::NOUNS);
        Fault::new("not-found", format!("there is no {} {:?}", K::NOUN, clip(name)), UNCHANGED, remedy)
    })
}

fn differs_in_labels_only<K: Judged>(before: &K, one: &K) -> bool {
    let mut same = before.clone();
    same.labels().clone_from(one.clone().labels());
    before != one && same == *one
}

fn clip(name: &str) -> String {
    name.chars().take(MAX_ECHO).collect()
}

impl<K: Judged> Folder<K> {
    /// Keeps `one`.
    ///
    /// # Errors
    /// As [`Self::load`]; a limit that it breaks, one too many, a file that cannot be written.
    pub(super) fn put(&self, one: K, changing: &Changing<'_>) -> Result<KeptDocument, Fault> {
        checked(&one)?;
        let known = self.load()?;
        let name = one.name().to_owned();
        let change = match known.iter().find(|other| other.name() == name) {
            Some(same) if *same == one => Change::Unchanged,
            Some(_) => Change::Replaced,
            None if known.len() >= K::MOST => {
                let message = format!("{} {} are kept already", K::MOST, K::NOUNS);
                let remedy = format!("delete one with patchmesh delete {} NAME", K::NOUN);
                return Err(Fault::new(K::TOO_MANY, message, UNCHANGED, remedy));
            }
            None => Change::Created,
        };
        let before = known.into_iter().find(|other| other.name() == name);
        // Since when it is as it is counts for what is due, and labels are not of that.
        let since = match before.filter(|before| differs_in_labels_only(before, &one)) {
            Some(_) => Some(self.since(&name)?),
            None => None,
        };
        if change != Change::Unchanged {
            self.write(one, change == Change::Created, changing)?;
        }
        if let Some(since) = since {
            self.date_back(&name, since)?;
        }
        Ok(KeptDocument::new(change, K::KIND, name))
    }

    /// Takes what is called `name` away.
    ///
    /// # Errors
    /// As [`Self::load`], if it is not there, or a file that cannot be removed.
    pub(super) fn take(&self, name: &str, changing: &Changing<'_>) -> Result<KeptDocument, Fault> {
        let known = self.load()?;
        let gone = find(&known, name)?.name();
        self.remove(gone, changing)?;
        Ok(KeptDocument::new(Change::Deleted, K::KIND, gone.to_owned()))
    }
}
