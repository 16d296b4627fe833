//! Walking over a log: a page at a time, as a long one must not be held in memory as a whole.

use std::ops::ControlFlow;

use postgres::types::ToSql;

use super::rows;
use super::tx::{PostgresTx, number, us};
use crate::govern::audit::Record;
use crate::sys::db::DbError;
use crate::sys::db::rows::AuditQuery;

/// Records fetched at once.
const AUDIT_PAGE_RECORDS: i64 = 1_000;

pub(super) fn walk(
    tx: &mut PostgresTx<'_>,
    query: &AuditQuery,
    each: &mut dyn FnMut(Record) -> ControlFlow<()>,
) -> Result<(), DbError> {
    let act = "read the audit log";
    let columns = rows::AUDIT;
    let filter = "org = $1 AND seq > $2 AND ($3::bigint IS NULL OR at_us >= $3) \
        AND ($4::text IS NULL OR kind = $4) AND ($5::text IS NULL \
        OR strpos(lower(actor), $5) > 0 OR strpos(lower(subject), $5) > 0 \
        OR strpos(lower(kind), $5) > 0 OR strpos(lower(details), $5) > 0)";
    let since = query.since.map(us);
    let containing = query.containing.as_ref().map(|wanted| wanted.to_ascii_lowercase());
    let mut after = number(query.after);
    if let Some(last) = query.last {
        let text = format!(
            "SELECT {columns} FROM (SELECT {columns} FROM audit WHERE {filter} \
             ORDER BY seq DESC LIMIT $6) AS found ORDER BY seq"
        );
        let last = i64::from(last);
        let values: [&(dyn ToSql + Sync); 5] = [&after, &since, &query.kind, &containing, &last];
        for record in tx.all(act, &text, &values, rows::record)? {
            if each(record).is_break() {
                break;
            }
        }
        return Ok(());
    }
    let text = format!("SELECT {columns} FROM audit WHERE {filter} ORDER BY seq LIMIT $6");
    loop {
        let values: [&(dyn ToSql + Sync); 5] =
            [&after, &since, &query.kind, &containing, &AUDIT_PAGE_RECORDS];
        let page = tx.all(act, &text, &values, rows::record)?;
        let full = number(page.len() as u64) == AUDIT_PAGE_RECORDS;
        for record in page {
            after = number(record.seq);
            if each(record).is_break() {
                return Ok(());
            }
        }
        if !full {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_walk_is_bound_to_its_organisation() {
        let source = include_str!("log.rs").split("#[cfg(test)]").next().unwrap();
        assert!(source.contains("let filter = \"org = $1 AND seq > $2"));
        assert_eq!(source.matches("FROM audit WHERE {filter} ").count(), 2);
    }
}
