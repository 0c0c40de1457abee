//! Values that the command line takes, and how they are read.

use std::{str::FromStr, time::Duration};

use clap::ValueEnum;
use nexus_proto::v1::{
    ActionKind, EffectClass, ForgeMode, InputParameter, Role, RootOrigin, input_parameter,
};

/// How the forge gets source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// From a template that the host brings along
    Template,
    /// From the file that --source names
    Source,
    /// From the language model that the host is configured with
    Model,
}

impl From<Mode> for ForgeMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Template => Self::Template,
            Mode::Source => Self::Source,
            Mode::Model => Self::Model,
        }
    }
}

/// What kind of thing an action is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum KindName {
    /// An agent does something
    #[default]
    Effect,
    /// A component becomes callable
    Publish,
    /// A right is given
    Grant,
    /// A secret's value becomes visible to an agent
    Reveal,
}

impl From<KindName> for ActionKind {
    fn from(kind: KindName) -> Self {
        match kind {
            KindName::Effect => Self::Effect,
            KindName::Publish => Self::Publish,
            KindName::Grant => Self::Grant,
            KindName::Reveal => Self::Reveal,
        }
    }
}

/// How far an effect reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum ClassName {
    /// Changes nothing
    #[default]
    Read,
    /// Changes what the host holds
    Internal,
    /// Leaves the host
    External,
    /// Cannot be taken back
    Irreversible,
}

impl From<ClassName> for EffectClass {
    fn from(class: ClassName) -> Self {
        match class {
            ClassName::Read => Self::Read,
            ClassName::Internal => Self::Internal,
            ClassName::External => Self::External,
            ClassName::Irreversible => Self::Irreversible,
        }
    }
}

/// What began a chain of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum OriginName {
    /// A person or their program
    #[default]
    Interactive,
    /// The clock; nobody is there to answer
    Schedule,
    /// Data that arrived; nobody is there to answer
    Ingest,
    /// A model, with a person behind it
    Mcp,
}

impl From<OriginName> for RootOrigin {
    fn from(origin: OriginName) -> Self {
        match origin {
            OriginName::Interactive => Self::Interactive,
            OriginName::Schedule => Self::Schedule,
            OriginName::Ingest => Self::Ingest,
            OriginName::Mcp => Self::Mcp,
        }
    }
}

/// A member of an agent's input, as `name:type[:required]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Parameter(pub(crate) InputParameter);

impl FromStr for Parameter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        use input_parameter::Type;
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default();
        if name.is_empty() {
            return Err("the name is missing; write name:type, such as symbol:string".to_owned());
        }
        let kind = match parts.next() {
            None | Some("string") => Type::String,
            Some("integer") => Type::Integer,
            Some("number") => Type::Number,
            Some("boolean") => Type::Boolean,
            Some("array") => Type::Array,
            Some("object") => Type::Object,
            Some(other) => {
                return Err(format!(
                    "there is no type {other:?}; use string, integer, number, boolean, array or object"
                ));
            }
        };
        let required = match parts.next() {
            None => false,
            Some("required") => true,
            Some(other) => return Err(format!("{other:?} follows the type; only :required may")),
        };
        if parts.next().is_some() {
            return Err("nothing may follow :required".to_owned());
        }
        Ok(Self(InputParameter {
            name: name.to_owned(),
            r#type: kind.into(),
            required,
        }))
    }
}

/// What the holder of a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleName {
    /// Everything
    Operator,
    /// See and decide approvals, accept agents
    Approver,
    /// Forge, deploy and invoke agents
    Forger,
    /// Invoke agents
    Caller,
}

impl From<RoleName> for Role {
    fn from(role: RoleName) -> Self {
        match role {
            RoleName::Operator => Self::Operator,
            RoleName::Approver => Self::Approver,
            RoleName::Forger => Self::Forger,
            RoleName::Caller => Self::Caller,
        }
    }
}

pub(super) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write key=value, such as origin=https://api.example.com".to_owned()),
    }
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err("write a whole number and s, m, h or d, such as 12h".to_owned()),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|count| count.checked_mul(unit))
        .filter(|seconds| (1..=315_360_000).contains(seconds))
        .map(Duration::from_secs)
        .ok_or_else(|| "write a time between 1s and 3650d".to_owned())
}
