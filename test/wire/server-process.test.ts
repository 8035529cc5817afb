// Owns what `holdfast server` promises as a process: nothing acknowledged is lost by kill -9, backups of a running server, a new history
// after a restore, one server per directory, nothing open to other machines by accident. Rules of the answers are beside src/server.
import type { ChildProcess } from "node:child_process";
import { execFile, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { afterEach, describe, expect, test } from "vitest";
import type { PullResponse, PushResponse } from "../../src/wire.ts";

const main = path.resolve(import.meta.dirname, "../../src/cli/main.ts");
const run = promisify(execFile);
const started: ChildProcess[] = [];
const directories: string[] = [];

afterEach(() => {
  for (const child of started.splice(0)) child.kill("SIGKILL");
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true });
});

function newDirectory(): string {
  const directory = mkdtempSync(path.join(tmpdir(), "holdfast-server-"));
  directories.push(directory);
  return directory;
}

type Running = {
  readonly child: ChildProcess;
  readonly url: string;
  readonly token: string;
  readonly output: () => string;
};

/** Starts a server and waits until it says where it listens. */
async function start(args: readonly string[]): Promise<Running> {
  const child = spawn(process.execPath, [main, "--json", "server", "run", "--port", "0", ...args]);
  started.push(child);
  let text = "";
  child.stderr.on("data", (chunk) => (text += String(chunk)));
  return new Promise((resolve, reject) => {
    child.stdout.on("data", (chunk) => {
      text += String(chunk);
      const line = text.split("\n").find((each) => each.startsWith('{"url"'));
      if (line !== undefined && text.includes("\n")) resolve({ child, ...JSON.parse(line), output: () => text });
    });
    child.once("exit", (code) => reject(new Error(`the server ended with ${code}: ${text}`)));
  });
}

async function ended(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
  const exit = new Promise<number | null>((resolve) => child.once("exit", resolve));
  child.kill(signal);
  return exit;
}

async function command(...args: readonly string[]): Promise<string> {
  return (await run(process.execPath, [main, ...args])).stdout;
}

async function failure(...args: readonly string[]): Promise<string> {
  const thrown = await run(process.execPath, [main, ...args]).catch((error: { stderr: string }) => error);
  return thrown.stderr;
}

