//! Pages in a browser on the same machine: T33. What such a page can make its browser send is refused
//! before it is read, with a good token or without, and so is whatever comes by a name that somebody
//! has pointed at this machine.

use std::future::poll_fn;

use http::{Method, Request, StatusCode};
use nexus_tests::http::Version;
use nexus_tests::{Host, Http};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::body::Body;
use tonic::codegen::Service as _;
use tonic::transport::Endpoint;

use super::support::{host, is_well};

const PATH: &str = "/nexus.v1.SystemService/GetStatus";
const GRPC: (&str, &str) = ("content-type", "application/grpc");

/// What the host answers to a request over HTTP/2: the status, and whether there is a gRPC answer.
async fn send(
    host: &Host,
    authority: Option<&str>,
    method: Method,
    headers: &[(&str, &str)],
) -> anyhow::Result<(StatusCode, Option<String>)> {
    let mut endpoint = Endpoint::new(host.endpoint.clone())?;
    if let Some(authority) = authority {
        endpoint = endpoint.origin(format!("http://{authority}").parse()?);
    }
    let mut channel = endpoint.connect().await?;
    let mut request = Request::builder()
        .method(method)
        .uri(PATH)
        .header("authorization", format!("Bearer {}", host.token()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    poll_fn(|cx| channel.poll_ready(cx)).await?;
    let response = channel.call(request.body(Body::empty())?).await?;
    let status = response.headers().get("grpc-status");
    let status = status.and_then(|status| status.to_str().ok());
    Ok((response.status(), status.map(str::to_owned)))
}

#[tokio::test]
async fn t33_no_page_in_a_browser_reaches_the_host() -> anyhow::Result<()> {
    let (mut host, mut client) = host("").await?;
    // Names that a page's own address can have, pointed at this machine.
    let rebound = [
        "evil.example",
        "evil.example:7420",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127-0-0-1.nip.example",
        "localhost.",
        "nexus.local",
        "xn--lcalhost-fcb.example",
    ];
    type Vector<'a> = (Option<&'a str>, Method, Vec<(&'a str, &'a str)>);
    let mut vectors: Vec<Vector<'_>> = rebound
        .iter()
        .map(|name| (Some(*name), Method::POST, vec![GRPC]))
        .collect();
    // What browsers add to what a page sends, whatever the page wants.
    for added in [
        ("origin", "https://evil.example"),
        ("origin", "http://localhost:7420"),
        ("origin", "http://127.0.0.1:7420"),
        ("origin", "null"),
        ("origin", "file://"),
        ("origin", "chrome-extension://abcdef"),
        ("origin", ""),
        ("referer", "https://evil.example/page"),
        ("referer", "http://localhost:7420/"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-site", "none"),
        ("sec-fetch-mode", "no-cors"),
        ("sec-fetch-mode", "cors"),
        ("sec-fetch-dest", "iframe"),
        ("cookie", "token=nexus_stolen"),
    ] {
        vectors.push((None, Method::POST, vec![GRPC, added]));
    }
    // What a form, a beacon or a script without a preflight can send, and other protocols.
    for content in [
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain",
        "text/plain; charset=application/grpc",
        "application/json",
        "application/grpc-web",
        "application/grpc-web-text",
        "application/grpcx",
        "application/octet-stream",
        "",
    ] {
        vectors.push((None, Method::POST, vec![("content-type", content)]));
    }
    vectors.push((None, Method::POST, Vec::new()));
    // What a link, an image or a preflight sends.
    for method in [
        Method::GET,
        Method::HEAD,
        Method::OPTIONS,
        Method::PUT,
        Method::DELETE,
    ] {
        vectors.push((None, method, vec![GRPC]));
    }
    assert_eq!(vectors.len(), 40);
    for (authority, method, headers) in &vectors {
        let (status, grpc) = send(&host, *authority, method.clone(), headers).await?;
        let what = format!("{authority:?} {method} {headers:?}: {status} {grpc:?}");
        assert!(status.is_client_error(), "{what}");
        assert_eq!(grpc.as_deref(), Some("7"), "{what}");
    }
    // The good ones are let through: an address, the name of this machine, and nothing of a browser.
    for authority in [
        None,
        Some("localhost"),
        Some("LOCALHOST:7420"),
        Some("127.0.0.1"),
        Some("[::1]:7420"),
    ] {
        let headers = [GRPC, ("te", "trailers"), ("user-agent", "grpc-python/1.0")];
        let (status, _) = send(&host, authority, Method::POST, &headers).await?;
        assert_eq!(status, StatusCode::OK, "{authority:?}");
    }

    // gRPC is not spoken over HTTP/1.1, which is what a browser speaks in clear.
    let address = host.endpoint.strip_prefix("http://").unwrap().to_owned();
    for line in [
        "GET / HTTP/1.1",
        "POST /nexus.v1.SystemService/GetStatus HTTP/1.1",
        "OPTIONS * HTTP/1.1",
    ] {
        let mut stream = tokio::net::TcpStream::connect(&address).await?;
        let text = format!(
            "{line}\r\nhost: {address}\r\nconnection: close\r\nauthorization: Bearer {}\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n",
            host.token()
        );
        // It may be closed before all of it is written.
        let _ = stream.write_all(text.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{line}: {answer:?}");
    }
    is_well(&mut host, &mut client).await
}

/// The same for the services in JSON, which both versions of HTTP carry: 40 more, each in both.
#[tokio::test]
async fn t33_no_page_in_a_browser_reaches_the_services_in_json() -> anyhow::Result<()> {
    const STATUS: &str = "/v1/status";
    const SWITCH: &str = "/v1/hotReload:set";
    let (mut host, mut client) = host("").await?;
    let own = host.endpoint.trim_start_matches("http://").to_owned();
    type Vector<'a> = (&'a str, Method, &'a str, Vec<(&'a str, &'a str)>);
    let mut vectors: Vec<Vector<'_>> = Vec::new();
    for name in [
        "evil.example",
        "evil.example:7420",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127-0-0-1.nip.example",
        "localhost.",
        "nexus.local",
        "xn--lcalhost-fcb.example",
    ] {
        vectors.push((name, Method::GET, STATUS, vec![]));
    }
    for added in [
        ("origin", "https://evil.example"),
        ("origin", "http://localhost:7420"),
        ("origin", "http://127.0.0.1:7420"),
        ("origin", "null"),
        ("origin", "file://"),
        ("origin", "chrome-extension://abcdef"),
        ("origin", ""),
        ("referer", "https://evil.example/page"),
        ("referer", "http://localhost:7420/"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-site", "none"),
        ("sec-fetch-mode", "no-cors"),
        ("sec-fetch-user", "?1"),
        ("sec-fetch-dest", "iframe"),
        ("cookie", "token=nexus_stolen"),
    ] {
        vectors.push((&own, Method::GET, STATUS, vec![added]));
    }
    for content in [
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain",
        "text/plain; charset=application/json",
        "application/grpc-web+json",
        "application/jsonx",
        "application/csp-report",
        "application/octet-stream",
        "text/json",
        "",
    ] {
        vectors.push((&own, Method::POST, SWITCH, vec![("content-type", content)]));
    }
    for content in ["application/octet-stream", "application/json"] {
        vectors.push((
            &own,
            Method::POST,
            "/v1/agents:deploy",
            vec![("content-type", content)],
        ));
    }
    for method in [Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE] {
        vectors.push((&own, method, STATUS, vec![]));
    }
    assert_eq!(vectors.len(), 40);
    for version in [Version::One, Version::Two] {
        let http = Http::operator(&host).over(version);
        for (name, method, path, headers) in &vectors {
            let body = match *method {
                Method::POST => r#"{"enabled":false}"#,
                _ => "",
            };
            let response = http.open(name, method.clone(), path, headers, body).await?;
            let what = format!("{version:?} {name} {method} {path} {headers:?}: {response:?}");
            let status = response.status().as_u16();
            assert!([403, 405, 415].contains(&status), "{what}");
            let headers = response.headers();
            assert_eq!(headers["x-content-type-options"], "nosniff", "{what}");
            let shared = headers
                .keys()
                .any(|name| name.as_str().starts_with("access-control-"));
            assert!(!shared, "{what}");
        }
        // Nothing of it was done, and the same without a page is.
        let switch = http.get("/v1/hotReload").await?.good()?;
        assert_eq!(switch["enabled"], true, "{switch}");
        for name in ["localhost", "LOCALHOST:7420", "127.0.0.1", "[::1]:7420"] {
            let response = http.open(name, Method::GET, STATUS, &[], "").await?;
            assert_eq!(response.status(), StatusCode::OK, "{name}");
        }
    }
    // All the names that a request gives have to be the host's.
    let mut stream = tokio::net::TcpStream::connect(&own).await?;
    let text = format!(
        "GET http://localhost{STATUS} HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\nauthorization: Bearer {}\r\n\r\n",
        host.token()
    );
    stream.write_all(text.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    assert!(answer.starts_with(b"HTTP/1.1 403"), "{answer:?}");
    is_well(&mut host, &mut client).await
}

#[tokio::test]
async fn t33_a_name_is_the_hosts_if_the_operator_says_so() -> anyhow::Result<()> {
    let host = Host::builder()
        .config("[server]\nnames = [\"nexus.example.com\"]\n")
        .start()?;
    let (status, _) = send(&host, Some("nexus.example.com:7420"), Method::POST, &[GRPC]).await?;
    assert_eq!(status, StatusCode::OK);
    let (status, _) = send(&host, Some("other.example.com"), Method::POST, &[GRPC]).await?;
    assert_eq!(status, StatusCode::FORBIDDEN);
    Ok(())
}
