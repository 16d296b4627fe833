//! The doors' way to governance: the store opened, acts submitted and settled, people's decisions.
//!
//! Whatever goes wrong here is an error, and every caller takes an error for a denial. Judging is not
//! done here: the caller brings a judge, which sees one consistent state and whose verdict is written
//! down in the same transaction.

pub mod audit;
pub mod bounds;
pub mod claim;
pub mod cost;
pub mod decide;
pub mod door;
mod fall;
pub mod kill;
pub mod operator;
pub mod recorded;
pub mod session;
pub mod settle;
pub mod sources;
pub mod submit;
#[cfg(test)]
mod tests;
pub mod trust;
pub mod voices;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::project::Project;
use super::store;
use crate::base::now::Now;
use crate::config::Config;
use crate::config::governance::StorePlace;
use crate::sys::clock;
use crate::sys::db::heads::Heads;
use crate::sys::db::postgres::{Address, PostgresStore};
use crate::sys::db::sqlite::SqliteStore;
use crate::sys::db::{DbError, Store};
use operator::{Operator, OperatorError};

/// The organisation of a project on one machine.
pub const LOCAL_ORG: &str = "local";

/// `state/governance.json`: where the keys are. Agents start with a short environment, so their hooks
/// would look elsewhere than the person who ran `ao up`.
#[derive(Debug, Serialize, Deserialize)]
struct Keys {
    version: u32,
    operator: PathBuf,
}

/// Where a store is. Written down as one text, which is a path or an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "PathBuf", into = "PathBuf")]
pub enum Place {
    File(PathBuf),
    /// A `postgres://` address.
    Server(String),
}

impl From<PathBuf> for Place {
    fn from(text: PathBuf) -> Self {
        match text.to_str() {
            Some(address) if address.starts_with("postgres") && address.contains("://") => {
                Self::Server(address.to_owned())
            }
            Some(_) | None => Self::File(text),
        }
    }
}

impl From<Place> for PathBuf {
    fn from(place: Place) -> Self {
        match place {
            Place::File(path) => path,
            Place::Server(address) => address.into(),
        }
    }
}

