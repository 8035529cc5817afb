// Owns the story of two devices and one sync server: an edit each way, kill -9, a conflict, a decision, its undo, equal replicas.
// Leaves telling to scripts/demo-stage.ts and the server's process to scripts/sync-server.ts.
import path from "node:path";
import { isDeepStrictEqual } from "node:util";
import type { Output } from "../src/verbs.ts";
import type { Desk } from "./demo-stage.ts";
import { ask, chapter, holdfast, must, mustBecome, untilGone } from "./demo-stage.ts";
import type { SyncServer } from "./sync-server.ts";
import { startSyncServer } from "./sync-server.ts";

type Stage = { readonly ada: Desk; readonly bea: Desk; server: SyncServer; readonly data: string };

const open: { server: SyncServer | null; desks: readonly Desk[] } = { server: null, desks: [] };

/** Tells the story below a scratch directory. */
export async function replicas(scratch: string): Promise<void> {
  const data = path.join(scratch, "server");
  const server = await startSyncServer(data, 0);
  const ada: Desk = { home: path.join(scratch, "ada"), name: "ada" };
  const bea: Desk = { home: path.join(scratch, "bea"), name: "bea" };
  Object.assign(open, { server, desks: [ada, bea] });
  const stage: Stage = { ada, bea, server, data };
  await Promise.all([ada, bea].map(({ home, name = "" }) => server.connect(home, name)));
  await editEachWay(stage);
  await killAll(stage);
  await disagree(stage);
}

/** Ends what the story has started, however it went. */
export async function stopReplicas(): Promise<void> {
  await Promise.all(open.desks.map((desk) => holdfast(desk, ["daemon", "stop"], false)));
  await open.server?.stop();
}

async function editEachWay({ ada, bea }: Stage): Promise<void> {
  chapter("7. Two devices, one sync server. An edit each way.");
  for (const desk of [ada, bea]) await holdfast(desk, ["collections", "declare", "notes"]);
  await holdfast(ada, ["records", "put", "notes", "n1", "--data", '{"title":"Tides","body":"salt"}']);
  await mustBecome(
    async () => isDeepStrictEqual(await see(bea), { n1: { title: "Tides", body: "salt" } }),
    "bea has the note",
  );
  await holdfast(bea, ["records", "update", "notes", "n1", "--set", "stars=5"]);
  await mustBecome(async () => isDeepStrictEqual(await see(ada), await see(bea)), "ada has the stars");
}

async function killAll(stage: Stage): Promise<void> {
  const { ada, bea, server, data } = stage;
  chapter("8. Server and both daemons are killed with -9, with work unsent.");
  const port = Number(new URL(server.url).port);
  await server.stop("SIGKILL");
  await holdfast(ada, ["records", "update", "notes", "n1", "--set", "body=salt and wind"]);
  await Promise.all(
    [ada, bea].map(async (desk) => {
      const { daemon } = await ask<{ readonly daemon: { readonly pid: number } }>(desk, "status");
      process.kill(daemon.pid, "SIGKILL");
      await untilGone(daemon.pid);
    }),
  );
  [stage.server] = await Promise.all([
    startSyncServer(data, port),
    ...[ada, bea].map((desk) => holdfast(desk, ["daemon", "start"], false)),
  ]);
  open.server = stage.server;
  await holdfast(ada, ["network", "check"], false);
  await mustBecome(
    async () => isDeepStrictEqual(await see(bea), { n1: { title: "Tides", body: "salt and wind", stars: 5 } }),
    "all are back, and bea has what ada wrote meanwhile",
  );
}

async function disagree({ ada, bea }: Stage): Promise<void> {
  chapter("9. Bea is offline. Both change the title, and each something else.");
  await holdfast(bea, ["network", "offline"]);
  await holdfast(bea, ["records", "update", "notes", "n1", "--set", "title=Ebb", "--set", "mood=calm"]);
  await holdfast(ada, ["records", "update", "notes", "n1", "--set", "title=Flood", "--set", "stars=4"]);
  await mustBecome(
    async () => (await ask<Output<"queue.status">>(ada, "status")).unsent === 0,
    "ada's change has landed",
  );
  await holdfast(bea, ["network", "online"]);
  await mustBecome(async () => (await inbox(bea)).open === 1, "one conflict is in bea's inbox");
  const [conflict] = (await inbox(bea)).conflicts;
  const id = conflict?.id ?? "";
  await holdfast(bea, ["conflicts", "show", id]);
  must(isDeepStrictEqual(conflict?.fields, ["title"]), "only the title is in dispute: stars and mood are merged");

  chapter("10. A decision for all conflicts at once, and its undo.");
  await holdfast(bea, ["conflicts", "resolve", "--all", "--collection", "notes", "--choose", "remote", "--yes"]);
  await mustBecome(
    async () => (await titleOf(bea)) === "Flood" && isDeepStrictEqual(await see(ada), await see(bea)),
    "both say Flood",
  );
  await holdfast(bea, ["conflicts", "undo", id]);
  await mustBecome(
    async () => (await titleOf(ada)) === "Ebb" && isDeepStrictEqual(await see(ada), await see(bea)),
    "taken back: both say Ebb, and the replicas are equal",
  );
  await holdfast(ada, ["records", "list", "notes"]);
}

/** Every record as the person sees it, by key. */
async function see(desk: Desk): Promise<Readonly<Record<string, unknown>>> {
  const { records } = await ask<Output<"records.query">>(desk, "records", "list", "notes");
  return Object.fromEntries(records.map(({ key, value }) => [key, value]));
}

async function titleOf(desk: Desk): Promise<unknown> {
  return ((await see(desk)).n1 as { readonly title?: unknown } | undefined)?.title;
}

const inbox = (desk: Desk): Promise<Output<"conflicts.list">> => ask(desk, "conflicts", "list");
