//! TLS in front of the router: certificates read from files, and again when the files change.
//!
//! Handshakes run beside each other and are bounded in number and time, so that a client that
//! stays silent keeps nobody else out. Only TLS 1.2 and 1.3, by `rustls`.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

const HANDSHAKES_MAX: usize = 256;
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// After an error of `accept`, which is mostly too many open files.
const BREATH: Duration = Duration::from_millis(100);

/// Where certificate and key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// PEM, the server's own certificate first.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read `{path}` as PEM")]
    Read {
        path: PathBuf,
        #[source]
        cause: rustls::pki_types::pem::Error,
    },
    #[error("`{path}` holds no certificate")]
    Empty { path: PathBuf },
    #[error("certificate and key cannot be used")]
    Unfit(#[source] rustls::Error),
}

type Stamp = [Option<SystemTime>; 2];

/// The certificate in use.
#[derive(Debug)]
pub struct Certificate {
    files: Files,
    current: Mutex<(Stamp, Arc<ServerConfig>)>,
}

impl Certificate {
    pub fn read(files: Files) -> Result<Self, TlsError> {
        let current = Mutex::new((stamp(&files), load(&files)?));
        Ok(Self { files, current })
    }

    fn current(&self) -> Arc<ServerConfig> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = stamp(&self.files);
        if stamp != current.0 {
            current.0 = stamp;
            match load(&self.files) {
                Ok(fresh) => current.1 = fresh,
                Err(error) => {
                    let error = crate::base::chain::text(&error);
                    tracing::error!(error, "the changed certificate is not used");
                }
            }
        }
        Arc::clone(&current.1)
    }
}

fn stamp(files: &Files) -> Stamp {
    let changed = |path: &Path| std::fs::metadata(path).and_then(|it| it.modified()).ok();
    [changed(&files.certificate), changed(&files.key)]
}

fn load(files: &Files) -> Result<Arc<ServerConfig>, TlsError> {
    let failed = |path: &PathBuf| {
        let path = path.clone();
        |cause| TlsError::Read { path, cause }
    };
    let path = &files.certificate;
    let chain = CertificateDer::pem_file_iter(path).map_err(failed(path))?;
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(failed(path))?;
    if chain.is_empty() {
        return Err(TlsError::Empty { path: path.clone() });
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(failed(&files.key))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Unfit)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(TlsError::Unfit)?;
    Ok(Arc::new(config))
}

type Ready = (TlsStream<TcpStream>, SocketAddr);

/// Connections whose handshake is done.
#[derive(Debug)]
pub struct Listener {
    ready: mpsc::Receiver<Ready>,
    address: SocketAddr,
    accepting: tokio::task::JoinHandle<()>,
}

impl Listener {
    /// Within a runtime.
    pub fn new(listener: TcpListener, certificate: Arc<Certificate>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (send, ready) = mpsc::channel(HANDSHAKES_MAX);
        let accepting = tokio::spawn(accept(listener, certificate, send));
        Ok(Self { ready, address, accepting })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, certificate: Arc<Certificate>, send: mpsc::Sender<Ready>) {
    let places = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(BREATH).await;
                continue;
            }
        };
        // Head and body of an answer are two writes; waiting between them costs clients 40 ms a call.
        drop(stream.set_nodelay(true));
        let acceptor = TlsAcceptor::from(certificate.current());
        let send = send.clone();
        tokio::spawn(async move {
            let shaken = tokio::time::timeout(HANDSHAKE_WITHIN, acceptor.accept(stream)).await;
            if let Ok(Ok(stream)) = shaken {
                drop(send.send((stream, from)).await);
            }
            drop(place);
        });
    }
}

impl axum::serve::Listener for Listener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> Ready {
        match self.ready.recv().await {
            Some(ready) => ready,
            // The accepting task ends only with this listener.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}
