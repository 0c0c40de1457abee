//! What the host holds for a guest outside its memory is counted as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::Full;
use nexus_proto::v1::exhausted::Limit;
use nexus_tests::origin::Origin;
use nexus_tests::{Client, Host, probe};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Barrier;

use super::support::{host, is_well, limit};

/// What each request, answer or input has of bytes; eleven of them are too many.
const PIECE: usize = 100_000;
const MANY: usize = 30;

async fn tight(origin: &str) -> anyhow::Result<(Host, Client)> {
    let (host, mut client) = host(&format!(
        "[runtime]\nheld_bytes = 1048576\n[egress]\nprivate_origins = [\"{origin}\"]\n"
    ))
    .await?;
    let reads =
        format!(r#"http = {{ origin = "{origin}", methods = ["GET", "POST"], paths = ["/*"] }}"#);
    let peer = probe::peer("echo");
    client
        .deploy(&probe::component("holder", &[&reads, &peer]))
        .await?;
    Ok((host, client))
}

/// An origin with a handle `o`, and these steps for each number.
fn each(origin: &str, steps: impl Fn(usize) -> Vec<Value>) -> Vec<Value> {
    let open = json!({ "call": "http.origin.open", "url": origin, "as": "o" });
    std::iter::once(open)
        .chain((0..MANY).flat_map(steps))
        .collect()
}

fn request(method: &str, number: usize) -> Value {
    let handle = format!("r{number}");
    json!({ "call": "http.origin.request", "on": "o", "method": method, "target": "/", "as": handle })
}

fn send(number: usize) -> Value {
    json!({ "call": "http.request.send", "on": format!("r{number}"), "as": format!("p{number}") })
}

fn wait(number: usize) -> Value {
    json!({ "call": "http.pending.wait", "on": format!("p{number}") })
}

#[tokio::test]
async fn t02_bodies_of_requests_that_are_never_sent_are_counted_together() -> anyhow::Result<()> {
    let origin = Origin::json(json!({})).await?;
    let (mut host, mut client) = tight(&origin.url()).await?;
    let body = "x".repeat(PIECE / 2);
    let made = |number: usize| {
        let handle = format!("r{number}");
        let body = json!({ "call": "http.request.body", "on": handle, "value": body });
        vec![request("post", number), body]
    };
    let kept = client
        .invoke("holder", &json!(each(&origin.url(), made)))
        .await?;
    assert_eq!(limit(&kept), Some(Limit::HeldBytes), "{kept:?}");
    // What is dropped, or said anew, is given back.
    let dropped = each(&origin.url(), |number| {
        let mut steps = made(number);
        steps.push(steps[1].clone());
        steps.push(json!({ "call": "drop", "on": format!("r{number}") }));
        steps
    });
    client.output("holder", &json!(dropped)).await?;
    assert_eq!(origin.received().len(), 0);
    is_well(&mut host, &mut client).await
}

#[tokio::test]
async fn t02_answers_that_a_guest_does_not_take_are_counted_together() -> anyhow::Result<()> {
    let answer = Bytes::from(vec![b'x'; PIECE]);
    let origin = Origin::start(move |_| http::Response::new(Full::new(answer.clone()))).await?;
    let (mut host, mut client) = tight(&origin.url()).await?;
    let mut steps = each(&origin.url(), |number| {
        vec![request("get", number), send(number)]
    });
    // When the last one is answered, most of the others are.
    steps.extend((0..MANY).rev().map(wait));
    let kept = client.invoke("holder", &json!(steps)).await?;
    assert_eq!(limit(&kept), Some(Limit::HeldBytes), "{kept:?}");
    let taken = each(&origin.url(), |number| {
        let drop = json!({ "call": "drop", "on": format!("p{number}") });
        match number % 2 {
            0 => vec![request("get", number), send(number), wait(number)],
            _ => vec![request("get", number), send(number), drop],
        }
    });
    client.output("holder", &json!(taken)).await?;
    is_well(&mut host, &mut client).await
}

#[tokio::test]
async fn t02_inputs_and_answers_of_calls_are_counted() -> anyhow::Result<()> {
    let (mut host, mut client) = tight("http://127.0.0.1:9").await?;
    let input = |size: usize| json!("x".repeat(size));
    let call = |size: usize| {
        json!([
            { "call": "bus.peer.find", "name": "echo", "as": "e" },
            { "call": "bus.peer.call", "on": "e", "input": input(size), "as": "p" },
            { "call": "bus.pending.wait", "on": "p" },
            { "call": "drop", "on": "e" },
        ])
    };
    let large = client.invoke("holder", &call(4 * PIECE)).await?;
    assert_eq!(limit(&large), Some(Limit::HeldBytes), "{large:?}");
    let in_turn: Vec<Value> = (0..MANY)
        .flat_map(|_| call(PIECE / 2).as_array().cloned().unwrap_or_default())
        .collect();
    client.output("holder", &json!(in_turn)).await?;
    is_well(&mut host, &mut client).await
}

#[tokio::test]
async fn t02_what_may_not_be_sent_is_not_put_together() -> anyhow::Result<()> {
    let (_host, mut client) = host("").await?;
    let reads =
        r#"http = { origin = "https://quotes.example.com", methods = ["GET"], paths = ["/*"] }"#;
    client.deploy(&probe::component("reader", &[reads])).await?;
    let steps = json!([
        { "call": "http.origin.open", "url": "https://quotes.example.com", "as": "o" },
        { "call": "http.origin.request", "on": "o", "method": "post", "target": "/", "as": "r" },
    ]);
    let output = client.output("reader", &steps).await?;
    assert_eq!(output[1]["error"], "forbidden", "{output}");
    Ok(())
}

#[tokio::test]
async fn t02_eight_requests_of_an_invocation_are_under_way_at_a_time() -> anyhow::Result<()> {
    const PLACES: usize = 8;
    const ROUNDS: usize = 3;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let origin = format!("http://{}", listener.local_addr()?);
    let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    // Nobody is answered before eight are there.
    let full = Arc::new(Barrier::new(PLACES));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (open, seen, full) = (Arc::clone(&open), Arc::clone(&seen), Arc::clone(&full));
            tokio::spawn(async move {
                seen.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                full.wait().await;
                open.fetch_sub(1, Ordering::SeqCst);
                let mut head = [0; 4096];
                let _ = stream.read(&mut head).await;
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
                let _ = stream.write_all(answer).await;
                // Until the other side has read it.
                let _ = stream.read(&mut head).await;
            });
        }
    });
    let (_host, mut client) = tight(&origin).await?;
    let count = PLACES * ROUNDS;
    let mut steps = vec![json!({ "call": "http.origin.open", "url": origin, "as": "o" })];
    steps.extend((0..count).flat_map(|number| [request("get", number), send(number)]));
    steps.extend((0..count).map(wait));
    let output = client.output("holder", &json!(steps)).await?;
    let answered = output.as_array().into_iter().flatten();
    let answered = answered.filter(|step| step["ok"]["status"] == 200).count();
    assert_eq!(answered, count, "{output}");
    assert_eq!(most.load(Ordering::SeqCst), PLACES);
    Ok(())
}
