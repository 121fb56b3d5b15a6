-- Items are found by their keys, and by the names that people have for them: a label, and the ids of what they have become.
CREATE INDEX items_by_key ON items (key);

CREATE TABLE item_names (
    run  TEXT NOT NULL REFERENCES runs (id),
    step TEXT NOT NULL,
    key  TEXT NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (run, step, key, name)
) STRICT, WITHOUT ROWID;

CREATE INDEX item_names_by_name ON item_names (name);
