/**
 * Owns the real host: this process's terminal, clock, files and prompts. Everything heavy is imported where it is first used,
 * so that `--help` and the wrong word cost nothing. The daemon is reached in `real-session.ts`.
 */
import { open, readFile, rename, rm } from "node:fs/promises";
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
    onInterrupt: (listener) => {
      process.on("SIGINT", listener);
      return () => process.off("SIGINT", listener);
    },
    ask: asking,
    files,
    openSession: async (options) => (await import("./real-session.ts")).openSession(options, main),
    local: async (home) => (await import("./real-local.ts")).openLocal(home, main),
  };
}

function makeSink(stream: NodeJS.WriteStream): Sink {
  return {
    write: (text) => void stream.write(text),
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
  read: (path) => readFile(path),
  lines: async function* (path) {
    const file = await open(path);
    yield* file.readLines();
  },
  write: async (path, chunks, { isReplacing }) => {
    const temporary = `${path}.${process.pid}.tmp`;
    try {
      const file = await open(temporary, "wx", 0o600);
      try {
        for await (const chunk of chunks) await file.write(chunk);
        await file.sync();
      } finally {
        await file.close();
      }
      if (!isReplacing && (await exists(path))) {
        throw new HoldfastError(
          "refused_by_state",
          `${path} is there already`,
          "choose another file, or replace it with --force",
        );
      }
      await rename(temporary, path);
    } finally {
      await rm(temporary, { force: true });
    }
  },
};

async function exists(path: string): Promise<boolean> {
  return open(path).then(
    async (file) => {
      await file.close();
      return true;
    },
    () => false,
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
