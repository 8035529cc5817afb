// Owns the rules of what is known of pokes: whether they come through, since when, what was in their way.
// What a poke leads to is pull.test.ts; the stream itself is src/node/sync-port.test.ts.
import { expect, test } from "vitest";
import { rewriting, startRecords } from "../../test/support/record-bench.ts";
import type { WatchHealth } from "../world.ts";
import { pollMs } from "./pull.ts";

test("the process that sends tells whether pokes come through, since when, and what was in their way last", async () => {
  const { client, server, run } = startRecords();
  let tell: ((health: WatchHealth) => void) | undefined;
  const ada = client({
    wrap: (port) => ({
      ...port,
      watch: (space, listener, onHealth) => {
        tell = onHealth;
        return port.watch(space, listener);
      },
    }),
  });
  const pokes = () => ada.ask("network.status", {}).pokes;
  await run(1_000);
  expect(pokes()).toMatchObject([{ space: "main", state: "polling", lastPokeAt: null, lastError: null }]);
  const [{ since: began = 0 } = {}] = pokes();
  await run(1_000);
  tell?.({ isListening: true, reason: "" });
  const [{ since = 0 } = {}] = pokes();
  expect(since).toBeGreaterThan(began);
  await run(5_000);
  server.write("notes", "n1", { n: 1 });
  await run(1_000);
  expect(pokes()).toMatchObject([{ state: "listening", since, pollMs: pollMs.withPokes }]);
  expect(pokes()[0]?.lastPokeAt).toBeGreaterThan(since);
  await run(5_000);
  tell?.({ isListening: false, reason: "the stream fell silent" });
  const [broken] = pokes();
  expect(broken).toMatchObject({
    state: "polling",
    lastError: { at: broken?.since, reason: "the stream fell silent" },
  });
  await run(5_000);
  // More failures say why, and not that it began again.
  tell?.({ isListening: false, reason: "it answered 503" });
  expect(pokes()).toMatchObject([{ state: "polling", since: broken?.since, lastError: { reason: "it answered 503" } }]);
  tell?.({ isListening: true, reason: "" });
  expect(pokes()).toMatchObject([{ state: "listening", lastError: { reason: "it answered 503" } }]);
});

test("nothing is said of pokes where nobody listens: offline, in another mode, by another process", async () => {
  const { client, run } = startRecords();
  const ada = client();
  await run(1_000);
  expect(ada.ask("network.status", {}).pokes).toHaveLength(1);
  ada.offline();
  await run(1_000);
  expect(ada.ask("network.status", {}).pokes).toEqual([]);
  ada.online();
  ada.ask("settings.set", { syncMode: "manual" });
  await run(1_000);
  expect(ada.ask("network.status", {}).pokes).toEqual([]);
  const bob = client({ isStopped: true });
  await run(1_000);
  expect(bob.ask("network.status", {}).pokes).toEqual([]);
});

test("a page that was asked for before a poke came denies it not", async () => {
  const { server, client, run } = startRecords();
  let isOld = false;
  const ada = client({
    wrap: (port) =>
      rewriting(port, {
        pull: (response) => {
          if (!isOld) return response;
          isOld = false;
          return { ...response, head: response.upTo, hasMore: true };
        },
      }),
  });
  await run();
  server.write("notes", "n1", { n: 1 });
  await run();
  server.isLimited.page = 1;
  isOld = true;
  for (const key of ["n2", "n3", "n4"]) server.write("notes", key, { n: 1 });
  await run();
  expect(ada.get("n4")).not.toBeNull();
  expect(ada.ask("network.status", {}).pokes).toMatchObject([{ pollMs: pollMs.withPokes }]);
});
