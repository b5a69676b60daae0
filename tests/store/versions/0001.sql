-- A database of version 0001, filled. Never changed: later versions must still read it.
BEGIN TRANSACTION;
CREATE TABLE hostspec_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT hostspec_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "hostspec_version" VALUES('0001');
CREATE TABLE installations (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	provider TEXT NOT NULL, 
	name TEXT NOT NULL, 
	settings TEXT NOT NULL, 
	version INTEGER NOT NULL, 
	created_at VARCHAR(32) NOT NULL, 
	updated_at VARCHAR(32) NOT NULL, 
	CONSTRAINT uq_installations_name UNIQUE (name)
);
INSERT INTO "installations" VALUES(1,'paging','acme','{"token": {"$sealed": "gAAAAABrBAN3yaPoixymMCKxO4XxHQspyG2D6h0A-UnGVATS1HvCfqDXX_P36r7Q_7TznunPCUOGRuKQbE8eKyhgWG7iRN5PWBRMp9SQVDhjiNf1fsgNU00="}, "keys": ["env:PD_KEY", {"$sealed": "gAAAAABrBAN3sRO1acVOisbBjI8zqFJsjBf6KF317P1sN_M_6nZMA1eJuxYifajtYw6FhjP5pD16UbFUtAsHVMNkNpqlq5vq5yHaB6KYlMRfOiQy3D3mg0M="}], "headers": {"$$sealed": {"$sealed": "gAAAAABrBAN3UKFq0xOtUmtjeMckrx3qgD8VjpCSYivAd3VVXZzHb-iLmFhDb1hd9wTC62HE2cv1mCZNOvuAPOVoQU0KEk4H_888EQqJ7_vDawgqMeadyfE="}}, "labels": {}, "region": "us"}',2,'2026-11-23T09:00:00.000000+00:00','2026-11-23T09:00:01.000000+00:00');
INSERT INTO "installations" VALUES(2,'paging','ümlaut','{"token": null, "keys": [], "headers": {}, "labels": {"$$a": "b"}, "region": "us"}',1,'2026-11-23T09:00:00.000001+00:00','2026-11-23T09:00:01.000000+00:00');
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('installations',2);
COMMIT;
