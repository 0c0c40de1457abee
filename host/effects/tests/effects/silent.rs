//! Addresses that never answer.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use nexus_effects::http::{Egress, EgressOptions, Network, Timeouts};
use nexus_manifest::{Method, Origin};
use tokio::net::TcpStream;

use crate::house::{House, options, request};
use crate::server::{Server, ok};

/// Two addresses for every name, of which the first swallows what is sent to it.
struct Halved;

const SILENT: [u8; 4] = [127, 0, 0, 99];

impl Network for Halved {
    fn resolve<'a>(&'a self, _: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        let all = [SILENT, [127, 0, 0, 1]];
        let all = all.map(|ip| SocketAddr::new(IpAddr::from(ip), port));
        Box::pin(async move { Ok(all.to_vec()) })
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
        match address.ip() == IpAddr::from(SILENT) {
            true => Box::pin(std::future::pending()),
            false => Box::pin(TcpStream::connect(address)),
        }
    }
}

#[tokio::test]
async fn an_address_that_never_answers_does_not_keep_the_next_from_being_tried() {
    let (house, server) = (House::new().await, Server::plain(ok("here")).await);
    let name = format!("http://two.example:{}", server.origin.port());
    let origin: Origin = name.parse().unwrap();
    let egress = Egress::new(EgressOptions {
        timeouts: Timeouts {
            connect: Duration::from_secs(4),
            total: Duration::from_secs(60),
        },
        network: Arc::new(Halved),
        ..options(&[&origin])
    });
    let answer = house
        .send(&egress.unwrap(), request(&origin, Method::Get, "/"))
        .await;
    assert!(
        matches!(&answer, Ok(response) if response.body == "here"),
        "{answer:?}"
    );
}
