-- 1: the segment's index has the attributes of its spans. Segments of the first format have none there.
ALTER TABLE segment ADD COLUMN attributes INTEGER NOT NULL DEFAULT 0;
