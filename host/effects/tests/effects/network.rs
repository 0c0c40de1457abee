//! Where requests can't go, whatever a name or a literal says.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use nexus_effects::Error;
use nexus_effects::http::{Egress, EgressOptions};
use nexus_manifest::{Method, Origin};

use crate::house::{House, Names, egress, options, request};
use crate::server::{Server, ok};

#[tokio::test]
async fn one_address_inside_spoils_the_answer() {
    let (house, server) = (House::new().await, Server::plain(ok("")).await);
    let origin: Origin = format!("http://rebind.example:{}", server.origin.port())
        .parse()
        .unwrap();
    for answer in [
        &["127.0.0.1"][..],
        &["127.0.0.1", "93.184.215.14"],
        &["93.184.215.14", "127.0.0.1"],
        &["2606:4700::1111", "93.184.215.14", "::ffff:127.0.0.1"],
        &["169.254.169.254"],
    ] {
        let names = Arc::new(Names::new(answer));
        let egress = Egress::new(EgressOptions {
            network: names.clone(),
            ..EgressOptions::default()
        })
        .unwrap();
        let refused = house
            .send(&egress, request(&origin, Method::Post, "/"))
            .await;
        let Err(Error::Forbidden(message)) = refused else {
            panic!("{answer:?}: {refused:?}")
        };
        assert!(
            !answer.iter().any(|address| message.contains(address)),
            "tells what the name led to"
        );
        assert_eq!(names.asked.load(Ordering::SeqCst), 1);
    }
    let nothing = Egress::new(EgressOptions {
        network: Arc::new(Names::new(&[])),
        ..EgressOptions::default()
    });
    let refused = house
        .send(&nothing.unwrap(), request(&origin, Method::Get, "/"))
        .await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    assert_eq!(server.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_origin_on_this_machine_must_be_named_exactly() {
    let (house, server) = (House::new().await, Server::plain(ok("here")).await);
    let port = server.origin.port();
    let named: Origin = format!("http://svc.internal:{port}").parse().unwrap();
    for other in [
        format!("http://other.internal:{port}"),
        format!("http://svc.internal:{}", port ^ 1),
        format!("https://svc.internal:{port}"),
        format!("http://127.0.0.1:{port}"),
        format!("http://localhost:{port}"),
    ] {
        let other: Origin = other.parse().unwrap();
        let refused = house
            .send(&egress(&[&named]), request(&other, Method::Get, "/"))
            .await;
        assert!(
            matches!(refused, Err(Error::Forbidden(_))),
            "{other}: {refused:?}"
        );
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 0);
    let names = Arc::new(Names::new(&["127.0.0.1"]));
    let egress = Egress::new(EgressOptions {
        network: names.clone(),
        ..options(&[&named])
    })
    .unwrap();
    let response = house
        .send(&egress, request(&named, Method::Get, "/"))
        .await
        .unwrap();
    assert_eq!(response.body.as_ref(), b"here");
    assert_eq!(
        names.asked.load(Ordering::SeqCst),
        1,
        "resolved once, connected to what was checked"
    );
}
