//! Calls and their answers.

use http::{Method, StatusCode};
use nexus_proto::v1;
use nexus_tests::http::Version;
use nexus_tests::{Host, Http, guests};
use serde_json::{Value, json};

const WASM: (&str, &str) = ("content-type", "application/wasm");
const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn an_agent_is_deployed_called_and_removed_without_a_word_of_grpc() -> anyhow::Result<()> {
    let host = Host::start()?;
    for version in [Version::One, Version::Two] {
        let http = Http::operator(&host).over(version);
        let path = "/v1/agents:deploy?agent=agents/echo";
        let deployed = http
            .send(Method::POST, path, &[WASM], guests::component("echo"))
            .await?
            .good()?;
        assert_eq!(deployed["state"], "STATE_LIVE", "{deployed}");
        assert_eq!(deployed["agent"]["name"], "agents/echo");

        // 64-bit numbers are texts, as ProtoJSON has it; empty fields are there.
        let agent = http.get("/v1/agents/echo").await?.good()?;
        assert_eq!(agent["generation"], "1", "{agent}");
        assert_eq!(agent["owner"], "operator");
        assert_eq!(agent["permissions"], json!([]));
        assert!(agent["createTime"].as_str().unwrap().ends_with('Z'));
        assert!(agent.get("lineage").is_none());

        let input = json!({ "large": 9_007_199_254_740_993_u64 }).to_string();
        let call = json!({ "input": input, "timeout": "5s" });
        let ended = http.post("/v1/agents/echo:invoke", &call).await?.good()?;
        assert_eq!(ended["state"], "STATE_SUCCEEDED", "{ended}");
        assert_eq!(ended["success"]["output"], input);

        let list = "/v1/invocations?pageSize=1&agent=agents%2Fecho&state=STATE_SUCCEEDED";
        let page = http.get(list).await?.good()?;
        assert_eq!(page["invocations"][0]["name"], ended["name"], "{page}");
        let by_number = http.get("/v1/invocations?state=3").await?.good()?;
        assert_eq!(by_number["invocations"][0]["name"], ended["name"]);

        let etag = agent["etag"].as_str().unwrap();
        let stale = http
            .send(Method::DELETE, "/v1/agents/echo?etag=stale", &[], "")
            .await?;
        assert_eq!(stale.status, StatusCode::CONFLICT);
        assert_eq!(stale.reason()?, "STALE_ETAG");
        let path = format!("/v1/agents/echo?etag={etag}");
        let gone = http.send(Method::DELETE, &path, &[], "").await?;
        assert_eq!(gone.good()?, json!({}));
        let gone = http.get("/v1/agents/echo").await?;
        assert_eq!(gone.status, StatusCode::NOT_FOUND);
        assert_eq!(gone.reason()?, "NOT_FOUND");
    }
    Ok(())
}

#[tokio::test]
async fn keys_of_the_memory_are_whatever_the_path_says() -> anyhow::Result<()> {
    let host = Host::start()?;
    let http = Http::operator(&host);
    for (path, name) in [
        ("/v1/spaces/kb/entries/plain", "spaces/kb/entries/plain"),
        ("/v1/spaces/kb/entries/a/b:c", "spaces/kb/entries/a/b:c"),
        ("/v1/spaces/kb/entries/a%2Fd", "spaces/kb/entries/a/d"),
        ("/v1/spaces/kb/entries/a%252Fe", "spaces/kb/entries/a%2Fe"),
        ("/v1/spaces/kb/entries/%C3%A4+%20", "spaces/kb/entries/ä+ "),
    ] {
        let put = http
            .send(Method::PUT, path, &[JSON], r#"{"value":"aGk="}"#)
            .await?;
        assert_eq!(put.good()?["name"], name, "{path}");
        assert_eq!(http.get(path).await?.good()?["value"], "aGk=", "{path}");
    }
    let page = http
        .get("/v1/spaces/kb/entries?page_size=2")
        .await?
        .good()?;
    let token = page["nextPageToken"].as_str().unwrap().to_owned();
    let next = format!("/v1/spaces/kb/entries?page_size=100&page_token={token}");
    let rest = http.get(&next).await?.good()?;
    assert_eq!(rest["entries"].as_array().unwrap().len(), 3, "{rest}");
    Ok(())
}

/// A method, a path, a content type and a body; the status and the reason of the answer, and a part of
/// its words.
type Wrong<'a> = (Method, &'a str, &'a str, &'a str, u16, &'a str, &'a str);

