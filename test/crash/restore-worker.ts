// Owns a process that restores a server's database and dies by kill -9 before a given call to the file system, or that leaves a database with a
// WAL behind. Leaves what must be there afterwards to restore.test.ts.
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";

export type RestoreTask =
  | { readonly kind: "restore"; readonly directory: string; readonly source: string; readonly dieAt: number }
  | { readonly kind: "write"; readonly directory: string; readonly keys: readonly string[] };

const die = (): never => {
  process.kill(process.pid, "SIGKILL");
  // The signal takes a moment; nothing may happen in it.
  for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1_000);
};

/** Counts the calls that change or secure files, and dies before number `dieAt`. */
function countCalls(dieAt: number): () => number {
  let calls = 0;
  for (const name of ["copyFileSync", "chmodSync", "writeFileSync", "fsyncSync", "renameSync", "rmSync"] as const) {
    const real = fs[name] as (...parameters: readonly unknown[]) => unknown;
    Object.assign(fs, {
      [name]: (...parameters: readonly unknown[]) => {
        calls += 1;
        if (calls === dieAt) die();
        return real(...parameters);
      },
    });
  }
  syncBuiltinESMExports();
  return () => calls;
}

const task = JSON.parse(process.argv[2] ?? "{}") as RestoreTask;
if (task.kind === "restore") {
  const calls = countCalls(task.dieAt);
  const { restoreServer } = await import("../../src/node/server-store.ts");
  await restoreServer({ kind: "embedded", directory: task.directory }, task.source, 1_900_000_000_000);
  process.send?.({ calls: calls() }, () => process.exit(0));
} else {
  const { openServerStore } = await import("../../src/node/server-store.ts");
  const { openTestServer } = await import("../support/sync-server.ts");
  const store = await openServerStore({ kind: "embedded", directory: task.directory });
  const { push } = await openTestServer({ store });
  for (const key of task.keys) await push({ kind: "create", key }, { id: key, number: 1, client: key });
  die();
}
