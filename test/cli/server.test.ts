// Owns what `holdfast server` says of accounts, tokens and backups over a real database of its own.
// Leaves the server that runs to test/wire, and a restore that is killed to test/crash.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterAll, describe, expect, it } from "vitest";
import { play } from "./support/script.ts";

const scratch = mkdtempSync(path.join(tmpdir(), "holdfast-server-"));
const at = (name: string): string => path.join(scratch, name);
const server = (...argv: readonly string[]) => play(["server", ...argv, "--data", at("data")]);
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

describe("accounts", () => {
  it("that are suspended are listed with the reason, and their tokens say it", async () => {
    expect((await server("suspended")).out).toBe("No account is suspended.\n");
    await server("token", "add", "ana", "--space", "main");
    await server("token", "add", "ben", "--space", "main");
    await server("suspend", "ana", "--reason", "left the company");
    expect((await server("suspended")).out.split("\n")[1]).toBe("ana      now    left the company");
    expect((await server("token", "list")).out.match(/ {2}valid.*/g)?.sort()).toEqual([
      "  valid",
      "  valid, its account is suspended",
    ]);
    const { tokens } = JSON.parse((await server("token", "list", "--json")).out);
    expect(tokens.filter((each: { readonly isSuspended: boolean }) => each.isSuspended)).toMatchObject([
      { subject: "ana" },
    ]);
    await server("reinstate", "ana");
    expect(JSON.parse((await server("suspended", "--json")).out)).toEqual({ suspended: [] });
  });

  it.each([
    [["suspend", ""], "the subject is empty"],
    [["token", "add", " ", "--space", "main"], "the subject is empty"],
    [["token", "add", "ana", "--space", ""], "--space is missing"],
    [["token", "add", "ana", "--space", "main", "--expires", "99999999d"], "is beyond the year 9999"],
  ])("%j is refused", async (argv, message) => {
    const { exit, err } = await server(...argv);
    expect([exit, err]).toEqual([2, expect.stringContaining(message)]);
  });
});

describe("a configuration", () => {
  it.each<[string, string]>([
    ['{"prot": 1}', 'the option "prot" does not exist; did you mean "port"?'],
    ['{"port": "80"}', 'port must be a whole number from 0 to 65535; got "80"'],
    ['{"connections": 0}', "connections must be a whole number from 1 to 10000; got 0"],
    ['{"limits": {"pageByte": 5}}', 'limits: the option "pageByte" does not exist; did you mean "pageBytes"?'],
    ['{"isOpen": "false"}', 'isOpen must be true or false; got "false"'],
    ['{"collections": [{"name": "Notes"}]}', 'collection "Notes": a name has lower-case letters'],
    ['{"auth": {"jwt": {"issuer": "a", "audience": "b", "jwks": "x"}}}', "auth.jwt: jwks must be the address"],
  ])("that says %s is refused with its file and the right words", async (text, message) => {
    const file = at("wrong.json");
    writeFileSync(file, text);
    const { exit, err } = await server("run", "--config", file);
    expect([exit, err]).toEqual([2, expect.stringContaining(message)]);
    expect(err).toContain(file);
  });
});

describe("a restore", () => {
  const makeStore = (file: string): void => {
    const database = new DatabaseSync(file);
    database.exec("CREATE TABLE op (seq INTEGER PRIMARY KEY)");
    database.close();
  };

  it.each<[string, (file: string) => void]>([
    ["text", (file) => writeFileSync(file, "no database at all, and longer than the head of one".repeat(9))],
    ["nothing", (file) => writeFileSync(file, "")],
    ["another database", makeStore],
  ])("of a file that holds %s is refused, and the server's own stays", async (name, make) => {
    await server("token", "list");
    const before = readFileSync(at("data/server.db"));
    const file = at(name.replaceAll(" ", "-"));
    make(file);
    const { exit, err } = await server("restore", file);
    expect([exit, err.split("\n")[0]]).toEqual([
      2,
      `✗ ${file} is no backup of a server, or is damaged; nothing was changed`,
    ]);
    expect(readFileSync(at("data/server.db")).equals(before)).toBe(true);
    expect(readdirSync(at("data")).filter((each) => /restore/.test(each))).toEqual([]);
  });

  it("of a file that is not there, or of a folder, ends with 4", async () => {
    for (const file of [at("nowhere"), scratch]) expect((await server("restore", file)).exit).toBe(4);
  });

  it("of a backup brings it back", async () => {
    await server("suspend", "ana");
    expect((await server("backup", at("saved.db"))).exit).toBe(0);
    await server("reinstate", "ana");
    expect((await server("restore", at("saved.db"))).exit).toBe(0);
    expect((await server("suspended", "-q")).out).toContain("ana");
    expect(existsSync(at("data/server.db"))).toBe(true);
  });
});
