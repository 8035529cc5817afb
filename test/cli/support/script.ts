// Owns a scripted host for the command: every answer of the daemon is written down by the test, every word of output is kept.
// Leaves what the command does with them to src/cli/; the real host is tried in end-to-end.test.ts.
import type { Host, Local } from "../../../src/cli/host.ts";
import { runCli } from "../../../src/cli/run.ts";
import type { Session } from "../../../src/cli/session.ts";
import type { HoldfastError } from "../../../src/errors.ts";
import type { HoldfastEvent, Input, Output, Verb } from "../../../src/verbs.ts";
import { parseInput, verbs } from "../../../src/verbs.ts";

/** All tests happen on this instant: 2026-11-21 12:00:00 UTC. */
export const now = Date.UTC(2026, 10, 21, 12);

type Answer<V extends Verb> = Output<V> | ((input: Input<V>) => Output<V>);
export type Answers = { readonly [V in Verb]?: Answer<V> };

export type Script = {
  readonly answers?: Answers;
  readonly stdin?: string | Uint8Array;
  readonly isTty?: boolean;
  readonly columns?: number;
  readonly env?: Readonly<Record<string, string>>;
  readonly files?: Readonly<Record<string, string | Uint8Array>>;
  readonly local?: Partial<Local>;
  /** Answers to questions, in order; `null` gives the question up. */
  readonly says?: readonly (string | boolean | null)[];
  readonly events?: readonly HoldfastEvent[];
  /** Ctrl-C comes while the command sleeps for the n-th time (1 is the first). */
  readonly interruptAt?: number;
  readonly openError?: HoldfastError;
};

export type Played = {
  readonly exit: number;
  readonly out: string;
  readonly err: string;
  readonly calls: readonly (readonly [verb: string, input: unknown])[];
  readonly written: Readonly<Record<string, string>>;
  readonly asked: readonly string[];
  readonly opened: number;
};

/** Runs the command against a script. */
export async function play(argv: readonly string[], script: Script = {}): Promise<Played> {
  const kept = newKept();
  const host = makeHost(script, kept);
  const exit = await runCli(argv, host);
  const { out, err, calls, written, asked, opened } = kept;
  return { exit, out, err, calls, written, asked, opened };
}

/** A host of which nothing is read. */
export function hostFor(script: Script): Host {
  return makeHost(script, newKept());
}

/** What a person sees: both streams and the exit code, for goldens. */
export function screen(argv: readonly string[], { out, err, exit }: Played): string {
  const part = (name: string, text: string): string => (text === "" ? "" : `--- ${name}\n${text}`);
  return `$ holdfast ${argv.map((word) => (/[\s'"{]/.test(word) || word === "" ? `'${word}'` : word)).join(" ")}\n${part("stdout", out)}${part("stderr", err)}--- exit ${exit}\n`;
}

type Kept = {
  out: string;
  err: string;
  calls: [string, unknown][];
  written: Record<string, string>;
  asked: string[];
  opened: number;
  slept: number;
  clock: number;
};

function newKept(): Kept {
  return { out: "", err: "", calls: [], written: {}, asked: [], opened: 0, slept: 0, clock: now };
}

function makeHost(script: Script, kept: Kept): Host {
  const isTty = script.isTty ?? false;
  const sink = (name: "out" | "err") => ({
    write: (text: string): void => {
      kept[name] += text;
    },
    isTty,
    columns: script.columns ?? 100,
    rows: 30,
  });
  const interrupts = new Set<() => void>();
  return {
    stdout: sink("out"),
    stderr: sink("err"),
    stdin: makeStdin(script, isTty),
    env: { COLUMNS: "100", ...script.env },
    cwd: "/desk",
    version: "0.1.0",
    now: () => kept.clock,
    sleep: async (ms) => {
      // Whatever is under way in this process goes on meanwhile, as it would in real time.
      await new Promise((resolve) => setImmediate(resolve));
      kept.slept += 1;
      kept.clock += ms;
      if (kept.slept === script.interruptAt) for (const each of interrupts) each();
      if (kept.slept > 200) throw new Error("the script never comes to an end");
    },
    onInterrupt: (listener) => {
      interrupts.add(listener);
      return () => interrupts.delete(listener);
    },
    ask: makeAsking(script, kept),
    files: makeFiles(script, kept),
    openSession: async () => {
      kept.opened += 1;
      if (script.openError !== undefined) throw script.openError;
      return makeSession(script, kept);
    },
    local: async () => makeLocal(script),
  };
}

