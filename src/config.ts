/**
 * Owns the shape of config.toml: its keys, their meaning, limits and defaults, and how they become settings.
 * Reading, editing and watching the file is `node/config.ts`; settings in force are kept by the engine.
 */
import * as z from "zod/mini";
import { issueWords, wordless } from "./issue.ts";
import { strategies } from "./operation.ts";
import type { RetryPolicy, RetryPreset } from "./retry.ts";
import { retryPresets } from "./retry.ts";
import type { Settings } from "./shapes.ts";
import { defaultSettings } from "./shapes.ts";

const optional = z.optional;
const units: { readonly [unit: string]: number } = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
};
const sizes: { readonly [unit: string]: number } = {
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  kib: 1_024,
  mib: 1_048_576,
  gib: 1_073_741_824,
};

/** Reads "30s", "5m", "1.5 h", "7d" or plain milliseconds; `null` for anything else. */
export function parseDuration(value: unknown): number | null {
  return parseAmount(value, units);
}

/** Reads "64 MiB", "10MB" or plain bytes; `null` for anything else. */
export function parseSize(value: unknown): number | null {
  return parseAmount(value, sizes);
}

const duration = z
  .union([z.int().check(z.gte(0)), z.string()], { error: 'a duration such as "30s", "5m" or "7d"' })
  .check(z.refine((value) => parseDuration(value) !== null, { error: 'a duration such as "30s", "5m" or "7d"' }));
const size = z
  .union([z.int().check(z.gte(0)), z.string()], { error: 'a size such as "64 MiB"' })
  .check(z.refine((value) => parseSize(value) !== null, { error: 'a size such as "64 MiB"' }));
