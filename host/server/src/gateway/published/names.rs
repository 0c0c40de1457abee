//! The guide's names of things.

use nexus_proto::v1::ForgedAgent;
use tonic::Status;

use crate::fault::Fault;

/// A skill, by the name that the guide gives it.
pub(super) struct Skill {
    /// `salesforce_sentinel`.
    pub(super) name: String,
    /// `salesforce-sentinel`.
    pub(super) agent: String,
}

impl Skill {
    /// By the name that a request gives, with underscores or dashes.
    pub(super) fn named(name: &str) -> Self {
        Self {
            name: name.replace('-', "_"),
            agent: name.replace('_', "-"),
        }
    }

    /// The skill that an agent is.
    pub(super) fn of(forged: &ForgedAgent) -> Self {
        let agent = forged
            .agent
            .strip_prefix("agents/")
            .unwrap_or(&forged.agent);
        Self::named(agent)
    }

    /// `forge_gen_salesforce_sentinel`.
    pub(super) fn module_name(&self) -> String {
        format!("forge_gen_{}", self.name)
    }

    /// Where its source is: a file of the agent's lineage, which `nexus agents show --source` shows.
    /// There is none on a disk.
    pub(super) fn file_path(&self) -> String {
        format!("agents/{}/src/lib.rs", self.agent)
    }

    /// Refuses a module that is another skill's.
    pub(super) fn has_module(&self, module: &str) -> Result<(), Status> {
        if module.is_empty() || module == self.module_name() {
            return Ok(());
        }
        let message = format!("the module of {} is {}", self.name, self.module_name());
        Err(Fault::invalid("module_name", message).into())
    }
}
