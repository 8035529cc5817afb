/**
 * Owns the real host: this process's terminal, clock, files and prompts. Everything heavy is imported where it is first used,
 * so that `--help` and the wrong word cost nothing. The daemon is reached in `real-session.ts`.
 */
import { fstatSync, writeSync } from "node:fs";
import { lstat, open, readFile, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { createInterface } from "node:readline";
import { delay } from "../client/waiting.ts";
import { HoldfastError } from "../errors.ts";
import { packageVersion } from "../node/package-version.ts";
import type { Asking, Files, Host, Sink, Source } from "./host.ts";

/** The host of a process that runs `main`, the file to start the daemon with. */
export function makeRealHost(main: string): Host {
  return {
    stdout: makeSink(process.stdout),
    stderr: makeSink(process.stderr),
    stdin: makeSource(),
    env: process.env,
    cwd: process.cwd(),
    version: packageVersion,
    now: Date.now,
    sleep: delay,
    onInterrupt,
    ask: asking,
    files,
    openSession: async (options) => (await import("./real-session.ts")).openSession(options, main),
    local: async (home) => (await import("./real-local.ts")).openLocal(home, main),
  };
}

/** The first Ctrl-C is the command's; whoever presses it again wants out, whatever the command still waits for. */
function onInterrupt(listener: () => void): () => void {
  const signals = ["SIGINT", "SIGTERM"] as const;
  let isFirst = true;
  const hear = (signal: NodeJS.Signals): void => {
    if (isFirst) listener();
    else leave(signal);
    isFirst = false;
  };
  const stop = (): void => {
    for (const signal of signals) process.off(signal, hear);
  };
  const leave = (signal: NodeJS.Signals): void => {
    stop();
    process.kill(process.pid, signal);
  };
  for (const signal of signals) process.on(signal, hear);
  return stop;
}

function makeSink(stream: NodeJS.WriteStream & { readonly fd: number }): Sink {
  let isFile: boolean | undefined;
  return {
    write: (text) => {
      isFile ??= fstatSync(stream.fd).isFile();
      if (isFile) writeWhole(stream.fd, text);
      else stream.write(text);
    },
    isTty: stream.isTTY === true,
    // Terminals are resized while they are looked at.
    get columns() {
      return stream.columns ?? 80;
    },
    get rows() {
      return stream.rows ?? 24;
    },
  };
}

/** Node's stream takes a short write to a file for a whole one: a full disk would cut an export off, and nobody would hear of it. */
function writeWhole(file: number, text: string): void {
  let rest = Buffer.from(text);
  while (rest.length > 0) rest = rest.subarray(writeSync(file, rest));
}

function makeSource(): Source {
  return {
    isTty: process.stdin.isTTY === true,
    readBytes: async () => {
      const chunks: Uint8Array[] = [];
      for await (const chunk of process.stdin) chunks.push(chunk as Uint8Array);
      return Buffer.concat(chunks);
    },
    // Made when it is first asked for a line: readline forgets what came before somebody listened.
    lines: async function* () {
      yield* createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY });
    },
  };
}

const files: Files = {
  // Node opens a directory, and complains of the first byte without its name.
  read: (path) =>
    readFile(path).catch((error: NodeJS.ErrnoException) => {
      throw Object.assign(error, { path });
    }),
  lines: async function* (path) {
    const file = await open(path);
    if ((await file.stat()).isDirectory()) {
      await file.close();
      throw Object.assign(new Error("it is a directory"), { code: "EISDIR", path });
    }
    yield* file.readLines();
  },
  isFile: async (path) => (await stat(path)).isFile(),
  write: async (path, chunks, { isReplacing }) => {
    // Asked before anything is read, and again at the end: it may take a while.
    await refuseOther(path, isReplacing);
    const temporary = `${path}.${process.pid}.tmp`;
    const file = await open(temporary, "wx", 0o600).catch((error: NodeJS.ErrnoException) => {
      throw error.code === "ENOENT" || error.code === "ENOTDIR" ? noFolder(path, error) : error;
    });
    try {
      try {
        for await (const chunk of chunks) await file.write(chunk);
        await file.sync();
      } finally {
        await file.close();
      }
      await refuseOther(path, isReplacing);
      await rename(temporary, path);
    } finally {
      await rm(temporary, { force: true });
    }
  },
};

function noFolder(path: string, cause: unknown): HoldfastError {
  return new HoldfastError("file_missing", `there is no folder ${dirname(path)}`, "make it, or choose another file", {
    cause,
  });
}

/** Only a file is ever replaced, and only when that is wanted. */
async function refuseOther(path: string, isReplacing: boolean): Promise<void> {
  const found = await stat(path).catch(() => lstat(path).catch(() => null));
  if (found === null) return;
  if (!found.isFile())
    throw new HoldfastError("refused_by_state", `${path} is no file`, "choose a file, or leave -o out for stdout");
  if (!isReplacing)
    throw new HoldfastError(
      "refused_by_state",
      `${path} is there already`,
      "choose another file, or replace it with --force",
    );
}

const asking: Asking = {
  select: async (message, choices) => {
    const { isCancel, select } = await import("@clack/prompts");
    const options = choices.map(({ value, label, hint }) =>
      hint === undefined ? { value: value as string, label } : { value: value as string, label, hint },
    );
    const picked = await select({ message, options });
    return isCancel(picked) ? null : (choices.find(({ value }) => value === picked)?.value ?? null);
  },
  confirm: async (message) => {
    const { confirm, isCancel } = await import("@clack/prompts");
    const said = await confirm({ message, initialValue: false });
    return isCancel(said) ? null : said;
  },
  text: async (message, initial) => {
    const { isCancel, text } = await import("@clack/prompts");
    const said = await text({ message, initialValue: initial });
    return isCancel(said) ? null : (said ?? null);
  },
  password: async (message) => {
    const { isCancel, password } = await import("@clack/prompts");
    const said = await password({ message });
    return isCancel(said) ? null : (said ?? null);
  },
};
