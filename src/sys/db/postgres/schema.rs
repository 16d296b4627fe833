//! The tables on a server, and how an older database becomes one of today.
//!
//! Each step stays as it is once released; a change is a new step. Text is compared by its bytes
//! (`COLLATE "C"`), so that lists have the same order as in the other stores whatever the database's
//! locale is. JSON is kept as text, because it must read back as it was written.

use super::link::Link;

/// One text a version; the first makes version 1.
const STEPS: [&str; 1] = [r#"
CREATE TABLE store (id TEXT NOT NULL, audit_key TEXT);

CREATE TABLE audit (
    org TEXT COLLATE "C" NOT NULL, seq BIGINT NOT NULL, at_us BIGINT NOT NULL,
    kind TEXT COLLATE "C" NOT NULL, actor TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL, action_id BIGINT NOT NULL,
    details TEXT COLLATE "C" NOT NULL, hash BYTEA NOT NULL, PRIMARY KEY (org, seq)
);
CREATE TABLE checkpoints (
    org TEXT COLLATE "C" NOT NULL, seq BIGINT NOT NULL, hash BYTEA NOT NULL,
    signature TEXT NOT NULL, PRIMARY KEY (org, seq)
);

CREATE TABLE actions (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, org TEXT COLLATE "C" NOT NULL,
    agent TEXT COLLATE "C" NOT NULL, action_type TEXT NOT NULL, resource TEXT NOT NULL,
    context TEXT NOT NULL, cost BIGINT NOT NULL, claimed_risk DOUBLE PRECISION,
    session_id TEXT COLLATE "C", parent_id BIGINT, depth BIGINT NOT NULL, correlation_id TEXT,
    digest TEXT NOT NULL, class TEXT NOT NULL, verdict_effect TEXT NOT NULL, reason TEXT NOT NULL,
    trace TEXT NOT NULL, risk BIGINT NOT NULL, policy_digest TEXT NOT NULL, effect TEXT NOT NULL,
    status TEXT NOT NULL, decided_by TEXT NOT NULL, approval_id BIGINT,
    submitted_us BIGINT NOT NULL, finished_us BIGINT, actual_cost BIGINT, outcome TEXT NOT NULL
);
CREATE INDEX actions_by_session ON actions (org, session_id) WHERE session_id IS NOT NULL;
CREATE INDEX actions_by_agent ON actions (org, agent, id);
CREATE INDEX actions_by_org ON actions (org, id);
CREATE TABLE replays (
    org TEXT COLLATE "C" NOT NULL, correlation_id TEXT COLLATE "C" NOT NULL,
    body_digest TEXT NOT NULL, action_id BIGINT NOT NULL, PRIMARY KEY (org, correlation_id)
);

CREATE TABLE approvals (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, org TEXT COLLATE "C" NOT NULL,
    action_id BIGINT NOT NULL, agent TEXT NOT NULL, digest TEXT COLLATE "C" NOT NULL,
    summary TEXT NOT NULL, reason TEXT NOT NULL, created_us BIGINT NOT NULL,
    expires_us BIGINT NOT NULL, state TEXT NOT NULL, decided_us BIGINT, decided_by TEXT, why TEXT,
    signature TEXT
);
CREATE INDEX approvals_by_digest ON approvals (org, digest, id);
CREATE INDEX approvals_open ON approvals (org, id) WHERE state IN ('pending', 'approved');

CREATE TABLE trust (
    org TEXT COLLATE "C" NOT NULL, agent TEXT COLLATE "C" NOT NULL, level TEXT NOT NULL,
    base TEXT NOT NULL, lowered_until_us BIGINT, why TEXT NOT NULL, by TEXT NOT NULL,
    changed_us BIGINT NOT NULL, PRIMARY KEY (org, agent)
);
CREATE TABLE conduct (
    org TEXT COLLATE "C" NOT NULL, agent TEXT COLLATE "C" NOT NULL, class TEXT COLLATE "C" NOT NULL,
    runs BIGINT NOT NULL, successes BIGINT NOT NULL, failures BIGINT NOT NULL,
    denials BIGINT NOT NULL, violations BIGINT NOT NULL, since_us BIGINT NOT NULL,
    last_us BIGINT NOT NULL, PRIMARY KEY (org, agent, class)
);

CREATE TABLE facts (
    org TEXT COLLATE "C" NOT NULL, kind TEXT COLLATE "C" NOT NULL, key TEXT COLLATE "C" NOT NULL,
    body TEXT NOT NULL, PRIMARY KEY (org, kind, key)
);

CREATE TABLE budgets (
    org TEXT COLLATE "C" NOT NULL, key TEXT COLLATE "C" NOT NULL, window_us BIGINT NOT NULL,
    spent BIGINT NOT NULL, reserved BIGINT NOT NULL, PRIMARY KEY (org, key, window_us)
);
CREATE TABLE reservations (
    org TEXT COLLATE "C" NOT NULL, action_id BIGINT NOT NULL, key TEXT COLLATE "C" NOT NULL,
    window_us BIGINT NOT NULL, amount BIGINT NOT NULL, lapses_us BIGINT NOT NULL,
    PRIMARY KEY (org, action_id, key, window_us)
);
CREATE INDEX reservations_by_lapse ON reservations (org, lapses_us);
CREATE TABLE rates (
    org TEXT COLLATE "C" NOT NULL, key TEXT COLLATE "C" NOT NULL, at_us BIGINT NOT NULL
);
CREATE INDEX rates_by_key ON rates (org, key, at_us);

CREATE TABLE kills (
    org TEXT COLLATE "C" NOT NULL, target TEXT COLLATE "C" NOT NULL, by TEXT NOT NULL,
    why TEXT NOT NULL, at_us BIGINT NOT NULL, PRIMARY KEY (org, target)
);
"#];

/// The schema this program writes.
pub(super) const VERSION: i64 = 1;

/// Whether there are tables of ours. Not by `to_regclass`: what that remembers of a table that is not
/// there outlives a wait for a lock.
pub(super) const THERE: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_tables \
    WHERE schemaname = current_schema() AND tablename = 'schema_version')";
pub(super) const NEWEST: &str = "SELECT coalesce(max(version), 0) FROM schema_version";

/// The schema of a database; 0 for an empty one.
pub(super) fn version(link: &mut Link) -> Result<i64, postgres::Error> {
    let there: bool = link.query_one(THERE, &[])?.get(0);
    if !there {
        return Ok(0);
    }
    Ok(link.query_one(NEWEST, &[])?.get(0))
}

/// Makes the missing steps; the caller holds the lock on the whole store. `at`: RFC 3339.
pub(super) fn migrate(
    link: &mut Link,
    from: i64,
    at: &str,
    audit_key: Option<&str>,
) -> Result<(), postgres::Error> {
    if from == 0 {
        link.batch_execute(
            "CREATE TABLE schema_version (
                 version BIGINT PRIMARY KEY, at TEXT NOT NULL, ao TEXT NOT NULL
             )",
        )?;
    }
    for (version, step) in (1_i64..).zip(STEPS) {
        if version > from {
            link.batch_execute(step)?;
            link.run(
                "INSERT INTO schema_version (version, at, ao) VALUES ($1, $2, $3)",
                &[&version, &at, &crate::VERSION],
            )?;
        }
    }
    if from == 0 {
        let id = uuid::Uuid::new_v4().to_string();
        link.run("INSERT INTO store (id, audit_key) VALUES ($1, $2)", &[&id, &audit_key])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_has_its_step() {
        assert_eq!(i64::try_from(STEPS.len()), Ok(VERSION));
    }
}
