//! Requests as the guide writes them.

use std::collections::BTreeMap;

use nexus_proto::v1::InputParameter;
use nexus_proto::v1::input_parameter::Type;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tonic::Status;
use tonic::body::Body;

use crate::fault::Fault;
use crate::gateway::transcode::{no_json, read};

/// What skill to make.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Create {
    pub(super) name: String,
    #[serde(default)]
    pub(super) description: String,
    #[serde(default)]
    pub(super) params: Vec<Param>,
    /// Beyond the guide: a template of the forge, and the values of its parameters.
    #[serde(default)]
    pub(super) template: String,
    #[serde(default)]
    pub(super) set: BTreeMap<String, String>,
}

/// One thing that the skill is told when it is called.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Param {
    pub(super) name: String,
    #[serde(rename = "type", default)]
    kind: Kind,
    #[serde(default)]
    pub(super) required: bool,
    /// For people; it changes nothing.
    #[serde(default)]
    #[expect(dead_code, reason = "the guide's own clients send it")]
    description: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    #[serde(alias = "str", alias = "text")]
    String,
    #[serde(alias = "int")]
    Integer,
    #[serde(alias = "float")]
    Number,
    #[serde(alias = "bool")]
    Boolean,
    #[serde(alias = "list")]
    Array,
    #[serde(alias = "json")]
    Object,
}

/// What skill to make live.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Trigger {
    pub(super) skill_name: String,
    #[serde(default)]
    pub(super) module_name: String,
    /// Where the guide's clients believe the source to be.
    #[serde(default)]
    #[expect(dead_code, reason = "the name alone says which skill is meant")]
    file_path: String,
}

impl Param {
    pub(super) fn parameter(&self) -> InputParameter {
        InputParameter {
            name: self.name.clone(),
            r#type: self.proto().into(),
            required: self.required,
        }
    }

    /// The type's name in a JSON Schema.
    pub(super) fn schema(&self) -> &'static str {
        match self.kind {
            Kind::String => "string",
            Kind::Integer => "integer",
            Kind::Number => "number",
            Kind::Boolean => "boolean",
            Kind::Array => "array",
            Kind::Object => "object",
        }
    }

    fn proto(&self) -> Type {
        match self.kind {
            Kind::String => Type::String,
            Kind::Integer => Type::Integer,
            Kind::Number => Type::Number,
            Kind::Boolean => Type::Boolean,
            Kind::Array => Type::Array,
            Kind::Object => Type::Object,
        }
    }
}

/// Reads a body when the method asks for its message.
pub(super) async fn body<T: DeserializeOwned>(what: &str, body: Body) -> Result<T, Status> {
    let bytes = read(body).await?;
    serde_json::from_slice(&bytes).map_err(|error| no_json(what, &error))
}

/// A skill without a name is none.
pub(super) fn named(field: &'static str, name: &str) -> Result<(), Status> {
    match name.is_empty() {
        true => Err(Fault::invalid(field, "name the skill").into()),
        false => Ok(()),
    }
}
