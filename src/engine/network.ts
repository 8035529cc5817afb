/**
 * Owns the table `remote`: what is believed of each remote's reachability. The rule is `network.ts` of the root; evidence comes from
 * attempts first and probes second. Here it is kept, asked at claims, and told to people.
 */
import type { Evidence, Gate, Reachability } from "../network.ts";
import { gateOf, initialReachability, nextProbeOf, observe } from "../network.ts";
import type { RemoteView } from "../verbs.ts";
import { isWorkingOffline } from "./gates.ts";
import { record } from "./history.ts";
import { listChannels } from "./meta.ts";
import { channelCounter } from "./schema.ts";
import type { Store } from "./store.ts";
import { parsed, readCount, text } from "./store.ts";

/** Successes refresh a remote's row at most this often; changes of status are always written. */
const refreshMs = 10_000;

const readRemote = "SELECT state FROM remote WHERE name = ?";
const readRemotes = "SELECT name, state FROM remote ORDER BY name";
const writeRemote =
  "INSERT INTO remote (name, state) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET state = excluded.state";
const dropRemote = "DELETE FROM remote WHERE name = ?";
const remotesWithWork = `SELECT DISTINCT channel.remote AS remote FROM channel WHERE channel.remote <> '' AND EXISTS (
  SELECT 1 FROM op WHERE op.state = 0 AND op.channel = channel.id)`;
// A cross join keeps SQLite from sorting: it is asked once per answer, and there is nearly always nothing.
const networkRetries = `SELECT op.seq AS seq FROM channel CROSS JOIN op ON op.channel = channel.id
  WHERE channel.remote = ? AND op.state = 2 AND op.reason = 'network'`;

export function getReachability(store: Store, remote: string): Reachability {
  const known = store.memory.transaction?.remotes.get(remote);
  if (known !== undefined) return known;
  const row = store.db.prepare(readRemote).get(remote);
  const state =
    row === undefined
      ? initialReachability(store.world.now())
      : parsed(text(row.state), initialReachability(store.world.now()));
  store.memory.transaction?.remotes.set(remote, state);
  return state;
}

/** Whether a remote may be sent to now, and how much at once. */
export function remoteGate(store: Store, remote: string): Gate {
  return gateOf(getReachability(store, remote), store.world.now(), store.network());
}

/** Takes one observation of a remote into account; tells listeners when its status or gate changes. */
export function noteEvidence(store: Store, remote: string, evidence: Evidence): Reachability {
  const before = getReachability(store, remote);
  const after = observe(before, evidence, {
    now: store.world.now(),
    random: store.world.random(),
    policy: store.network(),
  });
  const isStale = (after.lastSuccessAt ?? 0) - (before.lastSuccessAt ?? 0) > refreshMs;
  if (isStale || hasChanged(before, after)) {
    store.db.prepare(writeRemote).run(remote, JSON.stringify(after));
    store.memory.transaction?.remotes.set(remote, after);
  }
  if (after.status !== before.status && after.status !== "checking") {
    const detail = { remote, status: after.status, reason: after.reason, opensAt: after.opensAt };
    record(store, { op: 0, id: null, kind: "network", status: null, detail });
  }
  return after;
}

/** Whether anything but the time of the last success has changed: that alone is not worth a write per answer. */
function hasChanged(before: Reachability, after: Reachability): boolean {
  // Compared value by value: it is asked once per answer, and texts of both would cost more than all the rest.
  const names = Object.keys(after) as (keyof Reachability)[];
  return names.some((name) => name !== "lastSuccessAt" && before[name] !== after[name]);
}

/** Operations that wait only because a remote gave no answer; they go as soon as it answers. */
export function waitingForNetwork(store: Store, remote: string): readonly number[] {
  return store.db
    .prepare(networkRetries)
    .all(remote)
    .map((row) => Number(row.seq));
}

/** Remotes to probe now: those believed to be unreachable that have work, or that a person asked for. */
export function dueProbes(store: Store): readonly string[] {
  const now = store.world.now();
  if (isWorkingOffline(store)) return [];
  return probePlan(store)
    .filter((plan) => plan.at <= now)
    .map((plan) => plan.remote);
}

/** When the next probe is due; `null` when none is planned. */
export function nextProbeAt(store: Store): number | null {
  if (isWorkingOffline(store)) return null;
  return probePlan(store).reduce<number | null>(
    (soonest, plan) => (soonest === null || plan.at < soonest ? plan.at : soonest),
    null,
  );
}

function probePlan(store: Store): readonly { readonly remote: string; readonly at: number }[] {
  const now = store.world.now();
  const rows = store.db.prepare(readRemotes).all();
  return rows.flatMap((row) => {
    const at = nextProbeOf(parsed(text(row.state), initialReachability(now)), now, store.network());
    return at === null ? [] : [{ remote: text(row.name), at }];
  });
}

/** A person or the system hints that it may be worth looking: the next probe comes now. Returns the remotes concerned. */
export function askForProbe(store: Store, remote: string | null): readonly string[] {
  const names = remote !== null ? [remote] : knownRemotes(store);
  for (const name of names) noteEvidence(store, name, { kind: "hint", at: store.world.now() });
  return names;
}

/** Forgets remotes that nothing goes to and that were last of use before an instant: else they would be probed, and listed, for ever. */
export function forgetRemotes(store: Store, before: number): void {
  const isWanted = (name: string): boolean =>
    name === store.sync?.remote ||
    listChannels(store).some(({ id, remote }) => remote === name && readCount(store, channelCounter(id)) > 0);
  for (const row of store.db.prepare(readRemotes).all()) {
    const name = text(row.name);
    const { since, lastSuccessAt } = getReachability(store, name);
    if (Math.max(since, lastSuccessAt ?? 0) >= before || isWanted(name)) continue;
    store.db.prepare(dropRemote).run(name);
    store.memory.transaction?.remotes.delete(name);
  }
}

/** Remotes that were tried lately or have work waiting. */
export function knownRemotes(store: Store): readonly string[] {
  const tried = store.db
    .prepare(readRemotes)
    .all()
    .map((row) => text(row.name));
  const wanted = store.db
    .prepare(remotesWithWork)
    .all()
    .map((row) => text(row.remote));
  return [...new Set([...tried, ...wanted])].sort();
}

export function viewRemotes(store: Store, pendingOf: (remote: string) => number): readonly RemoteView[] {
  const now = store.world.now();
  return knownRemotes(store).map((remote) => {
    const state = getReachability(store, remote);
    const gate = gateOf(state, now, store.network());
    return {
      remote,
      status: state.status,
      reason: state.reason,
      since: state.since,
      lastSuccessAt: state.lastSuccessAt,
      lastFailureAt: state.lastFailureAt,
      nextProbeAt: nextProbeOf(state, now, store.network()),
      opensAt: gate.kind === "paced" ? gate.opensAt : null,
      pending: pendingOf(remote),
    };
  });
}
