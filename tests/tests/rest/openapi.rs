//! `/openapi.json`: every method is in it, and every path of it answers.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use http::{Method, StatusCode};
use nexus_proto::{DESCRIPTOR_SET, v1};
use nexus_tests::guests::root;
use nexus_tests::{Host, Http};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use serde_json::Value;

/// What stands in a path's holes.
fn filled(path: &str) -> String {
    let mut filled = String::new();
    for (at, piece) in path.split(['{', '}']).enumerate() {
        filled.push_str(if at % 2 == 0 { piece } else { "nobody" });
    }
    filled
}

/// Every operation: path, method, itself.
fn operations(document: &Value) -> anyhow::Result<Vec<(String, Method, Value)>> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().context("paths")? {
        for (verb, operation) in item.as_object().context("a path item")? {
            let verb = Method::from_bytes(verb.to_ascii_uppercase().as_bytes())?;
            all.push((path.clone(), verb, operation.clone()));
        }
    }
    Ok(all)
}

/// `Service.Method` of every method, with its comment's first words.
fn methods() -> anyhow::Result<BTreeSet<String>> {
    let set = FileDescriptorSet::decode(DESCRIPTOR_SET)?;
    let files = set.file.iter().filter(|file| file.package() == "nexus.v1");
    let services = files.flat_map(|file| &file.service);
    Ok(services
        .flat_map(|service| {
            let methods = service.method.iter();
            methods.map(|method| format!("{}.{}", service.name(), method.name()))
        })
        .collect())
}

/// The references in a document, and what they name.
fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(object) => {
            if let Some(reference) = object.get("$ref").and_then(Value::as_str) {
                found.insert(reference);
            }
            object.values().for_each(|value| references(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn every_method_is_in_the_document_with_its_words_and_its_roles() -> anyhow::Result<()> {
    let host = Host::start()?;
    // It needs no token, as reflection needs none.
    let document = Http::new(&host, None).get("/openapi.json").await?.good()?;
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(
        document["components"]["securitySchemes"]["bearer"]["scheme"],
        "bearer"
    );
    let all = operations(&document)?;
    let ids: BTreeSet<String> = all
        .iter()
        .filter_map(|(_, _, operation)| operation["operationId"].as_str())
        .map(str::to_owned)
        .collect();
    assert_eq!(ids.len(), all.len(), "operationIds are unique");
    let missing: Vec<_> = methods()?.difference(&ids).cloned().collect();
    assert!(missing.is_empty(), "{missing:?}");
    let guide: Vec<_> = document["paths"].as_object().unwrap().keys().collect();
    let guide = guide
        .iter()
        .filter(|path| path.starts_with("/api/v1/forge/"))
        .count();
    assert_eq!(guide, 6);

    // The roles are those of docs/roles.md.
    let table = std::fs::read_to_string(root().join("docs/roles.md"))?;
    for (path, verb, operation) in &all {
        let id = operation["operationId"].as_str().unwrap();
        if !id.contains('.') {
            continue;
        }
        let words = operation["description"].as_str().unwrap_or_default();
        assert!(!words.is_empty(), "{verb} {path} has no words");
        let row = table
            .lines()
            .find(|line| line.contains(&format!("| {id} |")));
        let cells: Vec<&str> = row.context("a row")?.split('|').map(str::trim).collect();
        let roles = ["operator", "approver", "forger", "caller"]
            .into_iter()
            .zip(&cells[2..]);
        let roles: Vec<&str> = roles
            .filter(|(_, cell)| **cell == "yes")
            .map(|(role, _)| role)
            .collect();
        assert_eq!(operation["x-nexus-roles"], serde_json::json!(roles), "{id}");
        // Every hole of the path is a parameter, and no parameter of the path is none.
        let holes: BTreeSet<&str> = path.split(['{', '}']).skip(1).step_by(2).collect();
        let parameters = operation["parameters"].as_array().context("parameters")?;
        let named: BTreeSet<&str> = parameters
            .iter()
            .filter(|parameter| parameter["in"] == "path")
            .filter_map(|parameter| parameter["name"].as_str())
            .collect();
        assert_eq!(holes, named, "{path}");
    }
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 30, "{found:?}");
    for reference in found {
        let pointer = reference.strip_prefix('#').context("a reference within")?;
        assert!(
            document.pointer(pointer).is_some(),
            "{reference} leads nowhere"
        );
    }
    Ok(())
}

#[tokio::test]
async fn every_path_of_the_document_is_there_for_those_who_may_and_for_nobody_else()
-> anyhow::Result<()> {
    let host = Host::start()?;
    let mut operator = host.operator().await?;
    let document = Http::new(&host, None).get("/openapi.json").await?.good()?;
    let mut clients = BTreeMap::new();
    for (name, role) in [
        ("operator", v1::Role::Operator),
        ("approver", v1::Role::Approver),
        ("forger", v1::Role::Forger),
        ("caller", v1::Role::Caller),
    ] {
        let token = v1::CreateTokenRequest {
            principal: format!("{name}-of-the-document"),
            role: role.into(),
            ..v1::CreateTokenRequest::default()
        };
        let made = operator.system.create_token(token).await?.into_inner();
        clients.insert(name, Http::new(&host, Some(&made.secret)));
    }
    let nobody = Http::new(&host, None);
    let mut asked = 0;
    for (path, verb, operation) in operations(&document)? {
        let Some(roles) = operation["x-nexus-roles"].as_array() else {
            continue;
        };
        let content = operation["requestBody"]["content"].as_object();
        let content = content.and_then(|content| content.keys().next()).cloned();
        let headers: Vec<(&str, &str)> = content
            .iter()
            .map(|content| ("content-type", content.as_str()))
            .collect();
        let path = filled(&path);
        let what = format!("{verb} {path}");
        let answer = nobody.send(verb.clone(), &path, &headers, "").await?;
        assert_eq!(
            answer.status,
            StatusCode::UNAUTHORIZED,
            "{what}: {answer:?}"
        );
        for (name, http) in &clients {
            let allowed = roles.iter().any(|role| role == name);
            let own = http.address();
            // A stream that was let through stays open; its head is enough.
            let response = http.open(own, verb.clone(), &path, &headers, "").await?;
            let status = response.status();
            let refused = status == StatusCode::FORBIDDEN;
            assert_eq!(!refused, allowed, "{what} as {name}: {status}");
            let served = [200, 400, 403, 404, 409].contains(&status.as_u16());
            assert!(served, "{what} as {name}: {status}");
            if status == StatusCode::NOT_FOUND {
                let answer = nexus_tests::http::Answer::of(response).await?;
                assert_ne!(answer.reason()?, "NO_SUCH_PATH", "{what}");
            }
            asked += 1;
        }
    }
    assert!(asked > 150, "{asked}");
    Ok(())
}
