//! What is this machine's, and which of it is the host's own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// The ports that the host itself listens on.
///
/// An agent that reached one could speak to the host as a client does. It is refused on every address
/// of this machine, whichever the host listens on: what forwards a port from one to another is not
/// seen from here.
#[derive(Debug, Clone, Default)]
pub(crate) struct Own(Vec<u16>);

impl Own {
    pub(crate) fn new(listeners: &[SocketAddr]) -> Self {
        Self(listeners.iter().map(SocketAddr::port).collect())
    }

    /// Whether a connection to this address could end at one of the host's listeners.
    pub(crate) fn holds(&self, address: SocketAddr) -> bool {
        self.0.contains(&address.port()) && is_local(address.ip())
    }
}

/// Whether packets to this address stay on this machine.
pub(crate) fn is_local(address: IpAddr) -> bool {
    let address = address.to_canonical();
    if address.is_loopback() || address.is_unspecified() {
        return true;
    }
    // Asks the routing table, and sends nothing: the source of a packet to an address of one's own is
    // that address.
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_of_this_machine_is_known() {
        for text in [
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "0.0.0.0",
            "::",
            "::ffff:127.0.0.1",
        ] {
            assert!(is_local(text.parse().expect("an address")), "{text}");
        }
        for text in ["1.1.1.1", "192.0.2.77", "2606:4700::1111", "10.255.255.1"] {
            assert!(!is_local(text.parse().expect("an address")), "{text}");
        }
        // What the routing table calls its own, loopback and the machine's other addresses.
        let table = std::fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
        let lines: Vec<&str> = table.lines().collect();
        for pair in lines
            .windows(2)
            .filter(|pair| pair[1].contains("host LOCAL"))
        {
            let text = pair[0].trim_start_matches([' ', '|', '-']);
            assert!(is_local(text.parse().expect("an address")), "{text}");
        }
    }

    #[test]
    fn a_port_of_the_host_is_its_own_on_every_address_of_the_machine() {
        let own = Own::new(&["0.0.0.0:7420".parse().expect("an address")]);
        for (text, holds) in [
            ("127.0.0.1:7420", true),
            ("127.0.0.1:7421", false),
            ("127.1.2.3:7420", true),
            ("[::1]:7420", true),
            ("[::]:7420", true),
            ("0.0.0.0:7420", true),
            ("[::ffff:127.0.0.1]:7420", true),
            ("1.1.1.1:7420", false),
        ] {
            let address = text.parse().expect("an address");
            assert_eq!(own.holds(address), holds, "{text}");
            assert!(!Own::default().holds(address));
        }
    }
}
