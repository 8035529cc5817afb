/**
 * Owns building the shim that stands between a process and libc, and starting processes behind it.
 * What the recorded calls mean is left to `trace.ts`.
 */
import type { ChildProcess } from "node:child_process";
import { fork, spawnSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export type Shim = { readonly path: string } | { readonly reason: string };

/** Compiles the shim into a folder; where that cannot be done, the reason is printed by the tests that are skipped for it. */
export function buildShim(folder: string): Shim {
  if (process.platform !== "linux") return { reason: `the shim is for Linux, this is ${process.platform}` };
  const source = fileURLToPath(new URL("./shim/shim.c", import.meta.url));
  const path = join(folder, "shim.so");
  for (const compiler of ["cc", "gcc", "clang"]) {
    const built = spawnSync(compiler, ["-shared", "-fPIC", "-O2", "-o", path, source, "-ldl", "-lpthread"], {
      encoding: "utf8",
    });
    if (built.status === 0) return { path };
    if (built.status !== null) return { reason: `${compiler} could not build the shim: ${built.stderr}` };
  }
  return { reason: "there is no C compiler (cc, gcc or clang)" };
}

export type ShimmedOptions = {
  readonly shim: string;
  readonly directory: string;
  readonly trace?: string;
  readonly arguments?: readonly string[];
};

/** Starts a script of this folder behind the shim. */
export function forkShimmed(script: string, options: ShimmedOptions): ChildProcess {
  return fork(fileURLToPath(new URL(script, import.meta.url)), [...(options.arguments ?? [])], {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
    execArgv: [],
    env: {
      ...process.env,
      LD_PRELOAD: options.shim,
      SHIM_DIRECTORY: options.directory,
      ...(options.trace === undefined ? {} : { SHIM_TRACE: options.trace }),
    },
  });
}

export function exitOf(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve) => child.once("exit", resolve));
}
