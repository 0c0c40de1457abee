//! One way in: the doors of gRPC are the doors of JSON.

use http::{Method, StatusCode};
use nexus_proto::v1;
use nexus_tests::{Client, Host, Http};
use serde_json::{Value, json};

const JSON: (&str, &str) = ("content-type", "application/json");

/// The records of the trail since there were so many, without what differs from call to call.
async fn since(
    client: &mut Client,
    before: usize,
) -> anyhow::Result<Vec<(String, String, String, String)>> {
    let list = v1::ListEventsRequest {
        page_size: 1_000,
        ..v1::ListEventsRequest::default()
    };
    let events = client.audit.list_events(list).await?.into_inner().events;
    let told = events.into_iter().skip(before);
    Ok(told
        .filter(|event| event.kind != "checkpoint")
        .map(|event| (event.kind, event.principal, event.outcome, event.detail))
        .collect())
}

async fn length(client: &mut Client) -> anyhow::Result<usize> {
    let list = v1::ListEventsRequest {
        page_size: 1_000,
        ..v1::ListEventsRequest::default()
    };
    Ok(client
        .audit
        .list_events(list)
        .await?
        .into_inner()
        .events
        .len())
}

#[tokio::test]
async fn a_call_in_json_leaves_the_records_that_it_leaves_in_grpc() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut reader = host.operator().await?;
    let mut client = host.operator().await?;
    let http = Http::operator(&host);

    let before = length(&mut reader).await?;
    let switch = v1::SetHotReloadRequest { enabled: false };
    client.forge.set_hot_reload(switch).await?;
    let put = v1::PutEntryRequest {
        name: "spaces/kb/entries/one".to_owned(),
        value: b"1".to_vec(),
        ..v1::PutEntryRequest::default()
    };
    client.memory.put_entry(put).await?;
    let invoke = v1::InvokeAgentRequest {
        name: "agents/nobody".to_owned(),
        ..v1::InvokeAgentRequest::default()
    };
    assert!(client.invocations.invoke_agent(invoke).await.is_err());
    let grpc = since(&mut reader, before).await?;

    let before = length(&mut reader).await?;
    let body = json!({ "enabled": false });
    http.post("/v1/hotReload:set", &body).await?.good()?;
    let path = "/v1/spaces/kb/entries/one";
    let put = http
        .send(Method::PUT, path, &[JSON], r#"{"value":"MQ=="}"#)
        .await?;
    put.good()?;
    let nobody = http.post("/v1/agents/nobody:invoke", &json!({})).await?;
    assert_eq!(nobody.status, StatusCode::NOT_FOUND);
    let rest = since(&mut reader, before).await?;
    assert!(grpc.len() >= 2, "{grpc:?}");
    assert_eq!(rest, grpc);
    Ok(())
}

#[tokio::test]
async fn without_a_token_nothing_is_told_and_with_the_wrong_role_only_that() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut operator = host.operator().await?;
    let token = v1::CreateTokenRequest {
        principal: "bob".to_owned(),
        role: v1::Role::Caller.into(),
        ..v1::CreateTokenRequest::default()
    };
    let caller = operator
        .system
        .create_token(token)
        .await?
        .into_inner()
        .secret;
    let switch = json!({ "enabled": false });
    for token in [None, Some("nexus_guess"), Some("")] {
        let http = Http::new(&host, token);
        for answer in [
            http.get("/v1/status").await?,
            http.get("/v1/agents/nope").await?,
            http.get("/v1/agents?bogus=1").await?,
            http.get("/v1/no/such/path").await?,
            http.get("/v1/events:watch").await?,
            http.post("/v1/hotReload:set", &switch).await?,
            http.post("/v1/hotReload:set", &Value::Null).await?,
        ] {
            assert_eq!(
                answer.status,
                StatusCode::UNAUTHORIZED,
                "{token:?} {answer:?}"
            );
            assert_eq!(answer.reason()?, "UNAUTHENTICATED");
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
            assert!(!answer.headers.contains_key("nexus-audit-head"));
        }
    }
    let http = Http::new(&host, Some(&caller));
    let seen = http.get("/v1/status").await?;
    seen.good()?;
    assert!(seen.headers.contains_key("nexus-audit-head"));
    for answer in [
        http.post("/v1/hotReload:set", &switch).await?,
        http.get("/v1/events:watch").await?,
        http.get("/v1/secrets").await?,
        // What is wrong with a body is told to those who may send it.
        http.post("/v1/hotReload:set", &json!("nonsense")).await?,
    ] {
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{answer:?}");
        assert_eq!(answer.reason()?, "ROLE_NOT_ALLOWED");
    }
    let switch = operator.forge.get_hot_reload(v1::GetHotReloadRequest {});
    assert!(switch.await?.into_inner().enabled, "nothing was switched");
    Ok(())
}

#[tokio::test]
async fn a_rate_and_a_full_house_hold_for_both_ways_together() -> anyhow::Result<()> {
    let host = Host::builder()
        .config("[server]\ncalls_per_second = 5\nconcurrent_streams = 1\n")
        .start()?;
    let http = Http::operator(&host);
    let _watching = http.watch("/v1/agents:watch", &[]).await?;
    let full = http.get("/v1/agents:watch").await?;
    assert_eq!(full.status, StatusCode::SERVICE_UNAVAILABLE, "{full:?}");
    assert_eq!(full.reason()?, "OVERLOADED");
    assert_eq!(full.headers["retry-after"], "1");
    let mut refused = None;
    for _ in 0..1_000 {
        let answer = http.get("/v1/status").await?;
        if answer.status != StatusCode::OK {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.unwrap();
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.reason()?, "RATE_LIMITED");
    assert!(refused.headers.contains_key("retry-after"));
    Ok(())
}

#[tokio::test]
async fn t32_large_bodies_and_headers_are_refused_over_http_1() -> anyhow::Result<()> {
    let host = Host::start()?;
    let http = Http::operator(&host);
    let large = json!({ "input": "x".repeat(5 << 20) });
    let answer = http.post("/v1/agents/echo:invoke", &large).await?;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{answer:?}");
    assert_eq!(answer.reason()?, "MESSAGE_TOO_LARGE");
    let wasm = [("content-type", "application/wasm")];
    let answer = http
        .send(Method::POST, "/v1/agents:deploy", &wasm, vec![0; 33 << 20])
        .await?;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{answer:?}");
    assert_eq!(answer.reason()?, "COMPONENT_TOO_LARGE");

    let long = "x".repeat(20 << 10);
    let answer = http
        .send(Method::GET, "/v1/status", &[("x-long", &long)], "")
        .await?;
    assert_eq!(answer.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    let answer = http.get(&format!("/v1/agents?tag={long}")).await?;
    assert_eq!(answer.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    let ordinary = "x".repeat(8 << 10);
    let answer = http
        .send(Method::GET, "/v1/status", &[("x-long", &ordinary)], "")
        .await?;
    answer.good()?;
    Ok(())
}
