//! What every method of the contract keeps to, read from the descriptors.

use std::collections::{BTreeMap, BTreeSet};

use nexus_proto::{
    DESCRIPTOR_SET,
    v1::{CreateTokenResponse, SetSecretRequest},
};
use prost_reflect::{
    Cardinality, DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor,
    MethodDescriptor, Value,
};

#[test]
fn every_method_has_a_rest_path() {
    let pool = pool();
    let mut taken = BTreeMap::new();
    for method in methods(&pool) {
        let name = method.full_name().to_owned();
        let route = route(&pool, &method);
        let route = route.unwrap_or_else(|| panic!("{name} has no google.api.http option"));
        assert!(route.path.starts_with("/v1/"), "{name}: {}", route.path);
        let bodied = matches!(route.verb.as_str(), "post" | "put" | "patch");
        assert_eq!(route.body, if bodied { "*" } else { "" }, "{name}");
        for variable in route.variables() {
            let field = method.input().get_field_by_name(&variable);
            let field = field.unwrap_or_else(|| panic!("{name} has no field {variable}"));
            assert!(required(&pool, &field), "{name}: {variable} is in the path");
        }
        if let Some(other) = taken.insert((route.verb, route.path), name.clone()) {
            panic!("{name} and {other} have one path");
        }
    }
    assert!(taken.len() > 30, "the descriptors hold the services");
}

#[test]
fn every_list_is_paged() {
    let pool = pool();
    let lists = methods(&pool).filter(|method| method.name().starts_with("List"));
    let mut count = 0;
    for method in lists {
        count += 1;
        let name = method.full_name();
        let (input, output) = (method.input(), method.output());
        assert_eq!(kind(&input, "page_size"), Some(Kind::Int32), "{name}");
        assert_eq!(kind(&input, "page_token"), Some(Kind::String), "{name}");
        assert_eq!(
            kind(&output, "next_page_token"),
            Some(Kind::String),
            "{name}"
        );
        let items = output
            .fields()
            .filter(|field| field.cardinality() == Cardinality::Repeated);
        assert_eq!(items.count(), 1, "{name} lists one kind of thing");
    }
    assert!(count > 0, "the descriptors hold lists");
}

#[test]
fn what_creates_can_be_repeated_and_what_changes_can_be_guarded() {
    let pool = pool();
    let creates = [
        "DeployAgentMetadata",
        "InvokeAgentRequest",
        "StartInvocationRequest",
        "DecideApprovalRequest",
        "ForgeAgentRequest",
        "CreateTokenRequest",
    ];
    let changes = [
        "DeleteAgentRequest",
        "RollbackAgentRequest",
        "SetSecretRequest",
        "DeleteSecretRequest",
        "PutEntryRequest",
        "DeleteEntryRequest",
    ];
    for (messages, field) in [(creates, "request_id"), (changes, "etag")] {
        for message in messages {
            let descriptor = pool.get_message_by_name(&format!("nexus.v1.{message}"));
            let descriptor = descriptor.unwrap_or_else(|| panic!("no {message}"));
            assert_eq!(kind(&descriptor, field), Some(Kind::String), "{message}");
        }
    }
}

#[test]
fn a_secret_is_answered_once_and_never_printed() {
    let pool = pool();
    let mut answered = BTreeSet::new();
    for method in methods(&pool) {
        let mut seen = BTreeSet::new();
        collect(&method.output(), &mut seen);
        for message in seen {
            let message = pool.get_message_by_name(&message).expect("it was found");
            if message.fields().any(|field| redacted(&field)) {
                answered.insert(method.full_name().to_owned());
            }
        }
    }
    let only: BTreeSet<String> = ["nexus.v1.SystemService.CreateToken".to_owned()].into();
    assert_eq!(answered, only);

    let hidden: BTreeSet<String> = pool
        .all_messages()
        .filter(|message| message.fields().any(|field| redacted(&field)))
        .map(|message| message.name().to_owned())
        .collect();
    assert_eq!(
        hidden,
        ["CreateTokenResponse", "SetSecretRequest"]
            .map(str::to_owned)
            .into(),
        "each needs a `Debug` of its own"
    );
    let request = SetSecretRequest {
        secret_id: "exchange-key".to_owned(),
        value: "hunter2".to_owned(),
        ..SetSecretRequest::default()
    };
    let response = CreateTokenResponse {
        secret: "hunter2".to_owned(),
        ..CreateTokenResponse::default()
    };
    let printed = format!("{request:?} {response:?}");
    assert!(printed.contains("exchange-key"), "{printed}");
    assert!(!printed.contains("hunter2"), "{printed}");
}

