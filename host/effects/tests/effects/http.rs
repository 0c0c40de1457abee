//! What a request becomes on the wire, and what an agent is told of its end.

use std::io::Write as _;
use std::sync::atomic::Ordering;

use nexus_audit::EventKind;
use nexus_effects::Error;
use nexus_effects::http::{Egress, EgressOptions};
use nexus_gate::StartError;
use nexus_manifest::Method::{Delete, Get, Head, Post};

use crate::house::{House, egress, impatient, options, request};
use crate::server::{Answer, Server, ok};

#[tokio::test]
async fn a_request_arrives_as_it_was_shown_and_nothing_else_does() {
    let (house, server) = (House::new().await, Server::plain(ok("{}")).await);
    let mut order = request(&server.origin, Post, "/v1/orders?dry=1");
    order.header("Content-Type", b"application/json").unwrap();
    order
        .header("x-two", b"a")
        .unwrap()
        .header("x-two", "grüße".as_bytes())
        .unwrap();
    order.body(r#"{"amount":1}"#).unwrap();
    let response = house.send(&egress(&[&server.origin]), order).await.unwrap();
    assert_eq!((response.status, response.body.as_ref()), (200, &b"{}"[..]));
    let authority = server.origin.authority();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        server.request(),
        format!(
            "POST /v1/orders?dry=1 HTTP/1.1\r\nhost: {authority}\r\ncontent-type: application/json\r\n\
             x-two: a\r\nx-two: grüße\r\nuser-agent: nexus/{version}\r\naccept-encoding: gzip\r\n\
             content-length: 12\r\n\r\n{{\"amount\":1}}"
        )
    );
    assert_eq!(house.count(EventKind::EffectStarted).await, 1);
    assert_eq!(house.count(EventKind::EffectFinished).await, 1);
}

#[tokio::test]
async fn what_was_not_permitted_opens_no_connection() {
    let (house, server) = (House::new().await, Server::plain(ok("")).await);
    let egress = egress(&[&server.origin]);
    let mut shown = request(&server.origin, Post, "/v1/orders");
    shown
        .header("x-note", b"one")
        .unwrap()
        .body("amount=1")
        .unwrap();
    let mut body = shown.clone();
    body.body("amount=1000").unwrap();
    let mut header = shown.clone();
    header.header("x-more", b"two").unwrap();
    for changed in [body, header] {
        let permit = house.permit_http(&shown, &[]).await;
        let refused = egress.send(permit, changed, &house.vault).await;
        assert!(
            matches!(refused, Err(Error::Refused(StartError::Changed { .. }))),
            "{refused:?}"
        );
    }
    for (method, target) in [(Delete, "/v1/orders"), (Post, "/v1/orders/2")] {
        let mut other = request(&server.origin, method, target);
        other
            .header("x-note", b"one")
            .unwrap()
            .body("amount=1")
            .unwrap();
        let permit = house.permit_http(&shown, &[]).await;
        assert!(matches!(
            egress.send(permit, other, &house.vault).await,
            Err(Error::Forbidden(_))
        ));
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 0);
    assert_eq!(house.count(EventKind::EffectStarted).await, 0);
}

