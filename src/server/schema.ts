/**
 * Owns the server's tables, as numbered migrations in the SQL that SQLite and PostgreSQL share. Each table is written by one file only:
 * `spaces.ts`, `records.ts`, `receipts.ts`, `unique.ts`, `tokens.ts`; the stores own how migrations are run.
 */
import type { Dialect } from "./store.ts";

/**
 * Spaces and what is in them. Instants are milliseconds, JSON is text, versions count within a space.
 *
 * The feed is over expressions, so that a search by key can never take it, nor a page of the feed the primary key. Over the bare columns both
 * begin with space and collection, and a planner that takes a large space for one of many small ones reads all of it with each push.
 */
const spaceTables = ({ text, bigint }: Dialect): string => `
CREATE TABLE hf_space (
  name ${text} NOT NULL PRIMARY KEY,
  head ${bigint} NOT NULL,
  history ${text} NOT NULL,
  floor ${bigint} NOT NULL,
  created_at ${bigint} NOT NULL
);
CREATE TABLE hf_record (
  space ${text} NOT NULL,
  collection ${text} NOT NULL,
  key ${text} NOT NULL,
  version ${bigint} NOT NULL,
  ending ${bigint} NOT NULL,
  created ${bigint} NOT NULL,
  born ${bigint} NOT NULL,
  value ${text},
  field_versions ${text} NOT NULL,
  bytes ${bigint} NOT NULL,
  schema_version ${bigint} NOT NULL,
  author ${text} NOT NULL,
  at ${bigint} NOT NULL,
  PRIMARY KEY (space, collection, key)
);
CREATE INDEX hf_record_feed ON hf_record ((space || ''), (collection || ''), version, ending, bytes);
CREATE INDEX hf_record_removed ON hf_record (at) WHERE value IS NULL;
CREATE TABLE hf_receipt (
  space ${text} NOT NULL,
  id ${text} NOT NULL,
  client ${text} NOT NULL,
  number ${bigint} NOT NULL,
  hash ${text} NOT NULL,
  answer ${text} NOT NULL,
  at ${bigint} NOT NULL,
  PRIMARY KEY (space, id)
);
CREATE INDEX hf_receipt_age ON hf_receipt (at);
CREATE TABLE hf_client (
  space ${text} NOT NULL,
  client ${text} NOT NULL,
  floor ${bigint} NOT NULL,
  seen_at ${bigint} NOT NULL,
  PRIMARY KEY (space, client)
);`;

/** What is unique in them, and who may come in. */
const otherTables = ({ text, bigint }: Dialect): string => `
CREATE TABLE hf_unique (
  space ${text} NOT NULL,
  collection ${text} NOT NULL,
  fields ${text} NOT NULL,
  value ${text} NOT NULL,
  key ${text} NOT NULL,
  PRIMARY KEY (space, collection, fields, value)
);
CREATE TABLE hf_unique_built (
  collection ${text} NOT NULL,
  fields ${text} NOT NULL,
  PRIMARY KEY (collection, fields)
);
CREATE TABLE hf_token (
  hash ${text} NOT NULL PRIMARY KEY,
  id ${text} NOT NULL,
  name ${text} NOT NULL,
  subject ${text} NOT NULL,
  grants ${text} NOT NULL,
  created_at ${bigint} NOT NULL,
  expires_at ${bigint},
  revoked_at ${bigint}
);
CREATE TABLE hf_account (
  subject ${text} NOT NULL PRIMARY KEY,
  suspended_at ${bigint} NOT NULL,
  reason ${text} NOT NULL
)`;

/** Appended to, never changed once released. Texts are compared by code point, so that their order is the same in every database. */
export const migrationsFor = (dialect: Dialect): readonly string[] => [spaceTables(dialect) + otherTables(dialect)];
