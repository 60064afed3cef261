import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"

/**
 * Credentials, and what is written in one transaction with them.
 *
 * Ids and cursors compare by code unit (`collate "C"`), as JavaScript compares them, whatever the database's locale is.
 */
export default Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient

  yield* sql`
    create table credentials (
      user_id text collate "C" not null,
      id text collate "C" not null,
      provider text not null,
      type text not null,
      title text,
      generation integer not null,
      grant_fingerprint text,
      reauth_reason text,
      reauth_attempt_id text,
      reported_generation integer,
      report_streak integer not null,
      failures integer not null,
      retry_at timestamptz,
      last_failure text,
      created_at timestamptz not null,
      updated_at timestamptz not null,
      stored_at timestamptz not null,
      key_id text not null,
      sealed bytea not null,
      primary key (user_id, id)
    )`
  // a user's list, in its order, from a cursor on
  yield* sql`create index credentials_listed on credentials (user_id, created_at, id)`
  // who shares a grant; a fingerprint covers its user, so it finds a few rows at most
  yield* sql`
    create index credentials_granted on credentials (grant_fingerprint) where grant_fingerprint is not null`
  // which keys are in use, at each start, without reading the rows
  yield* sql`create index credentials_key_id on credentials (key_id)`

  yield* sql`
    create table attempts (
      id text primary key,
      user_id text not null,
      provider text not null,
      grant_fingerprint text not null,
      process_id text not null,
      started_at timestamptz not null,
      deadline timestamptz not null,
      probe_of text,
      outcome text,
      finished_at timestamptz
    )`
  // at most one open attempt for a grant; also finds it, and all open ones: it holds no others
  yield* sql`create unique index attempts_open on attempts (grant_fingerprint) where outcome is null`
  // the closed ones that are old enough to go
  yield* sql`create index attempts_finished on attempts (finished_at) where outcome is not null`

  yield* sql`
    create table revocations (
      id text primary key,
      user_id text not null,
      credential_id text not null,
      provider text not null,
      type text not null,
      generation integer not null,
      due_at timestamptz not null,
      tries integer not null,
      created_at timestamptz not null,
      key_id text not null,
      sealed bytea not null
    )`
  // what is due, oldest first
  yield* sql`create index revocations_due on revocations (due_at, id)`

  yield* sql`
    create table settings (
      name text primary key,
      key_id text not null,
      sealed bytea not null
    )`

  // a user who is gone is remembered by a hash: enough to refuse what was begun before, and nothing to read
  yield* sql`
    create table forgotten_users (
      user_hash text primary key,
      at timestamptz not null
    )`
  // those that are old enough to go
  yield* sql`create index forgotten_users_at on forgotten_users (at)`
})
