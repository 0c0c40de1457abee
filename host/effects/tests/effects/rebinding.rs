//! T20: names that say one thing and then another, and answers that send an agent elsewhere.

use std::net::IpAddr;
use std::sync::Arc;

use nexus_effects::Error;
use nexus_effects::http::{Egress, EgressOptions};
use nexus_manifest::{Method, Origin};

use crate::house::{House, request};
use crate::server::{Answer, Server, ok};
use crate::trap::Trap;

const PUBLIC: [&str; 3] = ["93.184.215.14", "2606:4700::1111", "1.1.1.1"];
const PRIVATE: [&str; 8] = [
    "127.0.0.1",
    "10.0.0.1",
    "169.254.169.254",
    "192.168.0.1",
    "::1",
    "::ffff:127.0.0.1",
    "fd00:ec2::254",
    "64:ff9b::a9fe:a9fe",
];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn egress(trap: &Arc<Trap>) -> Egress {
    Egress::new(EgressOptions {
        network: trap.clone(),
        ..EgressOptions::default()
    })
    .unwrap()
}

#[tokio::test]
async fn t20_a_name_that_flips_with_every_query_never_leads_inside() {
    let (house, server) = (House::new().await, Server::plain(ok("outside")).await);
    let landing = ([127, 0, 0, 1], server.origin.port()).into();
    let answer = |query: usize| match query % 2 {
        0 => ip(PUBLIC[query / 2 % PUBLIC.len()]),
        _ => ip(PRIVATE[query / 2 % PRIVATE.len()]),
    };
    let trap = Arc::new(Trap::new(Some(landing), move |_, query| {
        vec![answer(query)]
    }));
    let egress = egress(&trap);
    let origin: Origin = "http://rebind.example:8080".parse().unwrap();
    let tries = if std::env::var_os("NEXUS_SOAK").is_some() {
        10_000
    } else {
        1_000
    };
    for query in 0..tries {
        let sent = house
            .send(&egress, request(&origin, Method::Get, "/"))
            .await;
        assert_eq!(
            trap.asked(),
            query + 1,
            "a name is resolved once for each request"
        );
        if query % 2 == 0 {
            assert_eq!(sent.unwrap().body.as_ref(), b"outside");
            assert_eq!(trap.dialled(), [(answer(query), 8080).into()]);
        } else {
            assert!(matches!(sent, Err(Error::Forbidden(_))), "{sent:?}");
            assert_eq!(trap.dialled(), []);
        }
    }
}

#[tokio::test]
async fn t20_one_address_inside_spoils_the_answer_wherever_it_stands() {
    let house = House::new().await;
    let origin: Origin = "http://mixed.example".parse().unwrap();
    for private in PRIVATE {
        for place in 0..=PUBLIC.len() {
            let mut answer: Vec<IpAddr> = PUBLIC.map(ip).to_vec();
            answer.insert(place, ip(private));
            let trap = Arc::new(Trap::new(None, move |_, _| answer.clone()));
            let refused = house
                .send(&egress(&trap), request(&origin, Method::Post, "/"))
                .await;
            let Err(Error::Forbidden(message)) = refused else {
                panic!("{private} at {place}: {refused:?}")
            };
            assert!(
                !message.contains(private),
                "tells what the name led to: {message}"
            );
            assert_eq!((trap.dialled(), trap.asked()), (vec![], 1));
        }
    }
}

#[tokio::test]
async fn t20_an_alias_of_a_name_inside_is_refused() {
    let house = House::new().await;
    // The resolver follows aliases, as every resolver does; the end of the chain is what counts.
    let follow = |name: &str| {
        let mut name = name.to_owned();
        let aliases = [
            ("www.example", "cdn.example"),
            ("cdn.example", "edge.example"),
            ("edge.example", "db.internal"),
        ];
        while let Some((_, to)) = aliases.iter().find(|(from, _)| *from == name) {
            name = (*to).to_owned();
        }
        vec![ip(if name == "db.internal" {
            "10.0.0.5"
        } else {
            "93.184.215.14"
        })]
    };
    let trap = Arc::new(Trap::new(None, move |name, _| follow(name)));
    for name in ["www.example", "cdn.example", "edge.example", "db.internal"] {
        let origin: Origin = format!("https://{name}").parse().unwrap();
        let refused = house
            .send(&egress(&trap), request(&origin, Method::Get, "/"))
            .await;
        assert!(
            matches!(refused, Err(Error::Forbidden(_))),
            "{name}: {refused:?}"
        );
    }
    assert_eq!(trap.dialled(), []);
}

#[tokio::test]
async fn t20_no_chain_of_redirects_leads_inside() {
    let ends = [
        "http://127.0.0.1/admin",
        "http://localhost/admin",
        "http://[::1]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:10.0.0.1]/",
        "http://2130706433/",
        "http://0177.0.0.1/",
        "http://hop.example@127.0.0.1/",
        "//10.0.0.1/",
        "file:///etc/passwd",
        "http://inside.example/",
        "https://192.168.0.1:8443/x?y=z",
    ];
    for (number, end) in ends.into_iter().enumerate() {
        let house = House::new().await;
        let status = [301, 302, 303, 307, 308][number % 5];
        let redirect = |to: &str| {
            let answer = format!(
                "HTTP/1.1 {status} x\r\nlocation: {to}\r\nrefresh: 0;url={to}\r\ncontent-length: 0\r\n\r\n"
            );
            Answer::Bytes(answer.into_bytes())
        };
        let last = Server::plain(redirect(end)).await;
        let first = Server::plain(redirect("http://hop.example/")).await;
        let mut next = "http://start.example/".to_owned();
        let mut dialled = 0;
        // An agent that does what it is told, with a manifest that lets it.
        for server in [&first, &last] {
            let landing = ([127, 0, 0, 1], server.origin.port()).into();
            let trap = Arc::new(Trap::new(Some(landing), |name, _| {
                vec![ip(if name == "inside.example" {
                    "10.0.0.1"
                } else {
                    "93.184.215.14"
                })]
            }));
            let origin: Origin = next.parse().unwrap();
            let answer = house
                .send(&egress(&trap), request(&origin, Method::Get, "/"))
                .await
                .unwrap();
            assert_eq!(answer.status, status);
            let location = answer
                .headers
                .iter()
                .find(|(name, _)| name == "location")
                .unwrap();
            next = String::from_utf8(location.1.clone()).unwrap();
            dialled += trap.dialled().len();
            assert_eq!(server.requests().len(), 1);
        }
        assert_eq!(
            dialled, 2,
            "a redirect is an answer, and following it is the agent's to ask"
        );
        assert_eq!(next, end);
        // The agent takes the origin out of it as well as it can.
        let (scheme, rest) = next.split_once("//").unwrap();
        let scheme = if scheme.is_empty() { "http:" } else { scheme };
        let end = format!("{scheme}//{}", rest.split('/').next().unwrap_or_default());
        let Ok(origin) = end.parse::<Origin>() else {
            continue;
        };
        let trap = Arc::new(Trap::new(None, |name, _| {
            vec![ip(if name == "localhost" {
                "127.0.0.1"
            } else {
                "10.0.0.1"
            })]
        }));
        let refused = house
            .send(&egress(&trap), request(&origin, Method::Get, "/"))
            .await;
        assert!(
            matches!(refused, Err(Error::Forbidden(_))),
            "{end}: {refused:?}"
        );
        assert_eq!(trap.dialled(), []);
    }
}
