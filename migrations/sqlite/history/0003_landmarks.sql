-- What happened beside the figures, for the eye that reads a curve: another version of a service, another membership of
-- a group, offsets that went back. Whose it is and what it was is text, the collector's to read.
CREATE TABLE landmark (
    subject TEXT NOT NULL,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (subject, at, kind, text)
) WITHOUT ROWID;
CREATE INDEX landmark_at ON landmark (at);
-- The alerts of one group stand beside its curve too.
CREATE INDEX alert_event_subject ON alert_event (subject, at);
