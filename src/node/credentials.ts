/**
 * Owns secrets: `credentials.json` (readable by its owner alone) and the environment, found by name when a request is sent.
 * Values go out through `resolve` only, to the origins a credential names; payloads, lists and logs never hold them.
 */
import { existsSync, watch } from "node:fs";
import path from "node:path";
import * as z from "zod/mini";
import { HoldfastError } from "../errors.ts";
import { originOf } from "../url.ts";
import { readPrivateFile, signatureOf, updatePrivateFile } from "./private-file.ts";

const headerValue = z.string().check(z.minLength(1), z.maxLength(8_192), z.regex(/^[\t\x20-\x7e\x80-\xff]+$/));
const origins = z.array(z.string().check(z.maxLength(300))).check(z.minLength(1), z.maxLength(50));
const credentialShape = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("bearer"), token: headerValue, origins }),
  z.strictObject({
    kind: z.literal("basic"),
    username: z.string().check(z.regex(/^[^:\r\n\0]*$/)),
    password: z.string(),
    origins,
  }),
  z.strictObject({
    kind: z.literal("headers"),
    headers: z.record(z.string().check(z.regex(/^[a-z0-9!#$%&'*+.^_`|~-]+$/i)), headerValue),
    origins,
  }),
]);
const storeShape = z.strictObject({ version: z.literal(1), credentials: z.record(z.string(), credentialShape) });

/** A secret and where it may go: origins such as `https://api.example.com` or `https://*.example.com`. */
export type Credential = z.infer<typeof credentialShape>;

/** What may be shown of a credential. */
export type CredentialInfo = {
  readonly name: string;
  readonly subject: string | null;
  readonly kind: Credential["kind"];
  readonly origins: readonly string[];
  readonly source: "file" | "environment";
};

export type CredentialChange = { readonly name: string; readonly subject: string | null };

export type CredentialRequest = { readonly name: string; readonly subject: string; readonly origin: string };

/** Headers by lower-case name, or why there are none. */
export type Resolved =
  | { readonly kind: "found"; readonly headers: Readonly<Record<string, string>> }
  | { readonly kind: "missing"; readonly reason: string }
  | { readonly kind: "refused"; readonly reason: string };

export type Credentials = {
  /** Finds the subject's own credential, else the one of that name in the environment, else in the file. Never throws. */
  readonly resolve: (request: CredentialRequest) => Resolved;
  /** The headers of `resolve` for handlers that throw; `credential_missing` when there are none. */
  readonly headersFor: (name: string, subject: string, url: string) => Promise<Readonly<Record<string, string>>>;
  /** The bare secret for a command's environment, where the credential allows `command`; else `credential_missing`. */
  readonly secretFor: (name: string, subject: string) => Promise<string>;
  readonly set: (name: string, credential: Credential, subject?: string) => Promise<CredentialInfo>;
  readonly list: () => readonly CredentialInfo[];
  readonly remove: (name: string, subject?: string) => Promise<boolean>;
  /** Calls `listener` after credentials appeared, changed or went, also by another process; returns its end. */
  readonly subscribe: (listener: (changes: readonly CredentialChange[]) => void) => () => void;
};

export type CredentialOptions = {
  /** Path of `credentials.json`. */
  readonly file: string;
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** How often the file is looked at where the system's own notice does not come. */
  readonly pollMs?: number;
};

/** Stands among the origins of a credential that commands of this machine may get in their environment. */
const commandOrigin = "command";

type Environment = NonNullable<CredentialOptions["environment"]>;

type Stored = Readonly<Record<string, Credential>>;

const nameShape = /^[a-z0-9][a-z0-9_.-]{0,99}$/i;
const prefix = "HOLDFAST_CREDENTIAL_";

/**
 * Opens the credential store; nothing is created before the first `set`.
 * @example
 * const credentials = makeCredentials({ file: "/var/lib/app/credentials.json", environment: process.env });
 * await credentials.set("api", { kind: "bearer", token: "t", origins: ["https://api.example.com"] });
 */
export function makeCredentials(options: CredentialOptions): Credentials {
  const { file, environment = {} } = options;
  const read = makeReader(file);
  return {
    resolve: (request) => resolve(read, environment, request),
    headersFor: async (name, subject, url) => {
      const found = resolve(read, environment, { name, subject, origin: originOf(url) });
      if (found.kind === "found") return found.headers;
      throw new HoldfastError(
        "credential_missing",
        found.reason,
        "add it with `holdfast credentials set`; work goes on by itself",
      );
    },
    secretFor: async (name, subject) => {
      const found = find(read, environment, { name, subject, origin: commandOrigin });
      if (found.kind === "found") return secretOf(found.credential);
      throw new HoldfastError(
        "credential_missing",
        found.reason,
        "add it with `holdfast credentials set --origin command`; work goes on by itself",
      );
    },
    set: async (name, credential, subject) => {
      const checked = checkCredential(name, credential);
      await updatePrivateFile(file, (before) => written({ ...stored(before, file), [keyOf(name, subject)]: checked }));
      return infoOf(keyOf(name, subject), checked, "file");
    },
    list: () => [
      ...Object.entries(read()).map(([key, credential]) => infoOf(key, credential, "file")),
      ...fromEnvironment(environment),
    ],
    remove: async (name, subject) => {
      const key = keyOf(name, subject);
      if (!Object.hasOwn(read(), key)) return false;
      await updatePrivateFile(file, (before) => {
        const { [key]: _removed, ...rest } = stored(before, file);
        return written(rest);
      });
      return true;
    },
    subscribe: (listener) => follow({ file, read, pollMs: options.pollMs ?? 2_000 }, listener),
  };
}

/** Tells whether a credential may go to an origin. `*.` stands for one or more labels, never for the bare domain. */
export function isAllowedOrigin(patterns: readonly string[], origin: string): boolean {
  return patterns.some((pattern) => {
    if (pattern === commandOrigin || origin === commandOrigin) return pattern === origin;
    if (!pattern.includes("://*.")) return originOf(pattern) === origin;
    const [scheme, rest = ""] = originOf(pattern.replace("://*.", "://")).split("://");
    return origin.startsWith(`${scheme}://`) && origin.endsWith(`.${rest}`);
  });
}

function resolve(read: () => Stored, environment: Environment, request: CredentialRequest): Resolved {
  const found = find(read, environment, request);
  return found.kind === "found" ? { kind: "found", headers: headersOf(found.credential) } : found;
}

type Found =
  | { readonly kind: "found"; readonly credential: Credential }
  | Exclude<Resolved, { readonly kind: "found" }>;

function find(read: () => Stored, environment: Environment, request: CredentialRequest): Found {
  const { name, subject, origin } = request;
  try {
    const inFile = read();
    const kept = (key: string): Credential | undefined => (Object.hasOwn(inFile, key) ? inFile[key] : undefined);
    const own = subject === "" ? undefined : kept(keyOf(name, subject));
    const found = own ?? environmentCredential(environment, name) ?? kept(name);
    if (found === undefined) return { kind: "missing", reason: `there is no credential "${name}" yet` };
    if (isAllowedOrigin(found.origins, origin)) return { kind: "found", credential: found };
    return { kind: "refused", reason: `credential "${name}" may go to ${found.origins.join(", ")}, not to ${origin}` };
  } catch (error) {
    return { kind: "missing", reason: error instanceof Error ? error.message : String(error) };
  }
}

function secretOf(credential: Credential): string {
  switch (credential.kind) {
    case "bearer":
      return credential.token;
    case "basic":
      return credential.password;
    case "headers":
      return Object.values(credential.headers)[0] ?? "";
  }
}

function headersOf(credential: Credential): Readonly<Record<string, string>> {
  switch (credential.kind) {
    case "bearer":
      return { authorization: `Bearer ${credential.token}` };
    case "basic": {
      const pair = Buffer.from(`${credential.username}:${credential.password}`, "utf8");
      return { authorization: `Basic ${pair.toString("base64")}` };
    }
    case "headers":
      return Object.fromEntries(Object.entries(credential.headers).map(([name, value]) => [name.toLowerCase(), value]));
  }
}

/** Reads the file again only when it changed. */
function makeReader(file: string): () => Stored {
  let known: { readonly signature: string; readonly credentials: Stored } | null = null;
  return () => {
    const signature = signatureOf(file);
    if (known === null || known.signature !== signature)
      known = { signature, credentials: stored(readPrivateFile(file), file) };
    return known.credentials;
  };
}

function stored(text: string | null, file: string): Stored {
  if (text === null) return {};
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (error) {
    throw new HoldfastError(
      "config_invalid",
      `${file} is not JSON`,
      "repair it, or move it away and set the credentials again",
      {
        cause: error,
      },
    );
  }
  const parsed = z.safeParse(storeShape, content);
  if (parsed.success) return parsed.data.credentials;
  // The path of an issue names where it is; its message could quote a value, so it is left out.
  const where = parsed.error.issues[0]?.path.map(String).join(".") ?? "";
  throw new HoldfastError(
    "config_invalid",
    `${file}: ${where} is not as expected`,
    "repair it, or move it away and set the credentials again",
  );
}

function written(credentials: Stored): string {
  return `${JSON.stringify({ version: 1, credentials }, null, 2)}\n`;
}

function checkCredential(name: string, credential: unknown): Credential {
  if (!nameShape.test(name)) {
    throw new HoldfastError(
      "invalid_input",
      `credential name: ${JSON.stringify(name)}`,
      "use letters, digits, dots, dashes, at most 100",
    );
  }
  const parsed = z.safeParse(credentialShape, credential);
  if (!parsed.success) {
    const where = parsed.error.issues[0]?.path.map(String).join(".") ?? "";
    const hint = "give a kind (bearer, basic, headers), its values and `origins`, e.g. https://api.example.com";
    throw new HoldfastError(
      "invalid_input",
      `credential "${name}": ${where === "" ? "kind" : where} is missing or wrong`,
      hint,
    );
  }
  for (const pattern of parsed.data.origins) {
    if (pattern === commandOrigin) continue;
    const origin = originOf(pattern.replace("://*.", "://"));
    const isWhole = origin !== "" && origin === pattern.replace("://*.", "://").toLowerCase().replace(/\/$/, "");
    if (!isWhole || origin.includes("*")) {
      throw new HoldfastError(
        "invalid_input",
        `credential "${name}": ${pattern} is no origin`,
        "write scheme and host, e.g. https://*.example.com",
      );
    }
  }
  return parsed.data;
}

function keyOf(name: string, subject: string | undefined): string {
  return subject === undefined || subject === "" ? name : `${name}@${subject}`;
}

function splitKey(key: string): CredentialChange {
  const at = key.indexOf("@");
  return at < 0 ? { name: key, subject: null } : { name: key.slice(0, at), subject: key.slice(at + 1) };
}

function infoOf(key: string, credential: Credential, source: CredentialInfo["source"]): CredentialInfo {
  return { ...splitKey(key), kind: credential.kind, origins: credential.origins, source };
}

function variableOf(name: string): string {
  return `${prefix}${name.toUpperCase().replace(/[^A-Z0-9]/g, "_")}`;
}

/** `HOLDFAST_CREDENTIAL_API` holds a credential as JSON, or a bearer token whose origins are in `…_API_ORIGINS`. */
function environmentCredential(environment: Environment, name: string): Credential | undefined {
  const value = environment[variableOf(name)]?.trim();
  if (value === undefined || value === "") return undefined;
  const listed = environment[`${variableOf(name)}_ORIGINS`]?.split(/[\s,]+/).filter((each) => each !== "");
  if (!value.startsWith("{")) return checkCredential(name, { kind: "bearer", token: value, origins: listed ?? [] });
  let parsed: unknown;
  try {
    parsed = JSON.parse(value);
  } catch {
    throw new HoldfastError(
      "config_invalid",
      `${variableOf(name)} is not JSON`,
      "give a bearer token, or a credential as JSON",
    );
  }
  return checkCredential(name, listed === undefined ? parsed : { ...(parsed as object), origins: listed });
}

function fromEnvironment(environment: Environment): readonly CredentialInfo[] {
  return Object.keys(environment).flatMap((variable) => {
    if (!variable.startsWith(prefix) || variable.endsWith("_ORIGINS")) return [];
    const name = variable.slice(prefix.length).toLowerCase();
    try {
      const credential = environmentCredential(environment, name);
      return credential === undefined ? [] : [infoOf(name, credential, "environment")];
    } catch {
      // What cannot be used is not listed; `resolve` says why.
      return [];
    }
  });
}

type Followed = { readonly file: string; readonly read: () => Stored; readonly pollMs: number };

/** The folder is watched, because each change replaces the file; polling covers what the system does not tell. */
function follow(
  { file, read, pollMs }: Followed,
  listener: (changes: readonly CredentialChange[]) => void,
): () => void {
  const peek = (): Stored | null => {
    try {
      return read();
    } catch {
      // Unreadable now: what was known stays known until it can be read again.
      return null;
    }
  };
  let known = peek() ?? {};
  const look = (): void => {
    const now = peek();
    if (now === null || now === known) return;
    const keys = new Set([...Object.keys(known), ...Object.keys(now)]);
    const changed = [...keys].filter((key) => JSON.stringify(known[key]) !== JSON.stringify(now[key]));
    known = now;
    if (changed.length > 0) listener(changed.map(splitKey));
  };
  const timer = setInterval(look, pollMs);
  timer.unref();
  const folder = path.dirname(file);
  const watcher = existsSync(folder) ? watch(folder, { persistent: false }, look) : null;
  watcher?.on("error", () => watcher.close());
  return () => {
    clearInterval(timer);
    watcher?.close();
  };
}
