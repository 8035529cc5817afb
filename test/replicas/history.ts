// Owns the history of a run with several clients and the check that such a history may have happened: an order of the server's versions
// per record, monotonic reads and read-your-writes on each client, and the order of what depends on each other.
// What is recorded is decided by test/replicas and test/sync; rules about stores and promises are judge.ts.
import { isSameJson } from "../../src/canonical.ts";
import type { Json } from "../../src/operation.ts";
import type { Fields } from "../../src/record.ts";

export type HistoryEvent =
  /** The server has this version now. */
  | {
      readonly kind: "commit";
      readonly history: string;
      readonly record: string;
      readonly version: number;
      readonly value: Fields | null;
    }
  /**
   * A client was told that its write is kept; `fields` null: a removal. `isWhole`: the record is replaced, not updated.
   * `operation` null: nothing had to be sent.
   */
  | {
      readonly kind: "write";
      readonly isWhole: boolean;
      readonly client: string;
      readonly record: string;
      readonly fields: Fields | null;
      readonly operation: string | null;
    }
  /** The server answered that an operation was applied. */
  | {
      readonly kind: "land";
      readonly history: string;
      readonly operation: string;
      readonly record: string;
      readonly version: number;
    }
  /** A person, a declared rule or an unknown outcome changed what the client may show; `record` "*": anything. */
  | { readonly kind: "decide"; readonly client: string; readonly record: string }
  /** What a client shows. `isSettled`: nothing of its own is pending on it. */
  | {
      readonly kind: "read";
      readonly client: string;
      readonly history: string;
      readonly record: string;
      readonly version: number;
      readonly value: Fields | null;
      readonly isSettled: boolean;
    };

export type Broken = { readonly rule: string; readonly detail: string };

/** What a client must see of one field that it wrote. */
type Expected = { readonly value: Json; readonly operation: string };

type State = {
  readonly commits: Map<string, Map<number, Fields | null>>;
  readonly newest: Map<string, number>;
  readonly owners: Map<string, string>;
  readonly seen: Map<string, number>;
  readonly expected: Map<string, Map<string, Expected>>;
  readonly landings: Map<string, { readonly history: string; readonly version: number }>;
  /** The same by history, for servers that are set back. */
  readonly eras: Map<string, Map<string, number>>;
  /** By client and record, operations in the order in which they were written. */
  readonly order: Map<string, string[]>;
  readonly writers: Map<string, string>;
};

/** The first event that cannot have happened if every rule holds; `null` when all can. Only what was recorded is judged. */
export function checkHistory(events: readonly HistoryEvent[]): Broken | null {
  const state: State = {
    commits: new Map(),
    newest: new Map(),
    owners: new Map(),
    seen: new Map(),
    expected: new Map(),
    landings: new Map(),
    eras: new Map(),
    order: new Map(),
    writers: new Map(),
  };
  for (const [index, event] of events.entries()) {
    const broken = step(state, event);
    if (broken !== null) return { ...broken, detail: `event ${index}: ${broken.detail}` };
  }
  return null;
}

function step(state: State, event: HistoryEvent): Broken | null {
  switch (event.kind) {
    case "commit":
      return commit(state, event);
    case "write":
      write(state, event);
      return null;
    case "land":
      return land(state, event);
    case "decide":
      forget(state, event.client, event.record);
      return null;
    case "read":
      return read(state, event);
  }
}

type Event<K extends HistoryEvent["kind"]> = Extract<HistoryEvent, { readonly kind: K }>;

/** The versions of a space are given once, to one record each, and those of a record only grow. */
function commit(state: State, { history, record, version, value }: Event<"commit">): Broken | null {
  const place = `${history} ${record}`;
  const owner = state.owners.get(`${history} ${version}`);
  if (owner !== undefined && owner !== record)
    return { rule: "linearizable", detail: `version ${version} was given to ${owner} and to ${record}` };
  const newest = state.newest.get(place) ?? 0;
  const known = state.commits.get(place) ?? new Map<number, Fields | null>();
  if (version < newest)
    return { rule: "linearizable", detail: `${record} went from version ${newest} back to ${version}` };
  if (known.has(version) && !isSameJson(known.get(version) as Json, value as Json))
    return { rule: "linearizable", detail: `version ${version} of ${record} has two values` };
  state.owners.set(`${history} ${version}`, record);
  state.newest.set(place, version);
  state.commits.set(place, known.set(version, value));
  return null;
}

function write(state: State, { client, record, fields, operation, isWhole }: Event<"write">): void {
  const place = `${client} ${record}`;
  if (operation === null) return;
  if (isWhole) state.expected.delete(place);
  if (fields !== null) {
    const expected = state.expected.get(place) ?? new Map<string, Expected>();
    for (const [field, value] of Object.entries(fields)) expected.set(field, { value, operation });
    state.expected.set(place, expected);
  }
  const order = state.order.get(place) ?? [];
  if (!order.includes(operation)) order.push(operation);
  state.order.set(place, order);
  state.writers.set(operation, client);
}

