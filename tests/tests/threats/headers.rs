//! Headers that would change what a message is: T5.

use std::sync::{Arc, Mutex};

use nexus_tests::probe;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::support::host;

/// Every byte that each connection brought.
type Connections = Arc<Mutex<Vec<Arc<Mutex<Vec<u8>>>>>>;

/// A server that keeps raw bytes: a request smuggled behind another would stand there.
async fn recorder() -> anyhow::Result<(u16, Connections)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let connections = Connections::default();
    let kept = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let bytes = Arc::new(Mutex::new(Vec::new()));
            kept.lock().unwrap().push(Arc::clone(&bytes));
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                let mut answered = false;
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    bytes.lock().unwrap().extend_from_slice(&buffer[..read]);
                    let whole = bytes
                        .lock()
                        .unwrap()
                        .windows(4)
                        .any(|end| end == b"\r\n\r\n");
                    if whole && !answered {
                        answered = true;
                        let answer =
                            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
                        if stream.write_all(answer).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    Ok((port, connections))
}

/// Name and value, and whether it is an ordinary header that has to pass.
const VECTORS: [(&str, &str, bool); 70] = [
    ("accept", "application/json", true),
    ("X-Version", "2", true),
    ("x_under", "1", true),
    ("if-none-match", "\"a\"", true),
    ("x-empty", "", true),
    ("x-tab", "a\tb", true),
    ("x-latin", "grüße", true),
    (
        "x-long",
        "one two three four five six seven eight nine",
        true,
    ),
    ("x-cookie-consent", "no", true),
    ("user-agent", "agent", true),
    ("authorization", "Bearer abc", false),
    ("Authorization", "Basic YTpi", false),
    ("AUTHORIZATION", "", false),
    ("cookie", "a=b; c=d", false),
    ("Cookie", "session=1", false),
    ("cookie2", "$Version=1", false),
    ("Proxy-Authorization", "Basic YTpi", false),
    ("authorization ", "Bearer abc", false),
    ("host", "evil.example.com", false),
    ("Host", "evil.example.com", false),
    ("HOST", "x", false),
    (" host", "x", false),
    ("host ", "x", false),
    ("host\t", "x", false),
    ("\u{feff}host", "x", false),
    ("content-length", "0", false),
    ("Content-Length", "5", false),
    ("content-length ", "5", false),
    ("content-length", "0, 5", false),
    ("content-length", "+5", false),
    ("content_length:", "5", false),
    ("transfer-encoding", "chunked", false),
    ("Transfer-Encoding", "identity", false),
    ("transfer-encoding", "xchunked", false),
    ("transfer-encoding ", "chunked", false),
    ("transfer\u{b}encoding", "chunked", false),
    ("te", "trailers", false),
    ("trailer", "x", false),
    ("connection", "close", false),
    ("connection", "x-checked", false),
    ("keep-alive", "timeout=5", false),
    ("upgrade", "h2c", false),
    ("http2-settings", "AAMAAABk", false),
    ("expect", "100-continue", false),
    ("proxy-authorization", "Basic x", false),
    ("proxy-connection", "keep-alive", false),
    (":authority", "evil.example.com", false),
    (":path", "/other", false),
    (":method", "DELETE", false),
    ("x-a\r\nhost", "x", false),
    ("x-a\nhost", "x", false),
    ("x-a:host", "x", false),
    ("", "x", false),
    (" ", "x", false),
    ("x a", "x", false),
    ("x\u{0}", "x", false),
    ("x(a)", "x", false),
    ("x/a", "x", false),
    ("x-\u{e4}", "x", false),
    ("x-a", "a\r\nhost: evil.example.com", false),
    ("x-a", "a\nhost: evil.example.com", false),
    ("x-a", "a\rb", false),
    (
        "x-a",
        "\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n",
        false,
    ),
    ("x-a", "a\u{0}b", false),
    ("x-a", "\u{1b}[2J", false),
    ("x-a", "a\r\n b", false),
    ("x-a", "\u{7f}", false),
    ("x-http-method-override", "DELETE", false),
    ("x-original-url", "/admin", false),
    ("x-forwarded-host", "evil.example.com", false),
];

