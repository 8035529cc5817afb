// Owns the whole promise as a person lives it, through the command alone: queue while offline, lose the daemon, come back, all landed once.
// Leaves random moments of death to test/crash/kill.test.ts and the words on the screen to test/cli/.
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Output } from "../../src/verbs.ts";
import type { Operation, Stage } from "./support.ts";
import { openStage } from "./support.ts";

type Queued = Output<"queue.add">;
type Listed = Output<"queue.list">;

let stage: Stage;
beforeEach(async () => {
  stage = await openStage();
});
afterEach(() => stage.close());

test("offline, queue everything, kill -9, online: everything lands once, in order, as it was", async () => {
  const { remote, run, ask, folder } = stage;
  const file = path.join(folder, "report.bin");
  const content = Buffer.alloc(200_000, "tide ");
  writeFileSync(file, content);
  const diary = path.join(folder, "diary.txt");

  const note = await ask<Queued>([
    "request",
    "POST",
    `${remote.url}/notes`,
    "--data",
    '{"text":"from the boat"}',
    "--lane",
    "notes",
  ]);
  const project = await ask<Queued>([
    "request",
    "POST",
    `${remote.url}/projects`,
    "--data",
    '{"name":"Reef"}',
    "--creates",
    "local-1",
    "--id-from",
    "/id",
  ]);
  const cover = await ask<Queued>([
    "request",
    "PUT",
    `${remote.url}/projects/local-1/cover`,
    "--data",
    '{"of":"local-1"}',
  ]);
  const upload = await ask<Queued>(["upload", "report.bin", `${remote.url}/reports/7`, "--protocol", "put"]);
  const script = `echo "$HOLDFAST_OPERATION_ID" >> '${diary}'`;
  const command = await ask<Queued>(["exec", "--after", note.id, "--", "/bin/sh", "-c", script]);
  writeFileSync(file, "written over after it was queued");

  const status = await ask<Output<"queue.status">>(["queue", "status"]);
  expect(status.unsent).toBe(5);
  const { stdout: screen } = await run(["status"]);
  expect(screen).toContain("5");
  const { operations } = await ask<Listed>(["queue", "list"]);
  expect(operations.map(({ id }) => id).sort()).toEqual(
    [note, project, cover, upload, command].map(({ id }) => id).sort(),
  );
  const why = await ask<Output<"queue.why">>(["queue", "why", cover.id.slice(-8)]);
  expect(why.blockers.map(({ kind }) => kind)).toContain("dependency");
  expect((await ask<Output<"queue.why">>(["queue", "why", command.id])).blockers[0]?.id).toBe(note.id);

  await stage.killDaemon();
  await remote.start();
  await run(["sync", "--wait", "--timeout", "60s"]);

  const ended = await Promise.all([note, project, cover, upload, command].map(({ id }) => stage.get(id)));
  expect(ended.map((each: Operation) => each.status)).toEqual(Array(5).fill("completed"));
  expect(remote.effects.map(({ key }) => key).sort()).toEqual(
    [note, project, cover, upload].map(({ id }) => id).sort(),
  );
  const effectOf = ({ id }: Queued) => remote.effects.find(({ key }) => key === id);
  const { serverId } = await stage.get(project.id);
  expect(serverId).toMatch(/^srv-/);
  expect(effectOf(cover)?.path).toBe(`/projects/${serverId}/cover`);
  expect(effectOf(cover)?.text).toContain(`"${serverId}"`);
  expect(effectOf(upload)?.sha256).toBe(createHash("sha256").update(content).digest("hex"));
  expect(readFileSync(diary, "utf8")).toBe(`${command.id}\n`);
  expect((await ask<Output<"queue.status">>(["queue", "status"])).light).toBe("green");
});

test("working offline survives the end of the daemon, graceful and not", async () => {
  const { remote, run, ask } = stage;
  await remote.start();
  await run(["network", "offline"]);
  const { id } = await ask<Queued>(["request", "POST", `${remote.url}/notes`, "--data", "{}"]);
  await run(["daemon", "stop"]);
  expect((await ask<Output<"queue.status">>(["queue", "status"])).isWorkingOffline).toBe(true);
  await stage.killDaemon();
  const why = await ask<Output<"queue.why">>(["queue", "why", id]);
  expect(why.blockers.map(({ kind }) => kind)).toContain("work_offline");
  expect(remote.seen).toEqual([]);
  await run(["network", "online"]);
  await stage.reach(id, "completed");
  expect(remote.effects.map(({ key }) => key)).toEqual([id]);
});

test("what is exported and imported into another data directory keeps its ids and keys", async () => {
  const { remote, run, ask } = stage;
  await run(["network", "offline"]);
  const ids: string[] = [];
  for (const text of ["one", "two", "three"]) {
    const queued = await ask<Queued>([
      "request",
      "POST",
      `${remote.url}/notes`,
      "--data",
      JSON.stringify({ text }),
      "--lane",
      "notes",
    ]);
    ids.push(queued.id);
  }
  await run(["queue", "export", "-o", "saved.jsonl"]);
  const other = stage.at("other");
  const imported = await other.ask<Output<"queue.import">>(["queue", "import", "saved.jsonl"]);
  expect(imported.imported).toEqual(ids);
  expect((await other.ask<Output<"queue.import">>(["queue", "import", "saved.jsonl"])).skipped).toEqual(ids);
  await remote.start();
  await other.run(["sync", "--wait", "--timeout", "60s"]);
  expect(remote.effects.map(({ key }) => key)).toEqual(ids);
  // Both sides may send what both have: the remote knows it by its key.
  await run(["network", "online"]);
  await run(["sync", "--wait", "--timeout", "60s"]);
  expect(remote.effects.map(({ key }) => key)).toEqual(ids);
});

test("a refused operation stays, holds up nobody, is edited and lands", async () => {
  const { remote, run, ask } = stage;
  await remote.start();
  remote.rule = ({ text }) => (text.includes("wrong") ? { status: 422, body: { title: "no such colour" } } : null);
  const words = ["request", "POST", `${remote.url}/notes`, "--lane", "notes"];
  const refused = await run([...words, "--data", '{"colour":"wrong"}', "--wait"], 1);
  expect(refused.stderr).toContain("422");
  const { operations } = await ask<Listed>(["queue", "list", "--status", "failed"]);
  const id = operations[0]?.id ?? "";
  const other = await ask<Queued>(["request", "POST", `${remote.url}/notes`, "--data", '{"colour":"blue"}']);
  await stage.reach(other.id, "completed");
  const payload = { ...(operations[0]?.payload as Record<string, never>), body: { json: { colour: "right" } } };
  writeFileSync(path.join(stage.folder, "fixed.json"), JSON.stringify(payload));
  await run(["queue", "edit", id, "--payload", "@fixed.json"]);
  await run(["queue", "retry", id]);
  await stage.reach(id, "completed");
  expect(remote.effects.map(({ key, text }) => [key, text])).toEqual([
    [other.id, '{"colour":"blue"}'],
    // A definite refusal had no effect: what is sent now has a key of its own, or receipts would replay the refusal.
    [expect.stringMatching(`^${id}-\\d+$`), '{"colour":"right"}'],
  ]);
});
