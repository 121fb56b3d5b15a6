-- The process log of runs: the inputs and results of calls, encrypted. Bounded; the oldest entries are removed first.
CREATE TABLE step_log (
    run    TEXT NOT NULL REFERENCES runs (id),
    seq    INTEGER NOT NULL, -- from 1: those missing before the first are gone
    total  INTEGER NOT NULL, -- bytes of what is sealed of this entry and of all before it, also of those that are gone
    key_id TEXT NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (run, seq)
) STRICT, WITHOUT ROWID;
