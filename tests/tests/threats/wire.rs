//! Clients that abuse the wire: T32.

use std::time::Duration;

use nexus_proto::v1::{GetStatusRequest, InvokeAgentRequest};
use nexus_tests::client::reason;
use nexus_tests::{Host, guests as real};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Code;

use super::support::{host, is_well};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Header fields as literals that nobody has to remember.
fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            // Lengths from 127 on take a second byte.
            match u8::try_from(text.len()) {
                Ok(length @ ..127) => block.push(length),
                _ => block.extend([0x7f, (text.len() - 127) as u8]),
            }
            block.extend(text.as_bytes());
        }
    }
    block
}

fn request(token: &str) -> Vec<u8> {
    let authorization = format!("Bearer {token}");
    fields(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/nexus.v1.InvocationService/InvokeAgent"),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("authorization", &authorization),
    ])
}

/// A connection that speaks frames.
struct Raw(TcpStream);

/// What the host said on a connection until it, or we, had enough.
#[derive(Debug, Default)]
struct Heard {
    refused: usize,
    goodbye: bool,
    closed: bool,
}

impl Raw {
    async fn open(host: &Host) -> anyhow::Result<Self> {
        let address = host.endpoint.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(PREFACE).await?;
        stream.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
        Ok(Self(stream))
    }

    /// Reads frames until `enough`, or until the host closes.
    async fn listen(&mut self, enough: impl Fn(&Heard) -> bool) -> Heard {
        let mut heard = Heard::default();
        let mut head = [0; 9];
        while !enough(&heard) {
            if self.0.read_exact(&mut head).await.is_err() {
                heard.closed = true;
                break;
            }
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            if self.0.read_exact(&mut payload).await.is_err() {
                heard.closed = true;
                break;
            }
            match head[3] {
                RST_STREAM => heard.refused += 1,
                GOAWAY => heard.goodbye = true,
                SETTINGS if head[4] & ACK == 0 => {
                    let _ = self.0.write_all(&frame(SETTINGS, ACK, 0, &[])).await;
                }
                _ => {}
            }
        }
        heard
    }

    /// Writes for as long as the host takes it; how many bytes it took.
    async fn flood(&mut self, piece: &[u8], times: usize) -> (usize, Heard) {
        let (mut reader, mut writer) = self.0.split();
        let mut taken = 0;
        // Whoever does not listen would not hear the goodbye, and a full window would hold both.
        let listening = async {
            let mut all = Vec::new();
            let _ = reader.read_to_end(&mut all).await;
            all
        };
        let writing = async {
            for _ in 0..times {
                if writer.write_all(piece).await.is_err() {
                    return;
                }
                taken += piece.len();
            }
            let _ = writer.shutdown().await;
        };
        let (all, ()) = tokio::join!(listening, writing);
        let mut heard = Heard {
            closed: true,
            ..Heard::default()
        };
        let mut at = 0;
        while let Some(head) = all.get(at..at + 9) {
            heard.refused += usize::from(head[3] == RST_STREAM);
            heard.goodbye |= head[3] == GOAWAY;
            at += 9 + u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        }
        (taken, heard)
    }
}

#[tokio::test]
async fn t32_huge_messages_and_headers_are_refused_and_the_connection_goes_on() -> anyhow::Result<()>
{
    let (mut host, mut client) = host("").await?;
    let message = |bytes: usize| InvokeAgentRequest {
        name: "agents/echo".to_owned(),
        input: format!("\"{}\"", "x".repeat(bytes)),
        ..InvokeAgentRequest::default()
    };
    let status = client
        .invocations
        .invoke_agent(message(5 << 20))
        .await
        .unwrap_err();
    assert!(
        matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted),
        "{status}"
    );
    // Within a message, beyond an input.
    let status = client
        .invocations
        .invoke_agent(message(7 << 19))
        .await
        .unwrap_err();
    assert_eq!(reason(&status), "INVALID_FIELD", "{status}");

    let mut large = tonic::Request::new(GetStatusRequest {});
    large
        .metadata_mut()
        .insert("x-large", "x".repeat(20 << 10).parse()?);
    let refused = client.system.get_status(large).await;
    assert!(refused.is_err(), "{refused:?}");
    let mut ordinary = tonic::Request::new(GetStatusRequest {});
    ordinary
        .metadata_mut()
        .insert("x-ordinary", "x".repeat(8 << 10).parse()?);
    client.system.get_status(ordinary).await?;
    is_well(&mut host, &mut client).await
}

