//! Messages as JSON Schema, in the form in which they travel.

use std::collections::BTreeSet;

use prost_reflect::{
    DescriptorPool, EnumDescriptor, ExtensionDescriptor, FieldDescriptor, Kind, MessageDescriptor,
    Value as Proto,
};
use serde_json::{Map, Value, json};

use super::comments::Comments;

/// `google.api.FieldBehavior.REQUIRED`.
const REQUIRED: Proto = Proto::EnumNumber(2);

/// The schemas that are needed, each once.
pub(super) struct Schemas<'a> {
    comments: &'a Comments,
    behavior: Option<ExtensionDescriptor>,
    done: Map<String, Value>,
    begun: BTreeSet<String>,
}

impl<'a> Schemas<'a> {
    pub(super) fn new(pool: &DescriptorPool, comments: &'a Comments) -> Self {
        Self {
            comments,
            behavior: pool.get_extension_by_name("google.api.field_behavior"),
            done: Map::new(),
            begun: BTreeSet::new(),
        }
    }

    /// All that were asked for.
    pub(super) fn finish(mut self) -> Map<String, Value> {
        self.done.insert("Status".to_owned(), error());
        self.done
    }

    /// Whether a request without this field is refused.
    pub(super) fn is_required(&self, field: &FieldDescriptor) -> bool {
        self.behavior.as_ref().is_some_and(|behavior| {
            let options = field.options();
            let values = options.get_extension(behavior);
            values
                .as_list()
                .is_some_and(|values| values.contains(&REQUIRED))
        })
    }

    /// The schema of a message, as what travels or as a reference to it.
    pub(super) fn message(&mut self, message: &MessageDescriptor) -> Value {
        if let Some(known) = well_known(message) {
            return known;
        }
        let name = name(message.full_name());
        if self.begun.insert(name.clone()) {
            let schema = self.object(message, &|_| false);
            self.done.insert(name.clone(), schema);
        }
        reference(&name)
    }

    /// The schema of a request's body: without what its path says.
    pub(super) fn request(
        &mut self,
        message: &MessageDescriptor,
        taken: &dyn Fn(&FieldDescriptor) -> bool,
    ) -> Value {
        let name = name(message.full_name());
        if self.begun.insert(name.clone()) {
            let mut schema = self.object(message, taken);
            schema["additionalProperties"] = false.into();
            let required: Vec<String> = message
                .fields()
                .filter(|field| !taken(field) && self.is_required(field))
                .map(|field| field.json_name().to_owned())
                .collect();
            if !required.is_empty() {
                schema["required"] = required.into();
            }
            self.done.insert(name.clone(), schema);
        }
        reference(&name)
    }

    fn object(
        &mut self,
        message: &MessageDescriptor,
        taken: &dyn Fn(&FieldDescriptor) -> bool,
    ) -> Value {
        let mut properties = Map::new();
        for field in message.fields().filter(|field| !taken(field)) {
            let mut schema = self.field(&field);
            let mut words = self.comments.of_field(&field);
            if let Some(oneof) = field.containing_oneof() {
                let one = self.comments.of_oneof(&oneof);
                words = format!(
                    "{words}\n\nAt most one field of `{}` is set. {one}",
                    oneof.name()
                );
            }
            schema["description"] = words.into();
            properties.insert(field.json_name().to_owned(), schema);
        }
        json!({
            "type": "object",
            "description": self.comments.of_message(message),
            "properties": properties,
        })
    }

    /// The schema of a field's value.
    pub(super) fn field(&mut self, field: &FieldDescriptor) -> Value {
        if field.is_map() {
            let value = match field.kind() {
                Kind::Message(entry) => self.kind(&entry.map_entry_value_field().kind()),
                other => self.kind(&other),
            };
            return json!({ "type": "object", "additionalProperties": value });
        }
        let one = self.kind(&field.kind());
        match field.is_list() {
            true => json!({ "type": "array", "items": one }),
            false => one,
        }
    }

    fn kind(&mut self, kind: &Kind) -> Value {
        match kind {
            Kind::Bool => json!({ "type": "boolean" }),
            Kind::String => json!({ "type": "string" }),
            Kind::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
            Kind::Double | Kind::Float => json!({ "type": "number" }),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
                json!({ "type": "integer", "format": "int32" })
            }
            Kind::Uint32 | Kind::Fixed32 => json!({ "type": "integer", "minimum": 0 }),
            // JSON has no room for them as numbers.
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
                json!({ "type": "string", "pattern": "^-?[0-9]+$" })
            }
            Kind::Uint64 | Kind::Fixed64 => json!({ "type": "string", "pattern": "^[0-9]+$" }),
            Kind::Enum(values) => self.values(values),
            Kind::Message(message) => self.message(message),
        }
    }

    fn values(&mut self, values: &EnumDescriptor) -> Value {
        let name = name(values.full_name());
        if self.begun.insert(name.clone()) {
            let names: Vec<String> = values
                .values()
                .map(|value| value.name().to_owned())
                .collect();
            let mut words = self.comments.of_enum(values);
            for value in values.values() {
                let said = self.comments.of_value(&value).replace('\n', " ");
                words = format!("{words}\n- `{}`: {said}", value.name());
            }
            let schema = json!({ "type": "string", "enum": names, "description": words });
            self.done.insert(name.clone(), schema);
        }
        reference(&name)
    }
}

/// Whether a field has fields of its own, and so no place in a query.
pub(super) fn has_fields(field: &FieldDescriptor) -> bool {
    match field.kind() {
        Kind::Message(message) => {
            field.is_map()
                || !matches!(
                    message.full_name(),
                    "google.protobuf.Timestamp" | "google.protobuf.Duration"
                )
        }
        _ => false,
    }
}

/// How every error looks.
pub(super) fn error_response() -> Value {
    json!({
        "description": "An error.",
        "content": { "application/json": { "schema": reference("Status") } },
    })
}

fn error() -> Value {
    json!({
        "type": "object",
        "description": "`google.rpc.Status`. The detail of the type `google.rpc.ErrorInfo` has a stable `reason`.",
        "required": ["code", "message", "details"],
        "properties": {
            "code": { "type": "integer", "description": "The `google.rpc.Code`." },
            "message": { "type": "string", "description": "For people; may change." },
            "details": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["@type"],
                    "properties": {
                        "@type": { "type": "string" },
                        "reason": { "type": "string" },
                        "domain": { "type": "string" },
                        "metadata": { "type": "object", "additionalProperties": { "type": "string" } },
                    },
                },
            },
        },
    })
}

fn well_known(message: &MessageDescriptor) -> Option<Value> {
    Some(match message.full_name() {
        "google.protobuf.Timestamp" => json!({ "type": "string", "format": "date-time" }),
        "google.protobuf.Duration" => {
            json!({ "type": "string", "pattern": "^-?[0-9]+(\\.[0-9]{1,9})?s$" })
        }
        "google.protobuf.FieldMask" => json!({ "type": "string" }),
        "google.protobuf.Empty" => json!({ "type": "object" }),
        "google.protobuf.Struct" => json!({ "type": "object" }),
        "google.protobuf.Value" => json!({}),
        _ => return None,
    })
}

fn name(full: &str) -> String {
    full.strip_prefix("nexus.v1.").unwrap_or(full).to_owned()
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}
