// Owns what a person decides through the command: conflicts by each strategy, waiting and not waiting, and what exit codes say.
// Leaves the whole promise to promise.test.ts.
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Output } from "../../src/verbs.ts";
import { isAlive, until } from "../support/processes.ts";
import type { Effect } from "../support/story-remote.ts";
import type { Stage } from "./support.ts";
import { openStage } from "./support.ts";

type Queued = Output<"queue.add">;

let stage: Stage;
beforeEach(async () => {
  stage = await openStage();
});
afterEach(() => stage.close());

/** Somebody else has changed the page: version 2 is there, whoever comes with 1 is told so. */
const changed = ({ headers }: Effect) =>
  headers["if-match"] === '"1"' ? { status: 412, headers: { etag: '"2"' }, body: { title: "theirs" } } : null;

const save = (text: string, more: readonly string[] = []): readonly string[] => [
  ...["request", "PUT", `${stage.remote.url}/pages/7`, "--data", JSON.stringify({ title: text })],
  ...["--header", 'If-Match: "1"', ...more],
];

test("a conflict is parked with both sides and decided by a person: local, remote, merge", async () => {
  const { remote, run, ask } = stage;
  await remote.start();
  remote.rule = changed;
  const parked: string[] = [];
  for (const title of ["ours", "given up", "both"]) {
    const { id } = await ask<Queued>(save(title));
    parked.push(id);
  }
  const [local = "", theirs = "", merged = ""] = parked;
  for (const id of parked)
    expect(await stage.reach(id, "failed")).toMatchObject({ reason: "conflict", remoteVersion: expect.anything() });
  expect((await ask<Output<"queue.status">>(["queue", "status"])).conflicts).toBe(3);

  await run(["queue", "resolve", local, "--choose", "local"]);
  await stage.reach(local, "completed");
  await run(["queue", "resolve", theirs, "--choose", "remote"]);
  expect(await stage.reach(theirs, "completed")).toMatchObject({ outcome: "superseded" });
  const payload = { method: "PUT", url: `${remote.url}/pages/7`, body: { json: { title: "both of us" } } };
  await run(["queue", "resolve", merged, "--choose", "merge", "--payload", JSON.stringify(payload)]);
  await stage.reach(merged, "completed");
  expect(remote.effects.map(({ text }) => text)).toEqual(['{"title":"ours"}', '{"title":"both of us"}']);
});

test("a strategy that was named beforehand decides by itself", async () => {
  const { remote, run, ask } = stage;
  await remote.start();
  remote.rule = changed;
  await run([...save("ours", ["--conflict", "local_wins", "--wait"])]);
  expect(remote.effects.map(({ text }) => text)).toEqual(['{"title":"ours"}']);
  const { id } = await ask<Queued>(save("not needed", ["--conflict", "remote_wins"]));
  expect(await stage.reach(id, "completed")).toMatchObject({ outcome: "superseded" });
  await run(["settings", "set", "conflict", "local_wins"]);
  await run([...save("ours again", ["--wait"])]);
  expect(remote.effects.map(({ text }) => text)).toEqual(['{"title":"ours"}', '{"title":"ours again"}']);
});

test("Ctrl-C while waiting leaves the operation queued, says that it has not landed, and it lands", async () => {
  const { remote, ask } = stage;
  const { child, ended } = stage.start(["request", "POST", `${remote.url}/notes`, "--data", "{}", "--wait"]);
  let told = "";
  child.stderr?.on("data", (chunk: Buffer) => {
    told += chunk.toString();
  });
  // What it says of an attempt it says while it waits.
  await until(() => told.includes("Attempt 1 failed"), "it waits");
  child.kill("SIGINT");
  const { code, stderr } = await ended;
  expect(code).toBe(1);
  expect(stderr).toContain("Stopped waiting");
  const { operations } = await ask<Output<"queue.list">>(["queue", "list"]);
  expect(operations).toHaveLength(1);
  await remote.start();
  await stage.reach(operations[0]?.id ?? "", "completed");
  expect(remote.effects).toHaveLength(1);
});

test("kill -9 of the daemon while a command waits: it is started again and the wait ends well", async () => {
  const { remote } = stage;
  const { child, ended } = stage.start([
    "request",
    "POST",
    `${remote.url}/notes`,
    "--data",
    "{}",
    "--wait",
    "--timeout",
    "60s",
  ]);
  let told = "";
  child.stderr?.on("data", (chunk: Buffer) => {
    told += chunk.toString();
  });
  await until(() => /queued/i.test(told), "it has queued");
  await stage.killDaemon();
  await remote.start();
  const { code, stdout, stderr } = await ended;
  expect(code, stdout + stderr).toBe(0);
  expect(remote.effects).toHaveLength(1);
});

test("exit codes say what happened: 0 queued, 1 failed, 2 usage, 3 no daemon, 4 not found, 5 refused by state", async () => {
  const { remote, run, ask } = stage;
  expect((await run(["daemon", "status"], 3)).stderr).not.toContain("    at ");
  const { id } = await ask<Queued>(["request", "POST", `${remote.url}/notes`, "--data", "{}"]);
  await run(["request", "POST", `${remote.url}/notes`, "--data", "{}", "--wait", "--timeout", "500ms"], 1);
  await run(["requst", "POST", remote.url], 2);
  await run(["request", "POST", "not a url"], 2);
  await run(["queue", "list", "--limit", "many"], 2);
  await run(["queue", "show", "ffffffffffff"], 4);
  await run(["upload", "there-is-no-such-file", `${remote.url}/files`], 4);
  await run(["queue", "cancel", id]);
  await run(["queue", "edit", id, "--priority", "5"], 5);
  await run(["queue", "remove", id]);
  const told = await run(["queue", "show", id, "--json"], 4);
  expect(JSON.parse(told.stderr)).toMatchObject({ code: "not_found", hint: expect.any(String) });
});

test("a second daemon is refused and names the first; after kill -9 the next one takes over at once", async () => {
  const { remote, run, ask } = stage;
  const { id } = await ask<Queued>(["request", "POST", `${remote.url}/notes`, "--data", "{}"]);
  const { pid } = await ask<{ readonly pid: number }>(["daemon", "status"]);
  const second = await run(["daemon", "run"], 5);
  expect(second.stderr).toContain(String(pid));
  expect(isAlive(pid)).toBe(true);
  await stage.killDaemon();
  await remote.start();
  const next = stage.start(["daemon", "run"]);
  await stage.reach(id, "completed");
  expect(remote.effects.map(({ key }) => key)).toEqual([id]);
  next.child.kill("SIGTERM");
  expect((await next.ended).code).toBe(0);
});
