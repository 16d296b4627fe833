//! Where the server is: a `postgres://` address, checked before anything is sent to it.
//!
//! Rows and passwords cross a network only encrypted and to a server whose certificate holds, unless
//! the address itself asks for less. A socket's folder needs no TLS and gets none, whatever it says.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::Duration;

use postgres::config::{Host, SslMode};

use super::tls::{Connector, Mode, TlsError};

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
        "`sslmode` in the store's address `{shown}` must be one of disable, prefer, require and verify-full"
    )]
    Mode { shown: String },
    #[error(
        "`sslrootcert` in the store's address `{shown}` is only looked at with `sslmode=verify-full`"
    )]
    Unchecked { shown: String },
    #[error(transparent)]
    Tls(#[from] TlsError),
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
    /// `None`: in the open.
    pub(super) connector: Option<Connector>,
    /// Without the password, for people and for naming the store.
    pub shown: String,
}

impl Address {
    /// `text`: as in the config. `password`: a file that holds the password where the address has
    /// none; it need not exist.
    pub fn read(text: &str, password: &Path) -> Result<Self, AddressError> {
        let shown = shown(text);
        let Asked { rest, mode, roots } = asked(text);
        let mode = match mode {
            Some(word) => {
                let read = Mode::read(&word);
                Some(read.ok_or_else(|| AddressError::Mode { shown: shown.clone() })?)
            }
            None => None,
        };
        if roots.is_some() && !matches!(mode, None | Some(Mode::VerifyFull)) {
            return Err(AddressError::Unchecked { shown });
        }
        let mut config = postgres::Config::from_str(&rest)
            .map_err(|cause| AddressError::Form { shown: shown.clone(), cause })?;
        if config.get_hosts().is_empty() {
            return Err(AddressError::NoHost { shown });
        }
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
        let mode = in_force(&config, mode, roots.is_some());
        config.ssl_mode(match mode {
            Mode::Disable => SslMode::Disable,
            Mode::Prefer => SslMode::Prefer,
            Mode::Require | Mode::VerifyFull => SslMode::Require,
        });
        let roots = roots.filter(|path| path != Path::new("system"));
        let connector = Connector::new(mode, roots.as_deref())?;
        Ok(Self { config, connector, shown })
    }
}

/// What an address asks of TLS, and the rest of it.
struct Asked {
    rest: String,
    mode: Option<String>,
    roots: Option<PathBuf>,
}

fn asked(text: &str) -> Asked {
    let (front, query) = text.split_once('?').unwrap_or((text, ""));
    let (mut mode, mut roots, mut others) = (None, None, Vec::new());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("sslmode", word)) => mode = Some(word.to_owned()),
            Some(("sslrootcert", path)) => roots = Some(decoded(path)),
            Some(_) | None => others.push(pair),
        }
    }
    let rest =
        if others.is_empty() { front.to_owned() } else { format!("{front}?{}", others.join("&")) };
    Asked { rest, mode, roots }
}

/// `%2F` and the like; what is no such pair stands for itself.
fn decoded(text: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt as _;
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, after @ ..] = rest {
        let pair = after.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        let byte = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match (first, byte) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            (first, _) => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    std::ffi::OsString::from_vec(bytes).into()
}

/// What is done where an address says nothing, or too little for the password that goes with it.
fn in_force(config: &postgres::Config, asked: Option<Mode>, has_roots: bool) -> Mode {
    let socket = |host: &Host| matches!(host, Host::Unix(_));
    let addresses = config.get_hostaddrs();
    if addresses.is_empty() && config.get_hosts().iter().all(socket) {
        return Mode::Disable;
    }
    let here = |host: &Host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            let address = name.trim_matches(['[', ']']).parse::<IpAddr>();
            address.map_or(name == "localhost", |address| address.is_loopback())
        }
    };
    // Given both, the address is dialled and the name only shown.
    let is_here = if addresses.is_empty() {
        config.get_hosts().iter().all(here)
    } else {
        addresses.iter().all(IpAddr::is_loopback)
    };
    match asked {
        None if is_here && !has_roots => Mode::Disable,
        None => Mode::VerifyFull,
        // A server that says it has no TLS may be somebody who wants to see the password.
        Some(Mode::Prefer) if !is_here && config.get_password().is_some() => Mode::Require,
        Some(mode) => mode,
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
    fn what_is_encrypted_follows_from_the_address() {
        let check = |text: &str, expected: Mode| {
            let Asked { rest, mode, roots } = asked(text);
            let config = postgres::Config::from_str(&rest).unwrap();
            let mode = mode.map(|word| Mode::read(&word).unwrap());
            assert_eq!(in_force(&config, mode, roots.is_some()), expected, "{text}");
        };
        for (text, expected) in [
            ("postgres://localhost/ao", Mode::Disable),
            ("postgres://127.0.0.1/ao?sslmode=prefer", Mode::Prefer),
            ("postgres://localhost/ao?sslmode=require", Mode::Require),
            ("postgres://localhost/ao?sslrootcert=ca.pem", Mode::VerifyFull),
            ("postgres:///ao?host=/run/postgresql&sslmode=require", Mode::Disable),
            ("postgres://db.example.org/ao", Mode::VerifyFull),
            ("postgres://localhost,10.0.0.7/ao", Mode::VerifyFull),
            ("postgres://localhost/ao?hostaddr=10.0.0.7", Mode::VerifyFull),
            ("postgres://localhost.example/ao", Mode::VerifyFull),
            ("postgres://db.example.org/ao?sslmode=verify-full", Mode::VerifyFull),
            ("postgres://db.example.org/ao?sslmode=require", Mode::Require),
            ("postgres://db.example.org/ao?sslmode=disable", Mode::Disable),
            ("postgres://ann:s3c@db.example.org/ao?sslmode=disable", Mode::Disable),
            ("postgres://db.example.org/ao?sslmode=prefer", Mode::Prefer),
            // A password goes to another machine in the open only where the address says so.
            ("postgres://ann:s3c@db.example.org/ao?sslmode=prefer", Mode::Require),
            ("postgres://ann:s3c@db.example.org/ao", Mode::VerifyFull),
        ] {
            check(text, expected);
        }
    }

    #[test]
    fn a_bad_address_is_refused_in_words_that_hide_its_password() {
        let check = |text: &str, part: &str| {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains("s3c"), "{error}");
        };
        check("postgres://ann:s3c@localhost/ao?sslmode=verify-ca", "must be one of");
        check("postgres://localhost/ao?sslmode=require&sslrootcert=x", "only looked at with");
        check("postgres://localhost/ao?sslrootcert=%2Fnonexistent%2Fca", "`/nonexistent/ca`");
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
