//! What a browser can be made to send by a page that its user only looks at. None of it is gRPC, nor
//! JSON as the host takes it, and all of it is refused before anything is read: a page must not reach
//! the host by a name that somebody pointed at this machine, nor by a form or a script on another site.

use http::{HeaderMap, Method, Request, StatusCode, Version, header};

use crate::config;

/// The names by which the host may be called, besides `localhost` and bare addresses.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    /// Not set: any name will do, since a certificate answers for it.
    named: Option<Vec<String>>,
}

/// What is wrong with a request, as a status of HTTP and a sentence.
pub(crate) type Refusal = (StatusCode, &'static str);

impl Names {
    /// Of a listener: any name under a certificate, which answers for it; else those of the
    /// configuration.
    pub(crate) fn configured(config: &config::Server) -> Self {
        match config.certificate {
            Some(_) => Self { named: None },
            None => Self::of(&config.names),
        }
    }

    /// The names that the operator has given, and no others.
    fn of(names: &[String]) -> Self {
        let named = names.iter().map(|name| name.to_ascii_lowercase());
        Self {
            named: Some(named.collect()),
        }
    }

    /// Refuses what a page has had sent, and what calls the host by a name that is not its own: all
    /// the names that a request gives have to be.
    pub(crate) fn check_sender<B>(&self, request: &Request<B>) -> Result<(), Refusal> {
        let headers = request.headers();
        if let Some(reason) = by_a_page(headers) {
            return Err((StatusCode::FORBIDDEN, reason));
        }
        let hosts = headers.get_all(header::HOST).iter();
        let hosts = hosts.map(|host| host.to_str().unwrap_or_default());
        let authority = request
            .uri()
            .authority()
            .map(|authority| authority.as_str());
        let mut names = authority.into_iter().chain(hosts).peekable();
        if names.peek().is_none() || !names.all(|name| self.is_ours(name)) {
            return Err((
                StatusCode::FORBIDDEN,
                "this host is not called by that name; use its address, or add the name to `names` under [server]",
            ));
        }
        Ok(())
    }

    /// Refuses what no gRPC client sends.
    pub(crate) fn check<B>(&self, request: &Request<B>) -> Result<(), Refusal> {
        self.check_sender(request)?;
        if request.version() < Version::HTTP_2 {
            return Err((
                StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                "gRPC calls are sent over HTTP/2; what there is in JSON is below /v1/",
            ));
        }
        if request.method() != Method::POST {
            return Err((
                StatusCode::METHOD_NOT_ALLOWED,
                "gRPC calls are POST requests",
            ));
        }
        let content = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        if !content.is_some_and(is_grpc) {
            return Err((
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "the content-type of a gRPC call is application/grpc",
            ));
        }
        Ok(())
    }

    /// Whether a page could not have got here by a name of its own. An address can't be rebound.
    fn is_ours(&self, authority: &str) -> bool {
        if authority.contains('@') {
            return false;
        }
        let Some(named) = &self.named else {
            return true;
        };
        let host = match authority
            .strip_prefix('[')
            .and_then(|rest| rest.split_once(']'))
        {
            Some((address, _)) => return address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => authority.split(':').next().unwrap_or_default(),
        };
        let host = host.to_ascii_lowercase();
        host == "localhost" || host.parse::<std::net::Ipv4Addr>().is_ok() || named.contains(&host)
    }
}

/// What only a browser adds.
fn by_a_page(headers: &HeaderMap) -> Option<&'static str> {
    let sent = |name: &str| headers.contains_key(name);
    if sent("origin") || sent("referer") {
        return Some("a page in a browser may not call this host");
    }
    let fetched = headers
        .keys()
        .any(|name| name.as_str().starts_with("sec-fetch-"));
    (fetched || sent("cookie")).then_some("a browser may not call this host")
}

/// `application/grpc`, with or without what it carries. gRPC-Web is another protocol.
fn is_grpc(content: &str) -> bool {
    content
        .strip_prefix("application/grpc")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('+') || rest.starts_with(';'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_whole() {
        let names = Names::of(&["Nexus.example.com".to_owned()]);
        for ours in [
            "localhost",
            "LOCALHOST:7420",
            "127.0.0.1:7420",
            "[::1]:7420",
            "nexus.example.com:443",
        ] {
            assert!(names.is_ours(ours), "{ours}");
        }
        for theirs in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "[evil]",
            "a@localhost",
            "",
            "nexus.example.com.evil",
        ] {
            assert!(!names.is_ours(theirs), "{theirs}");
        }
    }
}
