-- The state of the sign-in as JSON, for display. NULL until the entry is replaced.
ALTER TABLE vault ADD COLUMN sign_in TEXT;

-- When that changed, the newest 200 a connection.
CREATE TABLE sign_ins (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    connection TEXT NOT NULL REFERENCES connections (name) ON DELETE CASCADE,
    at         INTEGER NOT NULL,
    sign_in    TEXT NOT NULL
) STRICT;

CREATE INDEX sign_ins_by_connection ON sign_ins (connection);
