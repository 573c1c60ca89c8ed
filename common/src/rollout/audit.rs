//! A whole ledger looked at again: its chain and its seals, those of the hosts inside it, and every promise that it can show.

use super::{
    approval::Verdict,
    chain::{BadLink, Chain, Head},
    check::{Judge, Violation},
    ledger::{FoldError, Ledger, LedgerAct, LedgerEntry},
};
use crate::{
    id::{MeshId, NodeId},
    run::message::{Answer, StopOrder},
    seal::{SealError, Verifier},
};

/// Why an entry is not the next one of its ledger. What comes after it proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEntry {
    /// The chain, or the seal.
    #[error(transparent)]
    Link(#[from] BadLink),
    /// It speaks of what never was.
    #[error("it does not fit the ones before")]
    Fold(#[source] FoldError),
}

/// Reads a ledger frame by frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    chain: Chain,
    ledger: Ledger,
    judge: Judge,
    /// Of the first host or operator that said something.
    mesh: Option<MeshId>,
}

impl Audit {
    /// The entry in the next frame, after it was checked and judged.
    ///
    /// # Errors
    /// [`BadEntry`] if it is not the next entry of this ledger. A broken promise is no error: see [`Self::violations`].
    pub fn read(&mut self, frame: &[u8], keys: &dyn Verifier) -> Result<LedgerEntry, BadEntry> {
        let mut chain = self.chain.clone();
        let entry = chain.next(frame, keys)?;
        self.ledger.fold(&entry).map_err(BadEntry::Fold)?;
        self.seals(&entry, chain.author(), keys);
        self.judge.read(&entry);
        self.chain = chain;
        Ok(entry)
    }

    /// Where the ledger ends so far.
    pub fn head(&self) -> Head {
        self.chain.head()
    }

    /// Whose ledger it is; `None` while it is empty.
    pub fn author(&self) -> Option<NodeId> {
        self.chain.author()
    }

    /// The fold of what was read.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What the judge says of it.
    pub fn judge(&self) -> &Judge {
        &self.judge
    }

    /// Every broken promise so far, in order.
    pub fn violations(&self) -> &[Violation] {
        self.judge.violations()
    }

    /// What others said carries their own seal, and was said to this coordinator of this mesh.
    fn seals(&mut self, entry: &LedgerEntry, own: Option<NodeId>, keys: &dyn Verifier) {
        let (host, said) = match &entry.act {
            LedgerAct::Reported { evidence } => {
                (evidence.author, evidence.open::<Answer>(keys).map(|answer| (answer.mesh, Some(answer.to))))
            }
            LedgerAct::Ordered { evidence } => {
                let order = evidence.order.open::<StopOrder>(keys);
                let checked = order.map(|order| order.mesh).and_then(|mesh| {
                    let forged = || SealError::Forged(evidence.order.author);
                    evidence.order(mesh, entry.at, keys).map(|_| (mesh, None)).map_err(|_| forged())
                });
                (evidence.order.author, checked)
            }
            LedgerAct::Approved { evidence } | LedgerAct::Rejected { evidence } => {
                let author = evidence.verdict.author;
                let verdict = evidence.verdict.open::<Verdict>(keys);
                let checked = verdict.map(|verdict| verdict.mesh).and_then(|mesh| {
                    let opened = evidence.open(mesh, entry.at, keys);
                    opened.map(|_| (mesh, None)).map_err(|_| SealError::Forged(author))
                });
                (author, checked)
            }
            _ => return,
        };
        let kept = said.is_ok_and(|(mesh, to)| *self.mesh.get_or_insert(mesh) == mesh && (to.is_none() || to == own));
        self.judge.demand("authorship", kept, Some(host), || {
            "what is kept as its word carries no seal of it, or was said to another coordinator".into()
        });
    }
}