#[tokio::test]
async fn t05_no_header_of_an_agent_changes_how_a_request_is_framed() -> anyhow::Result<()> {
    let (port, connections) = recorder().await?;
    let origin = format!("http://localhost:{port}");
    let (_host, mut client) =
        host(&format!("[egress]\nprivate_origins = [\"{origin}\"]\n")).await?;
    client
        .deploy(&probe::component("headers", &[&probe::http(&origin)]))
        .await?;
    let mut passed = Vec::new();
    for (number, (name, value, ordinary)) in VECTORS.iter().enumerate() {
        let header = json!({ "call": "http.request.header", "name": name, "value": value });
        let target = format!("/{number}");
        let steps = probe::exchange(&origin, "get", &target, &[header]);
        let results = client.output("headers", &Value::from(steps)).await?;
        // Open, request, header, send, wait: only the third may differ.
        let accepted = results[2].get("ok").is_some();
        assert_eq!(accepted, *ordinary, "{name:?}: {value:?}: {}", results[2]);
        assert!(
            accepted || results[2]["error"] == "invalid",
            "{}",
            results[2]
        );
        assert_eq!(
            results[4]["ok"]["status"], 200,
            "{name:?}: {value:?}: {results}"
        );
        passed.push((
            target,
            accepted.then(|| (name.to_ascii_lowercase(), *value)),
        ));
    }
    let connections: Vec<Vec<u8>> = connections
        .lock()
        .unwrap()
        .iter()
        .map(|bytes| bytes.lock().unwrap().clone())
        .collect();
    assert_eq!(
        connections.len(),
        VECTORS.len(),
        "one connection for each request"
    );
    for (bytes, (target, header)) in connections.iter().zip(passed) {
        let text = String::from_utf8_lossy(bytes);
        let (head, rest) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(rest, "", "bytes behind the head of {target}");
        let mut lines = head.split("\r\n");
        assert_eq!(
            lines.next(),
            Some(format!("GET {target} HTTP/1.1").as_str())
        );
        let mut names = Vec::new();
        for line in lines {
            let (name, value) = line.split_once(':').unwrap();
            let name = name.to_ascii_lowercase();
            assert!(!line.contains(['\r', '\n', '\0']), "{line:?}");
            if name == "host" {
                assert_eq!(value.trim(), format!("localhost:{port}"));
            }
            if let Some((added, expected)) = &header
                && *added == name
            {
                assert_eq!(value.trim_start_matches(' '), *expected, "{target}");
            }
            names.push(name);
        }
        names.retain(|name| header.as_ref().is_none_or(|(added, _)| added != name));
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "nothing stands there twice: {head}");
        let own = [
            "accept-encoding",
            "host",
            "user-agent",
            "content-length",
            "connection",
        ];
        assert!(
            names.iter().all(|name| own.contains(&name.as_str())),
            "{head}"
        );
        assert!(names.iter().any(|name| name == "host"), "{head}");
    }
    Ok(())
}

#[tokio::test]
async fn t05_too_many_and_too_large_headers_are_refused_and_nothing_is_sent() -> anyhow::Result<()>
{
    let (port, connections) = recorder().await?;
    let origin = format!("http://localhost:{port}");
    let (_host, mut client) =
        host(&format!("[egress]\nprivate_origins = [\"{origin}\"]\n")).await?;
    client
        .deploy(&probe::component("headers", &[&probe::http(&origin)]))
        .await?;
    let many = |count: usize, bytes: usize| -> Vec<Value> {
        let header = |number| json!({ "call": "http.request.header", "name": format!("x-{number}"), "value": "v".repeat(bytes) });
        (0..count).map(header).collect()
    };
    for (count, bytes, taken) in [(200, 1, 100), (40, 1_000, 32)] {
        let mut steps = probe::sending("", &origin, "get", "/", &many(count, bytes));
        // The request is dropped unsent.
        steps.pop();
        let results = client.output("headers", &Value::from(steps)).await?;
        let results = results.as_array().unwrap();
        let accepted = results[2..]
            .iter()
            .filter(|result| result.get("ok").is_some())
            .count();
        assert_eq!(accepted, taken, "{count} headers of {bytes} bytes");
    }
    assert!(connections.lock().unwrap().is_empty());
    Ok(())
}
