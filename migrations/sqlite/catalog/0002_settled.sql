-- 1: holds the spans of arrival partitions that were full, written again by trace.
ALTER TABLE partition ADD COLUMN settled INTEGER NOT NULL DEFAULT 0;
