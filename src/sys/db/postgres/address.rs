//! Where the server is: a `postgres://` address, checked before anything is sent to it.
//!
//! There is no TLS here yet, so an address of another machine is refused: rows and the password would
//! cross the network in the open. A tunnel or a local proxy with TLS takes its place.

use std::path::Path;
use std::str::FromStr as _;
use std::time::Duration;

use postgres::config::{Host, SslMode};

/// A hook's caller waits for this.
const CONNECT_WAIT: Duration = Duration::from_secs(2);
/// A server that does not even acknowledge for so long is gone.
const SILENCE_WAIT: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    #[error("the store's address `{shown}` cannot be read")]
    Form {
        shown: String,
        #[source]
        cause: postgres::Error,
    },
    #[error(
        "the store's address `{shown}` names no host; a socket's folder is written `postgres:///NAME?host=/run/postgresql`"
    )]
    NoHost { shown: String },
    #[error(
        "the store's address `{shown}` is not of this machine, and there is no TLS here; use a tunnel or a local proxy that has it"
    )]
    Remote { shown: String },
    #[error(
        "the store's address `{shown}` asks for TLS, which is not built in; leave `sslmode` out on this machine"
    )]
    Tls { shown: String },
    #[error("cannot read the store's password in `{path}`")]
    Password {
        path: std::path::PathBuf,
        #[source]
        cause: std::io::Error,
    },
    #[error("others may read the store's password in `{path}` (mode {mode:o})")]
    Exposed { path: std::path::PathBuf, mode: u32 },
}

/// A checked address.
#[derive(Debug, Clone)]
pub struct Address {
    pub(super) config: postgres::Config,
    /// Without the password, for people and for naming the store.
    pub shown: String,
}

impl Address {
    /// `text`: as in the config. `password`: a file that holds the password where the address has
    /// none; it need not exist.
    pub fn read(text: &str, password: &Path) -> Result<Self, AddressError> {
        let shown = shown(text);
        let mut config = postgres::Config::from_str(text)
            .map_err(|cause| AddressError::Form { shown: shown.clone(), cause })?;
        if config.get_hosts().is_empty() {
            return Err(AddressError::NoHost { shown });
        }
        let local = |host: &Host| match host {
            Host::Unix(_) => true,
            Host::Tcp(name) => {
                let address = name.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
                address.map_or(name == "localhost", |address| address.is_loopback())
            }
        };
        let near = config.get_hostaddrs().iter().all(std::net::IpAddr::is_loopback);
        if !near || !config.get_hosts().iter().all(local) {
            return Err(AddressError::Remote { shown });
        }
        if ![SslMode::Disable, SslMode::Prefer].contains(&config.get_ssl_mode()) {
            return Err(AddressError::Tls { shown });
        }
        config.ssl_mode(SslMode::Disable);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_WAIT);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(SILENCE_WAIT);
        }
        if config.get_application_name().is_none() {
            config.application_name("ao");
        }
        if config.get_password().is_none()
            && let Some(found) = password_in(password)?
        {
            config.password(found);
        }
        Ok(Self { config, shown })
    }
}

fn password_in(path: &Path) -> Result<Option<String>, AddressError> {
    use std::io::Read as _;
    use std::os::unix::fs::MetadataExt as _;
    let failed = |cause| AddressError::Password { path: path.to_owned(), cause };
    let mut file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(failed(cause)),
    };
    let mode = file.metadata().map_err(failed)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(AddressError::Exposed { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(failed)?;
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// The address without a password, wherever it stands.
fn shown(text: &str) -> String {
    let (front, query) = text.split_once('?').unwrap_or((text, ""));
    let front = match front.split_once("://").map(|(scheme, rest)| (scheme, rest.rsplit_once('@')))
    {
        Some((scheme, Some((user, place)))) => {
            let name = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{name}@{place}")
        }
        Some((_, None)) | None => front.to_owned(),
    };
    let kept: Vec<&str> =
        query.split('&').filter(|it| !it.is_empty() && !it.starts_with("password=")).collect();
    if kept.is_empty() { front } else { format!("{front}?{}", kept.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Address, AddressError> {
        Address::read(text, Path::new("/nonexistent/password"))
    }

    #[test]
    fn an_address_of_this_machine_is_taken_and_shown_without_its_password() {
        for (text, shown) in [
            ("postgres://ann:s3c@localhost/ao", "postgres://ann@localhost/ao"),
            (
                "postgresql://127.0.0.1:5433/ao?connect_timeout=3",
                "postgresql://127.0.0.1:5433/ao?connect_timeout=3",
            ),
            ("postgres://ann@[::1]/ao?password=s3c", "postgres://ann@[::1]/ao"),
            (
                "postgres:///ao?host=/run/postgresql&password=s3c&user=a",
                "postgres:///ao?host=/run/postgresql&user=a",
            ),
            (
                "postgres://ann:p%40ss@%2Frun%2Fpostgresql/ao",
                "postgres://ann@%2Frun%2Fpostgresql/ao",
            ),
        ] {
            let address = read(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(address.shown, shown);
            assert!(!format!("{address:?}").contains("s3c"), "{address:?}");
        }
    }

    #[test]
    fn an_address_of_another_machine_or_with_tls_is_refused_in_words() {
        let check = |text: &str, part: &str| {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains("s3c"), "{error}");
        };
        check("postgres://ann:s3c@db.example.org/ao", "is not of this machine");
        check("postgres://localhost,10.0.0.7/ao", "is not of this machine");
        check("postgres://localhost/ao?hostaddr=10.0.0.7", "is not of this machine");
        check("postgres://localhost/ao?sslmode=require", "asks for TLS");
        check("postgres:///ao", "names no host");
        check("postgres://localhost:x/ao", "cannot be read");
    }

    #[test]
    fn a_password_comes_from_a_file_that_others_cannot_read() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("postgres.password");
        std::fs::write(&path, "s3c\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let address = Address::read("postgres://localhost/ao", &path).unwrap();
        assert_eq!(address.config.get_password(), Some(&b"s3c"[..]));
        let address = Address::read("postgres://ann:own@localhost/ao", &path).unwrap();
        assert_eq!(address.config.get_password(), Some(&b"own"[..]));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = Address::read("postgres://localhost/ao", &path).unwrap_err();
        assert!(matches!(error, AddressError::Exposed { mode: 0o644, .. }), "{error}");
    }
}
