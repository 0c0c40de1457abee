//! T19: URLs that would lead inside, every way they can be written, and good ones that must not suffer.

use std::net::IpAddr;
use std::sync::Arc;

use nexus_effects::Error;
use nexus_effects::http::{Egress, EgressOptions};
use nexus_manifest::{Method, Origin};

use crate::house::{House, request};
use crate::server::{Server, ok};
use crate::trap::Trap;

/// Texts that are no origin: what a parser of another kind could read as an address inside.
const UNREADABLE: &[&str] = &[
    // Numbers that are addresses.
    "http://2130706433",
    "http://2852039166/",
    "http://017700000001",
    "http://0x7f000001",
    "http://0x7f.1",
    "http://0x7f.0.0.1",
    "http://0177.0.0.1",
    "http://0177.0.0.01",
    "http://127.1",
    "http://127.0.1",
    "http://0",
    "http://0x0",
    "http://00.0.0.0",
    "http://127.000.000.001",
    "http://0xa9fea9fe",
    "http://169.254.43518",
    "http://0251.0376.0251.0376",
    "http://10.1",
    "http://0xA.1",
    "http://192.168.257",
    "http://\u{ff11}\u{ff12}\u{ff17}.0.0.1",
    "http://127\u{3002}0\u{3002}0\u{3002}1",
    "http://127.0.0.\u{2460}",
    "http://256.256.256.256",
    "http://1.2.3.4.5",
    "http://0x7f.0x0.0x0.0x1",
    "http://127.0.0.1.",
    // Names with a dot at the end, and names that are none.
    "http://localhost.",
    "http://metadata.google.internal.",
    "http://localhost\u{3002}",
    "http://.",
    "http://",
    "http:///127.0.0.1",
    "http://#127.0.0.1",
    "http://?127.0.0.1",
    // Users and passwords in front, which hide where it goes.
    "http://good.example@127.0.0.1",
    "http://good.example:80@127.0.0.1",
    "http://@127.0.0.1",
    "http://good.example%40127.0.0.1",
    "http://127.0.0.1@good.example",
    "http://a:b@[::1]",
    "http://good.example\\@127.0.0.1",
    "http://good.example#@127.0.0.1",
    "http://good.example?@127.0.0.1",
    // Zones.
    "http://[fe80::1%25eth0]",
    "http://[fe80::1%eth0]",
    "http://[::1%25lo]",
    "http://[fe80::1%251]",
    // What parsers forgive.
    "http:\\\\127.0.0.1",
    "http:/127.0.0.1",
    "http:127.0.0.1",
    "http:////127.0.0.1",
    " http://127.0.0.1",
    "http://127.0.0.1 ",
    "http://127.0.0.1\t",
    "http://127.0.0.1\n",
    "ht\ntp://127.0.0.1",
    "http://127.0\t.0.1",
    "http://127.0.0.1\0",
    "http://127.0.0.1\\.good.example",
    "//127.0.0.1",
    "127.0.0.1",
    "localhost",
    "HTTP://127.0.0.1",
    "http://%31%32%37.0.0.1",
    "http://%6cocalhost",
    "http://127.0.0.1%2f.good.example",
    "http://127.0.0.1%00.good.example",
    "http://[::1",
    "http://::1",
    "http://[::1].good.example",
    "http://[127.0.0.1]",
    "http://[::1]]",
    "http://[[::1]]",
    "http://[::ffff:127.0.0.1.]",
    "http://[0:0:0:0:0:0:0:0:1]",
    // Ports that are none.
    "http://127.0.0.1:0",
    "http://127.0.0.1:65536",
    "http://127.0.0.1:80:80",
    "http://127.0.0.1:-1",
    "http://127.0.0.1: 80",
    "http://127.0.0.1:0x50",
    // Paths, and schemes that go elsewhere.
    "http://127.0.0.1/admin",
    "http://good.example/..",
    "https://good.example/redirect?to=http://127.0.0.1",
    "file:///etc/passwd",
    "ftp://127.0.0.1",
    "gopher://127.0.0.1:6379/_x",
    "dict://127.0.0.1",
    "ldap://127.0.0.1",
    "ws://127.0.0.1",
    "unix:///run/docker.sock",
    "data:text/plain,x",
    "javascript:1",
    "jar:http://127.0.0.1!/",
    "blob:http://127.0.0.1",
    "view-source:http://127.0.0.1",
    "http+unix://%2frun%2fdocker.sock",
    "",
];