const port = z.int().check(z.gte(0), z.lte(65_535));
const count = z.int().check(z.gte(1));
const origin = z
  .string()
  .check(z.regex(/^https?:\/\/[^/\s?#*]+$/, 'an origin such as "http://localhost:5173", without path or wildcard'));
const strategy = z.enum(strategies);

const retryTable = z.strictObject({
  preset: optional(z.enum(Object.keys(retryPresets) as [RetryPreset, ...RetryPreset[]])),
  max_attempts: optional(z.int().check(z.gte(1), z.lte(1_000_000))),
  initial: optional(duration),
  max: optional(duration),
  jitter: optional(z.number().check(z.gte(0), z.lte(1))),
  delays: optional(z.array(duration).check(z.minLength(1), z.maxLength(100))),
});
const retryRule = z.union([z.enum(Object.keys(retryPresets) as [RetryPreset, ...RetryPreset[]]), retryTable], {
  error: `a preset (${Object.keys(retryPresets).join(", ")}) or a table with preset, max_attempts, initial, max, jitter, delays`,
});

/** Everything that config.toml may say; all of it is optional. */
const configShape = z.strictObject({
  types: optional(z.array(z.string().check(z.minLength(1))).check(z.maxLength(100))),
  daemon: optional(
    z.strictObject({
      port: optional(port),
      host: optional(z.string().check(z.minLength(1))),
      allow_remote: optional(z.boolean()),
      allowed_hosts: optional(z.array(z.string())),
      allowed_origins: optional(z.array(origin).check(z.maxLength(100))),
      log_level: optional(z.enum(["debug", "info", "warn", "error"])),
      max_body: optional(size),
      max_connections: optional(count),
      max_event_clients: optional(count),
      requests_per_second: optional(count),
      stop_grace: optional(duration),
    }),
  ),
  network: optional(
    z.strictObject({
      probe_interval: optional(duration),
      probe_timeout: optional(duration),
      reconnect_jitter: optional(duration),
      probes: optional(
        z.array(
          z.strictObject({
            remote: z.string().check(z.minLength(1)),
            url: z.url(),
            status: optional(z.int().check(z.gte(100), z.lte(599))),
            body: optional(z.string()),
          }),
        ),
      ),
    }),
  ),
  retry: optional(z.record(z.string(), retryRule)),
  queue: optional(
    z.strictObject({
      max_operations: optional(count),
      max_size: optional(size),
      overflow: optional(z.enum(["reject", "drop-completed-first"])),
      retain_count: optional(z.int().check(z.gte(0))),
      retain_for: optional(duration),
      concurrency: optional(z.int().check(z.gte(1), z.lte(1_000))),
      concurrency_per_remote: optional(z.int().check(z.gte(1), z.lte(1_000))),
      bulk_concurrency: optional(z.int().check(z.gte(1), z.lte(100))),
      min_free: optional(size),
    }),
  ),
  sync: optional(
    z.strictObject({
      mode: optional(z.enum(["eager", "periodic", "manual"])),
      interval: optional(
        duration.check(z.refine((value) => (parseDuration(value) ?? 0) >= 1_000, { error: "at least one second" })),
      ),
      url: optional(
        z
          .string()
          .check(z.regex(/^https?:\/\/[^/\s?#@]+(\/[^\s?#]*)?$/, 'an address such as "https://sync.example.com"')),
      ),
      space: optional(z.string().check(z.minLength(1), z.maxLength(200))),
      credential: optional(z.string().check(z.minLength(1), z.maxLength(100))),
      subject: optional(z.string().check(z.maxLength(200))),
      record_history: optional(duration),
      record_history_count: optional(z.int().check(z.gte(1))),
      decision_stale: optional(duration),
    }),
  ),
  conflict: optional(z.record(z.string(), strategy)),
  command: optional(z.strictObject({ enabled: optional(z.boolean()) })),
});
export type Config = z.infer<typeof configShape>;

/** What the daemon itself needs to know; the rest of the file is settings of the engine. */
export type DaemonConfig = {
  readonly port: number;
  readonly host: string;
  readonly isRemoteAllowed: boolean;
  readonly allowedHosts: readonly string[];
  readonly allowedOrigins: readonly string[];
  readonly logLevel: "debug" | "info" | "warn" | "error";
  readonly maxBodyBytes: number;
  readonly maxConnections: number;
  readonly maxEventClients: number;
  readonly requestsPerSecond: number;
  readonly stopGraceMs: number;
};

export const defaultDaemonConfig: DaemonConfig = {
  port: 0,
  host: "127.0.0.1",
  isRemoteAllowed: false,
  allowedHosts: [],
  allowedOrigins: [],
  logLevel: "info",
  maxBodyBytes: 8_388_608,
  maxConnections: 256,
  maxEventClients: 64,
  requestsPerSecond: 10_000,
  stopGraceMs: 10_000,
};

/** How remotes are probed, for the world's `probe`. */
export type NetworkConfig = {
  readonly probes: readonly {
    readonly remote: string;
    readonly url: string;
    readonly status?: number;
    readonly body?: string;
  }[];
  readonly probeIntervalMs?: number;
  readonly probeTimeoutMs?: number;
  readonly reconnectJitterMs?: number;
};

/** Which sync server the records of this store go to. */
export type SyncConfig = {
  readonly url: string;
  readonly space: string;
  readonly credential?: string;
  readonly subject?: string;
};

/** The space of a file that names a server and no space. */
const defaultSpace = "default";

/** A key that the file takes, for `config list` and the documentation. */
export type ConfigKey = { readonly key: string; readonly meaning: string; readonly standard: string };

/** One finding about a file's content; `path` leads to it. */
export type ConfigIssue = {
  readonly path: readonly string[];
  readonly message: string;
  readonly suggestion: string | null;
};

/** Checks what a file says. The list of issues is empty exactly when `config` is there. */
export function checkConfig(value: unknown): {
  readonly config: Config | null;
  readonly issues: readonly ConfigIssue[];
} {
  const parsed = z.safeParse(configShape, value, wordless);
  if (parsed.success) return { config: parsed.data, issues: [] };
  return { config: null, issues: parsed.error.issues.flatMap((issue) => issuesOf(issue)) };
}

/** The daemon's part, with its defaults. */
export function daemonConfigOf(config: Config): DaemonConfig {
  const from = config.daemon ?? {};
  const standard = defaultDaemonConfig;
  return {
    port: from.port ?? standard.port,
    host: from.host ?? standard.host,
    isRemoteAllowed: from.allow_remote ?? standard.isRemoteAllowed,
    allowedHosts: (from.allowed_hosts ?? standard.allowedHosts).map((each) => each.toLowerCase()),
    allowedOrigins: from.allowed_origins ?? standard.allowedOrigins,
    logLevel: from.log_level ?? standard.logLevel,
    maxBodyBytes: parseSize(from.max_body) ?? standard.maxBodyBytes,
    maxConnections: from.max_connections ?? standard.maxConnections,
    maxEventClients: from.max_event_clients ?? standard.maxEventClients,
    requestsPerSecond: from.requests_per_second ?? standard.requestsPerSecond,
    stopGraceMs: parseDuration(from.stop_grace) ?? standard.stopGraceMs,
  };
}

/** The network's part. */
export function networkConfigOf(config: Config): NetworkConfig {
  const from = config.network ?? {};
  const probes = (from.probes ?? []).map(({ remote, url, status, body }) => ({
    remote,
    url,
    ...(status === undefined ? {} : { status }),
    ...(body === undefined ? {} : { body }),
  }));
  return {
    probes,
    ...named("probeIntervalMs", parseDuration(from.probe_interval)),
    ...named("probeTimeoutMs", parseDuration(from.probe_timeout)),
    ...named("reconnectJitterMs", parseDuration(from.reconnect_jitter)),
  };
}

/** The sync server's part; `null` when the file names none. */
export function syncConfigOf(config: Config): SyncConfig | null {
  const { url, space, credential, subject } = config.sync ?? {};
  if (url === undefined) return null;
  return { url, space: space ?? defaultSpace, ...named("credential", credential), ...named("subject", subject) };
}

/** The settings that the file names; what it does not name is left to the store. */
export function settingsOf(config: Config): Partial<Settings> {
  const queue = config.queue ?? {};
  const { default: retry, ...retryByType } = config.retry ?? {};
  const { default: conflict, ...conflictByType } = config.conflict ?? {};
  const meanings = presetMeanings(config);
  const rules = Object.entries(retryByType)
    .filter(([type]) => !isPreset(type))
    .map(([type, rule]) => [type, retryOf(rule, meanings)] as const);
  return {
    ...(conflict === undefined ? {} : { conflict }),
    ...(config.conflict === undefined ? {} : { conflictByType }),
    ...(retry === undefined ? {} : { retry: retryOf(retry, meanings) }),
    ...(config.retry === undefined ? {} : { retryByType: Object.fromEntries(rules), retryPresets: meanings }),
    ...named("maxOperations", queue.max_operations),
    ...named("maxBytes", parseSize(queue.max_size)),
    ...named("overflow", queue.overflow),
    ...named("retainCount", queue.retain_count),
    ...named("retainMs", parseDuration(queue.retain_for)),
    ...named("concurrency", queue.concurrency),
    ...named("concurrencyPerRemote", queue.concurrency_per_remote),
    ...named("bulkConcurrency", queue.bulk_concurrency),
    ...named("minFreeBytes", parseSize(queue.min_free)),
    ...named("syncMode", config.sync?.mode),
    ...named("syncIntervalMs", parseDuration(config.sync?.interval)),
    ...named("recordHistoryMs", parseDuration(config.sync?.record_history)),
    ...named("recordHistoryCount", config.sync?.record_history_count),
    ...named("conflictStaleMs", parseDuration(config.sync?.decision_stale)),
    ...named("isCommandEnabled", config.command?.enabled),
  };
}

/** What changed between two files; a key that was taken out goes back to its default. */
export function settingsDifference(before: Partial<Settings>, after: Partial<Settings>): Partial<Settings> {
  const keys = Object.keys({ ...before, ...after }) as (keyof Settings)[];
  const changed = keys
    .filter((key) => JSON.stringify(before[key]) !== JSON.stringify(after[key]))
    .map((key) => [key, after[key] ?? defaultSettings[key]] as const);
  return Object.fromEntries(changed) as Partial<Settings>;
}

/** Every key with its meaning; `<type>` stands for an operation type such as http.request. */
export const configKeys: readonly ConfigKey[] = [
  {
    key: "types",
    meaning:
      "Files that declare operation types and collections, relative to config.toml; left out: holdfast.config.ts or .mjs beside it",
    standard: "[]",
  },
  { key: "daemon.port", meaning: "TCP port; 0 takes any free one and writes it to daemon.json", standard: "0" },
  { key: "daemon.host", meaning: "Address to listen on", standard: '"127.0.0.1"' },
  { key: "daemon.allow_remote", meaning: "Permits a host that other machines can reach", standard: "false" },
  {
    key: "daemon.allowed_hosts",
    meaning: "Names accepted in the Host header beside the loopback names",
    standard: "[]",
  },
  { key: "daemon.allowed_origins", meaning: "Web pages that may call the daemon", standard: "[]" },
  { key: "daemon.log_level", meaning: "debug, info, warn or error", standard: '"info"' },
  { key: "daemon.max_body", meaning: "Largest request body", standard: '"8 MiB"' },
  { key: "daemon.max_connections", meaning: "Connections at once, per listener", standard: "256" },
  { key: "daemon.max_event_clients", meaning: "Event streams at once", standard: "64" },
  {
    key: "daemon.requests_per_second",
    meaning: "Requests of programs; pages get a tenth, strangers a hundredth",
    standard: "10000",
  },
  {
    key: "daemon.stop_grace",
    meaning: "How long attempts in flight may take when the daemon stops",
    standard: '"10s"',
  },
  { key: "network.probe_interval", meaning: "First pause between probes of a silent remote", standard: "built in" },
  { key: "network.probe_timeout", meaning: "How long a probe may take", standard: "built in" },
  {
    key: "network.reconnect_jitter",
    meaning: "Longest random wait before the first send after an outage",
    standard: "built in",
  },
  {
    key: "network.probes",
    meaning: "Endpoints to probe: remote, url, and optionally the expected status and body",
    standard: "the remote's origin; /health of the sync server",
  },
  {
    key: "retry.default",
    meaning: "Preset or table for every type without its own; a table also changes what the preset default means",
    standard: '"default"',
  },
  { key: "retry.lock", meaning: "Table that changes what the preset lock means", standard: standardOf("lock") },
  {
    key: "retry.transfer",
    meaning: "Table that changes what the preset transfer means",
    standard: standardOf("transfer"),
  },
  {
    key: "retry.progressive",
    meaning: "Table that changes what the preset progressive means",
    standard: standardOf("progressive"),
  },
  { key: "retry.<type>", meaning: "Preset or table for one type", standard: "the type's own" },
  {
    key: "queue.max_operations",
    meaning: "Operations that may be stored",
    standard: String(defaultSettings.maxOperations),
  },
  { key: "queue.max_size", meaning: "Bytes of payloads that may be stored", standard: '"1 GiB"' },
  { key: "queue.overflow", meaning: "reject, or drop-completed-first", standard: `"${defaultSettings.overflow}"` },
  {
    key: "queue.retain_count",
    meaning: "Finished operations that are kept",
    standard: String(defaultSettings.retainCount),
  },
  { key: "queue.retain_for", meaning: "How long finished operations are kept", standard: '"7d"' },
  { key: "queue.concurrency", meaning: "Operations in flight at once", standard: String(defaultSettings.concurrency) },
  {
    key: "queue.concurrency_per_remote",
    meaning: "The same per remote",
    standard: String(defaultSettings.concurrencyPerRemote),
  },
  {
    key: "queue.bulk_concurrency",
    meaning: "Uploads and other bulk operations at once",
    standard: String(defaultSettings.bulkConcurrency),
  },
  { key: "queue.min_free", meaning: "Disk space below which enqueues are refused", standard: '"8 MiB"' },
  { key: "sync.mode", meaning: "eager, periodic or manual", standard: `"${defaultSettings.syncMode}"` },
  { key: "sync.interval", meaning: "Pause between periodic runs, at least 1s", standard: '"5m"' },
  { key: "sync.url", meaning: "The sync server of this store's records", standard: "none" },
  { key: "sync.space", meaning: "Space of collections that name none", standard: `"${defaultSpace}"` },
  { key: "sync.credential", meaning: "Name of the credential for the sync server", standard: "none" },
  { key: "sync.subject", meaning: "Whose writes these are", standard: "the store's owner" },
  {
    key: "sync.record_history",
    meaning: "How long the history of records is kept, and what was decided of their conflicts",
    standard: '"90d"',
  },
  { key: "sync.record_history_count", meaning: "Entries of the history that are kept of one record", standard: "100" },
  {
    key: "sync.decision_stale",
    meaning: "A decision of a conflict that is older is asked again when the server has moved meanwhile",
    standard: '"7d"',
  },
  { key: "conflict.default", meaning: `One of ${strategies.join(", ")}`, standard: `"${defaultSettings.conflict}"` },
  { key: "conflict.<type>", meaning: "The same for one type", standard: "conflict.default" },
  { key: "command.enabled", meaning: "Permits command.run", standard: "false" },
];

/** A preset as the file would write it. */
function standardOf(preset: RetryPreset): string {
  const { maxAttempts, initialMs, maxMs, jitter, delaysMs }: RetryPolicy = retryPresets[preset];
  const seconds = (ms: number): string => `"${ms / 1_000}s"`;
  const pace =
    delaysMs === undefined ? `initial = ${seconds(initialMs)}` : `delays = [${delaysMs.map(seconds).join(", ")}]`;
  return `{ max_attempts = ${maxAttempts}, ${pace}, max = ${seconds(maxMs)}, jitter = ${jitter} }`;
}

/** The nearest of some names within two typing mistakes, or `null`. */
function suggest(typed: string, names: readonly string[]): string | null {
  const ranked = names.map((name) => ({ name, distance: editDistance(typed.toLowerCase(), name) }));
  const best = ranked.sort((a, b) => a.distance - b.distance)[0];
  return best !== undefined && best.distance <= Math.max(2, Math.floor(typed.length / 3)) ? best.name : null;
}

function parseAmount(value: unknown, table: { readonly [unit: string]: number }): number | null {
  if (typeof value === "number") return Number.isSafeInteger(value) && value >= 0 ? value : null;
  const match = typeof value === "string" ? /^\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*$/i.exec(value) : null;
  const factor = match === null ? undefined : table[(match[2] ?? "").toLowerCase()];
  const amount = factor === undefined ? Number.NaN : Math.round(Number(match?.[1]) * factor);
  return Number.isSafeInteger(amount) ? amount : null;
}

const isPreset = (name: string): name is RetryPreset => Object.hasOwn(retryPresets, name);

type Meanings = Settings["retryPresets"];

/**
 * What the file makes of the presets. Another preset that is named there means what it always does, so that no two can go round
 * in a circle. The name of a preset under `default` only chooses one for the types without their own.
 */
function presetMeanings(config: Config): Meanings {
  const rules = Object.entries(config.retry ?? {}).filter(
    ([name, rule]) => isPreset(name) && !(name === "default" && typeof rule === "string"),
  ) as [RetryPreset, RetryRule][];
  return Object.fromEntries(
    rules.map(([name, rule]) => [
      name,
      policyOf(typeof rule === "string" ? { preset: rule } : { preset: name, ...rule }, {}),
    ]),
  );
}

type RetryRule = NonNullable<Config["retry"]>[string];

function retryOf(rule: RetryRule, meanings: Meanings): Settings["retry"] {
  return typeof rule === "string" ? rule : policyOf(rule, meanings);
}

function policyOf(rule: Exclude<RetryRule, string>, meanings: Meanings) {
  const preset = rule.preset ?? "default";
  const base: RetryPolicy = { ...retryPresets[preset], ...(meanings[preset] as RetryPolicy | undefined) };
  const delays = rule.delays?.map((each) => parseDuration(each) ?? 0) ?? base.delaysMs;
  return {
    maxAttempts: rule.max_attempts ?? base.maxAttempts,
    initialMs: parseDuration(rule.initial) ?? base.initialMs,
    maxMs: parseDuration(rule.max) ?? base.maxMs,
    jitter: rule.jitter ?? base.jitter,
    ...(delays === undefined ? {} : { delaysMs: [...delays] }),
  };
}

function issuesOf(issue: z.core.$ZodIssue): readonly ConfigIssue[] {
  const path = issue.path.map(String);
  if (issue.code !== "unrecognized_keys") {
    const words = issueWords(issue);
    return [{ path, message: words === issue.message ? `expected ${words}` : words, suggestion: null }];
  }
  const siblings = configKeys
    .map(({ key }) => key.split("."))
    .filter((parts) => parts.length > path.length && path.every((part, index) => parts[index] === part))
    .map((parts) => parts[path.length] ?? "");
  return issue.keys.map((key) => ({
    path: [...path, key],
    message: "there is no such key",
    suggestion: suggest(key, [...new Set(siblings)]),
  }));
}

function named<K extends string, V>(key: K, value: V | null | undefined): { readonly [key in K]?: V } {
  return (value === undefined || value === null ? {} : { [key]: value }) as { readonly [key in K]?: V };
}

function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let i = 1; i <= from.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= to.length; j += 1) {
      const substituted = (row[j - 1] ?? 0) + (from[i - 1] === to[j - 1] ? 0 : 1);
      next.push(Math.min(substituted, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[to.length] ?? 0;
}
