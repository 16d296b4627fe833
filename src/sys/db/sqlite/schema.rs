//! The tables, and how an older database becomes one of today.
//!
//! Each step stays as it is once released; a change is a new step. The version stands in a table of
//! its own, with when and by which `ao` each step was made.

use rusqlite::{Connection, OptionalExtension as _};

/// One text a version; the first makes version 1.
const STEPS: [&str; 2] = [BEGINNING, SESSIONS];

const BEGINNING: &str = r"
CREATE TABLE store (id TEXT NOT NULL) STRICT;

CREATE TABLE audit (
    org TEXT NOT NULL, seq INTEGER NOT NULL, at_us INTEGER NOT NULL, kind TEXT NOT NULL,
    actor TEXT NOT NULL, subject TEXT NOT NULL, action_id INTEGER NOT NULL, details TEXT NOT NULL,
    hash BLOB NOT NULL, PRIMARY KEY (org, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE checkpoints (
    org TEXT NOT NULL, seq INTEGER NOT NULL, hash BLOB NOT NULL, signature TEXT NOT NULL,
    PRIMARY KEY (org, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE actions (
    id INTEGER PRIMARY KEY AUTOINCREMENT, org TEXT NOT NULL, agent TEXT NOT NULL,
    action_type TEXT NOT NULL, resource TEXT NOT NULL, context TEXT NOT NULL,
    cost INTEGER NOT NULL, claimed_risk REAL, session_id TEXT, parent_id INTEGER,
    depth INTEGER NOT NULL, correlation_id TEXT, digest TEXT NOT NULL, class TEXT NOT NULL,
    verdict_effect TEXT NOT NULL, reason TEXT NOT NULL, trace TEXT NOT NULL, risk INTEGER NOT NULL,
    policy_digest TEXT NOT NULL, effect TEXT NOT NULL, status TEXT NOT NULL,
    decided_by TEXT NOT NULL, approval_id INTEGER, submitted_us INTEGER NOT NULL,
    finished_us INTEGER, actual_cost INTEGER, outcome TEXT NOT NULL
) STRICT;
CREATE INDEX actions_by_session ON actions (org, session_id) WHERE session_id IS NOT NULL;
CREATE INDEX actions_by_agent ON actions (org, agent, id);
CREATE TABLE replays (
    org TEXT NOT NULL, correlation_id TEXT NOT NULL, body_digest TEXT NOT NULL,
    action_id INTEGER NOT NULL, PRIMARY KEY (org, correlation_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE approvals (
    id INTEGER PRIMARY KEY AUTOINCREMENT, org TEXT NOT NULL, action_id INTEGER NOT NULL,
    agent TEXT NOT NULL, digest TEXT NOT NULL, summary TEXT NOT NULL, reason TEXT NOT NULL,
    created_us INTEGER NOT NULL, expires_us INTEGER NOT NULL, state TEXT NOT NULL,
    decided_us INTEGER, decided_by TEXT, why TEXT, signature TEXT
) STRICT;
CREATE INDEX approvals_by_digest ON approvals (org, digest, id);
CREATE INDEX approvals_open ON approvals (org, id) WHERE state IN ('pending', 'approved');

CREATE TABLE trust (
    org TEXT NOT NULL, agent TEXT NOT NULL, level TEXT NOT NULL, base TEXT NOT NULL,
    lowered_until_us INTEGER, why TEXT NOT NULL, by TEXT NOT NULL, changed_us INTEGER NOT NULL,
    PRIMARY KEY (org, agent)
) STRICT, WITHOUT ROWID;
CREATE TABLE conduct (
    org TEXT NOT NULL, agent TEXT NOT NULL, class TEXT NOT NULL, runs INTEGER NOT NULL,
    successes INTEGER NOT NULL, failures INTEGER NOT NULL, denials INTEGER NOT NULL,
    violations INTEGER NOT NULL, since_us INTEGER NOT NULL, last_us INTEGER NOT NULL,
    PRIMARY KEY (org, agent, class)
) STRICT, WITHOUT ROWID;

CREATE TABLE facts (
    org TEXT NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (org, kind, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE budgets (
    org TEXT NOT NULL, key TEXT NOT NULL, window_us INTEGER NOT NULL, spent INTEGER NOT NULL,
    reserved INTEGER NOT NULL, PRIMARY KEY (org, key, window_us)
) STRICT, WITHOUT ROWID;
CREATE TABLE reservations (
    org TEXT NOT NULL, action_id INTEGER NOT NULL, key TEXT NOT NULL, window_us INTEGER NOT NULL,
    amount INTEGER NOT NULL, lapses_us INTEGER NOT NULL, PRIMARY KEY (org, action_id, key, window_us)
) STRICT, WITHOUT ROWID;
CREATE INDEX reservations_by_lapse ON reservations (org, lapses_us);
CREATE TABLE rates (org TEXT NOT NULL, key TEXT NOT NULL, at_us INTEGER NOT NULL) STRICT;
CREATE INDEX rates_by_key ON rates (org, key, at_us);

CREATE TABLE kills (
    org TEXT NOT NULL, target TEXT NOT NULL, by TEXT NOT NULL, why TEXT NOT NULL,
    at_us INTEGER NOT NULL, PRIMARY KEY (org, target)
) STRICT, WITHOUT ROWID;
";

/// What each session adds up to, kept by the database itself with every act: a long session must not
/// cost each of its acts a walk over all before it. What was denied costs nothing.
const SESSIONS: &str = r"
CREATE TABLE sessions (
    org TEXT NOT NULL, session_id TEXT NOT NULL, actions INTEGER NOT NULL, blocked INTEGER NOT NULL,
    high_risk INTEGER NOT NULL, max_risk INTEGER NOT NULL, risk_sum INTEGER NOT NULL,
    max_depth INTEGER NOT NULL, cost INTEGER NOT NULL, PRIMARY KEY (org, session_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE session_agents (
    org TEXT NOT NULL, session_id TEXT NOT NULL, agent TEXT NOT NULL,
    PRIMARY KEY (org, session_id, agent)
) STRICT, WITHOUT ROWID;
INSERT INTO sessions
    SELECT org, session_id, count(*), sum(status = 'denied'), sum(risk >= 70), max(risk),
        sum(risk), max(depth),
        sum(CASE status WHEN 'denied' THEN 0 ELSE coalesce(actual_cost, cost) END)
    FROM actions WHERE session_id IS NOT NULL GROUP BY org, session_id;
INSERT INTO session_agents
    SELECT DISTINCT org, session_id, agent FROM actions WHERE session_id IS NOT NULL;
CREATE TRIGGER session_grows AFTER INSERT ON actions WHEN NEW.session_id IS NOT NULL BEGIN
    INSERT INTO sessions VALUES (NEW.org, NEW.session_id, 1, NEW.status = 'denied',
        NEW.risk >= 70, NEW.risk, NEW.risk, NEW.depth,
        CASE NEW.status WHEN 'denied' THEN 0 ELSE coalesce(NEW.actual_cost, NEW.cost) END)
    ON CONFLICT (org, session_id) DO UPDATE SET actions = actions + 1,
        blocked = blocked + excluded.blocked, high_risk = high_risk + excluded.high_risk,
        max_risk = max(max_risk, excluded.max_risk), risk_sum = risk_sum + excluded.risk_sum,
        max_depth = max(max_depth, excluded.max_depth), cost = cost + excluded.cost;
    INSERT OR IGNORE INTO session_agents VALUES (NEW.org, NEW.session_id, NEW.agent);
END;
CREATE TRIGGER session_changes AFTER UPDATE OF status, actual_cost ON actions
WHEN NEW.session_id IS NOT NULL BEGIN
    UPDATE sessions SET blocked = blocked + (NEW.status = 'denied') - (OLD.status = 'denied'),
        cost = cost
            + CASE NEW.status WHEN 'denied' THEN 0 ELSE coalesce(NEW.actual_cost, NEW.cost) END
            - CASE OLD.status WHEN 'denied' THEN 0 ELSE coalesce(OLD.actual_cost, OLD.cost) END
    WHERE org = NEW.org AND session_id = NEW.session_id;
END;
";

/// The schema this program writes.
pub(super) const VERSION: i64 = 2;

/// The name of a database that needs nothing done, by one look.
pub(super) fn current(connection: &Connection) -> Option<String> {
    let text = "SELECT id, (SELECT max(version) FROM schema_version) FROM store";
    let found = connection.query_row(text, [], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)));
    found.ok().and_then(|(id, version)| (version == VERSION).then_some(id))
}

/// The schema of a database; 0 for an empty one.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    let table = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'schema_version'";
    let there = connection.query_row(table, [], |_| Ok(())).optional()?;
    if there.is_none() {
        return Ok(0);
    }
    connection
        .query_row("SELECT coalesce(max(version), 0) FROM schema_version", [], |row| row.get(0))
}

/// Makes the missing steps; the caller holds the write lock. `at`: RFC 3339.
pub(super) fn migrate(connection: &Connection, from: i64, at: &str) -> rusqlite::Result<()> {
    if from == 0 {
        connection.execute_batch(
            "CREATE TABLE schema_version (
                 version INTEGER PRIMARY KEY, at TEXT NOT NULL, ao TEXT NOT NULL
             ) STRICT;",
        )?;
    }
    for (version, step) in (1..).zip(STEPS) {
        if version > from {
            connection.execute_batch(step)?;
            connection.execute(
                "INSERT INTO schema_version (version, at, ao) VALUES (?1, ?2, ?3)",
                (version, at, crate::VERSION),
            )?;
        }
    }
    if from == 0 {
        let id = uuid::Uuid::new_v4().to_string();
        connection.execute("INSERT INTO store (id) VALUES (?1)", [id])?;
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
    #[test]
    fn a_session_that_an_older_ao_wrote_is_summed_up_and_goes_on() {
        let connection = Connection::open_in_memory().unwrap();
        let version = "CREATE TABLE schema_version (
            version INTEGER PRIMARY KEY, at TEXT NOT NULL, ao TEXT NOT NULL) STRICT;";
        connection.execute_batch(version).unwrap();
        connection.execute_batch(BEGINNING).unwrap();
        let act = |agent: &str, risk: i64, status: &str| {
            let text = "INSERT INTO actions (org, agent, action_type, resource, context, cost, \
                session_id, depth, digest, class, verdict_effect, reason, trace, risk, \
                policy_digest, effect, status, decided_by, submitted_us, outcome) VALUES ('o', ?1, \
                't', 'r', '{}', 5, 's', 1, 'd', 'c', 'e', 'r', '[]', ?2, 'p', 'e', ?3, 'b', 1, '{}')";
            connection.execute(text, (agent, risk, status)).unwrap();
        };
        act("a", 70, "denied");
        act("b", 10, "held");
        migrate(&connection, 1, "now").unwrap();
        act("a", 20, "allowed");
        connection
            .execute("UPDATE actions SET status = 'denied', actual_cost = 0 WHERE id = 2", [])
            .unwrap();
        let text = "SELECT actions, blocked, high_risk, max_risk, risk_sum, max_depth, cost \
                    FROM sessions WHERE org = 'o' AND session_id = 's'";
        let sums: Vec<i64> = connection
            .query_row(text, [], |row| (0..7).map(|column| row.get(column)).collect())
            .unwrap();
        assert_eq!(sums, [3, 2, 1, 70, 100, 1, 5]);
        let agents = "SELECT count(*) FROM session_agents WHERE org = 'o' AND session_id = 's'";
        assert_eq!(connection.query_row(agents, [], |row| row.get::<_, i64>(0)), Ok(2));
    }
}
