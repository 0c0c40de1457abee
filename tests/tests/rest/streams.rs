//! Streams as events.

use nexus_proto::v1;
use nexus_tests::http::Version;
use nexus_tests::{Host, Http, guests};
use serde_json::{Value, json};

#[tokio::test]
async fn a_watch_tells_what_happens_and_its_end() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut client = host.operator().await?;
    client.deploy(&guests::component("echo")).await?;
    for version in [Version::One, Version::Two] {
        let http = Http::operator(&host).over(version);
        let begun = http
            .post("/v1/agents/echo:start", &json!({ "input": "1" }))
            .await?;
        let name = begun.good()?["name"].as_str().unwrap().to_owned();
        let mut events = http.watch(&format!("/v1/{name}:watch"), &[]).await?;
        let mut states = Vec::new();
        let mut end = None;
        while let Some(event) = events.next().await? {
            if event.name.is_some() {
                end = event.name;
            } else {
                states.push(event.data["state"]["state"].clone());
            }
        }
        assert_eq!(
            states.last(),
            Some(&Value::from("STATE_SUCCEEDED")),
            "{states:?}"
        );
        assert_eq!(end.as_deref(), Some("end"));
    }
    Ok(())
}

#[tokio::test]
async fn the_trail_is_followed_on_from_the_last_event_that_was_seen() -> anyhow::Result<()> {
    let host = Host::start()?;
    let http = Http::operator(&host);
    let mut seen = Vec::new();
    let mut events = http.watch("/v1/events:watch?after_sequence=1", &[]).await?;
    let first = events.next().await?.unwrap();
    assert_eq!(first.id.as_deref(), Some("2"), "{first:?}");
    assert_eq!(first.data["sequence"], "2");
    seen.push(first.id.unwrap());
    drop(events);
    // What happens while nobody watches is not missed.
    for enabled in [false, true] {
        let body = json!({ "enabled": enabled });
        http.post("/v1/hotReload:set", &body).await?.good()?;
    }
    let last = seen[0].clone();
    let headers = [("last-event-id", last.as_str())];
    // The header is newer than the address that the client began with.
    let mut events = http
        .watch("/v1/events:watch?after_sequence=1", &headers)
        .await?;
    let mut switched = Vec::new();
    let mut expected = 3;
    while switched.len() < 2 {
        let event = events.next().await?.unwrap();
        assert_eq!(event.id, Some(expected.to_string()));
        expected += 1;
        if event.data["kind"] == "hot_reload_set" {
            switched.push(event.data["outcome"].clone());
        }
    }
    assert_eq!(switched, ["disabled", "enabled"]);
    let bad = http
        .send(
            http::Method::GET,
            "/v1/events:watch",
            &[("last-event-id", "x")],
            "",
        )
        .await?;
    assert_eq!(bad.reason()?, "INVALID_FIELD", "{bad:?}");
    Ok(())
}

#[tokio::test]
async fn a_stream_ends_with_the_token_that_opened_it() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut operator = host.operator().await?;
    let token = v1::CreateTokenRequest {
        principal: "watcher".to_owned(),
        role: v1::Role::Approver.into(),
        ..v1::CreateTokenRequest::default()
    };
    let made = operator.system.create_token(token).await?.into_inner();
    let http = Http::new(&host, Some(&made.secret));
    let mut events = http.watch("/v1/approvals:watch", &[]).await?;
    let revoke = v1::RevokeTokenRequest {
        name: made.token.unwrap().name,
        grace: None,
    };
    operator.system.revoke_token(revoke).await?;
    let event = events.next().await?.unwrap();
    assert_eq!(event.name.as_deref(), Some("error"), "{event:?}");
    assert_eq!(event.data["code"], 16);
    assert_eq!(event.data["details"][0]["reason"], "UNAUTHENTICATED");
    assert!(events.next().await?.is_none());
    Ok(())
}

#[tokio::test]
async fn a_stream_that_cannot_begin_is_an_error_like_any_other() -> anyhow::Result<()> {
    let host = Host::start()?;
    let http = Http::operator(&host);
    let answer = http.get("/v1/invocations/inv-none:watch").await?;
    assert!(answer.status.is_client_error(), "{answer:?}");
    assert_eq!(answer.headers["content-type"], "application/json");
    answer.reason()?;
    Ok(())
}
