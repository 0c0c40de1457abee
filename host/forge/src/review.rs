//! Components that wait for a person, for whoever accepts them by their permissions.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nexus_gate::ApprovalId;
use nexus_manifest::{AgentName, Digest};
use nexus_runtime::Generation;
use tokio::sync::watch;

/// A component that waits for a person. Deciding its approval goes on with its forge.
#[derive(Debug, Clone)]
pub struct Review {
    /// What to decide.
    pub approval: ApprovalId,
    /// What became of the component, once that is known; closed without a value if the host stops.
    pub done: watch::Receiver<Option<ReviewEnd>>,
}

/// What became of a component that waited for a person.
#[derive(Debug, Clone)]
pub enum ReviewEnd {
    /// It is live.
    Published(Arc<Generation>),
    /// It is kept, because hot reload was switched off meanwhile.
    Held,
    /// It is not published, for this reason.
    Failed(String),
}

/// All that wait, the newest last.
#[derive(Default)]
pub(crate) struct Reviews(Mutex<Vec<(AgentName, Digest, Review)>>);

/// Tells the end of one review, and takes it off the list.
pub(crate) struct Entry<'a> {
    reviews: &'a Reviews,
    end: watch::Sender<Option<ReviewEnd>>,
    approval: Option<ApprovalId>,
}

impl Reviews {
    pub(crate) fn find(&self, agent: &AgentName, permissions: &Digest) -> Option<Review> {
        let all = self.lock();
        let mut newest_first = all.iter().rev();
        let found = newest_first.find(|(name, digest, _)| name == agent && digest == permissions);
        found.map(|(_, _, review)| review.clone())
    }

    pub(crate) fn waiting(&self, agent: &AgentName) -> Option<ApprovalId> {
        let all = self.lock();
        let mut newest_first = all.iter().rev();
        let found = newest_first.find(|(name, _, _)| name == agent);
        found.map(|(_, _, review)| review.approval)
    }

    /// Room for a review, should a person be asked.
    pub(crate) fn entry(&self) -> Entry<'_> {
        Entry {
            reviews: self,
            end: watch::Sender::new(None),
            approval: None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(AgentName, Digest, Review)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry<'_> {
    /// From now on the review can be found.
    pub(crate) fn asked(&mut self, agent: AgentName, permissions: Digest, approval: ApprovalId) {
        self.approval = Some(approval);
        let done = self.end.subscribe();
        let review = Review { approval, done };
        self.reviews.lock().push((agent, permissions, review));
    }

    /// Tells how it ended to all who wait for it.
    pub(crate) fn end(self, end: ReviewEnd) {
        self.end.send_replace(Some(end));
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if let Some(approval) = self.approval {
            let mut all = self.reviews.lock();
            all.retain(|(_, _, review)| review.approval != approval);
        }
    }
}
