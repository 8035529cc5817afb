// Proves that a wait for an operation's end follows that operation alone, and tells the end that it had.
// Leaves what every transport has to keep to src/testing/transport-contract.ts.
import { afterEach, beforeEach, expect, test } from "vitest";
import type { TestEngine } from "../../test/support/test-engine.ts";
import { openTestEngine } from "../../test/support/test-engine.ts";
import type { Client } from "./client.ts";
import { connect } from "./client.ts";

let engine: TestEngine;
let client: Client;
beforeEach(() => {
  engine = openTestEngine();
  client = connect({ engine });
});
afterEach(async () => {
  await client.close();
  await engine.close();
});

test("a short id means the operation that it meant when it was asked for, whatever is queued since", async () => {
  const { id } = await client.queue.add({ type: "contract.apply", payload: 1, notBefore: Date.now() + 300 });
  const settled = client.settled(id.slice(0, 6), { timeoutMs: 10_000 });
  await client.queue.get({ id });
  const other = await client.queue.add({ type: "contract.apply", payload: 2 });
  expect(other.id.slice(0, 6)).toBe(id.slice(0, 6));
  expect(await settled).toMatchObject({ id, status: "completed" });
});

test("an operation that failed, was tried again and then removed has not ended as failed", async () => {
  const stop = client.subscribe(() => {});
  const operation = await client.queue.add({ type: "contract.reject", payload: 1 });
  expect((await operation.settled({ timeoutMs: 10_000 })).status).toBe("failed");
  await client.queue.pause({ scope: { kind: "all" } });
  await client.queue.retry({ ids: [operation.id] });
  const settled = expect(operation.settled({ timeoutMs: 10_000 })).rejects.toMatchObject({ code: "not_found" });
  await client.queue.get({ id: operation.id });
  await client.queue.remove({ ids: [operation.id], confirm: true });
  await settled;
  stop();
});

test("an operation that goes with all others, when the store is emptied, is told of at once", async () => {
  const operation = await client.queue.add({ type: "contract.apply", payload: 1, notBefore: 32_503_680_000_000 });
  const settled = expect(operation.settled({ timeoutMs: 5_000 })).rejects.toMatchObject({ code: "not_found" });
  await client.queue.get({ id: operation.id });
  await client.queue.clear({ scope: "all", confirm: 1 });
  await settled;
});
