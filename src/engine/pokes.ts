/**
 * Owns listening for pokes: of which spaces, and what is known of whether they come through. It lives in memory, in the process that sends.
 * What a poke leads to is `pull.ts`; coming back after breaks is the world's.
 */
import type { Output } from "../verbs.ts";
import { isWorkingOffline } from "./gates.ts";
import { getSettings } from "./meta.ts";
import { pollMs, pullPlans } from "./pull.ts";
import type { Store } from "./store.ts";

/** Listens for pokes of every space that is pulled eagerly, and of no other. */
export function listenForPokes(store: Store, watched: Map<string, () => void>, onPoke: () => void): void {
  const { sync } = store;
  if (sync === null) return;
  const isWanted = getSettings(store).syncMode === "eager" && !isWorkingOffline(store);
  const names = new Set(isWanted ? pullPlans(store).map(({ space }) => space.name) : []);
  for (const [name, end] of watched) {
    if (names.has(name)) continue;
    end();
    watched.delete(name);
    store.memory.sync.watching.delete(name);
  }
  for (const name of names) if (!watched.has(name)) watched.set(name, listen(store, name, onPoke));
}

/** Nobody listens any more: the process stops sending, or has another server. */
export function stopListening(store: Store, watched: Map<string, () => void>): void {
  for (const end of watched.values()) end();
  watched.clear();
  store.memory.sync.watching.clear();
}

function listen(store: Store, name: string, onPoke: () => void): () => void {
  const { poked, trusted, watching } = store.memory.sync;
  const { world } = store;
  watching.set(name, { isListening: false, since: world.now(), pokedAt: null, error: null });
  const end = store.sync?.watch(
    name,
    ({ space, head }) => {
      poked.set(space, Math.max(poked.get(space) ?? 0, head));
      trusted.add(space);
      const known = watching.get(name);
      // A poke that has come through says more than a port that tells nothing of its health.
      if (known !== undefined) {
        const since = known.isListening ? known.since : world.now();
        watching.set(name, { ...known, isListening: true, since, pokedAt: world.now() });
      }
      onPoke();
    },
    ({ isListening, reason }) => {
      const known = watching.get(name);
      if (known === undefined) return;
      const since = known.isListening === isListening ? known.since : world.now();
      watching.set(name, {
        ...known,
        isListening,
        since,
        error: isListening ? known.error : { at: world.now(), reason },
      });
    },
  );
  return end ?? (() => {});
}

/** How each space that is pulled eagerly hears of news; empty where this process does not send. */
export function viewPokes(store: Store): Output<"network.status">["pokes"] {
  const { watching, trusted } = store.memory.sync;
  return [...watching].map(([space, { isListening, since, pokedAt, error }]) => ({
    space,
    state: isListening ? "listening" : "polling",
    since,
    lastPokeAt: pokedAt,
    pollMs: trusted.has(space) ? pollMs.withPokes : pollMs.without,
    lastError: error,
  }));
}
