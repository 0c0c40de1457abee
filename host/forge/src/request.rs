use std::collections::BTreeMap;

use nexus_gate::{Principal, RootOrigin};
use nexus_manifest::AgentName;

use crate::build::BuiltBy;
use crate::selftest::Example;
use crate::template::InputParameter;

/// What to forge.
#[derive(Debug, Clone)]
pub struct Request {
    /// The agent's name. It is kept whatever a template, model or source says.
    pub agent: AgentName,
    /// What it is to do, in a person's words.
    pub words: String,
    /// How to get the source.
    pub mode: Mode,
    /// Who makes a component of the source. `None`: a template's is in the binary, and any other source
    /// is compiled by whom the configuration names.
    pub builder: Option<BuiltBy>,
    /// What the agent's input is to hold. Not used in the mode source.
    pub inputs: Vec<InputParameter>,
    /// What the agent is to answer. One that it does not answer so is not published.
    pub examples: Vec<Example>,
    /// Inputs with which it is run before publication, with real reads and planned writes. With any,
    /// a person decides, who sees what it did.
    pub shadow: Vec<String>,
    /// Do everything but publish.
    pub validate_only: bool,
    /// What set it going. What data has triggered starts with no permission.
    pub root: RootOrigin,
    /// Who wants it, and owns the agent.
    pub principal: Principal,
    /// Whether that one may decide approvals. What such a person puts into a template counts as
    /// reviewed: templates make up no origin and no secret.
    pub decides: bool,
}

/// How to get the source.
#[derive(Debug, Clone)]
pub enum Mode {
    /// From a template.
    Template {
        /// Its name; chosen by the words if `None`.
        template: Option<String>,
        /// Its parameters and their values.
        set: BTreeMap<String, String>,
    },
    /// The caller sends it.
    Source {
        /// `src/lib.rs`.
        source: String,
        /// `agent.toml`.
        manifest: String,
    },
    /// The configured language model writes it.
    Model,
}

impl Mode {
    /// Its stable name: `template`, `source` or `model`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Template { .. } => "template",
            Self::Source { .. } => "source",
            Self::Model => "model",
        }
    }
}
