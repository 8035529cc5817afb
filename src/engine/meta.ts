/**
 * Owns the tables `meta` and `channel`: named values of the store, the settings in force, and the small table of channels.
 * What a channel's gates are is in `gates.ts`.
 */
import type { RetryPolicy, RetryPreset } from "../retry.ts";
import { retryPresets } from "../retry.ts";
import type { Settings } from "../shapes.ts";
import { defaultSettings } from "../shapes.ts";
import type { Channel, Store } from "./store.ts";
import { integer, parsed, text } from "./store.ts";

const readMeta = "SELECT value FROM meta WHERE name = ?";
const writeMetaRow =
  "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
const findChannel = "SELECT id FROM channel WHERE remote = ? AND type = ? AND subject = ?";
const addChannel = "INSERT INTO channel (remote, type, subject) VALUES (?, ?, ?) RETURNING id";
const readChannel = "SELECT id, remote, type, subject FROM channel WHERE id = ?";
const allChannels = "SELECT id, remote, type, subject FROM channel";

export function getMeta(store: Store, name: string): string | null {
  const read = store.memory.transaction?.meta.get(name);
  if (read !== undefined) return read;
  const row = store.db.prepare(readMeta).get(name);
  const value = row === undefined ? null : text(row.value);
  store.memory.transaction?.meta.set(name, value);
  return value;
}

export function setMeta(store: Store, name: string, value: string): void {
  store.db.prepare(writeMetaRow).run(name, value);
  store.memory.transaction?.meta.set(name, value);
}

/** The settings in force: set at run time, else configured, else default. */
export function getSettings(store: Store): Settings {
  const { transaction } = store.memory;
  if (transaction?.settings) return transaction.settings;
  const value = readSettings(store);
  if (transaction !== null) transaction.settings = value;
  return value;
}

function readSettings(store: Store): Settings {
  const stored = getMeta(store, "settings") ?? "{}";
  const known = store.memory.settings;
  if (known !== null && known.text === stored) return known.value;
  const value: Settings = { ...defaultSettings, ...store.configured, ...parsed<Partial<Settings>>(stored, {}) };
  store.memory.settings = { text: stored, value };
  return value;
}

export function setSettings(store: Store, patch: Partial<Settings>): Settings {
  const stored = parsed<Partial<Settings>>(getMeta(store, "settings") ?? "{}", {});
  const given = Object.fromEntries(Object.entries(patch).filter(([, value]) => value !== undefined));
  setMeta(store, "settings", JSON.stringify({ ...stored, ...given }));
  if (store.memory.transaction !== null) store.memory.transaction.settings = null;
  return getSettings(store);
}

/** A preset's name or part of a policy, made whole by what the presets mean here. */
export function wholePolicy(
  store: Store,
  given: RetryPreset | Partial<RetryPolicy> | { readonly [key: string]: unknown },
): RetryPolicy {
  const preset = typeof given === "string" ? given : "default";
  const parts = typeof given === "string" ? {} : given;
  return { ...retryPresets[preset], ...partsOf(getSettings(store).retryPresets[preset] ?? {}), ...partsOf(parts) };
}

function partsOf(given: object): Partial<RetryPolicy> {
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}

/** The retry policy of a type: set for it by a person, else its own, else the general one. */
export function policyOf(store: Store, type: string, own: RetryPolicy | null): RetryPolicy {
  if (own !== null) return own;
  const settings = getSettings(store);
  const given = settings.retryByType[type] ?? store.types.get(type)?.retry ?? settings.retry;
  const known = store.memory.policies.get(settings)?.get(given);
  if (known !== undefined) return known;
  const policy = wholePolicy(store, given);
  const policies = store.memory.policies.get(settings) ?? new Map<unknown, RetryPolicy>();
  store.memory.policies.set(settings, policies.set(given, policy));
  return policy;
}

/** Finds or adds the channel of an operation. */
export function channelFor(store: Store, remote: string, type: string, subject: string): Channel {
  const known = store.memory.channelsByName.get(nameOf(remote, type, subject));
  if (known !== undefined) return known;
  const found = store.db.prepare(findChannel).get(remote, type, subject);
  const id = integer((found ?? store.db.prepare(addChannel).get(remote, type, subject))?.id);
  return remember(store, { id, remote, type, subject });
}

export function getChannel(store: Store, id: number): Channel {
  const known = store.memory.channels.get(id);
  if (known !== undefined) return known;
  const row = store.db.prepare(readChannel).get(id);
  const channel = { id, remote: text(row?.remote), type: text(row?.type), subject: text(row?.subject) };
  return row === undefined ? channel : remember(store, channel);
}

/** Channels are never changed, so one that was read may be kept until something is rolled back (`forgetChannels`). */
function remember(store: Store, channel: Channel): Channel {
  store.memory.channels.set(channel.id, channel);
  store.memory.channelsByName.set(nameOf(channel.remote, channel.type, channel.subject), channel);
  return channel;
}

/** The lengths keep two channels apart whose texts are the same in a row. */
function nameOf(remote: string, type: string, subject: string): string {
  return `${remote.length} ${type.length} ${remote}${type}${subject}`;
}

export function listChannels(store: Store): readonly Channel[] {
  return store.db
    .prepare(allChannels)
    .all()
    .map((row) => ({
      id: integer(row.id),
      remote: text(row.remote),
      type: text(row.type),
      subject: text(row.subject),
    }));
}
