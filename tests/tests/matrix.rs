//! Every method of every service, from the descriptors that the host serves: without a token, with a
//! worthless one, and with each role, as the table in `docs/roles.md` says.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use nexus_proto::{DESCRIPTOR_SET, v1};
use nexus_tests::client::reason;
use nexus_tests::raw::Raw;
use nexus_tests::{Host, guests};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

const ROLES: [(&str, v1::Role); 4] = [
    ("operator", v1::Role::Operator),
    ("approver", v1::Role::Approver),
    ("forger", v1::Role::Forger),
    ("caller", v1::Role::Caller),
];

/// Calls any method with one empty message, and says how the call was answered. Every kind of method
/// is a stream of messages either way, so one way of calling does for all.
async fn call(channel: &Channel, path: &str, authorization: Option<&str>) -> Result<(), Status> {
    let mut client = Grpc::new(channel.clone());
    client
        .ready()
        .await
        .map_err(|error| Status::unknown(format!("not ready: {error}")))?;
    let mut request = Request::new(tokio_stream::iter([Bytes::new()]));
    if let Some(authorization) = authorization {
        let value = authorization
            .parse()
            .map_err(|_| Status::unknown("the test's own header"))?;
        request.metadata_mut().insert("authorization", value);
    }
    let path = path
        .parse()
        .map_err(|_| Status::unknown("the test's own path"))?;
    // A stream that was let through stays open; it ends when it is dropped here.
    client.streaming(request, path, Raw).await.map(drop)
}

/// `Service.Method` of every method of this project.
fn methods() -> anyhow::Result<Vec<String>> {
    let set = FileDescriptorSet::decode(DESCRIPTOR_SET)?;
    let mut methods = Vec::new();
    for file in set.file.iter().filter(|file| file.package() == "nexus.v1") {
        for service in &file.service {
            for method in &service.method {
                methods.push(format!("{}.{}", service.name(), method.name()));
            }
        }
    }
    ensure!(!methods.is_empty(), "the descriptors name no method");
    methods.sort();
    Ok(methods)
}

fn path(method: &str) -> String {
    format!("/nexus.v1.{}", method.replacen('.', "/", 1))
}

