//! One HTTP request to somewhere else: `http` and `https`, each on a connection of its own.
//!
//! Names are resolved once, and the connection goes to exactly the addresses that were looked at, so
//! that a name cannot mean a public address when it is checked and this machine when it is dialled.
//! Redirects are not followed, for the same reason. Proxies of the environment are not used.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const URL_BYTES_MAX: usize = 2_048;

#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("the address must be `https://HOST…`, without a user, blanks or `#`")]
    Url,
    #[error("the address leads into a private network or to this machine")]
    Private,
    #[error("the name of the host cannot be resolved")]
    Resolve(#[source] std::io::Error),
    #[error("cannot connect")]
    Connect(#[source] std::io::Error),
    #[error("cannot agree on TLS")]
    Tls(#[source] std::io::Error),
    #[error("cannot set up TLS")]
    Setup(#[source] rustls::Error),
    #[error("the request broke off")]
    Broken(#[source] hyper::Error),
    #[error("the request cannot be written")]
    Request(#[source] hyper::http::Error),
    #[error("the answer is too long or broke off")]
    Body,
    #[error("no answer in time")]
    TimedOut,
}

/// What may be spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Only `https`, and only addresses that everybody can reach.
    Public,
    /// Plain `http`, this machine and private networks too.
    Everywhere,
}

/// Sends requests.
#[derive(Debug, Clone)]
pub struct Client {
    tls: Arc<rustls::ClientConfig>,
    reach: Reach,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Sending<'a> {
    pub method: Method,
    pub url: &'a str,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// For all of it.
    pub within: Duration,
    /// Of the answer; more is an error.
    pub answer_bytes_max: usize,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Client {
    /// Trusts the certificates that this machine trusts (`SSL_CERT_FILE` names others).
    pub fn new(reach: Reach) -> Result<Self, HttpError> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in rustls_native_certs::load_native_certs().certs {
            // One that cannot be read opens no door.
            let _ = roots.add(certificate);
        }
        Self::trusting(roots, reach)
    }

    /// Trusts these certificates alone.
    pub fn trusting(roots: rustls::RootCertStore, reach: Reach) -> Result<Self, HttpError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(HttpError::Setup)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: Arc::new(tls), reach })
    }

    /// Whether an address can be sent to at all, as far as that can be said without resolving it.
    pub fn check(&self, url: &str) -> Result<(), HttpError> {
        let target = self.target(url)?;
        match target.host.parse::<IpAddr>() {
            Ok(address) if self.reach == Reach::Public && !is_public(address) => {
                Err(HttpError::Private)
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }

    pub async fn send(&self, sending: Sending<'_>) -> Result<Reply, HttpError> {
        let within = sending.within;
        match tokio::time::timeout(within, self.exchange(sending)).await {
            Ok(reply) => reply,
            Err(_) => Err(HttpError::TimedOut),
        }
    }

    fn target(&self, url: &str) -> Result<Target, HttpError> {
        let plain = url.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        let uri: Uri = url.parse().map_err(|_| HttpError::Url)?;
        let authority = uri.authority().ok_or(HttpError::Url)?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if self.reach == Reach::Everywhere => false,
            Some(_) | None => return Err(HttpError::Url),
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if !plain
            || url.len() > URL_BYTES_MAX
            || host.is_empty()
            || authority.as_str().contains('@')
        {
            return Err(HttpError::Url);
        }
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Target { secure, host, port, path, authority: authority.as_str().to_owned() })
    }

    async fn exchange(&self, sending: Sending<'_>) -> Result<Reply, HttpError> {
        let target = self.target(sending.url)?;
        let found = tokio::net::lookup_host((target.host.as_str(), target.port)).await;
        let addresses: Vec<SocketAddr> = found.map_err(HttpError::Resolve)?.collect();
        let open =
            |address: &SocketAddr| self.reach == Reach::Everywhere || is_public(address.ip());
        // One private address among public ones is no accident.
        if !addresses.iter().all(open) {
            return Err(HttpError::Private);
        }
        let mut failed = std::io::Error::from(std::io::ErrorKind::NotFound);
        let mut stream = None;
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(connected) => {
                    stream = Some(connected);
                    break;
                }
                Err(error) => failed = error,
            }
        }
        let stream = stream.ok_or(HttpError::Connect(failed))?;
        if !target.secure {
            return talk(stream, &target, sending).await;
        }
        let name = ServerName::try_from(target.host.clone()).map_err(|_| HttpError::Url)?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let stream = connector.connect(name, stream).await.map_err(HttpError::Tls)?;
        talk(stream, &target, sending).await
    }
}

