//! A network that resolves what a test says and keeps every address that was connected to.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::BoxFuture;
use nexus_effects::http::Network;
use tokio::net::TcpStream;

/// What a resolver answers to the name in its query of this number.
type Answer = Box<dyn Fn(&str, usize) -> Vec<IpAddr> + Send + Sync>;

/// The connect trap. Whatever is dialled ends at `server`, if there is one.
pub(crate) struct Trap {
    answer: Answer,
    asked: AtomicUsize,
    dialled: Mutex<Vec<SocketAddr>>,
    server: Option<SocketAddr>,
}

impl Trap {
    pub(crate) fn new(
        server: Option<SocketAddr>,
        answer: impl Fn(&str, usize) -> Vec<IpAddr> + Send + Sync + 'static,
    ) -> Self {
        Self {
            answer: Box::new(answer),
            asked: AtomicUsize::new(0),
            dialled: Mutex::default(),
            server,
        }
    }

    /// How many names were resolved.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// What was connected to since the last look.
    pub(crate) fn dialled(&self) -> Vec<SocketAddr> {
        std::mem::take(&mut self.dialled.lock().unwrap())
    }
}

impl Network for Trap {
    fn resolve<'a>(
        &'a self,
        name: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        let query = self.asked.fetch_add(1, Ordering::SeqCst);
        let addresses = (self.answer)(name, query);
        let addresses = addresses.into_iter().map(|ip| SocketAddr::new(ip, port));
        let addresses = addresses.collect();
        Box::pin(async move { Ok(addresses) })
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
        self.dialled.lock().unwrap().push(address);
        Box::pin(async move {
            let server = self.server.ok_or(io::ErrorKind::ConnectionRefused)?;
            TcpStream::connect(server).await
        })
    }
}
