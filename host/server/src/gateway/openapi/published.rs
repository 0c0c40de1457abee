//! The paths of the published guide, which no descriptor knows.

use http::Method;
use serde_json::{Value, json};

use crate::auth::roles_of;
use crate::gateway::published::{ALL, PREFIX, Published};

const TAG: &str = "Forge";

pub(super) fn tag() -> Value {
    json!({ "name": TAG, "description": "The forge as its published guide calls it. A skill is an agent." })
}

/// Path, method, operation.
pub(super) fn operations() -> impl Iterator<Item = (String, Method, Value)> {
    ALL.iter().map(|(path, verb, published)| {
        (
            format!("{PREFIX}{path}"),
            verb.clone(),
            operation(*published),
        )
    })
}

fn operation(published: Published) -> Value {
    let (id, rpc, words, answer) = match published {
        Published::Status => (
            "hotReloadStatus",
            "GetHotReload",
            "Tells whether hot-reload is enabled",
            object(&[("enabled", "boolean"), ("message", "string")]),
        ),
        Published::Enable => (
            "enableHotReload",
            "SetHotReload",
            "Enables hot-reload",
            object(&[("status", "string"), ("message", "string")]),
        ),
        Published::Disable => (
            "disableHotReload",
            "SetHotReload",
            "Disables hot-reload",
            object(&[("status", "string"), ("message", "string")]),
        ),
        Published::List => (
            "listHotReloaded",
            "ListForgedAgents",
            "Lists all hot-reloaded skills",
            json!({
                "type": "object",
                "required": ["skills", "count"],
                "properties": {
                    "count": { "type": "integer" },
                    "skills": {
                        "type": "array",
                        "items": object(&[
                            ("skill_name", "string"),
                            ("module_name", "string"),
                            ("file_path", "string"),
                            ("loaded_at", "integer"),
                        ]),
                    },
                },
            }),
        ),
        Published::Trigger => (
            "triggerHotReload",
            "TriggerHotReload",
            "Hot-reloads one skill, whether hot-reload is enabled or not",
            object(&[
                ("success", "boolean"),
                ("skill_name", "string"),
                ("message", "string"),
                ("compilation_time_ms", "integer"),
                ("load_time_ms", "integer"),
            ]),
        ),
        Published::Create => (
            "createSkill",
            "ForgeAgent",
            "Creates a skill and, if hot-reload is enabled, activates it. If a person has to accept its \
             permissions, `approval` says what to decide",
            created(),
        ),
    };
    let roles = roles_of(&format!("/nexus.v1.ForgeService/{rpc}"));
    let roles: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
    let mut operation = json!({
        "operationId": id,
        "tags": [TAG],
        "summary": words,
        "responses": {
            "200": {
                "description": "The answer.",
                "content": { "application/json": { "schema": answer } },
            },
            "default": { "$ref": "#/components/responses/Error" },
        },
        "x-nexus-roles": roles,
    });
    if let Some(schema) = request(published) {
        let content = json!({ "application/json": { "schema": schema } });
        operation["requestBody"] = json!({ "required": true, "content": content });
    }
    operation
}

fn request(published: Published) -> Option<Value> {
    match published {
        Published::Trigger => Some(json!({
            "type": "object",
            "required": ["skill_name"],
            "additionalProperties": false,
            "properties": {
                "skill_name": { "type": "string" },
                "module_name": { "type": "string" },
                "file_path": { "type": "string" },
            },
        })),
        Published::Create => Some(json!({
            "type": "object",
            "required": ["name"],
            "additionalProperties": false,
            "properties": {
                "name": { "type": "string" },
                "description": { "type": "string" },
                "params": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "additionalProperties": false,
                        "properties": {
                            "name": { "type": "string" },
                            "type": { "type": "string" },
                            "required": { "type": "boolean" },
                            "description": { "type": "string" },
                        },
                    },
                },
                "template": { "type": "string", "description": "A template of the forge." },
                "set": {
                    "type": "object",
                    "additionalProperties": { "type": "string" },
                    "description": "The values of the template's parameters.",
                },
            },
        })),
        _ => None,
    }
}

fn created() -> Value {
    let mut schema = object(&[
        ("success", "boolean"),
        ("skill_name", "string"),
        ("module_name", "string"),
        ("file_path", "string"),
        ("cargo_check_ok", "boolean"),
        ("hot_reloaded", "boolean"),
        ("compilation_time_ms", "integer"),
        ("load_time_ms", "integer"),
        ("message", "string"),
    ]);
    for (name, words) in [
        (
            "cargo_stderr",
            "What the compiler said, if the skill does not compile.",
        ),
        (
            "approval",
            "What a person has to decide before the skill is loaded.",
        ),
        (
            "permissions_digest",
            "Names exactly the permissions that are asked for.",
        ),
        ("note", "Why the skill is a skeleton, if it is one."),
    ] {
        schema["properties"][name] = json!({ "type": "string", "description": words });
    }
    let needs = json!({ "type": "array", "items": { "type": "object" } });
    schema["properties"]["needs_parameters"] = needs;
    schema
}

/// An object with these members, all there.
fn object(members: &[(&str, &str)]) -> Value {
    let names: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
    let properties: serde_json::Map<String, Value> = members
        .iter()
        .map(|(name, kind)| ((*name).to_owned(), json!({ "type": kind })))
        .collect();
    json!({ "type": "object", "required": names, "properties": properties })
}