/** What one client wrote to one record reaches the server in the order in which it was written. */
function land(state: State, { history, operation, record, version }: Event<"land">): Broken | null {
  const id = `${operation} ${record}`;
  const client = state.writers.get(operation);
  if (client === undefined) return null;
  state.landings.set(id, { history, version });
  state.eras.set(id, (state.eras.get(id) ?? new Map<string, number>()).set(history, version));
  const order = state.order.get(`${client} ${record}`) ?? [];
  const at = order.indexOf(operation);
  for (const later of order.slice(at + 1)) {
    const landed = state.landings.get(`${later} ${record}`);
    if (at >= 0 && landed !== undefined && landed.history === history && landed.version < version)
      return {
        rule: "causal order",
        detail: `${record}: ${client} wrote ${operation} before ${later}, and they landed at ${version} and ${landed.version}`,
      };
  }
  return null;
}

function forget(state: State, client: string, record: string): void {
  for (const map of [state.expected, state.order])
    for (const place of map.keys())
      if (record === "*" ? place.startsWith(`${client} `) : place === `${client} ${record}`) map.delete(place);
}

function read(state: State, event: Event<"read">): Broken | null {
  const { client, history, record, version, value, isSettled } = event;
  const at = `${client} ${history} ${record}`;
  const before = state.seen.get(at) ?? 0;
  // Version 0 says that the server is not known to have it: a record that was removed for good and made again begins there.
  if (version < before && version !== 0)
    return { rule: "monotonic reads", detail: `${client} saw ${record} at version ${before} and then at ${version}` };
  state.seen.set(at, version);
  const commits = state.commits.get(`${history} ${record}`);
  const known = commits?.get(version);
  const isGone = isGoneSince(state, event, version);
  if (isSettled && known !== undefined && !isGone && !isSameJson(known as Json, value as Json))
    return {
      rule: "linearizable",
      detail: `${client} shows ${JSON.stringify(value)} for version ${version} of ${record}; the server has ${JSON.stringify(known)}`,
    };
  return ownWrites(state, event, known);
}

/** What a client wrote it sees, until the server has had it and has gone on. */
function ownWrites(state: State, event: Event<"read">, known: Fields | null | undefined): Broken | null {
  const { client, history, record, version, value } = event;
  const expected = state.expected.get(`${client} ${record}`);
  for (const [field, wanted] of expected ?? []) {
    const shown = value?.[field];
    if (shown !== undefined && isSameJson(shown, wanted.value)) continue;
    const landed = state.landings.get(`${wanted.operation} ${record}`);
    const isOvertaken =
      landed !== undefined &&
      (landed.history !== history || version >= landed.version || isGoneSince(state, event, landed.version));
    const isTheirs =
      isGoneSince(state, event, version) ||
      known === undefined ||
      isSameJson(known?.[field] ?? null, shown ?? null) ||
      isAnswered(state, event, field) ||
      isKept(state, event, { field, operation: wanted.operation });
    if (!isOvertaken || !isTheirs)
      return {
        rule: "read your writes",
        detail: `${client} wrote ${JSON.stringify(wanted.value)} to ${field} of ${record} (${wanted.operation}, landed at ${landed?.version ?? "nothing"}) and sees ${JSON.stringify(shown ?? null)} at version ${version}`,
      };
    expected?.delete(field);
  }
  return null;
}

/** Who comes back after months learns that a record is gone, but not at which version it went; of one that is forgotten, not even when. */
function isGoneSince(state: State, { history, record, value, isSettled }: Event<"read">, since: number): boolean {
  const commits = state.commits.get(`${history} ${record}`) ?? [];
  return isSettled && value === null && [...commits].some(([later, each]) => later > since && each === null);
}

/**
 * A client that has read what a server lost when it was set back keeps it and asks about it. Both can happen between two looks at the
 * client: then it shows what followed its own write in an era that is over.
 */
function isKept(
  state: State,
  { history, record, value }: Event<"read">,
  { field, operation }: { readonly field: string; readonly operation: string },
): boolean {
  return [...(state.eras.get(`${operation} ${record}`) ?? [])].some(([era, landed]) => {
    if (era === history) return false;
    const commits = state.commits.get(`${era} ${record}`) ?? [];
    return [...commits].some(
      ([version, each]) => version > landed && isSameJson(each?.[field] ?? null, value?.[field] ?? null),
    );
  });
}

/** The answer to a later write of the same client brings the record as the server has it by then, before a pull does. */
function isAnswered(state: State, { client, history, record, version, value }: Event<"read">, field: string): boolean {
  const commits = state.commits.get(`${history} ${record}`);
  return (state.order.get(`${client} ${record}`) ?? []).some((operation) => {
    const landed = state.landings.get(`${operation} ${record}`);
    if (landed === undefined || landed.history !== history || landed.version <= version) return false;
    return isSameJson(commits?.get(landed.version)?.[field] ?? null, value?.[field] ?? null);
  });
}
