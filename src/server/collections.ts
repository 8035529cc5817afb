/**
 * Owns what a server declares of its collections: schema, unique values, business rules, assigned fields and keys, and who may read
 * and write what. When they are asked is `push.ts` and `pull.ts`; whether a row meets a condition is `where.ts`.
 */
import { checkOptions } from "../misuse.ts";
import type { ChangeKind, Fields, Where } from "../record.ts";
import { comparisons, meets } from "../where.ts";

/** The part of a Standard Schema that is used; zod, valibot, arktype and others have it. */
export type Schema = {
  readonly "~standard": {
    readonly validate: (value: unknown) => unknown;
  };
};

/** Who asks: the subject of the token and the roles that it has in this space. */
export type Who = { readonly subject: string; readonly roles: readonly string[] };

/** What rules are asked about: one record as it was and as it would be. */
export type ChangeContext = Who & {
  readonly space: string;
  readonly collection: string;
  readonly key: string;
  readonly kind: ChangeKind;
  readonly before: Fields | null;
  readonly after: Fields | null;
  /** The server's clock. */
  readonly now: number;
};

/** Why a rule refuses; the client shows exactly this. */
export type Violation = {
  readonly code: string;
  readonly message: string;
  readonly field?: string;
  readonly hint?: string;
};

/**
 * Everything, nothing, or the rows that meet a condition. A function answers the same for the same subject and roles: when what may be read
 * is another, whoever it concerns reads the whole collection again, at most every five minutes (decision 0021).
 */
export type RowRule = boolean | Where | ((who: Who) => boolean | Where);

export type ServerCollection = {
  readonly name: string;
  /** Version of the schema that the records here have. Default 1. */
  readonly version?: number;
  /** Clients whose schema is older than this are refused with `schema_too_old`. Default 1: all are brought forward. */
  readonly oldest?: number;
  /** Any synchronous Standard Schema. It checks whole records; what it makes of them is not kept. */
  readonly schema?: Schema;
  /** Brings a value of an older schema version forward. Pure. */
  readonly upcast?: (value: Fields, fromVersion: number) => Fields;
  /** Lists of fields whose values no two records of a space share. */
  readonly unique?: readonly (readonly string[])[];
  /** Business rules. Pure: the same context gets the same answer, in any process. */
  readonly rules?: readonly ((context: ChangeContext) => Violation | null)[];
  /** Fields that the server sets with every change, whatever the client sent. Pure. */
  readonly assign?: (context: ChangeContext) => Fields;
  /** `server`: a created record gets its key here, and the client learns it with the answer. */
  readonly keys?: "client" | "server";
  /** Rights by role; `*` stands for everybody who may use the space. Without it, everybody reads and all but a `reader` write. */
  readonly access?: { readonly [role: string]: { readonly read?: RowRule; readonly write?: RowRule } };
};

const names = ["name", "version", "oldest", "schema", "upcast", "unique", "rules", "assign", "keys", "access"];
const collectionName = /^[a-z][a-z0-9_]{0,62}$/;

/** Checks the declarations when the server opens, so that a slip of the pen is a start that fails and not a rule that does not hold. */
export function checkCollections(collections: readonly ServerCollection[]): ReadonlyMap<string, ServerCollection> {
  if (!Array.isArray(collections as unknown))
    throw new TypeError('collections must be a list, e.g. [{ name: "notes" }]');
  const known = new Map<string, ServerCollection>();
  for (const each of collections) {
    checkOptions("collection", each ?? null, names);
    const where = `collection "${each.name}"`;
    if (typeof each.name !== "string" || !collectionName.test(each.name))
      throw new TypeError(`${where}: a name has lower-case letters, digits and _, and begins with a letter`);
    if (known.has(each.name)) throw new TypeError(`${where} is declared twice`);
    for (const [name, value] of [
      ["version", each.version],
      ["oldest", each.oldest],
    ] as const)
      if (value !== undefined && (!Number.isSafeInteger(value) || value < 1))
        throw new TypeError(`${where}: ${name} must be 1, 2, 3, …; got ${String(value)}`);
    if ((each.oldest ?? 1) > (each.version ?? 1))
      throw new TypeError(
        `${where}: oldest is ${each.oldest} and version ${each.version ?? 1}; no change would be taken`,
      );
    if (each.schema !== undefined && typeof each.schema?.["~standard"]?.validate !== "function")
      throw new TypeError(`${where}: schema must be a Standard Schema, e.g. z.object({ … }) of zod`);
    checkKinds(where, each);
    for (const [role, rights] of Object.entries(each.access ?? {})) checkRights(`${where}: access of ${role}`, rights);
    known.set(each.name, each);
  }
  return known;
}

/** What is of another kind fails with every push, or is passed over without a word. */
function checkKinds(
  where: string,
  { unique, rules, upcast, assign, keys, access }: { readonly [K in keyof ServerCollection]: unknown },
): void {
  const isFields = (fields: unknown): boolean =>
    Array.isArray(fields) && fields.length > 0 && fields.every((field) => typeof field === "string");
  if (unique !== undefined && !(Array.isArray(unique) && unique.every(isFields)))
    throw new TypeError(`${where}: unique must be a list of lists of fields, e.g. [["email"]]`);
  if (rules !== undefined && !(Array.isArray(rules) && rules.every((rule) => typeof rule === "function")))
    throw new TypeError(`${where}: rules must be a list of functions`);
  for (const [name, value] of Object.entries({ upcast, assign }))
    if (value !== undefined && typeof value !== "function") throw new TypeError(`${where}: ${name} must be a function`);
  if (keys !== undefined && keys !== "client" && keys !== "server")
    throw new TypeError(`${where}: keys must be "client" or "server"; got ${JSON.stringify(keys)}`);
  if (access !== undefined && (typeof access !== "object" || access === null || Array.isArray(access)))
    throw new TypeError(`${where}: access must be an object of roles, e.g. { clerk: { read: true } }`);
}

