// Owns the rules of the data directory, its token and its port file. Leaves the running daemon to daemon.test.ts.
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  fitsSocket,
  homeDirectory,
  openHome,
  readOrCreateToken,
  readPortFile,
  readToken,
  removePortFile,
  writePortFile,
} from "./home.ts";

let base = "";
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "holdfast-home-"));
});
afterEach(() => rmSync(base, { recursive: true, force: true }));

const modeOf = (path: string): number => statSync(path).mode & 0o777;
const isRoot = process.getuid?.() === 0;

test("HOLDFAST_HOME names the data directory, else the platform does", () => {
  expect(homeDirectory({ HOLDFAST_HOME: "/some/where" })).toBe("/some/where");
  expect(homeDirectory({})).toMatch(/holdfast/);
});

test("a new data directory is the owner's alone", () => {
  const home = openHome(join(base, "a", "b"));
  expect(modeOf(home.directory)).toBe(0o700);
});

test.each([0o770, 0o702, 0o777])("a directory of mode %o is refused with the command that repairs it", (mode) => {
  const path = join(base, "open");
  mkdirSync(path);
  chmodSync(path, mode);
  expect(() => openHome(path)).toThrow(
    expect.objectContaining({ code: "config_invalid", hint: `run: chmod 700 '${path}'` }),
  );
});

test("a readable directory is closed when it is empty or ours, and refused when others' files are in it", () => {
  const path = join(base, "readable");
  mkdirSync(path);
  chmodSync(path, 0o755);
  openHome(path);
  expect(modeOf(path)).toBe(0o700);
  chmodSync(path, 0o755);
  writeFileSync(join(path, "letter.txt"), "");
  expect(() => openHome(path)).toThrow(/read by other users/);
  writeFileSync(join(path, "holdfast.db"), "");
  openHome(path);
  expect(modeOf(path)).toBe(0o700);
});

test("a symbolic link and a file are refused as data directory", () => {
  mkdirSync(join(base, "real"), { mode: 0o700 });
  symlinkSync(join(base, "real"), join(base, "link"));
  writeFileSync(join(base, "file"), "");
  expect(() => openHome(join(base, "link"))).toThrow(/symbolic link/);
  expect(() => openHome(join(base, "file"))).toThrow(/not a directory/);
});

test.runIf(isRoot)("a directory of another user is refused", async () => {
  const { chownSync } = await import("node:fs");
  const path = join(base, "foreign");
  mkdirSync(path, { mode: 0o700 });
  chownSync(path, 12_345, 12_345);
  expect(() => openHome(path)).toThrow(/belongs to user 12345/);
});

test("a token is made once, 256 bits, readable by the owner alone", () => {
  const path = join(base, "token");
  const token = readOrCreateToken(path);
  expect(Buffer.from(token, "base64url")).toHaveLength(32);
  expect(modeOf(path)).toBe(0o600);
  expect(readOrCreateToken(path)).toBe(token);
  expect(readToken(path)).toBe(token);
});

test("a token that others could have read, replaced or damaged is refused and never shown", () => {
  const path = join(base, "token");
  const token = readOrCreateToken(path);
  chmodSync(path, 0o640);
  expect(() => readToken(path)).toThrow(/read by other users/);
  chmodSync(path, 0o600);
  symlinkSync(path, join(base, "link"));
  expect(() => readToken(join(base, "link"))).toThrow(/not a plain file/);
  writeFileSync(path, `${token}x`);
  expect(() => readToken(path)).toThrow(expect.objectContaining({ message: expect.not.stringContaining(token) }));
});

test("a port file is private, whole, and removed only by who wrote it", () => {
  const path = join(base, "daemon.json");
  const own = { pid: 7, host: "127.0.0.1", port: 4_000, socket: null, startedAt: 1, version: "1" };
  writePortFile(path, own);
  expect(modeOf(path)).toBe(0o600);
  expect(readPortFile(path)).toEqual(own);
  removePortFile(path, { ...own, pid: 8 });
  expect(readPortFile(path)).toEqual(own);
  removePortFile(path, own);
  expect(readPortFile(path)).toBeNull();
});

test.each(["", "{", "[]", '{"pid":"1","port":2}', '{"pid":1,"port":70000,"startedAt":1}'])(
  "a port file that says %j is as good as none",
  (text) => {
    const path = join(base, "daemon.json");
    writeFileSync(path, text);
    expect(readPortFile(path)).toBeNull();
    expect(readFileSync(path, "utf8")).toBe(text);
  },
);

test.skipIf(process.platform === "win32")("a socket path of 103 bytes fits, one of 104 does not", () => {
  expect(fitsSocket("/".padEnd(103, "x"))).toBe(true);
  expect(fitsSocket("/".padEnd(104, "x"))).toBe(false);
});
