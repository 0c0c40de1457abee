//! What a call of a peer inherits from its caller.

use std::sync::Arc;

use nexus_gate::EffectClass;
use nexus_manifest::AgentName;

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
pub struct Chain(pub(crate) Arc<Invocation>, pub(crate) EffectClass);

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
    /// The caller has ended or is about to.
    #[error("the caller has ended")]
    Ended,
}

impl Chain {
    /// The chain of an invocation, as it is before it calls.
    pub(crate) fn of(invocation: Arc<Invocation>) -> Self {
        let class = invocation.facts.chain_class;
        Self(invocation, class)
    }

    /// The chain that goes on with a call of this class. A class can only
    /// become stricter.
    #[must_use]
    pub fn led_by(self, class: EffectClass) -> Self {
        Self(self.0, self.1.max(class))
    }

    /// The chain of the callee: the callers, the first one first.
    pub(crate) fn callers(&self) -> Vec<AgentName> {
        let facts = &self.0.facts;
        facts.chain.iter().chain([&facts.agent]).cloned().collect()
    }

    /// Checks that `agent` may be called, and counts the call.
    pub(crate) fn admit(&self, agent: &AgentName, limits: &HostLimits) -> Result<(), ChainError> {
        let facts = &self.0.facts;
        if facts.agent == *agent || facts.chain.contains(agent) {
            return Err(ChainError::Cycle(agent.clone()));
        }
        // The callers, this one and the callee.
        if facts.chain.len() + 2 > limits.depth {
            return Err(ChainError::TooDeep(limits.depth));
        }
        if self.0.is_cancelled() || self.0.state().is_final() {
            return Err(ChainError::Ended);
        }
        if !self.0.count_call(limits.fan_out) {
            return Err(ChainError::FanOut(limits.fan_out));
        }
        if !self.0.count_chain_call(limits.chain_calls) {
            return Err(ChainError::Budget(limits.chain_calls));
        }
        Ok(())
    }
}