/// Addresses that no agent may reach, one of each special network and of each that carries another.
const REFUSED: &[&str] = &[
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.1",
    "127.0.0.2",
    "127.255.255.255",
    "168.63.129.16",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.170",
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
    "255.255.255.254",
    "255.255.255.255",
    // IPv6: unspecified, loopback, compatible, mapped, translated.
    "::",
    "::1",
    "::2",
    "::127.0.0.1",
    "::8.8.8.8",
    "::169.254.169.254",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:7f00:1",
    "::ffff:8.8.8.8",
    "::ffff:0:127.0.0.1",
    // NAT64, both prefixes.
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::808:808",
    "64:ff9b:1::1",
    "64:ff9b:1:a00::1",
    // Discard, Teredo, benchmarking, ORCHID, documentation.
    "100::1",
    "2001::1",
    "2001:0:7f00:1::",
    "2001:0:4136:e378:8000:63bf:80ff:fffe",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "3fff::1",
    // 6to4 and ISATAP.
    "2002:7f00:1::",
    "2002:a9fe:a9fe::",
    "2002:a00:1::1",
    "2002:808:808::1",
    "2600::5efe:7f00:1",
    "2600::200:5efe:a00:1",
    "fe80::5efe:a00:1",
    // Reserved, segment routing, unique local, link-local, site-local, multicast.
    "4000::1",
    "5f00::1",
    "8000::1",
    "fc00::1",
    "fd00::1",
    "fd00:ec2::254",
    "fe80::1",
    "febf::1",
    "fec0::1",
    "feff::1",
    "ff02::1",
    "ff0e::1",
];

/// What must go through, and the address it has to go to; for a name, what it resolves to.
const GOOD: &[(&str, &str)] = &[
    ("http://api.example.com", "93.184.215.14"),
    ("http://api.example.com/", "93.184.215.14"),
    ("http://API.Example.COM", "93.184.215.14"),
    ("http://api.example.com:8080", "93.184.215.14"),
    ("http://api.example.com:1", "93.184.215.14"),
    ("http://api.example.com:65535", "93.184.215.14"),
    ("https://api.example.com", "93.184.215.14"),
    ("https://api.example.com:8443", "2606:2800:220:1::1"),
    ("https://localhost.example.com", "1.1.1.1"),
    ("http://127.0.0.1.example.com", "1.1.1.1"),
    ("http://10.example.com", "1.0.0.1"),
    ("http://xn--bcher-kva.example", "9.9.9.9"),
    ("http://b\u{fc}cher.example", "9.9.9.9"),
    ("http://a_b.example.com", "9.9.9.9"),
    ("http://a-b.c-d.example", "8.8.4.4"),
    ("http://single", "8.8.4.4"),
    ("http://metadata.example", "8.8.4.4"),
    ("http://1.1.1.1", "1.1.1.1"),
    ("http://8.8.8.8:53", "8.8.8.8"),
    ("http://9.255.255.255", "9.255.255.255"),
    ("http://11.0.0.1", "11.0.0.1"),
    ("http://100.63.255.255", "100.63.255.255"),
    ("http://100.128.0.1", "100.128.0.1"),
    ("http://128.0.0.1", "128.0.0.1"),
    ("http://172.15.255.255", "172.15.255.255"),
    ("http://172.32.0.1", "172.32.0.1"),
    ("http://192.169.0.1", "192.169.0.1"),
    ("http://198.20.0.1", "198.20.0.1"),
    ("http://223.255.255.255", "223.255.255.255"),
    ("http://[2606:4700:4700::1111]", "2606:4700:4700::1111"),
    (
        "http://[2a00:1450:4001:0:0:0:0:200e]",
        "2a00:1450:4001::200e",
    ),
    ("http://[2001:4860:4860::8888]:8080", "2001:4860:4860::8888"),
    ("http://[2003::1]", "2003::1"),
];

