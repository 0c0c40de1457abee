//! What a call of a peer inherits from its caller.

use std::sync::Arc;

use nexus_gate::EffectClass;
use nexus_manifest::{AgentName, Digest};

use crate::invocation::Invocation;
use crate::limits::HostLimits;

/// The right to call a peer on behalf of an invocation, made by
/// [`State::chain`](crate::State::chain).
///
/// The callee inherits the root origin, the principal, the labels, the
/// strictest class of the calls that led to it and what is left of the time. It ends when its caller ends, its labels flow back, and
/// while a person is asked about it the clocks of all its callers stand. It
/// acts with its own rights.
#[derive(Debug, Clone)]
pub struct Chain {
    pub(crate) caller: Arc<Invocation>,
    /// The strictest class of the calls so far.
    pub(crate) class: EffectClass,
    /// The component that is called; whichever answers now, if it is not named.
    callee: Option<Digest>,
}

/// Why a peer may not be called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// The agent stands in the chain already.
    #[error("{0} is among the callers already; a call in a circle is refused")]
    Cycle(AgentName),
    /// The chain is as long as it may be.
    #[error("the chain of calls is {0} agents long, which is the limit")]
    TooDeep(usize),
    /// The caller has made as many calls as it may.
    #[error("this invocation has called peers {0} times, which is the limit")]
    FanOut(u32),
    /// The chain as a whole has made as many calls as it may.
    #[error("this chain of calls has called peers {0} times in all, which is the limit")]
    Budget(u32),
    /// The agent is another component than the one that the gate has let through.
    #[error("{0} was replaced while the call was on its way")]
    Replaced(AgentName),
    /// The caller has ended or is about to.
    #[error("the caller has ended")]
    Ended,
}

impl Chain {
    /// The chain of an invocation, as it is before it calls.
    pub(crate) fn of(invocation: Arc<Invocation>) -> Self {
        Self {
            class: invocation.facts.chain_class,
            caller: invocation,
            callee: None,
        }
    }

    /// The chain that goes on with a call of this class. A class can only
    /// become stricter.
    #[must_use]
    pub fn led_by(self, class: EffectClass) -> Self {
        Self {
            class: self.class.max(class),
            ..self
        }
    }

    /// The chain that goes on to this component and to no other.
    #[must_use]
    pub fn towards(self, component: Digest) -> Self {
        Self {
            callee: Some(component),
            ..self
        }
    }

    /// The chain of the callee: the callers, the first one first.
    pub(crate) fn callers(&self) -> Vec<AgentName> {
        let facts = &self.caller.facts;
        facts.chain.iter().chain([&facts.agent]).cloned().collect()
    }

    /// Checks that `agent`, which is this component now, may be called, and counts the call.
    pub(crate) fn admit(
        &self,
        agent: &AgentName,
        component: &Digest,
        limits: &HostLimits,
    ) -> Result<(), ChainError> {
        if self.callee.is_some_and(|callee| callee != *component) {
            return Err(ChainError::Replaced(agent.clone()));
        }
        let facts = &self.caller.facts;
        if facts.agent == *agent || facts.chain.contains(agent) {
            return Err(ChainError::Cycle(agent.clone()));
        }
        // The callers, this one and the callee.
        if facts.chain.len() + 2 > limits.depth {
            return Err(ChainError::TooDeep(limits.depth));
        }
        if self.caller.is_cancelled() || self.caller.state().is_final() {
            return Err(ChainError::Ended);
        }
        if !self.caller.count_call(limits.fan_out) {
            return Err(ChainError::FanOut(limits.fan_out));
        }
        if !self.caller.count_chain_call(limits.chain_calls) {
            return Err(ChainError::Budget(limits.chain_calls));
        }
        Ok(())
    }
}