#[test]
fn everything_is_documented() {
    let pool = pool();
    let mut bare = Vec::new();
    for file in pool
        .files()
        .filter(|file| file.package_name() == "nexus.v1")
    {
        let documented: BTreeSet<Vec<i32>> = file
            .file_descriptor_proto()
            .source_code_info
            .iter()
            .flat_map(|info| &info.location)
            .filter(|location| location.leading_comments.is_some())
            .map(|location| location.path.clone())
            .collect();
        let mut check = |name: &str, path: &[i32]| {
            if !documented.contains(path) {
                bare.push(name.to_owned());
            }
        };
        for service in file.services() {
            check(service.full_name(), service.path());
            for method in service.methods() {
                check(method.full_name(), method.path());
            }
        }
        let messages = pool
            .all_messages()
            .filter(|message| message.parent_file() == file && !message.is_map_entry());
        for message in messages {
            check(message.full_name(), message.path());
            for field in message.fields() {
                check(field.full_name(), field.path());
            }
            for oneof in message.oneofs() {
                check(oneof.full_name(), oneof.path());
            }
        }
        for values in pool
            .all_enums()
            .filter(|values| values.parent_file() == file)
        {
            check(values.full_name(), values.path());
            let zero = values.get_value(0).expect("proto3 enums have a zero");
            assert!(
                zero.name().ends_with("_UNSPECIFIED"),
                "{}",
                zero.full_name()
            );
            for value in values.values() {
                check(value.full_name(), value.path());
            }
        }
    }
    assert!(bare.is_empty(), "without a comment: {bare:?}");
}

/// One `google.api.http` rule.
struct Route {
    verb: String,
    path: String,
    body: String,
}

impl Route {
    /// The fields that the path holds: `name` in `/v1/{name=agents/*}`.
    fn variables(&self) -> Vec<String> {
        let parts = self.path.split('{').skip(1);
        parts
            .map(|part| {
                let (variable, _) = part.split_once('}').expect("braces are closed");
                variable.split('=').next().unwrap_or(variable).to_owned()
            })
            .collect()
    }
}

fn route(pool: &DescriptorPool, method: &MethodDescriptor) -> Option<Route> {
    let http = pool
        .get_extension_by_name("google.api.http")
        .expect("DESCRIPTOR_SET keeps the option");
    let options = method.options();
    if !options.has_extension(&http) {
        return None;
    }
    let value = options.get_extension(&http).into_owned();
    let rule = value.as_message().expect("the option is a message");
    let verb = ["get", "put", "post", "delete", "patch"]
        .into_iter()
        .find(|verb| rule.has_field_by_name(verb))?;
    Some(Route {
        verb: verb.to_owned(),
        path: string(rule, verb),
        body: string(rule, "body"),
    })
}

fn required(pool: &DescriptorPool, field: &FieldDescriptor) -> bool {
    let behavior = pool
        .get_extension_by_name("google.api.field_behavior")
        .expect("DESCRIPTOR_SET keeps the option");
    let options = field.options();
    let values = options.get_extension(&behavior).into_owned();
    let values = values.as_list().unwrap_or_default().to_vec();
    values.contains(&Value::EnumNumber(2))
}

fn redacted(field: &FieldDescriptor) -> bool {
    let value = field
        .options()
        .get_field_by_name("debug_redact")
        .map(|value| value.into_owned());
    value.and_then(|value| value.as_bool()).unwrap_or(false)
}

/// Adds the names of `message` and of all that it can hold.
fn collect(message: &MessageDescriptor, seen: &mut BTreeSet<String>) {
    if seen.insert(message.full_name().to_owned()) {
        for field in message.fields() {
            if let Kind::Message(inner) = field.kind() {
                collect(&inner, seen);
            }
        }
    }
}

fn kind(message: &MessageDescriptor, field: &str) -> Option<Kind> {
    message.get_field_by_name(field).map(|field| field.kind())
}

fn string(message: &DynamicMessage, field: &str) -> String {
    let value = message
        .get_field_by_name(field)
        .map(|value| value.into_owned());
    value
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn methods(pool: &DescriptorPool) -> impl Iterator<Item = MethodDescriptor> + '_ {
    pool.services()
        .flat_map(|service| service.methods().collect::<Vec<_>>())
}

fn pool() -> DescriptorPool {
    DescriptorPool::decode(DESCRIPTOR_SET).expect("DESCRIPTOR_SET is a descriptor set")
}
