// Owns the proof that what Prometheus reads is what the queue says, and that nothing is measured which nobody reads.
// Leaves who may read it to guard.test.ts and test/security/daemon.test.ts.
import { afterEach, beforeEach, expect, test } from "vitest";
import type { TestEngine } from "../../test/support/test-engine.ts";
import { openTestEngine } from "../../test/support/test-engine.ts";
import type { Metrics } from "./metrics.ts";
import { openMetrics } from "./metrics.ts";

let engine: TestEngine;
let metrics: Metrics;
beforeEach(() => {
  engine = openTestEngine([
    { type: "yes", remoteOf: () => "https://one.example", run: async () => ({ kind: "applied" }) },
    {
      type: "no",
      remoteOf: () => "https://one.example",
      run: async () => ({ kind: "rejected", problem: { code: "no", message: "no" } }),
    },
  ]);
  metrics = openMetrics({ engine: engine as never, version: "1.2.3", countEventClients: () => 4 });
});
afterEach(async () => {
  metrics.close();
  await engine.close();
});

/** The samples of one scrape by name and labels, as Prometheus reads them. */
async function scrape(): Promise<ReadonlyMap<string, number>> {
  const { text, contentType } = await metrics.scrape();
  expect(contentType).toContain("text/plain");
  const samples = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(samples.map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.split(" ").at(-1))]));
}

const reach = (id: string, status: string) =>
  expect.poll(() => engine.handle("queue.get", { id }).status, { interval: 5 }).toBe(status);

test("the numbers are those of the queue at the moment of the scrape", async () => {
  const empty = await scrape();
  expect(empty.get("holdfast_unsent_operations")).toBe(0);
  expect(empty.get("holdfast_oldest_unsent_age_seconds")).toBe(0);
  expect(empty.get("holdfast_last_landed_timestamp_seconds")).toBe(0);

  const yes = engine.handle("queue.add", { type: "yes", payload: "landed" });
  const no = engine.handle("queue.add", { type: "no", payload: "refused" });
  await reach(yes.id, "completed");
  await reach(no.id, "failed");
  engine.handle("queue.add", { type: "nobody.knows", payload: "waits" });
  engine.handle("queue.pause", { scope: { kind: "lane", name: "quiet" } });
  engine.handle("network.offline", {});

  const status = engine.handle("queue.status", {});
  const now = await scrape();
  for (const [name, count] of Object.entries(status.counts))
    expect(now.get(`holdfast_operations{status="${name}"}`), name).toBe(count);
  expect(now.get('holdfast_operations{status="completed"}')).toBe(1);
  expect(now.get('holdfast_operations{status="failed"}')).toBe(1);
  expect(now.get("holdfast_unsent_operations")).toBe(status.unsent);
  expect(now.get("holdfast_oldest_unsent_age_seconds")).toBeGreaterThan(0);
  expect(now.get("holdfast_payload_bytes")).toBe(status.bytes);
  expect(now.get("holdfast_last_landed_timestamp_seconds")).toBe((status.lastLandedAt ?? 0) / 1_000);
  expect(now.get('holdfast_attempts_total{outcome="applied"}')).toBe(1);
  expect(now.get('holdfast_attempts_total{outcome="rejected"}')).toBe(1);
  expect(now.get('holdfast_remote_up{remote="https://one.example"}')).toBe(1);
  expect(now.get('holdfast_state{state="working_offline"}')).toBe(1);
  expect(now.get('holdfast_state{state="paused"}')).toBe(1);
  expect(now.get('holdfast_state{state="disk_full"}')).toBe(0);
  expect(now.get("holdfast_event_clients")).toBe(4);
  expect(now.get('holdfast_build_info{version="1.2.3"}')).toBe(1);
});

test("the lag of the event loop is measured from the first scrape on, because measuring keeps the process awake", async () => {
  const lag = 'holdfast_event_loop_lag_seconds{quantile="0.99"}';
  expect((await scrape()).has(lag)).toBe(false);
  await new Promise((resolve) => setTimeout(resolve, 50));
  // Held up for longer than any measurement is apart.
  for (const until = performance.now() + 100; performance.now() < until; );
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect((await scrape()).get(lag)).toBeGreaterThan(0.08);
});
