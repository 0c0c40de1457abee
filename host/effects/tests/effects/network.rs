//! Where requests can't go, whatever a name or a literal says.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use nexus_effects::Error;
use nexus_effects::http::{Egress, EgressOptions};
use nexus_manifest::{Method, Origin};

use crate::house::{House, Names, egress, options, request};
use crate::server::{Server, ok};

#[tokio::test]
async fn literals_that_lead_inside_are_refused() {
    let house = House::new().await;
    let names = Arc::new(Names::new(&["127.0.0.1"]));
    let egress = Egress::new(EgressOptions {
        resolver: names.clone(),
        ..EgressOptions::default()
    })
    .unwrap();
    let hosts = [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "10.255.255.255",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.0.0.2",
        "127.255.255.255",
        "169.254.0.1",
        "169.254.169.254",
        "169.254.170.2",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "192.168.255.255",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.7",
        "203.0.113.9",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[::2]",
        "[::127.0.0.1]",
        "[::169.254.169.254]",
        "[::ffff:127.0.0.1]",
        "[::ffff:10.0.0.1]",
        "[::ffff:169.254.169.254]",
        "[::ffff:7f00:1]",
        "[::ffff:0:127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[64:ff9b::a9fe:a9fe]",
        "[64:ff9b:1::1]",
        "[64:ff9b:1:a00::1]",
        "[100::1]",
        "[2001::1]",
        "[2001:0:7f00:1::]",
        "[2001:10::1]",
        "[2001:20::1]",
        "[2001:db8::1]",
        "[2002:7f00:1::]",
        "[2002:a9fe:a9fe::]",
        "[2002:a00:1::1]",
        "[3fff::1]",
        "[2600::5efe:7f00:1]",
        "[2600::200:5efe:a00:1]",
        "[fc00::1]",
        "[fd00::1]",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "[febf::1]",
        "[fec0::1]",
        "[ff02::1]",
        "[ff0e::1]",
        "[4000::1]",
        "[5f00::1]",
    ];
    assert!(hosts.len() >= 60);
    for host in hosts {
        for origin in [format!("http://{host}"), format!("https://{host}:8443")] {
            let origin: Origin = origin.parse().unwrap();
            let refused = house
                .send(&egress, request(&origin, Method::Get, "/"))
                .await;
            assert!(
                matches!(refused, Err(Error::Forbidden(_))),
                "{origin}: {refused:?}"
            );
        }
    }
    assert_eq!(
        names.asked.load(Ordering::SeqCst),
        0,
        "a literal reached the resolver"
    );
}

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
            resolver: names.clone(),
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
        resolver: Arc::new(Names::new(&[])),
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
        resolver: names.clone(),
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