impl From<&Path> for Place {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

impl From<&PathBuf> for Place {
    fn from(path: &PathBuf) -> Self {
        Self::File(path.clone())
    }
}

impl From<&Self> for Place {
    fn from(place: &Self) -> Self {
        place.clone()
    }
}

/// One project's governance.
#[derive(Debug)]
pub struct Governance {
    pub store: Box<dyn Store + Send>,
    pub operator: Operator,
    pub org: String,
}

#[derive(Debug, thiserror::Error)]
pub enum GovernanceError {
    #[error(transparent)]
    Operator(#[from] OperatorError),
    #[error(transparent)]
    Db(#[from] DbError),
    #[error("cannot note where the operator's keys are")]
    Place(#[source] store::StoreError),
    #[error("the correlation id `{id}` was used for another act")]
    CorrelationReused { id: String },
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    #[error("there is no act {id}")]
    NoAction { id: i64 },
    #[error("act {id} is {status}, so it cannot be {step}")]
    NotOpen { id: i64, status: &'static str, step: &'static str },
    #[error("there is no approval {id}")]
    NoApproval { id: i64 },
    #[error("approval {id} cannot be {step}")]
    Approval {
        id: i64,
        step: &'static str,
        #[source]
        cause: crate::govern::approval::Refusal,
    },
}

impl GovernanceError {
    /// Whether the store's server is merely not there now, so that the same try may succeed later.
    pub fn is_away(&self) -> bool {
        match self {
            Self::Db(error) => error.is_away(),
            Self::Operator(_)
            | Self::Place(_)
            | Self::CorrelationReused { .. }
            | Self::Thread(_)
            | Self::NoAction { .. }
            | Self::NotOpen { .. }
            | Self::NoApproval { .. }
            | Self::Approval { .. } => false,
        }
    }
}

impl Governance {
    /// Whether this project has a store already; without one nothing was ever governed here. A store
    /// on a server counts as there: only it knows.
    pub fn exists(project: &Project) -> bool {
        match Self::place_of(&project.config, &project.store.state()) {
            Place::File(path) => path.exists(),
            Place::Server(_) => true,
        }
    }

    /// Where a project's store is.
    pub fn place_of(config: &Config, state: &Path) -> Place {
        match &config.governance.store {
            StorePlace::File(path) => Place::File(path.clone()),
            StorePlace::Default => Place::File(state.join("ao.db")),
            StorePlace::Postgres(address) => Place::Server(address.clone()),
        }
    }

    /// The server of a project's store; `None` for a file.
    pub fn server_of(project: &Project) -> Result<Option<Address>, GovernanceError> {
        match Self::place_of(&project.config, &project.store.state()) {
            Place::File(_) => Ok(None),
            Place::Server(address) => {
                let operator = operator_of(&project.config, &project.store.state(), clock::now())?;
                Ok(Some(server_address(&address, &operator)?))
            }
        }
    }

    /// The operator's keys of a project, for which no store is needed.
    pub fn operator_for(project: &Project) -> Result<Operator, GovernanceError> {
        operator_of(&project.config, &project.store.state(), clock::now())
    }

    /// Opens the project's store and the operator's keys, or makes them.
    pub fn open(project: &Project) -> Result<Self, GovernanceError> {
        Self::open_for(&project.config, &project.store.state())
    }

    /// The same by the state folder.
    pub fn open_for(config: &Config, state: &Path) -> Result<Self, GovernanceError> {
        let now = clock::now();
        let operator = operator_of(config, state, now)?;
        Self::open_at(Self::place_of(config, state), operator.folder(), now)
    }

    /// The same by the place of the store and the folder of the keys.
    pub fn open_at(
        place: impl Into<Place>,
        operator: &Path,
        now: Now,
    ) -> Result<Self, GovernanceError> {
        let operator = Operator::open(operator.to_owned())?;
        let (folder, key) = (operator.heads(), operator.audit_key()?);
        let store: Box<dyn Store + Send> = match place.into() {
            Place::File(database) => {
                let path = settled(&database);
                let heads = Heads::new(&folder, &path, key).map_err(DbError::from)?;
                Box::new(SqliteStore::open(&path, Some(heads), now.wall)?)
            }
            Place::Server(address) => {
                let address = server_address(&address, &operator)?;
                let heads =
                    Heads::of_shared(&folder, &address.shown, key).map_err(DbError::from)?;
                Box::new(PostgresStore::open(&address, Some(heads), now.wall)?)
            }
        };
        Ok(Self { store, operator, org: LOCAL_ORG.to_owned() })
    }

    pub fn store(&mut self) -> &mut dyn Store {
        &mut *self.store
    }
}

/// The operator's folder of a project; the first look notes where it is.
fn operator_of(config: &Config, state: &Path, now: Now) -> Result<Operator, GovernanceError> {
    if let Some(folder) = &config.governance.operator {
        return Ok(Operator::open(folder.clone())?);
    }
    let file = state.join("governance.json");
    let known: store::Loaded<Keys> = store::read(&file, now);
    if let Some(place) = known.value {
        return Ok(Operator::open(place.operator)?);
    }
    let folder = operator::folder()?;
    let place = Keys { version: 1, operator: folder.clone() };
    store::replace(&file, &place).map_err(GovernanceError::Place)?;
    Ok(Operator::open(folder)?)
}

/// The password may stand in a file beside the operator's keys, out of the config that agents read.
fn server_address(text: &str, operator: &Operator) -> Result<Address, DbError> {
    Ok(Address::read(text, &operator.folder().join("postgres.password"))?)
}

/// The file by its folder's real path, whether or not it is there yet.
fn settled(database: &Path) -> PathBuf {
    let folder = database.parent().and_then(|folder| folder.canonicalize().ok());
    match (folder, database.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        (Some(_), None) | (None, _) => database.to_owned(),
    }
}