fn egress(trap: &Arc<Trap>) -> Egress {
    Egress::new(EgressOptions {
        network: trap.clone(),
        ..EgressOptions::default()
    })
    .unwrap()
}

#[tokio::test]
async fn t19_no_way_of_writing_a_url_opens_a_socket_inside() {
    let house = House::new().await;
    let trap = Arc::new(Trap::new(None, |name, _| {
        // `n7.example` is the seventh refused address; everything else is on this machine.
        let number = name
            .strip_suffix(".example")
            .and_then(|name| name[1..].parse::<usize>().ok());
        vec![
            number
                .map_or("127.0.0.1", |number| REFUSED[number])
                .parse()
                .unwrap(),
        ]
    }));
    let egress = egress(&trap);
    let mut urls = Vec::new();
    for (number, text) in REFUSED.iter().enumerate() {
        let address: IpAddr = text.parse().unwrap();
        let host = if address.is_ipv6() {
            format!("[{text}]")
        } else {
            (*text).to_owned()
        };
        urls.push(format!("http://{host}"));
        urls.push(format!("https://{host}:8443"));
        urls.push(format!("https://n{number}.example"));
    }
    urls.extend(
        [
            "localhost",
            "localhost:6379",
            "foo.localhost",
            "metadata.google.internal",
            "kubernetes.default.svc",
        ]
        .map(|host| format!("http://{host}")),
    );
    assert!(UNREADABLE.len() + urls.len() >= 300);

    for text in UNREADABLE {
        assert!(
            text.parse::<Origin>().is_err(),
            "{text:?} was read as an origin"
        );
    }
    for url in &urls {
        // The manifest names it, and policy permits it: only the network rules are in the way.
        let origin: Origin = url.parse().unwrap();
        let refused = house
            .send(&egress, request(&origin, Method::Get, "/"))
            .await;
        assert!(
            matches!(refused, Err(Error::Forbidden(_))),
            "{url}: {refused:?}"
        );
        assert_eq!(trap.dialled(), [], "{url}");
        if origin.host().is_address() {
            assert!(
                egress.check_origin(&origin).is_err(),
                "{url} could be asked of a person"
            );
        }
    }
    let names = urls
        .iter()
        .filter(|url| !url.parse::<Origin>().unwrap().host().is_address());
    assert_eq!(
        trap.asked(),
        names.count(),
        "a literal reached the resolver, or a name did so twice"
    );
}

#[tokio::test]
async fn t19_good_urls_go_where_they_say() {
    assert!(GOOD.len() >= 30);
    let (house, server) = (House::new().await, Server::plain(ok("fine")).await);
    let port = server.origin.port();
    for (url, address) in GOOD {
        let address: IpAddr = address.parse().unwrap();
        let origin: Origin = url.parse().unwrap();
        // The server speaks no TLS, so for https the dialled address is all there is to see.
        let landing = (!origin.is_https()).then(|| ([127, 0, 0, 1], port).into());
        let trap = Arc::new(Trap::new(landing, move |_, _| vec![address]));
        let egress = egress(&trap);
        egress.check_origin(&origin).unwrap();
        let answer = house
            .send(&egress, request(&origin, Method::Get, "/"))
            .await;
        assert_eq!(
            trap.dialled(),
            [(address, origin.port()).into()],
            "{url}: {answer:?}"
        );
        match answer {
            Ok(response) => assert_eq!(response.body.as_ref(), b"fine"),
            Err(Error::Unavailable(_)) if origin.is_https() => {}
            Err(error) => panic!("{url}: {error:?}"),
        }
    }
}
