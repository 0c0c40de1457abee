//! Pages of invocations: those in memory and those stored.

use std::sync::Arc;

use nexus_gate::{InvocationId, Principal};
use nexus_manifest::AgentName;
use nexus_store::ReadError;

use crate::invocation::{Invocation, InvocationState, Record};
use crate::runtime::Runtime;
use crate::stored;

/// Rows read at a time, whatever the size of the page: enough that the store reads them beside the
/// workers.
const BATCH: usize = 128;
/// Rows looked at for one page, however few of them are wanted.
const LOOKED_AT: usize = 4_096;
/// Bytes of outcomes in one page.
const PAGE_BYTES: usize = 8 << 20;

/// Which invocations are asked for. What is not named is not asked about.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Those of this agent.
    pub agent: Option<AgentName>,
    /// Those on behalf of this principal.
    pub principal: Option<Principal>,
    /// Those in this state.
    pub state: Option<InvocationState>,
}

/// A page of invocations.
#[derive(Debug)]
pub struct Listed {
    /// The newest first.
    pub invocations: Vec<Record>,
    /// Before which to go on; none at the end. A page may hold few or none and still have a next
    /// one: only so much is looked at for each.
    pub next: Option<InvocationId>,
}

impl Wanted {
    pub(crate) fn matches_record(&self, record: &Record) -> bool {
        self.matches(&record.agent, &record.principal, record.state)
    }

    fn matches(&self, agent: &AgentName, principal: &Principal, state: InvocationState) -> bool {
        self.agent.as_ref().is_none_or(|wanted| wanted == agent)
            && self
                .principal
                .as_ref()
                .is_none_or(|wanted| wanted == principal)
            && self.state.is_none_or(|wanted| wanted == state)
    }
}

impl Runtime {
    /// The wanted invocations from before `before`, those in memory and those stored, at most
    /// `size` of them. Looks at no more than some thousand for a page.
    pub async fn invocations(
        &self,
        wanted: &Wanted,
        before: Option<&InvocationId>,
        size: usize,
    ) -> Result<Listed, ReadError> {
        let mut page = Page::new(size);
        // Read once: it changes while the rows are read, and is as large as a thousand of them.
        let mut memory = self.in_memory(before).into_iter().peekable();
        let (mut after, mut looked) = (before.copied(), 0);
        loop {
            let room = page.room();
            let rows = stored::list(self, wanted, after.as_ref(), BATCH, room).await?;
            let Some((last, _)) = rows.last() else { break };
            after = Some(*last);
            for (id, record) in rows {
                looked += 1;
                let mut known = false;
                while let Some(newer) = memory.next_if(|live| live.facts.id >= id) {
                    known |= newer.facts.id == id;
                    page.take(wanted, &newer);
                    if page.is_full() {
                        return Ok(page.until(newer.facts.id));
                    }
                }
                // What is in memory is newer than its row.
                if let Some(record) = record.filter(|_| !known) {
                    page.push(record);
                }
                if page.is_full() || looked == LOOKED_AT {
                    return Ok(page.until(id));
                }
            }
        }
        for live in memory {
            page.take(wanted, &live);
            if page.is_full() {
                return Ok(page.until(live.facts.id));
            }
        }
        Ok(page.last())
    }

    /// What of before `before` is in memory, the newest first.
    fn in_memory(&self, before: Option<&InvocationId>) -> Vec<Arc<Invocation>> {
        let mut live = self.0.live.all();
        live.retain(|invocation| before.is_none_or(|before| invocation.facts.id < *before));
        live.sort_unstable_by_key(|invocation| std::cmp::Reverse(invocation.facts.id));
        live
    }
}

/// A page being filled.
struct Page {
    found: Vec<Record>,
    size: usize,
    bytes: usize,
}

impl Page {
    fn new(size: usize) -> Self {
        Self {
            found: Vec::new(),
            size: size.max(1),
            bytes: 0,
        }
    }

    /// How many more it takes; at least one.
    fn room(&self) -> usize {
        self.size.saturating_sub(self.found.len()).max(1)
    }

    fn is_full(&self) -> bool {
        self.found.len() >= self.size || self.bytes >= PAGE_BYTES
    }

    fn take(&mut self, wanted: &Wanted, live: &Invocation) {
        let facts = &live.facts;
        // Looked at before anything of it is copied.
        if wanted.matches(&facts.agent, &facts.principal, live.state()) {
            self.push(live.record());
        }
    }

    fn push(&mut self, record: Record) {
        self.bytes += record
            .outcome
            .as_ref()
            .map_or(0, |outcome| outcome.weight());
        self.found.push(record);
    }

    fn until(self, next: InvocationId) -> Listed {
        Listed {
            invocations: self.found,
            next: Some(next),
        }
    }

    fn last(self) -> Listed {
        Listed {
            invocations: self.found,
            next: None,
        }
    }
}
