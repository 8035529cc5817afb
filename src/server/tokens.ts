/**
 * Owns the tables of static tokens and suspended accounts. Of a token only its SHA-256 is kept, so a copy of the database opens nothing.
 * How a request is judged by them is `auth.ts`.
 */
import type { ServerRow, ServerStore } from "./store.ts";

/** A space (`*`: all) and the roles in it. */
export type Grant = { readonly space: string; readonly roles: readonly string[] };

export type TokenInfo = {
  /** Short name of the token for lists and for revoking; it opens nothing. */
  readonly id: string;
  readonly name: string;
  readonly subject: string;
  readonly spaces: readonly Grant[];
  readonly createdAt: number;
  readonly expiresAt: number | null;
  readonly revokedAt: number | null;
};

export type StoredToken = TokenInfo & { readonly hash: string };

export type NewToken = {
  readonly subject: string;
  readonly spaces: readonly Grant[];
  readonly name?: string;
  readonly expiresAt?: number | null;
};

export type Minter = { readonly now: () => number; readonly hash: (text: string) => string | Promise<string> };

const insert = `INSERT INTO hf_token (hash, id, name, subject, grants, created_at, expires_at, revoked_at)
  VALUES (?, ?, ?, ?, ?, ?, ?, NULL)`;
const columns = "hash, id, name, subject, grants, created_at, expires_at, revoked_at";
const readByHash = `SELECT ${columns} FROM hf_token WHERE hash = ?`;
const readAll = `SELECT ${columns} FROM hf_token ORDER BY created_at, id`;
const revoke = "UPDATE hf_token SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL";
const readSuspension = "SELECT suspended_at, reason FROM hf_account WHERE subject = ?";
const readSuspensions = "SELECT subject, suspended_at, reason FROM hf_account ORDER BY suspended_at, subject";
const suspend = `INSERT INTO hf_account (subject, suspended_at, reason) VALUES (?, ?, ?)
  ON CONFLICT (subject) DO UPDATE SET suspended_at = excluded.suspended_at, reason = excluded.reason`;
const reinstate = "DELETE FROM hf_account WHERE subject = ?";

const tokenPrefix = "hf_";

/** Makes a token. Its text is in the answer and nowhere else. */
export async function addToken(
  store: ServerStore,
  token: NewToken,
  minter: Minter,
): Promise<{ readonly token: string; readonly info: TokenInfo }> {
  const text = `${tokenPrefix}${base64Url(crypto.getRandomValues(new Uint8Array(32)))}`;
  const hash = await minter.hash(text);
  const info: TokenInfo = {
    id: tokenIdOf(hash),
    name: token.name ?? "",
    subject: token.subject,
    spaces: token.spaces,
    createdAt: minter.now(),
    expiresAt: token.expiresAt ?? null,
    revokedAt: null,
  };
  const { id, name, subject, spaces, createdAt, expiresAt } = info;
  await store.write((tx) => tx.run(insert, hash, id, name, subject, JSON.stringify(spaces), createdAt, expiresAt));
  return { token: text, info };
}

/** The short name of a token, from its hash. */
export const tokenIdOf = (hash: string): string => hash.slice(0, 12);

export async function listTokens(store: ServerStore): Promise<readonly TokenInfo[]> {
  const rows = await store.read((tx) => tx.all(readAll));
  return rows.map(toToken).map(({ hash: _hash, ...info }) => info);
}

/** False when there is no such token, or it is revoked already. */
export async function revokeToken(store: ServerStore, id: string, now: number): Promise<boolean> {
  return (await store.write((tx) => tx.run(revoke, now, id))).changes > 0;
}

export async function suspendAccount(
  store: ServerStore,
  account: { readonly subject: string; readonly reason: string },
  now: number,
): Promise<void> {
  await store.write((tx) => tx.run(suspend, account.subject, now, account.reason));
}

/** An account that is refused, whatever its tokens say. */
export type Suspension = { readonly subject: string; readonly suspendedAt: number; readonly reason: string };

export async function listSuspensions(store: ServerStore): Promise<readonly Suspension[]> {
  const rows = await store.read((tx) => tx.all(readSuspensions));
  return rows.map((row) => ({
    subject: String(row.subject),
    suspendedAt: Number(row.suspended_at),
    reason: String(row.reason),
  }));
}

export async function reinstateAccount(store: ServerStore, subject: string): Promise<boolean> {
  return (await store.write((tx) => tx.run(reinstate, subject))).changes > 0;
}

/** What the store knows of a token and of its subject. */
export async function findToken(
  store: ServerStore,
  hash: string,
): Promise<{ readonly token: StoredToken; readonly suspension: string | null } | null> {
  return store.read(async (tx) => {
    const [row] = await tx.all(readByHash, hash);
    if (row === undefined) return null;
    const token = toToken(row);
    const [account] = await tx.all(readSuspension, token.subject);
    return { token, suspension: account === undefined ? null : String(account.reason) };
  });
}

export async function findSuspension(store: ServerStore, subject: string): Promise<string | null> {
  const [account] = await store.read((tx) => tx.all(readSuspension, subject));
  return account === undefined ? null : String(account.reason);
}

const toToken = (row: ServerRow): StoredToken => ({
  hash: String(row.hash),
  id: String(row.id),
  name: String(row.name),
  subject: String(row.subject),
  spaces: JSON.parse(String(row.grants)) as readonly Grant[],
  createdAt: Number(row.created_at),
  expiresAt: row.expires_at === null || row.expires_at === undefined ? null : Number(row.expires_at),
  revokedAt: row.revoked_at === null || row.revoked_at === undefined ? null : Number(row.revoked_at),
});

function base64Url(bytes: Uint8Array): string {
  const text = btoa(String.fromCharCode(...bytes));
  return text.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}
