// Proves how a listener catches up with an engine of the same process when the feed is not as it expects.
// Leaves the contract of all transports to client.test.ts.
import { afterEach, expect, test } from "vitest";
import { openTestEngine } from "../../test/support/test-engine.ts";
import { HoldfastError } from "../errors.ts";
import type { HoldfastEvent } from "../verbs.ts";
import { connect } from "./client.ts";
import { follow } from "./direct.ts";
import type { EngineLike } from "./transport.ts";

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const each of undo.splice(0)) await each();
});

const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5));

/** An engine that its owner closes at once; what it is asked afterwards fails. */
const closedEngine: EngineLike = {
  handle: () => {
    throw new HoldfastError("engine_closed", "the engine is closed", "open it again");
  },
  submit: () => Promise.reject(new Error("not asked")),
  subscribe: () => () => {},
};

test("an engine that closes before the past was told is a gap, and no error that ends the process", async () => {
  let gaps = 0;
  follow(closedEngine, () => {}, { after: 0, onGap: () => (gaps += 1) });
  await turn();
  expect(gaps).toBe(1);
});

test("a listener that has left before the past was told hears nothing, not even of a gap", async () => {
  let gaps = 0;
  follow(closedEngine, () => {}, { after: 0, onGap: () => (gaps += 1) })();
  await turn();
  expect(gaps).toBe(0);
});

test("a place beyond the feed's end, as of a store that was restored since, is a gap, and what comes then is told", async () => {
  const engine = openTestEngine();
  undo.push(engine.close);
  const client = connect({ engine });
  const heard: HoldfastEvent[] = [];
  let gaps = 0;
  client.subscribe((event) => heard.push(event), { after: 1_000_000, onGap: () => (gaps += 1) });
  const { id } = await client.queue.add({ type: "contract.apply", payload: 1 });
  await expect
    .poll(() => heard.filter(({ sequence }) => sequence > 0).map((each) => [each.id, each.kind]))
    .toEqual([
      [id, "enqueued"],
      [id, "settled"],
    ]);
  expect(gaps).toBe(1);
});
