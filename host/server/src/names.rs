//! Resource names, such as `agents/eth-tracker`.

use nexus_manifest::AgentName;
use tonic::Status;

use crate::fault::Fault;

/// The id in `COLLECTION/ID`.
pub(crate) fn id<'a>(field: &str, name: &'a str, collection: &str) -> Result<&'a str, Status> {
    name.strip_prefix(collection)
        .and_then(|rest| rest.strip_prefix('/'))
        .filter(|id| !id.is_empty() && !id.contains('/'))
        .ok_or_else(|| Fault::invalid(field, format!("write it as {collection}/ID")).into())
}

/// The agent in `agents/NAME`.
pub(crate) fn agent(field: &str, name: &str) -> Result<AgentName, Status> {
    agent_id(field, id(field, name, "agents")?)
}

/// An agent's bare name.
pub(crate) fn agent_id(field: &str, id: &str) -> Result<AgentName, Status> {
    id.parse()
        .map_err(|error: nexus_manifest::NameError| Fault::invalid(field, error.to_string()).into())
}

/// The agent in an optional filter, which may be empty.
pub(crate) fn agent_filter(field: &str, name: &str) -> Result<Option<AgentName>, Status> {
    if name.is_empty() {
        Ok(None)
    } else {
        agent(field, name).map(Some)
    }
}

/// `agents/NAME`.
pub(crate) fn of_agent(name: &AgentName) -> String {
    format!("agents/{name}")
}
