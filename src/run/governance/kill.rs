//! The kill switch: blocked in the store first, then the processes.

use super::{Governance, GovernanceError};
use crate::base::name::UnitName;
use crate::base::now::Now;
use crate::base::redact;
use crate::govern::audit::{Draft, Kind};
use crate::sys::db::rows::KillSwitch;
use crate::sys::db::{self, DbError, Tx};

impl Governance {
    /// Blocks every further act of the target ([`KillSwitch::ALL`] or an agent's name) at once.
    pub fn kill(
        &mut self,
        targets: &[String],
        by: &str,
        why: &str,
        now: Now,
    ) -> Result<(), GovernanceError> {
        let org = self.org.clone();
        let work = |tx: &mut dyn Tx| -> Result<(), DbError> {
            for target in targets {
                let why = redact::text(why);
                let draft = Draft::new(Kind::Killed, by, target).with("why", why.clone());
                let (target, by) = (target.clone(), by.to_owned());
                tx.kill_put(&KillSwitch { target, by, why, at: now.wall })?;
                db::append(tx, &draft, now)?;
            }
            Ok(())
        };
        Ok(db::write(self.store(), &org, now, work)?)
    }

    /// Lifts switches; those that were in force.
    pub fn unkill(
        &mut self,
        targets: &[String],
        by: &str,
        why: &str,
        now: Now,
    ) -> Result<Vec<String>, GovernanceError> {
        let org = self.org.clone();
        let work = |tx: &mut dyn Tx| -> Result<Vec<String>, DbError> {
            let mut lifted = Vec::new();
            for target in targets {
                if tx.kill_lift(target)? {
                    let draft = Draft::new(Kind::Unkilled, by, target).with("why", why);
                    db::append(tx, &draft, now)?;
                    lifted.push(target.clone());
                }
            }
            Ok(lifted)
        };
        Ok(db::write(self.store(), &org, now, work)?)
    }

    /// The switches in force.
    pub fn kills(&mut self) -> Result<Vec<KillSwitch>, GovernanceError> {
        let org = self.org.clone();
        Ok(db::read(self.store(), &org, |tx| tx.kills())?)
    }

    /// The switch that keeps this unit down, if one does.
    pub fn killed(&mut self, unit: &UnitName) -> Result<Option<KillSwitch>, GovernanceError> {
        Ok(self.kills()?.into_iter().find(|kill| kill.covers(unit.as_str())))
    }
}
