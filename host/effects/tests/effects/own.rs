//! T21: the host's own listeners, whoever lets an agent go there.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use nexus_effects::Error;
use nexus_effects::http::{Egress, EgressOptions};
use nexus_manifest::{Method, Origin};

use crate::house::{House, options, request};
use crate::server::{Server, ok};
use crate::trap::Trap;

/// The addresses of this machine, as its routing table has them.
fn own_addresses() -> Vec<IpAddr> {
    let table = std::fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let lines: Vec<&str> = table.lines().collect();
    let mut addresses: Vec<IpAddr> = lines
        .windows(2)
        .filter(|pair| pair[1].contains("host LOCAL"))
        .filter_map(|pair| pair[0].trim_start_matches([' ', '|', '-']).parse().ok())
        .collect();
    addresses.sort();
    addresses.dedup();
    addresses
}

#[tokio::test]
async fn t21_no_address_of_this_machine_leads_to_a_listener_of_the_host() {
    let house = House::new().await;
    let listener: SocketAddr = "0.0.0.0:7420".parse().unwrap();
    let mut addresses: Vec<IpAddr> = [
        "127.0.0.1",
        "127.0.0.2",
        "127.255.255.254",
        "::1",
        "0.0.0.0",
        "::",
        "::ffff:127.0.0.1",
    ]
    .map(|text| text.parse().unwrap())
    .to_vec();
    addresses.extend(own_addresses());
    for address in addresses {
        let host = if address.is_ipv6() {
            format!("[{address}]")
        } else {
            address.to_string()
        };
        for url in [
            format!("http://{host}:7420"),
            format!("https://{host}:7420"),
            "http://me.example:7420".to_owned(),
        ] {
            let origin: Origin = url.parse().unwrap();
            let trap = Arc::new(Trap::new(None, move |_, _| vec![address]));
            // Operator and manifest both name it.
            let egress = Egress::new(EgressOptions {
                network: trap.clone(),
                own_listeners: vec![listener],
                ..options(&[&origin])
            })
            .unwrap();
            let refused = house
                .send(&egress, request(&origin, Method::Post, "/"))
                .await;
            let Err(Error::Forbidden(message)) = refused else {
                panic!("{url} as {address}: {refused:?}")
            };
            assert!(
                message.contains("this host's own listener"),
                "{url}: {message}"
            );
            assert_eq!(trap.dialled(), [], "{url}");
            assert_eq!(
                egress.check_origin(&origin).is_err(),
                origin.host().is_address(),
                "{url}"
            );
        }
    }
}

#[tokio::test]
async fn t21_other_listeners_of_the_machine_are_the_operators_to_name() {
    let (house, server) = (House::new().await, Server::plain(ok("neighbour")).await);
    let egress = Egress::new(EgressOptions {
        own_listeners: vec![([127, 0, 0, 1], server.origin.port() ^ 1).into()],
        ..options(&[&server.origin])
    })
    .unwrap();
    let answer = house
        .send(&egress, request(&server.origin, Method::Get, "/"))
        .await;
    assert_eq!(answer.unwrap().body.as_ref(), b"neighbour");
}

#[tokio::test]
async fn this_machine_is_not_the_public_internet_whatever_its_address() {
    let house = House::new().await;
    for address in own_addresses() {
        let trap = Arc::new(Trap::new(None, move |_, _| vec![address]));
        let egress = Egress::new(EgressOptions {
            network: trap.clone(),
            ..EgressOptions::default()
        })
        .unwrap();
        let origin: Origin = "http://me.example".parse().unwrap();
        let refused = house
            .send(&egress, request(&origin, Method::Get, "/"))
            .await;
        assert!(
            matches!(refused, Err(Error::Forbidden(_))),
            "{address}: {refused:?}"
        );
        assert_eq!(trap.dialled(), []);
    }
}

#[tokio::test]
async fn a_private_origin_does_not_open_the_networks_that_nobody_means() {
    let house = House::new().await;
    let origin: Origin = "http://svc.internal:8080".parse().unwrap();
    for address in [
        "169.254.169.254",
        "168.63.129.16",
        "fe80::1",
        "0.0.0.0",
        "::ffff:10.0.0.1",
        "2002:a00:1::",
        "64:ff9b::a00:1",
        "224.0.0.1",
        "255.255.255.255",
    ] {
        let trap = Arc::new(Trap::new(None, move |_, _| vec![address.parse().unwrap()]));
        let egress = Egress::new(EgressOptions {
            network: trap.clone(),
            ..options(&[&origin])
        })
        .unwrap();
        let refused = house
            .send(&egress, request(&origin, Method::Get, "/"))
            .await;
        assert!(
            matches!(refused, Err(Error::Forbidden(_))),
            "{address}: {refused:?}"
        );
        assert_eq!(trap.dialled(), []);
    }
    for address in [
        "127.0.0.1",
        "10.0.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "fd00::2",
        "::1",
        "93.184.215.14",
    ] {
        let trap = Arc::new(Trap::new(None, move |_, _| vec![address.parse().unwrap()]));
        let egress = Egress::new(EgressOptions {
            network: trap.clone(),
            ..options(&[&origin])
        })
        .unwrap();
        let missed = house
            .send(&egress, request(&origin, Method::Get, "/"))
            .await;
        assert!(
            matches!(missed, Err(Error::Unavailable(_))),
            "{address}: {missed:?}"
        );
        assert_eq!(
            trap.dialled(),
            [(address.parse::<IpAddr>().unwrap(), 8080).into()]
        );
    }
}
