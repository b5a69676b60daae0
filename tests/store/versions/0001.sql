BEGIN TRANSACTION;
CREATE TABLE activity (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	"at" DOUBLE NOT NULL, 
	actor TEXT NOT NULL, 
	source TEXT NOT NULL, 
	change TEXT NOT NULL, 
	subject TEXT NOT NULL, 
	before TEXT NOT NULL, 
	after TEXT NOT NULL
);
CREATE TABLE pending_installs (
	state TEXT NOT NULL, 
	expires_at VARCHAR(32) NOT NULL, 
	body TEXT NOT NULL, 
	used BOOLEAN NOT NULL, 
	CONSTRAINT pk_pending_installs PRIMARY KEY (state)
);
CREATE TABLE alerts (
	id INTEGER NOT NULL, 
	scope TEXT NOT NULL, 
	"key" TEXT NOT NULL, 
	status TEXT NOT NULL, 
	updated_at VARCHAR(32), 
	seen_at DOUBLE NOT NULL, 
	digest VARCHAR(32) NOT NULL, 
	started_at VARCHAR(32), 
	expires_at DOUBLE, 
	lifetime DOUBLE, 
	fires_since DOUBLE, 
	waits_until DOUBLE, 
	waiting TEXT DEFAULT '[]' NOT NULL, 
	waiting_row INTEGER, 
	CONSTRAINT pk_alerts PRIMARY KEY (id), 
	CONSTRAINT uq_alerts_digest UNIQUE (digest)
);
INSERT INTO "alerts" VALUES(1,'','open','firing',NULL,1795000000.0,'f99db8982bacf34e420fa5995ba8825f',NULL,NULL,NULL,NULL,NULL,'[]',NULL);
INSERT INTO "alerts" VALUES(2,'','refused','firing',NULL,1795000000.0,'2bec8d0e7aee3fc6d7f4c7c7de06f8c1',NULL,NULL,NULL,NULL,NULL,'[]',NULL);
INSERT INTO "alerts" VALUES(3,'','waiting','firing',NULL,1795000000.0,'e50f0f61bb120f22a32ef50fb74476f9',NULL,NULL,NULL,NULL,NULL,'[]',NULL);
CREATE TABLE budgets (
	name TEXT NOT NULL, 
	allowed INTEGER NOT NULL, 
	seconds DOUBLE NOT NULL, 
	used TEXT NOT NULL, 
	paused_until DOUBLE NOT NULL, 
	CONSTRAINT pk_budgets PRIMARY KEY (name)
);
CREATE TABLE channels (
	id INTEGER NOT NULL, 
	lane_id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	state TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	failures INTEGER NOT NULL, 
	since DOUBLE NOT NULL, 
	due DOUBLE NOT NULL, 
	first_due DOUBLE NOT NULL, 
	last_success_at DOUBLE NOT NULL, 
	CONSTRAINT pk_channels PRIMARY KEY (id), 
	CONSTRAINT fk_channels_lane_id_lanes FOREIGN KEY(lane_id) REFERENCES lanes (id)
);
INSERT INTO "channels" VALUES(1,1,'','unhealthy','timed out',1,1795000000.0,1795000000.411,1795000000.411,1795000000.0);
CREATE TABLE clock (
	id INTEGER NOT NULL, 
	seen_at DOUBLE NOT NULL, 
	steady_since DOUBLE NOT NULL, 
	CONSTRAINT pk_clock PRIMARY KEY (id)
);
CREATE TABLE deliveries (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	uid TEXT NOT NULL, 
	incident_id INTEGER NOT NULL, 
	lane_id INTEGER NOT NULL, 
	channel TEXT NOT NULL, 
	submission_id TEXT NOT NULL, 
	operation TEXT NOT NULL, 
	severity TEXT NOT NULL, 
	body TEXT NOT NULL, 
	state TEXT NOT NULL, 
	position INTEGER NOT NULL, 
	is_head BOOLEAN NOT NULL, 
	urgency DOUBLE NOT NULL, 
	due DOUBLE NOT NULL, 
	accepted_at DOUBLE NOT NULL, 
	coalesced INTEGER DEFAULT '0' NOT NULL, 
	attempts INTEGER DEFAULT '0' NOT NULL, 
	worker_id TEXT, 
	lease_until DOUBLE, 
	tried_at DOUBLE, 
	failing_since DOUBLE, 
	own_failures INTEGER DEFAULT '0' NOT NULL, 
	is_repeat BOOLEAN DEFAULT 0 NOT NULL, 
	expected_handle TEXT, 
	outcome TEXT DEFAULT '' NOT NULL, 
	reason TEXT DEFAULT '' NOT NULL, 
	late_reported BOOLEAN DEFAULT 0 NOT NULL, 
	finished_at DOUBLE, 
	attempt_log TEXT DEFAULT '' NOT NULL, 
	CONSTRAINT fk_deliveries_incident_id_incidents FOREIGN KEY(incident_id) REFERENCES incidents (id) ON DELETE CASCADE, 
	CONSTRAINT fk_deliveries_lane_id_lanes FOREIGN KEY(lane_id) REFERENCES lanes (id)
);
INSERT INTO "deliveries" VALUES(1,'ef3704dff89d42878a38243ed071e295',1,1,'pager.page ','b6fac7dd79d44643a683ae2c09b7281e','trigger','error','{"operation": "trigger", "ref": {"action": "pager.page", "installation": "acme", "destination": "all", "correlation_key": "open"}, "alert": {"scope": "", "key": "open"}, "severity": "error", "message": {"text": "open"}, "rules": ["Pages"], "repairs": [], "notes": [], "follow_ups": ["acknowledge", "resolve", "update"], "over": false}','delivered',0,0,1794999700.0,1795000000.0,1795000000.0,0,1,NULL,NULL,NULL,NULL,0,0,NULL,'delivered','',0,1795000000.0,'');
INSERT INTO "deliveries" VALUES(2,'855f79ea06894207ae97ab294e46ad6d',2,1,'pager.page ','2310c4ad941146be9c1c496a5bb3b19f','trigger','error','{"operation": "trigger", "ref": {"action": "pager.page", "installation": "acme", "destination": "all", "correlation_key": "refused"}, "alert": {"scope": "", "key": "refused"}, "severity": "error", "message": {"text": "refused"}, "rules": ["Pages"], "repairs": [], "notes": [], "follow_ups": ["acknowledge", "resolve", "update"], "over": false}','rejected',0,0,1794999700.0,1795000000.0,1795000000.0,0,1,NULL,NULL,NULL,NULL,0,0,NULL,'rejected','no such field',0,1795000000.0,'');
INSERT INTO "deliveries" VALUES(3,'5ac81d28653749abb25e4efcf372fe03',3,1,'pager.page ','065b09b7125a4958b25ce336f1f20df4','trigger','critical','{"operation": "trigger", "ref": {"action": "pager.page", "installation": "acme", "destination": "all", "correlation_key": "waiting"}, "alert": {"scope": "", "key": "waiting"}, "severity": "critical", "message": {"text": "waiting"}, "rules": ["Pages"], "repairs": [], "notes": [], "follow_ups": ["acknowledge", "resolve", "update"], "over": false}','queued',1,1,1794999100.0,1.79500000082557392127e+09,1795000000.0,0,1,NULL,NULL,NULL,NULL,0,0,NULL,'unreachable','',0,NULL,'');
CREATE TABLE holders (
	incident_id INTEGER NOT NULL, 
	digest VARCHAR(32) NOT NULL, 
	scope TEXT NOT NULL, 
	"key" TEXT NOT NULL, 
	number INTEGER NOT NULL, 
	CONSTRAINT pk_holders PRIMARY KEY (incident_id, digest), 
	CONSTRAINT fk_holders_incident_id_incidents FOREIGN KEY(incident_id) REFERENCES incidents (id) ON DELETE CASCADE
);
INSERT INTO "holders" VALUES(1,'f99db8982bacf34e420fa5995ba8825f','','open',0);
INSERT INTO "holders" VALUES(3,'e50f0f61bb120f22a32ef50fb74476f9','','waiting',0);
CREATE TABLE hostspec_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT hostspec_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "hostspec_version" VALUES('0001');
CREATE TABLE incidents (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	lane_id INTEGER NOT NULL, 
	action TEXT NOT NULL, 
	installation TEXT NOT NULL, 
	destination TEXT NOT NULL, 
	correlation_key TEXT NOT NULL, 
	active BOOLEAN NOT NULL, 
	state TEXT NOT NULL, 
	severity TEXT NOT NULL, 
	handle TEXT, 
	rules TEXT NOT NULL, 
	follow_ups TEXT NOT NULL, 
	may_be_open BOOLEAN NOT NULL, 
	trigger_delivered BOOLEAN NOT NULL, 
	unconfirmed BOOLEAN NOT NULL, 
	orphaned BOOLEAN NOT NULL, 
	opened_at DOUBLE NOT NULL, 
	changed_at DOUBLE NOT NULL, 
	version INTEGER NOT NULL, 
	budgets TEXT DEFAULT '[]' NOT NULL, 
	digest VARCHAR(32) DEFAULT '' NOT NULL, 
	summary TEXT DEFAULT '' NOT NULL, 
	CONSTRAINT fk_incidents_lane_id_lanes FOREIGN KEY(lane_id) REFERENCES lanes (id)
);
INSERT INTO "incidents" VALUES(1,1,'pager.page','acme','all','open',1,'triggered','error','{"id": 1}','["Pages"]','["acknowledge", "resolve", "update"]',1,1,0,0,1795000000.0,1795000000.0,0,'[]','c0abe7454ddc18d51ba8a3bb8197f7d9','open');
INSERT INTO "incidents" VALUES(2,1,'pager.page','acme','all','refused',0,'resolved','error',NULL,'["Pages"]','["acknowledge", "resolve", "update"]',0,0,0,0,1795000000.0,1795000000.0,1,'[]','69496d5526e80bb932c3e33ba360d106','refused');
INSERT INTO "incidents" VALUES(3,1,'pager.page','acme','all','waiting',1,'triggered','critical',NULL,'["Pages"]','["acknowledge", "resolve", "update"]',1,0,1,0,1795000000.0,1795000000.0,0,'[]','860d00d494babd77a526cd357ffc3277','waiting');
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
INSERT INTO "installations" VALUES(1,'paging','acme','{"token": {"$sealed": "gAAAAABrDWoQdJ2I6EFn8F6oVmmHJ7yNORx56F4y4gkvCAenrQFsoiH4MnN660AJ25Xp54ExyaMS1MMoK8PXojFHE_1QxNBQAV5jm7eI57OJPddbait6IUIK5Atxf495K5GKEI9n5WUAPbzd8CJib0XM6kH8A5v4BXFQezm3u1hOCTVjmI6azlzOls6Zoxt7kcjWuf-a7LgZ"}, "keys": ["env:PD_KEY", {"$sealed": "gAAAAABrDWoQMd9GVHmHQNvy_YkAvgybd3WAQiWlyoy09aJto28fM9SDV7wHV1C7qPdyoj38m1xilb1ygdTDC7mKYOyUga90yraII_lVL8UXW1ARkxz9MEK42BICXIaTZ230zozn7b9bJYKX-OTqPInJ3iwOMyt-O5SdEc1YI_7To2Wvg3m-vyJeBy37_CotmDzfiFY9oEt7"}], "headers": {"$$sealed": {"$sealed": "gAAAAABrDWoQ7je0rsHIpuSWWcMfGkxbR1TNC34X6lbl9MKBKmTurIrGl0k4EfeEwTA5IvR2zrjhEl9HRDltxpn5rB-Mwv-3Koi_gENwf69CKulu6dO2eNpaIicJHRzB8u7zJhW1ZPlKd0BhurjL7jGEedLqTsO_bSGxZlc8cLNnm36s7iBzm-rzzwZzmaJNmtSMewENi3yl"}}, "labels": {}, "region": "us", "$binding": "gAAAAABrDWoQz0o04t1eRq08-neJI4lqxWRH1orOyvBCDwKyryyMLr1Gix1UluuiQZ04uqTbiXHMsjRRFnrMNOADjx8w6VYSXPESZ6vcJ0ohdEPs2zVsCVBQaJvct4HTxIRcKRBEbpbMih_bTT24tNhZL48JqUluNW0yjKe7OWUxQgjn4t3_6VM="}',2,'2026-11-23T09:00:00.000000+00:00','2026-11-23T09:00:01.000000+00:00');
INSERT INTO "installations" VALUES(2,'paging','ümlaut','{"token": null, "keys": [], "headers": {}, "labels": {"$$a": "b"}, "region": "us", "$binding": "gAAAAABrDWoQy-rWny2Vgnv0Dr6YBy0I0volY1au6Cvfw4qK5UBG-HExa_6rs2XDq3tbCvUlMU8UeYN95exoioS6eCCnPNZPdGWnWseKceiZalmV4xoa1BciQUhdm6VdHEOaXUj8e_ViOaf9F-cpmNjv_zIwMpigH8uQaA_NvgrlpSFkDZ9xFWs="}',1,'2026-11-23T09:00:00.000001+00:00','2026-11-23T09:00:01.000000+00:00');
CREATE TABLE expected_heartbeats (
	"key" TEXT NOT NULL, 
	scope TEXT NOT NULL, 
	period DOUBLE NOT NULL, 
	heard_at DOUBLE, 
	due DOUBLE, 
	missed_at DOUBLE, 
	CONSTRAINT pk_expected_heartbeats PRIMARY KEY ("key")
);
CREATE TABLE rules (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	name TEXT NOT NULL, 
	position INTEGER NOT NULL, 
	enabled BOOLEAN NOT NULL, 
	body TEXT NOT NULL, 
	version INTEGER NOT NULL, 
	CONSTRAINT uq_rules_name UNIQUE (name)
);
CREATE TABLE lanes (
	id INTEGER NOT NULL, 
	installation TEXT NOT NULL, 
	destination TEXT NOT NULL, 
	state TEXT DEFAULT 'healthy' NOT NULL, 
	due DOUBLE, 
	leased_at DOUBLE DEFAULT '0' NOT NULL, 
	budgets TEXT DEFAULT '[]' NOT NULL, 
	CONSTRAINT pk_lanes PRIMARY KEY (id), 
	CONSTRAINT uq_lanes_installation_destination UNIQUE (installation, destination)
);
INSERT INTO "lanes" VALUES(1,'acme','all','healthy',0.0,1795000000.0,'[]');
CREATE TABLE planners (
	name TEXT NOT NULL, 
	submissions TEXT NOT NULL, 
	attempts INTEGER NOT NULL, 
	CONSTRAINT pk_planners PRIMARY KEY (name)
);
CREATE TABLE receipts (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	hook TEXT NOT NULL, 
	worker_id TEXT NOT NULL, 
	uid TEXT NOT NULL, 
	delivery TEXT NOT NULL, 
	outcome TEXT, 
	attempts INTEGER NOT NULL, 
	reason TEXT NOT NULL
);
CREATE TABLE submissions (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	submission_id TEXT NOT NULL, 
	scope TEXT NOT NULL, 
	"key" TEXT NOT NULL, 
	body TEXT NOT NULL, 
	accepted_at DOUBLE NOT NULL, 
	planned_at DOUBLE, 
	note TEXT, 
	replays INTEGER, 
	digest VARCHAR(32) DEFAULT '' NOT NULL, 
	scope_digest VARCHAR(32) DEFAULT '' NOT NULL, 
	urgency DOUBLE DEFAULT '0' NOT NULL, 
	size INTEGER DEFAULT '0' NOT NULL, 
	outcome TEXT DEFAULT '' NOT NULL, 
	fairness_key VARCHAR(32) DEFAULT '' NOT NULL, 
	lifetime DOUBLE, 
	cause TEXT DEFAULT '' NOT NULL, 
	CONSTRAINT uq_submissions_submission_id UNIQUE (submission_id)
);
INSERT INTO "submissions" VALUES(1,'b6fac7dd79d44643a683ae2c09b7281e','','open','{"key":"open","summary":"open","status":"firing","severity":"error","scope":"","source":"","component":"","group":"","class":"","started_at":null,"updated_at":null,"labels":{},"details":{},"url":"","links":[],"images":[],"repairs":[{"field":"severity","reason":"missing; taken as error"},{"field":"summary","reason":"missing or blank; replaced by the key"}]}',1795000000.0,1795000000.0,'{"remark": "", "failures": [], "suppressions": []}',NULL,'','',0.0,0,'','',NULL,'');
INSERT INTO "submissions" VALUES(2,'2310c4ad941146be9c1c496a5bb3b19f','','refused','{"key":"refused","summary":"refused","status":"firing","severity":"error","scope":"","source":"","component":"","group":"","class":"","started_at":null,"updated_at":null,"labels":{},"details":{},"url":"","links":[],"images":[],"repairs":[{"field":"severity","reason":"missing; taken as error"},{"field":"summary","reason":"missing or blank; replaced by the key"}]}',1795000000.0,1795000000.0,'{"remark": "", "failures": [], "suppressions": []}',NULL,'','',0.0,0,'','',NULL,'');
INSERT INTO "submissions" VALUES(3,'065b09b7125a4958b25ce336f1f20df4','','waiting','{"key":"waiting","summary":"waiting","status":"firing","severity":"critical","scope":"","source":"","component":"","group":"","class":"","started_at":null,"updated_at":null,"labels":{},"details":{},"url":"","links":[],"images":[],"repairs":[{"field":"summary","reason":"missing or blank; replaced by the key"}]}',1795000000.0,1795000000.0,'{"remark": "", "failures": [], "suppressions": []}',NULL,'','',0.0,0,'','',NULL,'');
INSERT INTO "submissions" VALUES(4,'43f81f5b690c4d31a8e506f5fc09126e','','accepted','{"key":"accepted","summary":"accepted","status":"firing","severity":"error","scope":"","source":"","component":"","group":"","class":"","started_at":null,"updated_at":null,"labels":{},"details":{},"url":"","links":[],"images":[],"repairs":[{"field":"severity","reason":"missing; taken as error"},{"field":"summary","reason":"missing or blank; replaced by the key"}]}',1795000000.0,NULL,NULL,NULL,'12daeb70efbca74cdc05b3cc9e8fa9bc','a49884894fdad1926b236f90690b6e5b',1795000000.0,374,'','a49884894fdad1926b236f90690b6e5b',NULL,'');
CREATE TABLE workers (
	worker_id TEXT NOT NULL, 
	seen_at DOUBLE NOT NULL, 
	CONSTRAINT pk_workers PRIMARY KEY (worker_id)
);
CREATE INDEX ix_submissions_scope_digest ON submissions (scope_digest, accepted_at) WHERE planned_at IS NULL;
CREATE INDEX ix_submissions_digest ON submissions (digest, id) WHERE planned_at IS NULL;
CREATE INDEX ix_submissions_outcome ON submissions (outcome, id) WHERE outcome != '';
CREATE INDEX ix_submissions_planned_at ON submissions (planned_at) WHERE planned_at IS NOT NULL;
CREATE INDEX ix_submissions_urgency ON submissions (urgency, id) WHERE planned_at IS NULL;
CREATE INDEX ix_submissions_fairness_key ON submissions (fairness_key, urgency, id) WHERE planned_at IS NULL;
CREATE INDEX ix_alerts_expires_at ON alerts (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX ix_alerts_waits_until ON alerts (waits_until) WHERE waits_until IS NOT NULL;
CREATE INDEX ix_alerts_seen_at ON alerts (seen_at);
CREATE INDEX ix_lanes_due ON lanes (due) WHERE due IS NOT NULL;
CREATE INDEX ix_receipts_worker_id ON receipts (worker_id, id);
CREATE INDEX ix_channels_lane_id ON channels (lane_id);
CREATE INDEX ix_incidents_orphaned ON incidents (id) WHERE orphaned;
CREATE INDEX ix_incidents_changed_at ON incidents (changed_at) WHERE active = 1;
CREATE INDEX ix_incidents_ended_at ON incidents (changed_at) WHERE active = 0;
CREATE UNIQUE INDEX uq_incidents_digest ON incidents (digest) WHERE active;
CREATE INDEX ix_holders_digest ON holders (digest);
CREATE INDEX ix_deliveries_state ON deliveries (state, finished_at);
CREATE INDEX ix_deliveries_channel ON deliveries (lane_id, channel, attempts, urgency, id) WHERE is_head = 1;
CREATE INDEX ix_deliveries_due ON deliveries (lane_id, due) WHERE is_head = 1;
CREATE INDEX ix_deliveries_head ON deliveries (lane_id, urgency, id) WHERE is_head;
CREATE INDEX ix_deliveries_lane_id ON deliveries (lane_id, id);
CREATE INDEX ix_deliveries_submission_id ON deliveries (submission_id);
CREATE INDEX ix_deliveries_accepted_at ON deliveries (accepted_at) WHERE finished_at IS NULL AND late_reported = 0;
CREATE INDEX ix_deliveries_in_flight ON deliveries (lane_id) WHERE worker_id IS NOT NULL;
CREATE INDEX ix_deliveries_urgent_head ON deliveries (lane_id, urgency, id) WHERE is_head = 1 AND (operation = 'resolve' OR severity = 'critical');
CREATE INDEX ix_deliveries_incident_id ON deliveries (incident_id, position);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('deliveries',3);
INSERT INTO "sqlite_sequence" VALUES('incidents',3);
INSERT INTO "sqlite_sequence" VALUES('installations',2);
INSERT INTO "sqlite_sequence" VALUES('submissions',4);
COMMIT;
