//! The tables, and what a store is known by.

/// Version of the tables, kept in a file's `user_version`, on a server in [`VERSION_TABLE`]. A change of any
/// table raises it.
pub(super) const VERSION: i64 = 2;

/// Kept in the file's `application_id`: "Prim". On a server, the lock under which tables are made.
pub(super) const APPLICATION_ID: i64 = 0x5072_696d;

/// Marks a file as a store.
pub(super) const MARK_FILE: [&str; 2] = ["PRAGMA application_id = 1349675373", "PRAGMA user_version = 2"];

/// The table that marks a server's schema as a store, with one row and one column: the version.
pub(super) const VERSION_TABLE: &str = "primer_store";

/// Makes the tables of an empty database, one statement each.
///
/// The finished candidates in order of `done_seq` are the study's log: populations, best values
/// and resumption all follow from it, and nothing else is kept that could disagree with it.
/// `fitness` is NULL where it was not finite, which ranks last everywhere. `bars` are the losses above
/// which a mark ends the candidate, `passed` the hurdles that it passed.
pub(super) const CREATE: [&str; 8] = [
    // `next_child` is the number of the next new child; `done_seq` the last one given out,
    // −1 before the seed program (child 0) is finished.
    "CREATE TABLE study (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        spec TEXT NOT NULL,
        spec_sha256 TEXT NOT NULL,
        next_child INTEGER NOT NULL,
        done_seq INTEGER NOT NULL
    ) STRICT",
    // `attempt` is the fencing token: it grows with every lease. `spent` counts the attempts
    // that ended badly, and is what the limit is for.
    "CREATE TABLE candidate (
        child_no INTEGER PRIMARY KEY,
        parent INTEGER REFERENCES candidate (child_no),
        mutation TEXT NOT NULL,
        program TEXT NOT NULL,
        canonical TEXT,
        watermark INTEGER NOT NULL,
        bars TEXT NOT NULL,
        state TEXT NOT NULL CHECK
            (state IN ('pending', 'leased', 'done', 'cached', 'rejected', 'failed')),
        worker TEXT,
        attempt INTEGER NOT NULL DEFAULT 0,
        spent INTEGER NOT NULL DEFAULT 0,
        lease_until INTEGER,
        done_seq INTEGER UNIQUE,
        twin INTEGER REFERENCES candidate (child_no),
        fitness REAL,
        passed INTEGER NOT NULL DEFAULT 0,
        steps INTEGER NOT NULL DEFAULT 0,
        tokens INTEGER NOT NULL DEFAULT 0,
        flops INTEGER NOT NULL DEFAULT 0,
        predicted_seconds REAL NOT NULL DEFAULT 0,
        training_seconds REAL NOT NULL DEFAULT 0,
        seconds REAL NOT NULL DEFAULT 0,
        error TEXT,
        finished_ms INTEGER,
        CHECK ((done_seq IS NULL) = (state IN ('pending', 'leased')))
    ) STRICT",
    "CREATE INDEX candidate_state ON candidate (state, child_no)",
    "CREATE INDEX candidate_canonical ON candidate (canonical, done_seq)",
    "CREATE INDEX candidate_fitness ON candidate (fitness, done_seq) WHERE fitness IS NOT NULL",
    // The losses at the marks of a finished candidate; NULL where not finite. The seed program has several runs.
    // `done_seq` is the candidate's, repeated for the windows from which bars follow.
    "CREATE TABLE mark (
        child_no INTEGER NOT NULL REFERENCES candidate (child_no),
        run INTEGER NOT NULL,
        mark INTEGER NOT NULL,
        loss REAL,
        done_seq INTEGER NOT NULL,
        PRIMARY KEY (child_no, run, mark)
    ) STRICT",
    "CREATE INDEX mark_window ON mark (mark, done_seq, run)",
    // One row an attempt: what it spent, and whether that led to a result.
    "CREATE TABLE ledger (
        child_no INTEGER NOT NULL REFERENCES candidate (child_no),
        attempt INTEGER NOT NULL,
        worker TEXT,
        kind TEXT NOT NULL CHECK (kind IN ('useful', 'wasted', 'cached')),
        steps INTEGER NOT NULL,
        tokens INTEGER NOT NULL,
        flops INTEGER NOT NULL,
        predicted_seconds REAL NOT NULL,
        training_seconds REAL NOT NULL,
        seconds REAL NOT NULL,
        PRIMARY KEY (child_no, attempt)
    ) STRICT",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statements_carry_the_same_numbers() {
        assert_eq!(MARK_FILE[0], format!("PRAGMA application_id = {APPLICATION_ID}"));
        assert_eq!(MARK_FILE[1], format!("PRAGMA user_version = {VERSION}"));
    }
}