/// The table of `docs/roles.md`: for each method, whether each role may call it.
fn documented() -> anyhow::Result<BTreeMap<String, BTreeMap<String, bool>>> {
    let text = std::fs::read_to_string(guests::root().join("docs/roles.md"))?;
    let cells = |line: &str| -> Vec<String> {
        let line = line.trim().trim_matches('|');
        line.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let mut lines = text.lines().map(cells);
    let head = lines
        .find(|cells| cells.first().is_some_and(|first| first == "method"))
        .context("docs/roles.md has no table of methods")?;
    let mut table = BTreeMap::new();
    for row in lines.skip(1).filter(|row| row.len() == head.len()) {
        let mut roles = BTreeMap::new();
        for (role, cell) in head.iter().zip(&row).skip(1) {
            ensure!(cell == "yes" || cell == "no", "{row:?}: write yes or no");
            roles.insert(role.clone(), cell == "yes");
        }
        let twice = table.insert(row[0].clone(), roles);
        ensure!(twice.is_none(), "{} stands twice", row[0]);
    }
    Ok(table)
}

#[tokio::test]
async fn no_method_answers_without_a_valid_token() -> anyhow::Result<()> {
    let host = Host::start()?;
    let channel = host.channel().await?;
    let mut operator = host.operator().await?;
    let revoked = v1::CreateTokenRequest {
        principal: "former".to_owned(),
        role: v1::Role::Operator.into(),
        ..v1::CreateTokenRequest::default()
    };
    let revoked = operator.system.create_token(revoked).await?.into_inner();
    let name = revoked.token.context("a token")?.name;
    let revoke = v1::RevokeTokenRequest { name, grace: None };
    operator.system.revoke_token(revoke).await?;

    let good = host.token();
    let worthless = [
        None,
        Some(String::new()),
        Some("Bearer".to_owned()),
        Some("Bearer ".to_owned()),
        Some("Bearer nexus_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned()),
        Some(format!("Basic {good}")),
        Some(good.to_owned()),
        Some(format!("Bearer {}", &good[..good.len() - 1])),
        Some(format!("Bearer {good}x")),
        Some(format!("Bearer {}", good.to_uppercase())),
        Some(format!("Bearer {}", revoked.secret)),
    ];
    for method in methods()? {
        for authorization in &worthless {
            let answer = call(&channel, &path(&method), authorization.as_deref()).await;
            let status = answer.expect_err(&method);
            assert_eq!(
                status.code(),
                Code::Unauthenticated,
                "{method} with {authorization:?}: {status:?}"
            );
            assert_eq!(reason(&status), "UNAUTHENTICATED", "{method}");
            assert!(
                !status.message().contains(good),
                "{method} tells a token: {status:?}"
            );
        }
    }
    // The same caller with a token is let in, so it was the token that was missing.
    operator.system.get_status(v1::GetStatusRequest {}).await?;
    Ok(())
}

#[tokio::test]
async fn each_role_may_call_what_the_documented_matrix_says() -> anyhow::Result<()> {
    let table = documented()?;
    let listed: Vec<_> = table.keys().cloned().collect();
    assert_eq!(listed, methods()?, "docs/roles.md and the descriptors");

    let host = Host::start()?;
    let channel = host.channel().await?;
    let mut operator = host.operator().await?;
    let mut wrong = Vec::new();
    for (role, wire) in ROLES {
        let request = v1::CreateTokenRequest {
            principal: format!("{role}-of-the-matrix"),
            role: wire.into(),
            ..v1::CreateTokenRequest::default()
        };
        let token = operator.system.create_token(request).await?.into_inner();
        let bearer = format!("Bearer {}", token.secret);
        for (method, roles) in &table {
            let allowed = *roles
                .get(role)
                .with_context(|| format!("docs/roles.md has no column for {role}"))?;
            let answer = call(&channel, &path(method), Some(&bearer)).await;
            let right = match (&answer, allowed) {
                (Ok(()), allowed) => allowed,
                (Err(status), false) => {
                    status.code() == Code::PermissionDenied && reason(status) == "ROLE_NOT_ALLOWED"
                }
                // An empty message is refused by the method itself, which then was reached.
                (Err(status), true) => matches!(
                    status.code(),
                    Code::InvalidArgument | Code::NotFound | Code::FailedPrecondition
                ),
            };
            if !right {
                wrong.push(format!(
                    "{role} calls {method}, allowed {allowed}: {answer:?}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[tokio::test]
async fn a_method_that_nobody_documented_is_refused_to_everyone() -> anyhow::Result<()> {
    let host = Host::start()?;
    let channel = host.channel().await?;
    let bearer = format!("Bearer {}", host.token());
    for path in [
        "/nexus.v1.VaultService/GetSecret",
        "/nexus.v1.VaultService/setsecret",
        "/nexus.v1.NoService/NoMethod",
        "/nexus.v2.VaultService/ListSecrets",
    ] {
        let anonymous = call(&channel, path, None).await.expect_err(path);
        assert_eq!(anonymous.code(), Code::Unauthenticated, "{path}");
        let known = call(&channel, path, Some(&bearer)).await.expect_err(path);
        assert_eq!(known.code(), Code::PermissionDenied, "{path}: {known:?}");
    }
    Ok(())
}

#[tokio::test]
async fn health_and_reflection_need_no_token() -> anyhow::Result<()> {
    let host = Host::start()?;
    let channel = host.channel().await?;
    call(&channel, "/grpc.health.v1.Health/Check", None).await?;
    let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    // The stream is opened; what is asked over it is the Python client's test.
    call(&channel, reflection, None).await?;
    Ok(())
}

#[tokio::test]
async fn the_last_operator_token_stays() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut operator = host.operator().await?;
    let tokens = operator
        .system
        .list_tokens(v1::ListTokensRequest::default());
    let tokens = tokens.await?.into_inner().tokens;
    assert_eq!(tokens.len(), 1, "{tokens:?}");
    let revoke = v1::RevokeTokenRequest {
        name: tokens[0].name.clone(),
        grace: None,
    };
    let refused = operator.system.revoke_token(revoke).await;
    let refused = refused.expect_err("nobody could run this host");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(reason(&refused), "LAST_OPERATOR");
    operator.system.get_status(v1::GetStatusRequest {}).await?;
    Ok(())
}

#[tokio::test]
async fn a_repeated_request_makes_no_second_token_and_the_newest_are_listed_first()
-> anyhow::Result<()> {
    let host = Host::start()?;
    let mut operator = host.operator().await?;
    let request = |principal: &str, request_id: &str| v1::CreateTokenRequest {
        principal: principal.to_owned(),
        role: v1::Role::Caller.into(),
        request_id: request_id.to_owned(),
        ..v1::CreateTokenRequest::default()
    };
    let first = request("anna", "anna-1");
    operator.system.create_token(first.clone()).await?;
    let again = operator.system.create_token(first.clone()).await;
    let again = again.expect_err("its secret was shown once");
    assert_eq!(again.code(), Code::AlreadyExists, "{again:?}");
    // Another id, and the same id of another principal, are other requests.
    operator
        .system
        .create_token(request("bob", "bob-1"))
        .await?;
    let mut second = host.client("deputy", v1::Role::Operator).await?;
    second.system.create_token(first).await?;

    let (mut principals, mut page_token) = (Vec::new(), String::new());
    loop {
        let list = v1::ListTokensRequest {
            page_size: 2,
            page_token,
        };
        let page = operator.system.list_tokens(list).await?.into_inner();
        principals.extend(page.tokens.into_iter().map(|token| token.principal));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(principals, ["anna", "deputy", "bob", "anna", "operator"]);
    Ok(())
}