#[tokio::test]
async fn t32_one_connection_has_a_bounded_number_of_streams() -> anyhow::Result<()> {
    let (mut host, mut client) = host("").await?;
    let mut raw = Raw::open(&host).await?;
    let block = request(host.token());
    // Begun and never ended.
    for number in 0..1_500 {
        raw.0
            .write_all(&frame(HEADERS, END_HEADERS, 2 * number + 1, &block))
            .await?;
    }
    let heard = raw
        .listen(|heard| heard.refused == 1_500 - 1_024 || heard.goodbye)
        .await;
    assert_eq!(heard.refused, 1_500 - 1_024, "{heard:?}");
    // It holds its own connection up, and nobody else's.
    is_well(&mut host, &mut client).await
}

#[tokio::test]
async fn t32_floods_of_frames_end_the_connection_and_nothing_else() -> anyhow::Result<()> {
    let (mut host, mut client) = host("").await?;
    let before = host.resident_bytes()?;
    let block = request(host.token());

    // Streams that are reset as soon as they are begun.
    let mut resets = Vec::new();
    for number in 0..20_000_u32 {
        resets.extend(frame(HEADERS, END_HEADERS, 2 * number + 1, &block));
        resets.extend(frame(RST_STREAM, 0, 2 * number + 1, &8_u32.to_be_bytes()));
    }
    let mut raw = Raw::open(&host).await?;
    let (_, heard) = raw.flood(&resets, 1).await;
    assert!(heard.goodbye, "rapid resets: {heard:?}");
    is_well(&mut host, &mut client).await?;

    // Headers without an end.
    let mut raw = Raw::open(&host).await?;
    raw.0.write_all(&frame(HEADERS, 0, 1, &block)).await?;
    let more = frame(CONTINUATION, 0, 1, &fields(&[("x-more", &"y".repeat(200))]));
    let (taken, heard) = raw.flood(&more.repeat(64), 1_000).await;
    assert!(
        heard.goodbye || taken < more.len() * 64_000,
        "continuations: {heard:?}, {taken}"
    );
    is_well(&mut host, &mut client).await?;

    // Data that is none.
    let mut raw = Raw::open(&host).await?;
    raw.0
        .write_all(&frame(HEADERS, END_HEADERS, 1, &block))
        .await?;
    let nothing = frame(DATA, 0, 1, &[]).repeat(1_000);
    raw.flood(&nothing, 200).await;
    is_well(&mut host, &mut client).await?;

    // What is no HTTP/2 at all.
    for garbage in [
        &b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"[..],
        &[0xff; 4096],
        b"\x16\x03\x01\x02\x00\x01",
    ] {
        let mut stream = TcpStream::connect(host.endpoint.strip_prefix("http://").unwrap()).await?;
        let _ = stream.write_all(garbage).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        is_well(&mut host, &mut client).await?;
    }
    let grown = host.resident_bytes()?.saturating_sub(before);
    assert!(
        grown < 64 << 20,
        "the host has grown by {} MiB",
        grown >> 20
    );
    Ok(())
}

#[tokio::test]
async fn t32_two_hundred_silent_clients_hold_nobody_up() -> anyhow::Result<()> {
    let (mut host, mut client) = host("").await?;
    let before = host.resident_bytes()?;
    let block = request(host.token());
    let mut silent = Vec::new();
    for number in 0..200_usize {
        let mut raw = Raw::open(&host).await?;
        // Some stop within a frame, some within a message, some say nothing.
        match number % 3 {
            0 => {
                raw.0
                    .write_all(&frame(HEADERS, END_HEADERS, 1, &block)[..20])
                    .await?
            }
            1 => {
                raw.0
                    .write_all(&frame(HEADERS, END_HEADERS, 1, &block))
                    .await?;
                raw.0
                    .write_all(&frame(DATA, 0, 1, &[0, 0, 0x40, 0, 0, 1, 2]))
                    .await?;
            }
            _ => {}
        }
        silent.push(raw);
    }
    for _ in 0..20 {
        is_well(&mut host, &mut client).await?;
    }
    let grown = host.resident_bytes()?.saturating_sub(before);
    assert!(
        grown < 64 << 20,
        "the host has grown by {} MiB",
        grown >> 20
    );
    drop(silent);
    is_well(&mut host, &mut client).await
}

