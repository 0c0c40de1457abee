//! Inner types to messages. Nothing here decides anything.

mod agent;
mod approval;
mod audit;
mod forge;
mod grant;
mod invocation;
mod permission;
mod policy;
mod time;

pub(crate) use agent::{agent, agent_event, etag, generation};
pub(crate) use approval::{approval, approval_state, whole_approval};
pub(crate) use audit::{checkpoint, event};
pub(crate) use forge::{diagnostics, forge_event, forge_mode, forged_agent, lineage};
pub(crate) use grant::grant;
pub(crate) use invocation::{invocation, invocation_event, invocation_state};
pub(crate) use permission::{permission_diff, permissions};
pub(crate) use policy::{action_kind, effect_class, explanation, policy, root_origin};
pub(crate) use time::{duration, from_duration, now, timestamp};
