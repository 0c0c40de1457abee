//! What this process knows of the approvals that are alive: who waits for them, which are shown,
//! and when they end. Everything here is derived; the store holds the truth.

use std::collections::{BTreeSet, HashMap};

use nexus_manifest::AgentName;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::ApprovalId;
use crate::approval::State;

/// How many of an agent's questions are shown to people at a time: more would be waved through.
pub const SHOWN_PER_AGENT: usize = 5;

/// How a question ended, for the one who waits.
#[derive(Debug)]
pub(crate) enum End {
    Approved,
    Denied(Option<String>),
    Expired,
    Cancelled,
}

#[derive(Default)]
pub(crate) struct Book {
    live: HashMap<ApprovalId, Live>,
    lanes: HashMap<AgentName, Lane>,
    deadlines: BTreeSet<(Instant, ApprovalId)>,
}

struct Live {
    agent: AgentName,
    deadline: Instant,
    place: Place,
    /// Whether the attempt to write it to disk is over.
    landed: bool,
    waiter: Option<oneshot::Sender<End>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Shown,
    Queued,
    Decided,
}

#[derive(Default)]
struct Lane {
    shown: usize,
    queued: BTreeSet<ApprovalId>,
}

impl Book {
    /// Takes in a new question and says whether it is shown at once.
    pub(crate) fn enter(
        &mut self,
        id: ApprovalId,
        agent: &AgentName,
        deadline: Instant,
        waiter: oneshot::Sender<End>,
    ) -> State {
        let lane = self.lanes.entry(agent.clone()).or_default();
        // Nobody overtakes: a queue, however it came about, is served first.
        let (state, place) = if lane.shown < SHOWN_PER_AGENT && lane.queued.is_empty() {
            lane.shown += 1;
            (State::Pending, Place::Shown)
        } else {
            lane.queued.insert(id);
            (State::Queued, Place::Queued)
        };
        self.deadlines.insert((deadline, id));
        let live = Live {
            agent: agent.clone(),
            deadline,
            place,
            landed: false,
            waiter: Some(waiter),
        };
        self.live.insert(id, live);
        state
    }

    /// Notes where a question stands now, and tells the one who waits if it is over. Returns the
    /// question of the same agent that may be shown instead.
    pub(crate) fn moved(
        &mut self,
        id: ApprovalId,
        state: State,
        end: Option<End>,
    ) -> Option<ApprovalId> {
        if state.is_open() {
            return None;
        }
        let live = self.live.get_mut(&id)?;
        let agent = live.agent.clone();
        let left = std::mem::replace(&mut live.place, Place::Decided);
        if let (Some(end), Some(waiter)) = (end, live.waiter.take()) {
            // Nobody waits any more: the invocation has gone, and withdraws the question itself.
            let _ = waiter.send(end);
        }
        if !state.is_live()
            && let Some(live) = self.live.remove(&id)
        {
            self.deadlines.remove(&(live.deadline, id));
        }
        let lane = self.lanes.get_mut(&agent)?;
        match left {
            Place::Shown => lane.shown -= 1,
            Place::Queued => {
                lane.queued.remove(&id);
            }
            Place::Decided => {}
        }
        let next = if lane.shown < SHOWN_PER_AGENT {
            lane.queued.pop_first()
        } else {
            None
        };
        if let Some(next) = next {
            lane.shown += 1;
            if let Some(live) = self.live.get_mut(&next) {
                live.place = Place::Shown;
            }
        } else if lane.shown == 0 && lane.queued.is_empty() {
            self.lanes.remove(&agent);
        }
        next
    }

    /// Notes that the attempt to write it to disk is over.
    pub(crate) fn landed(&mut self, id: ApprovalId) {
        if let Some(live) = self.live.get_mut(&id) {
            live.landed = true;
        }
    }

    /// Whether it is on its way to the disk.
    pub(crate) fn in_flight(&self, id: ApprovalId) -> bool {
        self.live.get(&id).is_some_and(|live| !live.landed)
    }

    /// Whether people are to see it.
    pub(crate) fn is_shown(&self, id: ApprovalId) -> bool {
        self.live
            .get(&id)
            .is_some_and(|live| live.place == Place::Shown)
    }

    /// When the next question ends by itself.
    pub(crate) fn earliest(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Takes out the questions whose time is up.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<ApprovalId> {
        let mut due = Vec::new();
        while self
            .deadlines
            .first()
            .is_some_and(|(deadline, _)| *deadline <= now)
        {
            due.extend(self.deadlines.pop_first().map(|(_, id)| id));
        }
        due
    }

    /// All that are alive.
    pub(crate) fn ids(&self) -> Vec<ApprovalId> {
        self.live.keys().copied().collect()
    }
}
