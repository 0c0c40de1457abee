//! Origins, targets and the allow-list of a manifest; addresses, held against another table of them.

use std::net::IpAddr;
use std::sync::OnceLock;

use nexus_effects::http::{Egress, EgressOptions, is_public};
use nexus_manifest::{Host, Manifest, Method, Origin, Target};

/// What is not global unicast, or carries an address that may not be, from the registries of IANA.
const NOT_GLOBAL: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/3",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "4000::/2",
    "8000::/1",
];

const ALLOWED: &str = "https://api.example.com";

/// An origin, a line end, and a target; or the bytes of an address.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        address(data);
        return;
    };
    address(data);
    let (origin, target) = text.split_once('\n').unwrap_or((text, text));
    if let Ok(parsed) = origin.parse::<Origin>() {
        check_origin(origin, &parsed);
    }
    if let Ok(parsed) = target.parse::<Target>() {
        check_target(target, &parsed);
    }
}

fn check_origin(written: &str, origin: &Origin) {
    assert_eq!(
        origin.as_str().parse::<Origin>().as_ref(),
        Ok(origin),
        "{written:?} is not canonical"
    );
    assert!(origin.as_str().ends_with(origin.authority()));
    assert!(
        origin.as_str().bytes().all(|byte| byte.is_ascii_graphic()),
        "{written:?}"
    );
    assert!(
        !origin.authority().contains(['@', '/', '\\', '%', '?', '#']),
        "{written:?}"
    );
    let literal = match origin.host() {
        Host::Name(name) => {
            assert!(
                name.parse::<IpAddr>().is_err(),
                "{written:?} hides an address"
            );
            None
        }
        Host::V4(address) => Some(IpAddr::V4(*address)),
        Host::V6(address) => Some(IpAddr::V6(*address)),
    };
    if let Some(address) = literal {
        let allowed = egress().check_origin(origin).is_ok();
        assert!(
            !allowed || is_global(address),
            "{written:?} leads to {address}"
        );
    }
    // A manifest covers the origin that it names and no other.
    let covered = manifest().http(origin).next().is_some();
    assert_eq!(covered, origin.as_str() == ALLOWED, "{written:?}");
    if covered {
        assert_eq!(
            (origin.is_https(), origin.port(), origin.authority()),
            (true, 443, "api.example.com")
        );
    }
}

fn check_target(written: &str, target: &Target) {
    assert_eq!(target.as_str(), written, "what is checked is what is sent");
    assert_eq!(target.as_str().parse::<Target>().as_ref(), Ok(target));
    let origin: Origin = ALLOWED.parse().unwrap();
    let allowed = manifest()
        .http(&origin)
        .any(|permission| permission.allows(Method::Get, target));
    if allowed {
        let path = normalised(target.path());
        assert!(
            path.starts_with("/v1/") || path == "/v1",
            "{written:?} is read as {path:?}"
        );
    }
}

/// The path as the most forgiving server would read it.
fn normalised(path: &str) -> String {
    let mut bytes = path.as_bytes().to_vec();
    for _ in 0..4 {
        let mut decoded = Vec::with_capacity(bytes.len());
        let mut rest = bytes.as_slice();
        while let Some((&first, tail)) = rest.split_first() {
            let octet = tail
                .get(..2)
                .and_then(|digits| std::str::from_utf8(digits).ok());
            match octet.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                Some(octet) if first == b'%' => {
                    decoded.push(octet);
                    rest = &tail[2..];
                }
                _ => {
                    decoded.push(first);
                    rest = tail;
                }
            }
        }
        bytes = decoded;
    }
    let text = String::from_utf8_lossy(&bytes).replace('\\', "/");
    let mut segments = Vec::new();
    for segment in text.split('/') {
        match segment.split(';').next().unwrap_or_default().trim() {
            "" | "." => {}
            ".." => drop(segments.pop()),
            name => segments.push(name.to_owned()),
        }
    }
    let end = if text.ends_with('/') { "/" } else { "" };
    format!("/{}{end}", segments.join("/"))
}

fn address(data: &[u8]) {
    let address: IpAddr = match data {
        [a, b, c, d, ..] if data.len() < 16 => [*a, *b, *c, *d].into(),
        _ => match data.first_chunk::<16>() {
            Some(bytes) => (*bytes).into(),
            None => return,
        },
    };
    assert!(!is_public(address) || is_global(address), "{address}");
}

fn is_global(address: IpAddr) -> bool {
    !NOT_GLOBAL.iter().any(|network| {
        let (base, length) = network.split_once('/').unwrap();
        let length: u32 = length.parse().unwrap();
        match (base.parse().unwrap(), address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                (base.to_bits() ^ address.to_bits()).leading_zeros() >= length
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                (base.to_bits() ^ address.to_bits()).leading_zeros() >= length
            }
            _ => false,
        }
    }) && !is_isatap(address)
}

fn is_isatap(address: IpAddr) -> bool {
    let IpAddr::V6(address) = address else {
        return false;
    };
    let [.., a, b, c, d, _, _, _, _] = address.octets();
    matches!(a, 0..=3) && [b, c, d] == [0, 0x5e, 0xfe]
}

fn egress() -> &'static Egress {
    static EGRESS: OnceLock<Egress> = OnceLock::new();
    EGRESS.get_or_init(|| Egress::new(EgressOptions::default()).unwrap())
}

fn manifest() -> &'static Manifest {
    static MANIFEST: OnceLock<Manifest> = OnceLock::new();
    MANIFEST.get_or_init(|| {
        Manifest::parse(&format!(
            "format = 1\nname = \"fuzzed\"\nversion = \"0.1.0\"\nsummary = \"Fuzzed\"\n[[permission]]\n\
             http = {{ origin = \"{ALLOWED}\", methods = [\"GET\"], paths = [\"/v1/*\"] }}\n"
        ))
        .unwrap()
    })
}