async function post<T>({ url, token }: Pick<Running, "url" | "token">, route: string, body: unknown): Promise<T> {
  const response = await fetch(`${url}${route}`, {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json", "holdfast-protocol": "1" },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
  return (await response.json()) as T;
}

const item = (n: number) => ({
  ...{ id: `op-${n}`, number: n, at: 1 },
  changes: [{ collection: "notes", key: `k${n}`, kind: "create", base: 0, fields: { n }, schema: 1 }],
});
const push = (server: Running, n: number) =>
  post<PushResponse>(server, "/v1/push", { space: "main", client: "c", floor: 0, items: [item(n)] });
const pull = (server: Running, more: object = {}) =>
  post<PullResponse>(server, "/v1/pull", {
    ...{ space: "main", history: "", wants: [{ collection: "notes", after: 0 }], limit: 5_000, ...more },
  });

describe("a server that is killed", () => {
  test("has everything that it acknowledged, and what is sent again lands once", { timeout: 60_000 }, async () => {
    const data = newDirectory();
    const acknowledged = new Set<number>();
    let next = 0;
    for (let round = 0; round < 5; round += 1) {
      const server = await start(["--data", data]);
      // Counted, not timed: on a busy machine little is acknowledged in a tenth of a second.
      const goal = acknowledged.size + 8 + round * 5;
      const writers = Array.from({ length: 4 }, async () => {
        for (;;) {
          const n = ++next;
          await push(server, n);
          acknowledged.add(n);
          if (acknowledged.size === goal) setTimeout(() => server.child.kill("SIGKILL"), round);
        }
      });
      await Promise.allSettled(writers);
    }
    const server = await start(["--data", data]);
    const before = await pull(server);
    const there = new Set(before.records.map(({ key }) => Number(key.slice(1))));
    expect([...acknowledged].filter((n) => !there.has(n))).toEqual([]);
    expect(acknowledged.size).toBeGreaterThan(20);
    for (let n = 1; n <= next; n += 1) {
      const [answer] = (await push(server, n)).answers;
      expect(answer?.outcome).toBe(there.has(n) ? "duplicate" : "applied");
    }
    expect(await pull(server)).toMatchObject({ head: next, hasMore: false });
    expect(await ended(server.child, "SIGTERM")).toBe(0);
  });
});

describe("a backup", () => {
  test("of a running server is restored with a new history; what came after it is gone for everybody", {
    timeout: 60_000,
  }, async () => {
    const [data, file] = [newDirectory(), path.join(newDirectory(), "monday.db")];
    const server = await start(["--data", data]);
    for (let n = 1; n <= 3; n += 1) await push(server, n);
    await command("server", "backup", file, "--data", data);
    await push(server, 4);
    const { history, head } = await pull(server);
    expect(head).toBe(4);
    expect(await failure("server", "restore", file, "--data", data)).toContain("runs on");
    expect(await failure("server", "backup", file, "--data", data)).toContain("is there already");
    expect(await ended(server.child, "SIGINT")).toBe(0);
    await command("server", "restore", file, "--data", data);
    const again = await start(["--data", data]);
    expect(again.token).toBe(server.token);
    const page = await pull(again, { history, wants: [{ collection: "notes", after: 4 }] });
    expect(page).toMatchObject({ reset: { reason: "other_history" }, head: 3 });
    expect(page.history).not.toBe(history);
    expect(readdirSync(data).some((name) => name.includes("before-restore"))).toBe(true);
  });
});

describe("a server", () => {
  test("that is configured takes tokens made beside it, and forgets them when they are revoked", {
    timeout: 60_000,
  }, async () => {
    const [data, folder] = [newDirectory(), newDirectory()];
    const config = path.join(folder, "holdfast.server.ts");
    writeFileSync(
      config,
      `export default { collections: [{ name: "notes", rules: [({ after }: { after: { n?: number } | null }) =>
        (after?.n ?? 0) > 2 ? { code: "too_many", message: "two are enough", field: "n" } : null] }], auth: { tokens: true } };`,
    );
    const server = await start(["--data", data, "--config", config]);
    expect(server.token).toBeNull();
    const made = JSON.parse(
      await command("--json", "server", "token", "add", "ana", "--space", "main", "--data", data),
    );
    const ana = { ...server, token: made.token };
    expect((await push(ana, 2)).answers).toMatchObject([{ outcome: "applied" }]);
    expect((await push(ana, 3)).answers).toMatchObject([{ outcome: "rejected", problem: { code: "too_many" } }]);
    expect(await command("server", "token", "list", "--data", data)).not.toContain(made.token);
    await command("server", "token", "revoke", made.id, "--data", data);
    await expect(push(ana, 2)).rejects.toThrow("token_revoked");
    const other = JSON.parse(
      await command("--json", "server", "token", "add", "bob", "--space", "main", "--data", data),
    );
    await command("server", "suspend", "bob", "--reason", "unpaid", "--data", data);
    await expect(push({ ...server, token: other.token }, 2)).rejects.toThrow("unpaid");
    await command("server", "reinstate", "bob", "--data", data);
    expect((await push({ ...server, token: other.token }, 2)).answers).toMatchObject([{ outcome: "duplicate" }]);
  });

  test("is alone on its directory, private to its owner, and closed to other machines unless it is configured", {
    timeout: 60_000,
  }, async () => {
    const data = newDirectory();
    const server = await start(["--data", data]);
    expect(server.output()).toContain("OPEN");
    expect(await failure("server", "run", "--port", "0", "--data", data)).toContain("runs on");
    for (const name of ["server.db", "development-token"]) expect(statSync(path.join(data, name)).mode & 0o077).toBe(0);
    const other = newDirectory();
    expect(await failure("server", "run", "--host", "0.0.0.0", "--data", other)).toContain("other machines");
    expect(existsSync(path.join(other, "server.db"))).toBe(false);
    expect(await failure("server", "run", "--database", "mysql://x")).toContain("PostgreSQL");
  });
});
