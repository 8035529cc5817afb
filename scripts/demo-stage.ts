// Owns what the stories of `npm run demo` are told with: chapters, claims that must hold, the command as anybody would type it.
// Leaves the stories to scripts/demo.ts and scripts/demo-replicas.ts.
import { spawn } from "node:child_process";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const main = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../src/cli/main.ts");

export class Untrue extends Error {}

export function must(isTrue: boolean, claim: string): void {
  if (!isTrue) throw new Untrue(claim);
  process.stdout.write(`   ✓ ${claim}\n`);
}

export function chapter(title: string): void {
  process.stdout.write(`\n${title}\n`);
}

export type Ran = { readonly exit: number; readonly out: string };

/** One device: its data directory, and the name before its prompt where there are several. */
export type Desk = { readonly home: string; readonly name?: string };

/** Runs the command; what it prints is shown, indented, unless it is only looked at. */
export async function holdfast({ home, name }: Desk, argv: readonly string[], isShown = true): Promise<Ran> {
  if (isShown)
    process.stdout.write(
      `   ${name === undefined ? "" : `${name} `}$ holdfast ${argv.map((word) => (/[^\w./:@=-]/.test(word) ? `'${word}'` : word)).join(" ")}\n`,
    );
  // Some eighty processes of one program: each but the first finds it compiled.
  const env = {
    NODE_COMPILE_CACHE: path.join(path.dirname(home), "compiled"),
    ...process.env,
    HOLDFAST_HOME: home,
    NO_COLOR: "1",
    COLUMNS: "90",
  };
  const child = spawn(process.execPath, [main, ...argv], {
    cwd: path.dirname(home),
    env,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let out = "";
  const show = (text: string): void => void (isShown && process.stdout.write(text.replace(/^(?=.)/gm, "     ")));
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    out += text;
    show(text);
  });
  child.stderr.setEncoding("utf8").on("data", show);
  const exit = await new Promise<number>((resolve, reject) =>
    child.once("error", reject).once("close", (code) => resolve(code ?? 1)),
  );
  return { exit, out };
}

export async function ask<T>(desk: Desk, ...argv: readonly string[]): Promise<T> {
  return JSON.parse((await holdfast(desk, [...argv, "--json"], false)).out) as T;
}

/** Waits until a claim has become true. */
export async function mustBecome(isTrue: () => Promise<boolean>, claim: string): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    if (await isTrue()) return must(true, claim);
    await sleep(50);
  }
  throw new Untrue(claim);
}

export async function untilGone(pid: number): Promise<void> {
  for (let tries = 0; tries < 100; tries++) {
    try {
      process.kill(pid, 0);
    } catch {
      return;
    }
    await sleep(50);
  }
  throw new Untrue(`process ${pid} survives kill -9`);
}
