//! What this process knows of the approvals that are alive: who waits for them, which are shown,
//! and when they end. Everything here is derived; the store holds the truth.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use nexus_manifest::{AgentName, Digest};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::ApprovalId;
use crate::approval::State;
use crate::edit::{Regate, Replacement};
use crate::rates::{Company, Rates};

/// How many of an agent's questions are shown to people at a time: more would be waved through.
pub const SHOWN_PER_AGENT: usize = 5;

/// How many questions of an agent may be open, and how many it may ask within an hour.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) open: usize,
    pub(crate) hourly: u32,
}

/// There are as many as may be.
#[derive(Debug)]
pub(crate) struct Crowded;

/// How a question ended, for the one who waits.
pub(crate) enum End {
    Approved,
    Denied(Option<String>),
    Expired,
    Cancelled,
    /// A person changed it: this is asked in its place.
    Edited(Box<Replacement>),
}

#[derive(Default)]
pub(crate) struct Book {
    live: HashMap<ApprovalId, Live>,
    lanes: HashMap<AgentName, Lane>,
    deadlines: BTreeSet<(Instant, ApprovalId)>,
    rates: HashMap<AgentName, Rates>,
    /// Those that have a place among the shown, and whose rows do not say so yet.
    late: BTreeSet<ApprovalId>,
}

struct Live {
    agent: AgentName,
    /// What it has in common with every question that asks for the same.
    group: Option<Digest>,
    deadline: Instant,
    place: Place,
    /// Whether the attempt to write it to disk is over.
    landed: bool,
    waiter: Option<oneshot::Sender<End>>,
    /// Takes an edit past the gate.
    regate: Option<Arc<Regate>>,
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
    /// How many open questions ask for the same, and whether one of them is shown.
    groups: HashMap<Digest, Group>,
}

#[derive(Default)]
struct Group {
    open: usize,
    shown: bool,
}

impl Book {
    /// Whether an agent may ask one more.
    pub(crate) fn has_room(&self, agent: &AgentName, bounds: Bounds) -> Result<(), Crowded> {
        let lane = self.lanes.get(agent);
        let open = lane.map_or(0, |lane| lane.shown + lane.queued.len());
        let rates = self.rates.get(agent);
        let asked = rates.map_or(0, |rates| rates.last_hour().asked);
        match open < bounds.open && asked < bounds.hourly {
            true => Ok(()),
            false => Err(Crowded),
        }
    }

    /// How many questions are shown to people now.
    pub(crate) fn shown(&self) -> usize {
        self.lanes.values().map(|lane| lane.shown).sum()
    }

    /// Takes in a new question and says whether it is shown at once.
    pub(crate) fn enter(
        &mut self,
        id: ApprovalId,
        agent: &AgentName,
        group: Digest,
        deadline: Instant,
        waiter: oneshot::Sender<End>,
        regate: Arc<Regate>,
    ) -> State {
        self.rates.entry(agent.clone()).or_default().asked();
        let lane = self.lanes.entry(agent.clone()).or_default();
        let same = lane.groups.entry(group).or_default();
        same.open += 1;
        // Of questions that ask for the same, one is shown. Nobody overtakes: while there is room, only
        // such questions are queued.
        let (state, place) = if lane.shown < SHOWN_PER_AGENT && !same.shown {
            same.shown = true;
            lane.shown += 1;
            (State::Pending, Place::Shown)
        } else {
            lane.queued.insert(id);
            (State::Queued, Place::Queued)
        };
        self.deadlines.insert((deadline, id));
        let live = Live {
            agent: agent.clone(),
            group: Some(group),
            deadline,
            place,
            landed: false,
            waiter: Some(waiter),
            regate: Some(regate),
        };
        self.live.insert(id, live);
        state
    }

    /// Takes in a question that is answered as it is put.
    pub(crate) fn enter_decided(&mut self, id: ApprovalId, agent: &AgentName, deadline: Instant) {
        self.deadlines.insert((deadline, id));
        let rates = self.rates.entry(agent.clone()).or_default();
        rates.asked();
        rates.approved();
        let live = Live {
            agent: agent.clone(),
            group: None,
            deadline,
            place: Place::Decided,
            landed: false,
            waiter: None,
            regate: None,
        };
        self.live.insert(id, live);
    }

    /// What takes an edit of an open question past the gate.
    pub(crate) fn regate(&self, id: ApprovalId) -> Option<Arc<Regate>> {
        self.live.get(&id)?.regate.clone()
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
        let (agent, group) = (live.agent.clone(), live.group);
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
        if left != Place::Decided {
            let rates = self.rates.entry(agent.clone()).or_default();
            match state {
                State::Approved => rates.approved(),
                State::Denied => rates.denied(),
                _ => {}
            }
        }
        let lane = self.lanes.get_mut(&agent)?;
        match left {
            Place::Shown => lane.shown -= 1,
            Place::Queued => {
                lane.queued.remove(&id);
            }
            Place::Decided => {}
        }
        if left != Place::Decided
            && let Some(group) = group
            && let Some(same) = lane.groups.get_mut(&group)
        {
            same.open -= 1;
            same.shown &= left != Place::Shown;
            if same.open == 0 {
                lane.groups.remove(&group);
            }
        }
        let next = if lane.shown < SHOWN_PER_AGENT {
            let live = &self.live;
            let groups = &lane.groups;
            // The one that has waited longest, of those that ask for what is not shown.
            lane.queued
                .iter()
                .find(|id| {
                    let group = live.get(id).and_then(|live| live.group);
                    group.is_none_or(|group| groups.get(&group).is_none_or(|same| !same.shown))
                })
                .copied()
        } else {
            None
        };
        if let Some(next) = next {
            lane.queued.remove(&next);
            lane.shown += 1;
            if let Some(live) = self.live.get_mut(&next) {
                live.place = Place::Shown;
                if let Some(same) = live.group.and_then(|group| lane.groups.get_mut(&group)) {
                    same.shown = true;
                }
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

    /// Notes that a question which has its place among the shown could not be shown.
    pub(crate) fn not_shown(&mut self, id: ApprovalId) {
        if self.is_shown(id) {
            self.late.insert(id);
        }
    }

    /// Whether there are such.
    pub(crate) fn has_late(&self) -> bool {
        !self.late.is_empty()
    }

    /// Takes them out, to be shown now.
    pub(crate) fn take_late(&mut self) -> BTreeSet<ApprovalId> {
        std::mem::take(&mut self.late)
    }

    /// The open questions that ask for the same as this one, oldest first, itself left out.
    pub(crate) fn same_as(&self, id: ApprovalId) -> Vec<ApprovalId> {
        let Some(asked) = self.live.get(&id).filter(|asked| asked.group.is_some()) else {
            return Vec::new();
        };
        let mut same: Vec<ApprovalId> = self
            .live
            .iter()
            .filter(|(other, live)| {
                **other != id
                    && live.place != Place::Decided
                    && live.group == asked.group
                    && live.agent == asked.agent
            })
            .map(|(other, _)| *other)
            .collect();
        same.sort_unstable();
        same
    }

    /// How a question stands among the others of its agent.
    pub(crate) fn company(&self, id: ApprovalId, agent: &AgentName) -> Company {
        let mut company = self
            .rates
            .get(agent)
            .map(Rates::last_hour)
            .unwrap_or_default();
        let group = self.live.get(&id).and_then(|live| {
            let lane = self.lanes.get(agent)?;
            lane.groups.get(&live.group?)
        });
        company.identical = group.map_or(0, |same| same.open.saturating_sub(1));
        company
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
