//! The doors' way to governance: the store opened, acts submitted and settled, people's decisions.
//!
//! Whatever goes wrong here is an error, and every caller takes an error for a denial. Judging is not
//! done here: the caller brings a judge, which sees one consistent state and whose verdict is written
//! down in the same transaction.

pub mod audit;
pub mod claim;
pub mod decide;
pub mod kill;
pub mod operator;
pub mod settle;
pub mod submit;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::project::Project;
use super::store;
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
    #[error("the correlation id `{id}` was used for another act")]
    CorrelationReused { id: String },
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
        project.store.state().join("ao.db")
    }

    /// Opens the project's store and the operator's keys, or makes them.
    pub fn open(project: &Project) -> Result<Self, GovernanceError> {
        let now = clock::now();
        let file = project.store.state().join("governance.json");
        let known: store::Loaded<Place> = store::read(&file, now);
        let operator = if let Some(place) = known.value {
            Operator::open(place.operator)?
        } else {
            let operator = Operator::open(operator::folder()?)?;
            let place = Place { version: 1, operator: operator.folder().to_owned() };
            store::replace(&file, &place).map_err(GovernanceError::Place)?;
            operator
        };
        let path = Self::database(project);
        let path = path
            .parent()
            .and_then(|state| state.canonicalize().ok())
            .map_or_else(|| path.clone(), |state| state.join("ao.db"));
        let heads =
            Heads::new(&operator.heads(), &path, operator.audit_key()?).map_err(DbError::from)?;
        let store = SqliteStore::open(&path, Some(heads), now.wall)?;
        Ok(Self { store, operator, org: LOCAL_ORG.to_owned() })
    }

    pub fn store(&mut self) -> &mut dyn Store {
        &mut self.store
    }
}
