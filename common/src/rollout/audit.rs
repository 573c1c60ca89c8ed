//! A whole ledger looked at again: its chain and its seals, those of the hosts inside it, and every promise that it can show.

use super::{
    approval::Verdict,
    chain::{BadLink, Chain, Head},
    check::{Judge, Violation},
    ledger::{FoldError, Ledger, LedgerAct, LedgerEntry},
};
use crate::{
    id::{LeaseId, MeshId, NodeId},
    run::message::{Answer, StopOrder, ToCoordinator},
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

/// A host that saw another ledger than this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The entry with the host's word, from 0.
    pub entry: u64,
    /// Which host.
    pub host: NodeId,
    /// What it says.
    pub text: String,
}

/// What hosts say of the ledger: each keeps the head that came with its last `Go`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Testimonies {
    /// How many were compared.
    pub checked: u64,
    /// How many do not fit a ledger that has said, since it granted the lease, that it is a copy or restored, or that others were
    /// at work.
    pub excused: u64,
    /// The others that do not fit, in order.
    pub denials: Vec<Denial>,
}

/// Reads a ledger frame by frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    chain: Chain,
    ledger: Ledger,
    judge: Judge,
    /// Of the first host or operator that said something.
    mesh: Option<MeshId>,
    /// The hash of every entry.
    hashes: Vec<[u8; 32]>,
    testimonies: Testimonies,
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
        self.hashes.push(self.chain.head().hash);
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

    /// What the hosts say of it.
    pub fn testimonies(&self) -> &Testimonies {
        &self.testimonies
    }

    /// Compares what a host saw of the ledger, when it accepted the `Go` of the lease that it now reports, with what is there.
    fn testify(&mut self, host: NodeId, said: Head, lease: LeaseId) {
        self.testimonies.checked += 1;
        let last = usize::try_from(said.entries).unwrap_or(usize::MAX).checked_sub(1);
        let saw = last.map_or(Some(&[0; 32]), |last| self.hashes.get(last)) == Some(&said.hash);
        let granted = self.judge.granted_by(lease);
        let text = match granted {
            _ if !saw => format!("saw another ledger with {} entries than the one that begins here", said.entries),
            Some(entry) if entry >= said.entries => {
                format!("had its Go when the ledger had {} entries, and entry {entry} grants it", said.entries)
            }
            _ => return,
        };
        // Since a lease that was granted behind the last gap the host saw no other ledger than this one.
        if self.judge.gap().is_some_and(|gap| granted.is_none_or(|entry| entry < gap)) {
            self.testimonies.excused += 1;
        } else {
            self.testimonies.denials.push(Denial { entry: self.hashes.len() as u64, host, text });
        }
    }

    /// What others said carries their own seal, and was said to this coordinator of this mesh.
    fn seals(&mut self, entry: &LedgerEntry, own: Option<NodeId>, keys: &dyn Verifier) {
        let (host, said) = match &entry.act {
            LedgerAct::Reported { evidence } => {
                let answer = evidence.open::<Answer>(keys);
                if let Ok(Answer { head: Some(head), body: ToCoordinator::Reported(report), .. }) = &answer {
                    self.testify(evidence.author, *head, report.lease);
                }
                (evidence.author, answer.map(|answer| (answer.mesh, Some(answer.to))))
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
