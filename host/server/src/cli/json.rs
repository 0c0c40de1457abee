//! Messages as ProtoJSON, from the contract's own descriptors: a field that is added to the contract
//! appears in the output without a line of code.
//!
//! Two departures from ProtoJSON, both so that scripts need no special cases: 64-bit integers are
//! numbers, and fields at their default value are written out.

use std::sync::LazyLock;

use anyhow::{Context as _, anyhow};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use nexus_proto::v1;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage as _, Value,
};
use serde_json::{Map, Value as Json};

/// A message whose name in the contract is known.
pub(crate) trait Named: prost::Message {
    const NAME: &'static str;
}

macro_rules! named {
    ($($message:ident),* $(,)?) => {
        $(impl Named for v1::$message {
            const NAME: &'static str = concat!("nexus.v1.", stringify!($message));
        })*
        #[cfg(test)]
        const NAMES: &[&str] = &[$(<v1::$message as Named>::NAME),*];
    };
}

named!(
    Agent,
    Approval,
    Checkpoint,
    CreateTokenResponse,
    DeployAgentResponse,
    Diagnostics,
    EnsureAgentResponse,
    Entry,
    Event,
    Explanation,
    Forge,
    ForgeEvent,
    ForgedAgent,
    Generation,
    GenerationDiff,
    Grant,
    HotReload,
    HostStatus,
    Invocation,
    InvocationEvent,
    Lineage,
    Lock,
    Policy,
    Secret,
    Token,
    TriggerHotReloadResponse,
);

static POOL: LazyLock<Option<DescriptorPool>> =
    LazyLock::new(|| DescriptorPool::decode(nexus_proto::DESCRIPTOR_SET).ok());

/// The message as JSON.
pub(crate) fn value<M: Named>(message: &M) -> anyhow::Result<Json> {
    let descriptor = POOL
        .as_ref()
        .and_then(|pool| pool.get_message_by_name(M::NAME))
        .ok_or_else(|| anyhow!("the contract has no message {}", M::NAME))?;
    let message = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())
        .with_context(|| format!("failed to read a {}", M::NAME))?;
    Ok(object(&message))
}

fn object(message: &DynamicMessage) -> Json {
    if let Some(scalar) = well_known(message) {
        return scalar;
    }
    let mut object = Map::new();
    for field in message.descriptor().fields() {
        if field.supports_presence() && !message.has_field(&field) {
            continue;
        }
        let value = message.get_field(&field);
        object.insert(field.json_name().to_owned(), of_field(&value, &field));
    }
    Json::Object(object)
}

/// Times and durations are texts in ProtoJSON.
fn well_known(message: &DynamicMessage) -> Option<Json> {
    let number = |name| {
        message
            .get_field_by_name(name)
            .and_then(|value| value.as_i64().or_else(|| value.as_i32().map(i64::from)))
            .unwrap_or(0)
    };
    let text = match message.descriptor().full_name() {
        "google.protobuf.Timestamp" => prost_types::Timestamp {
            seconds: number("seconds"),
            nanos: number("nanos") as i32,
        }
        .to_string(),
        "google.protobuf.Duration" => prost_types::Duration {
            seconds: number("seconds"),
            nanos: number("nanos") as i32,
        }
        .to_string(),
        _ => return None,
    };
    Some(Json::String(text))
}

fn of_field(value: &Value, field: &FieldDescriptor) -> Json {
    match value {
        Value::List(items) => items
            .iter()
            .map(|item| single(item, &field.kind()))
            .collect(),
        Value::Map(entries) => {
            let kind = match field.kind() {
                Kind::Message(entry) => entry.map_entry_value_field().kind(),
                other => other,
            };
            Json::Object(
                entries
                    .iter()
                    .map(|(key, value)| (key_text(key), single(value, &kind)))
                    .collect(),
            )
        }
        other => single(other, &field.kind()),
    }
}

fn single(value: &Value, kind: &Kind) -> Json {
    match value {
        Value::Bool(value) => Json::from(*value),
        Value::I32(value) => Json::from(*value),
        Value::I64(value) => Json::from(*value),
        Value::U32(value) => Json::from(*value),
        Value::U64(value) => Json::from(*value),
        Value::F32(value) => Json::from(*value),
        Value::F64(value) => Json::from(*value),
        Value::String(value) => Json::from(value.as_str()),
        Value::Bytes(value) => Json::from(STANDARD.encode(value)),
        Value::EnumNumber(number) => kind
            .as_enum()
            .and_then(|values| values.get_value(*number))
            .map_or_else(|| Json::from(*number), |value| Json::from(value.name())),
        Value::Message(message) => object(message),
        Value::List(items) => items.iter().map(|item| single(item, kind)).collect(),
        Value::Map(_) => Json::Null,
    }
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_that_is_printed_is_in_the_contract() {
        let pool = POOL.as_ref().expect("the descriptors decode");
        for name in NAMES {
            assert!(pool.get_message_by_name(name).is_some(), "{name}");
        }
    }

    #[test]
    fn an_invocation_reads_as_protojson() {
        let invocation = v1::Invocation {
            name: "invocations/inv-1".to_owned(),
            generation: 7,
            state: v1::invocation::State::Failed.into(),
            outcome: Some(v1::invocation::Outcome::Refusal(v1::Refusal {
                kind: v1::refusal::Kind::Denied.into(),
                reason: "no".to_owned(),
            })),
            create_time: Some(prost_types::Timestamp {
                seconds: 1,
                nanos: 500_000_000,
            }),
            ..v1::Invocation::default()
        };
        let json = value(&invocation).expect("converted");
        assert_eq!(json["name"], "invocations/inv-1");
        assert_eq!(json["generation"], 7);
        assert_eq!(json["state"], "STATE_FAILED");
        assert_eq!(json["refusal"]["kind"], "KIND_DENIED");
        assert_eq!(json["createTime"], "1970-01-01T00:00:01.500Z");
        assert_eq!(json["componentDigest"], "");
        assert_eq!(json["approvals"], serde_json::json!([]));
        assert!(json.get("endTime").is_none());
        assert!(json.get("success").is_none());
    }
}
