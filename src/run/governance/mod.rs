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
pub mod kill;
pub mod operator;
pub mod settle;
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
use crate::sys::db::sqlite::SqliteStore;
use crate::sys::db::{DbError, Store};
use operator::{Operator, OperatorError};

/// The organisation of a project on one machine.
pub const LOCAL_ORG: &str = "local";

/// `state/governance.json`: where the keys are. Agents start with a short environment, so their hooks
/// would look elsewhere than the person who ran `ao up`.
#[derive(Debug, Serialize, Deserialize)]
struct Place {
    version: u32,
    operator: PathBuf,
}

/// One project's governance.
#[derive(Debug)]
pub struct Governance {
    pub store: SqliteStore,
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
    #[error("a store on a server is not built yet; name a file in `[governance] store`")]
    Server,
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

impl Governance {
    /// Whether this project has a store already; without one nothing was ever governed here.
    pub fn exists(project: &Project) -> bool {
        Self::database(project).exists()
    }

    fn database(project: &Project) -> PathBuf {
        Self::database_of(&project.config, &project.store.state())
    }

    /// The file of a project's store.
    pub fn database_of(config: &Config, state: &Path) -> PathBuf {
        match &config.governance.store {
            StorePlace::File(path) => path.clone(),
            StorePlace::Default | StorePlace::Postgres(_) => state.join("ao.db"),
        }
    }

    /// Opens the project's store and the operator's keys, or makes them.
    pub fn open(project: &Project) -> Result<Self, GovernanceError> {
        Self::open_for(&project.config, &project.store.state())
    }

    /// The same by the state folder.
    pub fn open_for(config: &Config, state: &Path) -> Result<Self, GovernanceError> {
        let now = clock::now();
        if let StorePlace::Postgres(_) = config.governance.store {
            return Err(GovernanceError::Server);
        }
        let file = state.join("governance.json");
        let known: store::Loaded<Place> = store::read(&file, now);
        let operator = if let Some(folder) = &config.governance.operator {
            folder.clone()
        } else if let Some(place) = known.value {
            place.operator
        } else {
            let folder = operator::folder()?;
            let place = Place { version: 1, operator: folder.clone() };
            store::replace(&file, &place).map_err(GovernanceError::Place)?;
            folder
        };
        Self::open_at(&Self::database_of(config, state), &operator, now)
    }

    /// The same by the file of the store and the folder of the keys.
    pub fn open_at(database: &Path, operator: &Path, now: Now) -> Result<Self, GovernanceError> {
        let operator = Operator::open(operator.to_owned())?;
        let folder = database.parent().and_then(|folder| folder.canonicalize().ok());
        let path = match (folder, database.file_name()) {
            (Some(folder), Some(name)) => folder.join(name),
            (Some(_), None) | (None, _) => database.to_owned(),
        };
        let heads =
            Heads::new(&operator.heads(), &path, operator.audit_key()?).map_err(DbError::from)?;
        let store = SqliteStore::open(&path, Some(heads), now.wall)?;
        Ok(Self { store, operator, org: LOCAL_ORG.to_owned() })
    }

    pub fn store(&mut self) -> &mut dyn Store {
        &mut self.store
    }
}