const noNetwork: Output<"network.status"> = {
  ...{ status: "unknown", isWorkingOffline: false, lastCheckAt: null },
  ...{ remotes: [], pokes: [] },
};

function makeSession(script: Script, kept: Kept): Session {
  const info = {
    home: "/home/ada/.local/share/holdfast",
    pid: 4711,
    port: 4780,
    socket: "/home/ada/.local/share/holdfast/daemon.sock",
    version: "0.1.0",
    startedAt: now - 3_600_000,
    isNew: false,
  };
  return {
    info,
    call: async (verb, input) => {
      // What the command sends and what the script answers must both be what the contract says.
      const checked = parseInput(verb, input);
      // Asked after every command that has not told it: a script that says nothing of the network has none to tell of.
      if (verb === "network.status" && script.answers?.[verb] === undefined) return noNetwork as Output<typeof verb>;
      kept.calls.push([verb, input]);
      const answer = script.answers?.[verb] as Answer<typeof verb> | undefined;
      if (answer === undefined) throw new Error(`the script has no answer to ${verb}`);
      const output = typeof answer === "function" ? (answer as (given: unknown) => unknown)(checked) : answer;
      return verbs[verb].output.parse(output) as Output<typeof verb>;
    },
    subscribe: (listener) => {
      for (const event of script.events ?? []) queueMicrotask(() => listener(event));
      return () => {};
    },
    close: async () => {},
  };
}

function makeStdin(script: Script, isTty: boolean): Host["stdin"] {
  const bytes =
    typeof script.stdin === "string" ? new TextEncoder().encode(script.stdin) : (script.stdin ?? new Uint8Array());
  return {
    isTty: isTty && script.stdin === undefined,
    readBytes: async () => bytes,
    lines: () => linesOf(new TextDecoder().decode(bytes)),
  };
}

async function* linesOf(text: string): AsyncIterable<string> {
  for (const line of text.replace(/\n$/, "").split("\n")) yield line;
}

function makeAsking(script: Script, kept: Kept): Host["ask"] {
  const says = [...(script.says ?? [])];
  const next = (question: string): string | boolean | null => {
    kept.asked.push(question);
    const said = says.shift();
    if (said === undefined) throw new Error(`nobody answers: ${question}`);
    return said;
  };
  return {
    select: async (message, choices) => {
      const said = next(`${message} [${choices.map(({ label }) => label).join(" | ")}]`);
      return choices.find(({ value }) => value === said)?.value ?? null;
    },
    confirm: async (message) => next(message) as boolean | null,
    text: async (message, initial) => next(`${message} (${initial})`) as string | null,
    password: async (message) => next(message) as string | null,
  };
}

function makeFiles(script: Script, kept: Kept): Host["files"] {
  const find = (path: string): Uint8Array => {
    const content = script.files?.[path];
    if (content === undefined)
      throw Object.assign(new Error(`ENOENT: no such file, open '${path}'`), { code: "ENOENT", path });
    return typeof content === "string" ? new TextEncoder().encode(content) : content;
  };
  return {
    read: async (path) => find(path),
    lines: (path) => linesOf(new TextDecoder().decode(find(path))),
    isFile: async (path) => find(path) !== undefined,
    write: async (path, chunks) => {
      let text = "";
      for await (const chunk of chunks) text += chunk;
      kept.written[path] = text;
    },
  };
}

const missing = (what: string) => async (): Promise<never> => {
  throw new Error(`the script has no ${what}`);
};

function makeLocal(script: Script): Local {
  return {
    directory: "/home/ada/.local/share/holdfast",
    config: { path: missing("config"), list: missing("config"), get: missing("config"), set: missing("config") },
    credentials: { list: missing("credentials"), set: missing("credentials"), remove: missing("credentials") },
    daemon: {
      run: missing("daemon"),
      start: missing("daemon"),
      stop: missing("daemon"),
      status: missing("daemon"),
      log: () => {
        throw new Error("the script has no log");
      },
    },
    capture: missing("capture"),
    diagnose: missing("diagnosis"),
    ...script.local,
  };
}
