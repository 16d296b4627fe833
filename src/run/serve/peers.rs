//! Other servers on the same database: what one changed, the others look at at once.
//!
//! Kill switches are in the store, and every decision reads them there; here only what runs beside
//! this server is ended. Policies are files of each machine: the newest set is named in the store, so
//! that a server with other files says so instead of judging otherwise in silence.

use serde_json::json;

use super::desk::Desk;
use super::key::REGISTER;
use super::topology;
use crate::base::chain;
use crate::base::now::Now;
use crate::run::governance::{Governance, Place};
use crate::sys::clock;
use crate::sys::db::{self, DbError, POLICIES};

/// Of the set that was put in force last, on whichever server.
const NEWEST: &str = "newest";

/// After another server changed something, and once when the connection stands.
pub fn look(desk: &mut Desk) {
    topology::end_killed(desk);
    let fresh = desk.policies.refresh();
    let compared = newest(desk).and_then(|newest| match newest {
        // The first one that looks names its own.
        None => announce(desk, clock::now()),
        Some(_) if fresh => announce(desk, clock::now()),
        Some(digest) => {
            let own = &desk.policies.in_force().set.digest;
            if digest != *own {
                tracing::warn!(newest = digest, own, "another server judges by other policies");
            }
            Ok(())
        }
    });
    if let Err(error) = compared {
        let error = chain::text(&error);
        tracing::error!(error, "nobody knows by which policies other servers judge");
    }
}

/// Names the set in force as the newest. For a store of this machine alone there is nobody to tell.
pub fn announce(desk: &mut Desk, now: Now) -> Result<(), DbError> {
    let digest = desk.policies.in_force().set.digest.clone();
    if !is_shared(desk) || newest(desk)?.as_ref() == Some(&digest) {
        return Ok(());
    }
    let body = json!({ "digest": digest, "at": now.wall.to_rfc3339() });
    db::write(desk.governance.store(), REGISTER, now, |tx| tx.fact_put(POLICIES, NEWEST, &body))
}

/// Whether another server put policies in force that are not this one's.
pub fn differ(desk: &mut Desk) -> Result<bool, DbError> {
    let newest = if is_shared(desk) { newest(desk)? } else { None };
    Ok(newest.is_some_and(|digest| digest != desk.policies.in_force().set.digest))
}

fn is_shared(desk: &Desk) -> bool {
    let project = &desk.project;
    matches!(Governance::place_of(&project.config, &project.store.state()), Place::Server(_))
}

fn newest(desk: &mut Desk) -> Result<Option<String>, DbError> {
    let found = db::read(desk.governance.store(), REGISTER, |tx| tx.fact(POLICIES, NEWEST))?;
    Ok(found.and_then(|body| Some(body.get("digest")?.as_str()?.to_owned())))
}