function checkRights(what: string, rights: { readonly read?: RowRule; readonly write?: RowRule }): void {
  checkOptions(what, rights, ["read", "write"]);
  for (const [name, rows] of Object.entries(rights) as [string, unknown][]) {
    if (typeof rows === "object" && rows !== null) checkRows(what, rows);
    else if (rows !== undefined && typeof rows !== "boolean" && typeof rows !== "function")
      throw new TypeError(`${what}: ${name} must be true, a condition or a function; got ${JSON.stringify(rows)}`);
  }
}

/**
 * A comparison with `undefined`, or one that there is none of, compares nothing, and every row would meet it: a slip of the pen must not open
 * what was to be closed.
 */
function checkRows(what: string, rows: object): void {
  if (![Object.prototype, null].includes(Object.getPrototypeOf(rows)))
    throw new TypeError(`${what}: a condition is a plain object, e.g. { status: "open" }, and is told at once`);
  for (const [field, condition] of Object.entries(rows) as [string, unknown][]) {
    const isObject = typeof condition === "object" && condition !== null;
    const parts: [string, unknown][] = isObject ? Object.entries(condition) : [["eq", condition]];
    const isGood = ([name, value]: [string, unknown]): boolean =>
      (comparisons as readonly string[]).includes(name) &&
      value !== undefined &&
      (name !== "in" || Array.isArray(value));
    if (parts.length === 0 || !parts.every(isGood))
      throw new TypeError(`${what}: the condition on ${field} compares with nothing`);
  }
}

/** Whether a collection's name can be one. */
export const isCollectionName = (name: string): boolean => collectionName.test(name);

/** Which rows may be read or written: the rules of all roles that apply. An empty list: none. `true`: all. */
export function rowsFor(
  collection: ServerCollection | undefined,
  who: Who,
  right: "read" | "write",
): true | readonly Where[] {
  if (collection?.access === undefined) return right === "read" || !isReader(who) ? true : [];
  const found: Where[] = [];
  for (const role of ["*", ...who.roles]) {
    const rule = Object.hasOwn(collection.access, role) ? collection.access[role]?.[right] : undefined;
    const rows = typeof rule === "function" ? rule(who) : rule;
    if (rows === true) return true;
    if (typeof rows !== "object" || rows === null) continue;
    checkRows(`access of ${collection.name}`, rows);
    found.push(rows);
  }
  return found;
}

export function isAmong(rows: true | readonly Where[], key: string, value: Fields): boolean {
  return rows === true || rows.some((where) => meets(where, { key, value }));
}

/** A token whose only role is `reader` writes nothing where nothing else is declared. */
const isReader = ({ roles }: Who): boolean => roles.length > 0 && roles.every((role) => role === "reader");

/**
 * What the business rules say of a change; null: nothing against it. An answer that is no violation is a mistake here: no client could read
 * it, and its receipt would repeat it for ever.
 */
export function ruleViolation({ name, rules = [] }: ServerCollection, context: ChangeContext): Violation | null {
  for (const rule of rules) {
    const answered: unknown = rule(context);
    if (answered === null || answered === undefined) continue;
    refusePromise(`a rule of collection "${name}"`, answered);
    const { code, message, field, hint } = answered as { readonly [K in keyof Violation]: unknown };
    const areTexts = [code, message, field ?? "-", hint ?? "-"].every(
      (text) => typeof text === "string" && text !== "",
    );
    if (areTexts) return answered as Violation;
    const got = JSON.stringify(answered)?.slice(0, 200) ?? typeof answered;
    throw new TypeError(
      `a rule of collection "${name}" must return null or { code, message, field?, hint? }; got ${got}`,
    );
  }
  return null;
}

/** The fields that the server sets with a change. What is no object would set none, without a word. */
export function assignedBy({ name, assign }: ServerCollection, context: ChangeContext): Fields {
  return assign === undefined ? {} : fieldsFrom(`assign of collection "${name}"`, assign(context) ?? {});
}

/** What a function of the configuration returned, where fields are wanted. */
export function fieldsFrom(what: string, value: unknown): Fields {
  refusePromise(what, value);
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Fields;
  throw new TypeError(
    `${what} must return an object of fields; got ${JSON.stringify(value)?.slice(0, 200) ?? "nothing"}`,
  );
}

/** Records are judged inside a transaction, which waits for nobody. A promise that fails with nobody to hear it would end the process. */
function refusePromise(what: string, value: unknown): void {
  if (typeof (value as { readonly then?: unknown } | null | undefined)?.then !== "function") return;
  void Promise.resolve(value).catch(() => {});
  throw new TypeError(`${what} is asynchronous; records are judged inside a transaction, so it must answer at once`);
}

/** Why the schema refuses a whole record; null when it does not. */
export function schemaViolation(collection: ServerCollection, value: Fields): Violation | null {
  if (collection.schema === undefined) return null;
  const result = collection.schema["~standard"].validate(value) as {
    readonly issues?: readonly {
      readonly message?: string;
      readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[];
    }[];
  };
  refusePromise(`the schema of collection "${collection.name}"`, result);
  const issue = result.issues?.[0];
  if (result.issues === undefined || issue === undefined) return null;
  const path = (issue.path ?? []).map((step) => String(typeof step === "object" ? step.key : step)).join(".");
  return {
    code: "schema_invalid",
    message: `${path === "" ? "the record" : path}: ${issue.message ?? "invalid"}`,
    ...(path === "" ? {} : { field: path }),
    hint: `correct the record; the schema of ${collection.name} has version ${collection.version ?? 1}`,
  };
}
