-- Floats do not compress, so that the server need not try.

ALTER TABLE snapshots ALTER COLUMN content SET STORAGE EXTERNAL;