#[tokio::test]
async fn a_redirect_is_an_answer() {
    let house = House::new().await;
    let elsewhere = Server::plain(ok("")).await;
    for status in [301, 302, 303, 307, 308] {
        let answer = format!(
            "HTTP/1.1 {status} x\r\nlocation: {}/\r\ncontent-length: 0\r\n\r\n",
            elsewhere.origin
        );
        let server = Server::plain(Answer::Bytes(answer.into_bytes())).await;
        let egress = egress(&[&server.origin, &elsewhere.origin]);
        let response = house
            .send(&egress, request(&server.origin, Get, "/"))
            .await
            .unwrap();
        assert_eq!(response.status, status);
        assert_eq!(
            response.headers,
            [(
                "location".to_owned(),
                format!("{}/", elsewhere.origin).into_bytes()
            )]
        );
    }
    assert_eq!(elsewhere.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_lost_answer_to_a_write_is_an_unknown_outcome() {
    let house = House::new().await;
    for stump in [
        "",
        "HTTP/1.1 200",
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
    ] {
        let server = Server::plain(Answer::Stump(stump.into())).await;
        let egress = egress(&[&server.origin]);
        let before = house.count(EventKind::EffectUnknown).await;
        let lost = house
            .send(&egress, request(&server.origin, Post, "/"))
            .await;
        let Err(Error::OutcomeUnknown { key }) = lost else {
            panic!("{lost:?}")
        };
        assert!(key.len() == 64 && key.bytes().all(|b| b.is_ascii_hexdigit()));
        assert_eq!(house.count(EventKind::EffectUnknown).await, before + 1);
        let lost = house.send(&egress, request(&server.origin, Get, "/")).await;
        assert!(matches!(lost, Err(Error::Timeout(_))), "{lost:?}");
        assert_eq!(house.count(EventKind::EffectUnknown).await, before + 1);
    }
}

#[tokio::test]
async fn silence_ends_with_the_time_allowed() {
    let (house, server) = (House::new().await, Server::plain(Answer::Silence).await);
    let egress = impatient(&[&server.origin]);
    let late = house.send(&egress, request(&server.origin, Get, "/")).await;
    assert!(matches!(late, Err(Error::Timeout(_))), "{late:?}");
    let late = house
        .send(&egress, request(&server.origin, Post, "/"))
        .await;
    assert!(
        matches!(late, Err(Error::OutcomeUnknown { .. })),
        "{late:?}"
    );
}

#[tokio::test]
async fn a_caller_that_leaves_is_recorded_as_an_unknown_outcome() {
    let (house, server) = (House::new().await, Server::plain(Answer::Silence).await);
    let egress = egress(&[&server.origin]);
    let write = request(&server.origin, Post, "/");
    let permit = house.permit_http(&write, &[]).await;
    {
        let sending = egress.send(permit, write, &house.vault);
        tokio::pin!(sending);
        while server.requests().is_empty() {
            let still = tokio::select! { biased; ended = &mut sending => Some(ended), () = tokio::task::yield_now() => None };
            assert!(still.is_none());
        }
    }
    assert_eq!(house.count(EventKind::EffectUnknown).await, 1);
}

#[tokio::test]
async fn a_server_that_is_not_there_took_nothing() {
    let house = House::new().await;
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port())
            .parse()
            .unwrap()
    };
    let gone = house
        .send(&egress(&[&closed]), request(&closed, Post, "/"))
        .await;
    assert!(matches!(gone, Err(Error::Unavailable(_))), "{gone:?}");
    assert_eq!(house.count(EventKind::EffectUnknown).await, 0);
    assert_eq!(house.count(EventKind::EffectFinished).await, 1);
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_ends_it() {
    let (house, server) = (House::new().await, Server::tls(ok("fine")).await);
    let refused = house
        .send(
            &egress(&[&server.origin]),
            request(&server.origin, Post, "/"),
        )
        .await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    let trusting = |origin| {
        let extra_roots = vec![server.root.clone().unwrap()];
        Egress::new(EgressOptions {
            extra_roots,
            ..options(&[origin])
        })
        .unwrap()
    };
    // The right certificate for another name.
    let other = server
        .origin
        .as_str()
        .replace("api.", "www.")
        .parse()
        .unwrap();
    let refused = house
        .send(&trusting(&other), request(&other, Post, "/"))
        .await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    assert!(server.requests().is_empty());
    let response = house
        .send(
            &trusting(&server.origin),
            request(&server.origin, Post, "/"),
        )
        .await;
    assert_eq!(response.unwrap().body.as_ref(), b"fine");
}

#[tokio::test]
async fn answers_are_decoded_and_bounded() {
    let house = House::new().await;
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let answer = |headers: &str, body: &[u8]| {
        let mut out = format!(
            "HTTP/1.1 200 OK\r\n{headers}content-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        out.extend(body);
        Answer::Bytes(out)
    };
    let get = async |answer: Answer, max_body: usize| {
        let server = Server::plain(answer).await;
        let egress = Egress::new(EgressOptions {
            max_body,
            ..options(&[&server.origin])
        })
        .unwrap();
        house.send(&egress, request(&server.origin, Get, "/")).await
    };
    let coded = answer("content-encoding: gzip\r\n", &gzip(b"hello"));
    let response = get(coded, 1024).await.unwrap();
    assert_eq!(
        (response.body.as_ref(), response.headers),
        (&b"hello"[..], vec![])
    );

    let chunked =
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    assert_eq!(
        get(Answer::Bytes(chunked.into()), 1024)
            .await
            .unwrap()
            .body
            .as_ref(),
        b"abcde"
    );

    assert!(get(answer("", &[b'x'; 1024]), 1024).await.is_ok());
    let bomb = gzip(&vec![0; 4 * 1024 * 1024]);
    let flood = format!("x-flood: {}\r\n", "y".repeat(100 * 1024));
    let many: String = (0..200).map(|n| format!("x-{n}: y\r\n")).collect();
    for (answer, max) in [
        (answer("", &[b'x'; 1025]), 1024),
        (answer("content-encoding: gzip\r\n", &bomb), 1024 * 1024),
        (answer(&flood, b""), 1024),
        (answer(&many, b""), 1024),
    ] {
        let refused = get(answer, max).await;
        assert!(matches!(refused, Err(Error::Exhausted(_))), "{refused:?}");
    }
    let broken = get(answer("content-encoding: gzip\r\n", b"no gzip"), 1024).await;
    assert!(matches!(broken, Err(Error::Other(_))), "{broken:?}");

    let server = Server::plain(answer("content-encoding: gzip\r\n", &[])).await;
    let head = house
        .send(
            &egress(&[&server.origin]),
            request(&server.origin, Head, "/"),
        )
        .await;
    assert_eq!(head.unwrap().body.len(), 0);
}

#[tokio::test]
async fn reads_have_no_body() {
    let origin = "https://api.example.com".parse().unwrap();
    for method in [Get, Head] {
        assert!(matches!(
            request(&origin, method, "/").body("x"),
            Err(Error::Invalid(_))
        ));
    }
}
