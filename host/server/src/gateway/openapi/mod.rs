//! `/openapi.json`: what there is in JSON over HTTP, as OpenAPI 3.1, made from the descriptors that
//! the host serves by. The comments of the contract are its words.

mod comments;
mod published;
mod schema;

use bytes::Bytes;
use http::Method;
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use self::comments::Comments;
use self::schema::Schemas;
use super::routes::{Payload, Route, Routes};
use super::transcode::shape;
use crate::auth::roles_of;

/// Where it is.
pub(super) const PATH: &str = "/openapi.json";

/// The document, made once.
pub(super) fn document(pool: &DescriptorPool, routes: &Routes) -> Bytes {
    let comments = Comments::of(pool);
    let mut schemas = Schemas::new(pool, &comments);
    let mut paths = Map::new();
    let mut tags = Vec::new();
    for route in routes.all() {
        let service = route.method.parent_service();
        if !tags.iter().any(|tag: &Value| tag["name"] == service.name()) {
            let words = comments.of_service(service);
            tags.push(json!({ "name": service.name(), "description": words }));
        }
        let (path, fields) = route.template.described();
        let operation = operation(route, &fields, &comments, &mut schemas);
        put(&mut paths, path, &route.verb, operation);
    }
    for (path, verb, operation) in published::operations() {
        put(&mut paths, path, &verb, operation);
    }
    tags.push(published::tag());
    put(&mut paths, PATH.to_owned(), &Method::GET, own());
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "NEXUS",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Agents that act only behind a gate",
            "description": "The services of `nexus.v1` as JSON over HTTP. Messages are ProtoJSON: 64-bit numbers are \
                            texts, bytes are base64.",
            "license": { "name": "Apache License 2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "bearer": [] }],
        "tags": tags,
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of the host. `x-nexus-roles` says which roles may call an operation.",
                },
            },
            "responses": { "Error": schema::error_response() },
            "schemas": schemas.finish(),
        },
    });
    document.to_string().into()
}

fn put(paths: &mut Map<String, Value>, path: String, verb: &Method, operation: Value) {
    let item = paths.entry(path).or_insert_with(|| json!({}));
    item[verb.as_str().to_ascii_lowercase()] = operation;
}

fn operation(
    route: &Route,
    path: &[(String, String)],
    comments: &Comments,
    schemas: &mut Schemas<'_>,
) -> Value {
    let method = &route.method;
    let input = method.input();
    let words = comments.of_method(method);
    let mut parameters: Vec<Value> = path
        .iter()
        .map(|(name, field)| {
            let words = input
                .get_field_by_name(field)
                .map(|field| comments.of_field(&field))
                .unwrap_or_default();
            let words = match name == field {
                true => words,
                false => format!("The id in {words}"),
            };
            json!({
                "name": name, "in": "path", "required": true, "description": words,
                "schema": { "type": "string" },
            })
        })
        .collect();
    let taken = |field: &FieldDescriptor| path.iter().any(|(_, taken)| taken == field.name());
    let mut body = None;
    match &route.payload {
        Payload::Nothing => queries(&input, &taken, comments, schemas, &mut parameters),
        Payload::Message => {
            let schema = schemas.request(&input, &taken);
            body = Some(json!({ "application/json": { "schema": schema } }));
        }
        Payload::Field(name) => {
            let body_too = |field: &FieldDescriptor| taken(field) || field.name() == name;
            queries(&input, &body_too, comments, schemas, &mut parameters);
            let schema = input
                .get_field_by_name(name)
                .map(|field| schemas.field(&field));
            body = Some(json!({ "application/json": { "schema": schema } }));
        }
        Payload::Upload => {
            if let Some(Kind::Message(head)) = shape(&input).map(|(head, _)| head.kind()) {
                queries(&head, &taken, comments, schemas, &mut parameters);
            }
            body = Some(json!({ "application/wasm": {} }));
        }
    }
    let schema = schemas.message(&method.output());
    let answer = match method.is_server_streaming() {
        false => {
            json!({ "description": "The answer.", "content": { "application/json": { "schema": schema } } })
        }
        true => json!({
            "description": "A stream of events. Each has one message as its `data`; `event: error` carries an error \
                            and ends the stream, `event: end` ends it.",
            "content": { "text/event-stream": { "schema": { "type": "string" }, "x-nexus-message": schema } },
        }),
    };
    let service = method.parent_service();
    let roles: Vec<&str> = roles_of(&route.rpc)
        .iter()
        .map(|role| role.as_str())
        .collect();
    let mut operation = json!({
        "operationId": format!("{}.{}", service.name(), method.name()),
        "tags": [service.name()],
        "summary": summary(&words),
        "description": words,
        "parameters": parameters,
        "responses": {
            "200": answer,
            "default": { "$ref": "#/components/responses/Error" },
        },
        "x-nexus-roles": roles,
    });
    if let Some(content) = body {
        operation["requestBody"] = json!({ "required": true, "content": content });
    }
    operation
}

/// The first sentence.
fn summary(words: &str) -> String {
    let flat = words.replace('\n', " ");
    let end = flat.find(". ").map_or(flat.len(), |at| at);
    flat[..end].trim_end_matches('.').to_owned()
}

/// The fields that a query may hold.
fn queries(
    message: &MessageDescriptor,
    taken: &dyn Fn(&FieldDescriptor) -> bool,
    comments: &Comments,
    schemas: &mut Schemas<'_>,
    parameters: &mut Vec<Value>,
) {
    for field in message.fields().filter(|field| !taken(field)) {
        if schema::has_fields(&field) {
            continue;
        }
        parameters.push(json!({
            "name": field.json_name(),
            "in": "query",
            "required": schemas.is_required(&field),
            "description": comments.of_field(&field),
            "schema": schemas.field(&field),
        }));
    }
}

fn own() -> Value {
    json!({
        "operationId": "openapi",
        "summary": "This document",
        "security": [],
        "responses": {
            "200": {
                "description": "OpenAPI 3.1.",
                "content": { "application/json": { "schema": { "type": "object" } } },
            },
        },
    })
}