#[tokio::test]
async fn what_is_wrong_with_a_request_is_told_and_nothing_is_done() -> anyhow::Result<()> {
    let host = Host::start()?;
    let http = Http::operator(&host);
    let (get, post, put) = (Method::GET, Method::POST, Method::PUT);
    let invoke = "/v1/agents/echo:invoke";
    let wrong: [Wrong<'_>; 22] = [
        (
            get.clone(),
            "/v1/nothing",
            "",
            "",
            404,
            "NO_SUCH_PATH",
            "openapi.json",
        ),
        (
            get.clone(),
            "/v1/agents/a/b",
            "",
            "",
            404,
            "NO_SUCH_PATH",
            "",
        ),
        (
            get.clone(),
            "/v1/agents/%FF",
            "",
            "",
            404,
            "NO_SUCH_PATH",
            "",
        ),
        (
            get.clone(),
            "/v1/agents/A",
            "",
            "",
            400,
            "INVALID_FIELD",
            "name",
        ),
        (
            get.clone(),
            "/v1/agents/a%2Fb",
            "",
            "",
            400,
            "INVALID_FIELD",
            "name",
        ),
        (
            get.clone(),
            "/v1/agents?bogus=1",
            "",
            "",
            400,
            "INVALID_FIELD",
            "page_size",
        ),
        (
            get.clone(),
            "/v1/agents?page_size=x",
            "",
            "",
            400,
            "INVALID_FIELD",
            "query",
        ),
        (
            get.clone(),
            "/v1/agents?page_size=1&pageSize=2",
            "",
            "",
            400,
            "INVALID_FIELD",
            "once",
        ),
        (
            get.clone(),
            "/v1/agents?tag=%zz",
            "",
            "",
            400,
            "INVALID_FIELD",
            "decode",
        ),
        (
            get.clone(),
            "/v1/invocations?state=STATE_X",
            "",
            "",
            400,
            "INVALID_FIELD",
            "query",
        ),
        (
            get,
            "/v1/agents",
            "application/json",
            "{}",
            400,
            "WRONG_CONTENT_TYPE",
            "no body",
        ),
        (
            post.clone(),
            "/v1/agents",
            "application/json",
            "{}",
            405,
            "METHOD_NOT_ALLOWED",
            "GET",
        ),
        (
            post.clone(),
            invoke,
            "text/plain",
            "{}",
            415,
            "WRONG_CONTENT_TYPE",
            "application/json",
        ),
        (
            post.clone(),
            invoke,
            "application/json",
            "{",
            400,
            "INVALID_JSON",
            "EOF",
        ),
        (
            post.clone(),
            invoke,
            "application/json",
            "{} {}",
            400,
            "INVALID_JSON",
            "",
        ),
        (
            post.clone(),
            invoke,
            "application/json",
            "[]",
            400,
            "INVALID_JSON",
            "",
        ),
        (
            post.clone(),
            invoke,
            "application/json",
            r#"{"inputs":"1"}"#,
            400,
            "INVALID_JSON",
            "inputs",
        ),
        (
            post.clone(),
            invoke,
            "application/json",
            r#"{"input":{}}"#,
            400,
            "INVALID_JSON",
            "string",
        ),
        (
            post.clone(),
            invoke,
            "application/json",
            r#"{"timeout":"soon"}"#,
            400,
            "INVALID_JSON",
            "",
        ),
        (
            post.clone(),
            invoke,
            "application/json",
            r#"{"name":"agents/x"}"#,
            400,
            "INVALID_FIELD",
            "path",
        ),
        (
            post,
            "/v1/agents/echo:invoke?input=1",
            "application/json",
            "{}",
            400,
            "INVALID_FIELD",
            "query",
        ),
        (
            put,
            "/v1/secrets/key",
            "application/json",
            r#"{"value":7}"#,
            400,
            "INVALID_JSON",
            "",
        ),
    ];
    for (method, path, content, body, status, reason, words) in wrong {
        let headers = [("content-type", content)];
        let headers = if content.is_empty() {
            &headers[..0]
        } else {
            &headers[..]
        };
        let answer = http
            .send(method.clone(), path, headers, body.to_owned())
            .await?;
        let what = format!("{method} {path} {body}: {answer:?}");
        assert_eq!(answer.status.as_u16(), status, "{what}");
        assert_eq!(answer.reason()?, reason, "{what}");
        let error = answer.json()?;
        assert!(error["message"].as_str().unwrap().contains(words), "{what}");
        assert!(
            error["code"].as_u64().is_some_and(|code| code > 0),
            "{what}"
        );
    }
    let late = http
        .send(Method::GET, "/v1/status", &[("grpc-timeout", "1S")], "")
        .await?;
    assert_eq!(late.reason()?, "INVALID_FIELD", "{late:?}");
    let deadline = [("x-server-timeout", "soon")];
    let late = http.send(Method::GET, "/v1/status", &deadline, "").await?;
    assert_eq!(late.reason()?, "INVALID_FIELD", "{late:?}");
    let trail = http.get("/v1/events?page_size=1000").await?.good()?;
    let done = trail["events"].as_array().unwrap().iter();
    let done: Vec<&Value> = done
        .filter(|event| event["principal"] == "operator")
        .collect();
    assert!(done.is_empty(), "{done:?}");
    Ok(())
}

#[tokio::test]
async fn a_deadline_ends_a_call_that_waits_for_a_person() -> anyhow::Result<()> {
    let host = Host::start()?;
    let mut client = host.operator().await?;
    let config = nexus_tests::probe::http("https://nowhere.example.com");
    let component = nexus_tests::probe::component("asking", &[&config]);
    client.deploy(&component).await?;
    let order = nexus_tests::probe::post("https://nowhere.example.com", "/", &json!({}));
    let call = json!({ "input": Value::from(order).to_string(), "waitForDecision": true });
    let http = Http::operator(&host);
    let headers = [JSON, ("x-server-timeout", "0.2")];
    let late = http
        .send(
            Method::POST,
            "/v1/agents/asking:invoke",
            &headers,
            call.to_string(),
        )
        .await?;
    assert_eq!(late.status, StatusCode::GATEWAY_TIMEOUT, "{late:?}");
    assert_eq!(late.reason()?, "DEADLINE_EXCEEDED");
    // The call is over; what it has begun waits on, as for any client that leaves.
    let list = v1::ListApprovalsRequest::default();
    let asked = client.approvals.list_approvals(list).await?.into_inner();
    assert_eq!(asked.approvals.len(), 2, "{asked:?}");
    Ok(())
}