#[tokio::test(flavor = "multi_thread")]
async fn t32_a_stop_does_not_wait_for_silent_clients_for_ever() -> anyhow::Result<()> {
    let (host, mut client) = host("[server]\ndrain_seconds = 1\n").await?;
    client.deploy(&real::component("hostile")).await?;
    let mut raw = Raw::open(&host).await?;
    raw.0
        .write_all(&frame(HEADERS, END_HEADERS, 1, &request(host.token())))
        .await?;
    // Generous: it is only there so that a failure is a failure and not a hanging test.
    let stopped = tokio::task::spawn_blocking(|| host.stop());
    let status = tokio::time::timeout(Duration::from_secs(60), stopped).await???;
    assert!(status.success(), "{status}");
    Ok(())
}

/// One kind of abuse, once, over a connection of its own. How the host ends it is its own affair.
async fn abuse(host: &Host, kind: usize) -> anyhow::Result<()> {
    let block = request("nexus_guess");
    let mut raw = Raw::open(host).await?;
    match kind {
        0 => {
            let mut resets = Vec::new();
            for number in 0..2_000_u32 {
                resets.extend(frame(HEADERS, END_HEADERS, 2 * number + 1, &block));
                resets.extend(frame(RST_STREAM, 0, 2 * number + 1, &8_u32.to_be_bytes()));
            }
            raw.flood(&resets, 1).await;
        }
        1 => {
            let _ = raw.0.write_all(&frame(HEADERS, 0, 1, &block)).await;
            let more = frame(CONTINUATION, 0, 1, &fields(&[("x-more", &"y".repeat(200))]));
            raw.flood(&more.repeat(64), 50).await;
        }
        2 => {
            let _ = raw
                .0
                .write_all(&frame(HEADERS, END_HEADERS, 1, &block))
                .await;
            raw.flood(&frame(DATA, 0, 1, &[]).repeat(1_000), 10).await;
        }
        3 => {
            raw.flood(&[0xff; 4096], 16).await;
        }
        4 => {
            let large = fields(&[("x-large", &"y".repeat(300))]).repeat(60);
            let large = [block.as_slice(), &large].concat();
            raw.flood(&frame(HEADERS, END_HEADERS, 1, &large), 1).await;
        }
        5 => {
            raw.flood(&frame(SETTINGS, 0, 0, &[]).repeat(1_000), 10)
                .await;
        }
        // Calls without a token that is worth anything, as many as a connection takes.
        6 => {
            let mut calls = Vec::new();
            for number in 0..200_u32 {
                calls.extend(frame(HEADERS, END_HEADERS | 1, 2 * number + 1, &block));
            }
            raw.flood(&calls, 1).await;
        }
        // It connects and leaves.
        _ => {}
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn t32_eight_abusive_clients_hold_up_no_good_one() -> anyhow::Result<()> {
    let (mut host, mut client) = host("").await?;
    let before = host.resident_bytes()?;
    let seconds = nexus_tests::amount(3, 60) as u64;
    let until = std::time::Instant::now() + Duration::from_secs(seconds);
    let abused = futures::future::try_join_all((0..8).map(|kind| {
        let host = &host;
        async move {
            let mut times = 0;
            while times == 0 || std::time::Instant::now() < until {
                abuse(host, kind).await?;
                times += 1;
            }
            anyhow::Ok(times)
        }
    }));
    let served = async {
        let mut times = 0;
        while times == 0 || std::time::Instant::now() < until {
            let input = json!({ "n": times });
            anyhow::ensure!(client.output("echo", &input).await? == input);
            times += 1;
        }
        anyhow::Ok(times)
    };
    // Each of them went on to the end, and so did the good one.
    let (abused, served) = tokio::try_join!(abused, served)?;
    assert!(served > 0 && abused.iter().all(|times| *times > 0));
    let grown = host.resident_bytes()?.saturating_sub(before);
    assert!(
        grown < 64 << 20,
        "the host has grown by {} MiB after {abused:?} and {served}",
        grown >> 20
    );
    is_well(&mut host, &mut client).await
}
