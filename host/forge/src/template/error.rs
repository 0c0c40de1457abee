/// Why a template made no agent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something is missing that is never made up. A normal answer to a first
    /// request.
    #[error("the template needs parameters")]
    NeedsParameters(NeedsParameters),
    /// There is no template of this name.
    #[error("there is no template `{name}`; there are {}", .templates.join(", "))]
    Unknown {
        /// The name asked for.
        name: String,
        /// Those that there are.
        templates: Vec<String>,
    },
    /// The template has no such parameter.
    #[error("the template {template} has no parameter `{parameter}`; it has {}", .parameters.join(", "))]
    UnknownParameter {
        /// The template.
        template: String,
        /// What was set.
        parameter: String,
        /// What can be set.
        parameters: Vec<String>,
    },
    /// A value is not of its parameter's type.
    #[error("the parameter `{parameter}` takes {expected}: {reason}")]
    Value {
        /// The parameter.
        parameter: String,
        /// What it takes.
        expected: &'static str,
        /// What is wrong with the value.
        reason: String,
    },
    /// The manifest that came out is not valid.
    #[error("make the manifest from the template")]
    Manifest(#[source] nexus_manifest::Error),
    /// A template in this binary is broken.
    #[error("read the template {template}: {reason}")]
    Broken {
        /// The template.
        template: String,
        /// What is wrong.
        reason: String,
    },
}

/// What a template still needs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NeedsParameters {
    /// The template that was chosen; `None` if the words speak for none.
    pub template: Option<String>,
    /// What is missing.
    pub parameters: Vec<Missing>,
    /// All templates, the best fit first.
    pub templates: Vec<String>,
}

/// A parameter without a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Its name.
    pub name: String,
    /// What it means.
    pub description: String,
    /// A value as it could look.
    pub example: String,
}