struct Target {
    secure: bool,
    host: String,
    port: u16,
    path: String,
    authority: String,
}

async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    target: &Target,
    sending: Sending<'_>,
) -> Result<Reply, HttpError> {
    let opened = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = opened.map_err(HttpError::Broken)?;
    let mut request = Request::builder()
        .method(sending.method)
        .uri(&target.path)
        .header("host", &target.authority)
        .header("user-agent", concat!("ao/", env!("CARGO_PKG_VERSION")))
        .header("connection", "close");
    for (name, value) in sending.headers {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(Bytes::from(sending.body)));
    let request = request.map_err(HttpError::Request)?;
    let most = sending.answer_bytes_max;
    let asked = async {
        let answer = sender.send_request(request).await.map_err(HttpError::Broken)?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), most).collect().await;
        let body = body.map_err(|_| HttpError::Body)?.to_bytes().to_vec();
        Ok(Reply { status, body })
    };
    // The connection moves only while it is polled; its own end is told by the request.
    let carried = async {
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        reply = asked => reply,
        () = carried => Err(HttpError::Body),
    }
}

/// Whether everybody can reach an address, so that nothing is won by asking us to.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    // This network, private, loopback, reserved and multicast; shared by carriers, link-local, protocol
    // assignments, documentation, benchmarks.
    let special = matches!(
        (a, b, c),
        (0 | 10 | 127 | 224.., _, _)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    );
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, rest @ ..] = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match (first, second, rest) {
        // v4 in v6 is as public as it is.
        (0, 0, [0, 0, 0, 0xffff, high, low]) | (0x64, 0xff9b, [0, 0, 0, 0, high, low]) => {
            embedded(high, low)
        }
        (0x2002, high, [low, ..]) => embedded(high, low),
        // Teredo, documentation.
        (0x2001, 0 | 0xdb8, _) => false,
        // Of all other addresses only global unicast is public.
        _ => (0x2000..0x4000).contains(&first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_everybody_reaches_are_public() {
        for text in [
            "127.0.0.1",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.9.9",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "192.0.2.1",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:db8::1",
            "::127.0.0.1",
            "fec0::1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        for text in ["1.1.1.1", "172.32.0.1", "100.63.0.1", "2606:4700::1111", "::ffff:1.1.1.1"] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn what_is_no_plain_address_is_refused_before_anything_is_resolved() {
        let client = |reach| Client::trusting(rustls::RootCertStore::empty(), reach).unwrap();
        let (public, everywhere) = (client(Reach::Public), client(Reach::Everywhere));
        for url in [
            "http://example.com/",
            "https://",
            "https://u@example.com/",
            "ftp://example.com",
            "https://example.com/#x",
            "https://exa mple.com/",
            "/x",
            "https://127.0.0.1/",
            "https://[::1]:8443/",
            "https://169.254.169.254/latest",
            "file:///etc/passwd",
        ] {
            assert!(public.check(url).is_err(), "{url}");
        }
        public.check("https://example.com:8443/a?b=c").unwrap();
        everywhere.check("http://127.0.0.1:1/").unwrap();
        assert!(everywhere.check("ftp://example.com").is_err());
    }
}
