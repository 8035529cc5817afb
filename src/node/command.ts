/**
 * Owns running `command.run`: the environment that it gets, its output, its end and that of everything that it started.
 * The payload and what an exit means is `command.ts` of the rules; groups of processes are `process-group.ts`.
 */
import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { stat } from "node:fs/promises";
import type { CommandPayload, CommandResult, Ending } from "../command.ts";
import { answerOfEnding, commandLimits, commandRun, graceMs, timeoutOf } from "../command.ts";
import { isCode } from "../errors.ts";
import { keepDoubt } from "../failure.ts";
import type { Answer, Json, Operation } from "../operation.ts";
import type { Attempt, OperationType, Signal } from "../world.ts";
import type { Output } from "./command-output.ts";
import { makeOutput } from "./command-output.ts";
import { systemCode } from "./file-errors.ts";
import { endGroup, isRunning, markOf, readMark } from "./process-group.ts";

/** Gives the secret that a name stands for; throws `credential_missing`. */
export type CommandCredentials = { readonly secretFor: (name: string, subject: string) => Promise<string> };

export type CommandDeps = {
  /** Whether this operation may run here: commands are enabled, or the owner queued it. */
  readonly isEnabled: (operation: Operation) => boolean;
  readonly credentials: CommandCredentials;
  readonly graceMs?: number;
};

/** After a program has ended, what it wrote may still be on its way; who holds its output open longer is not waited for. */
const drainMs = 500;

/** What a program needs to find its way, and nothing that was meant for us alone. */
const passedOn =
  process.platform === "win32"
    ? [
        "PATH",
        "PATHEXT",
        "SystemRoot",
        "SystemDrive",
        "ComSpec",
        "USERPROFILE",
        "APPDATA",
        "LOCALAPPDATA",
        "USERNAME",
        "TEMP",
        "TMP",
      ]
    : ["PATH", "HOME", "LANG", "TZ", "USER", "TMPDIR"];

/**
 * Makes the `command.run` type that can run.
 * @example
 * engine.register(makeCommandRun({ isEnabled: () => true, credentials }))
 */
export function makeCommandRun(deps: CommandDeps): OperationType {
  return {
    ...commandRun,
    run: async (attempt) => keepDoubt(await runCommand(deps, attempt), attempt.operation.mayHaveLanded),
  };
}

async function runCommand(deps: CommandDeps, attempt: Attempt): Promise<Answer> {
  const command = attempt.input as CommandPayload;
  if (!deps.isEnabled(attempt.operation)) return rejected("command_disabled", ...disabled);
  if (attempt.signal.aborted) return neverStarted("stopped before it was started");
  await endLeftOver(attempt, deps.graceMs ?? graceMs);
  if (!(await isFolder(command.cwd))) {
    const hint = "make it again and retry, or queue the command with another working directory";
    return rejected("command_no_folder", `the working directory ${command.cwd} is not there`, hint);
  }
  try {
    const secrets = await secretsOf(deps, attempt);
    return await start(command, attempt, { secrets, graceMs: deps.graceMs ?? graceMs });
  } catch (error) {
    if (!isCode(error, "credential_missing")) throw error;
    const { code, message, hint } = error;
    return { kind: "auth", problem: { code, message, hint } };
  }
}

const disabled = [
  "commands are switched off here",
  "`holdfast config set command.enabled true` lets every queued command run; the owner can also queue with `holdfast exec`",
] as const;

type Secrets = Readonly<Record<string, string>>;
type Given = { readonly secrets: Secrets; readonly graceMs: number };

async function start(command: CommandPayload, attempt: Attempt, given: Given): Promise<Answer> {
  const startedAt = performance.now();
  const [program = "", ...rest] = command.argv;
  let child: ChildProcess;
  try {
    child = spawn(program, rest, {
      cwd: command.cwd,
      env: environmentOf(command, attempt, given.secrets),
      // A group of its own: what the command starts is ended with it, and a Ctrl-C meant for us does not reach it.
      detached: true,
      windowsHide: true,
      stdio: ["pipe", "pipe", "pipe"],
    });
  } catch (error) {
    // Some of the system's refusals are thrown, others told later.
    return answerOfStart(command, error);
  }
  const began = await hasStarted(child);
  if (began !== null) return answerOfStart(command, began);
  const { pid } = child;
  if (pid === undefined) return neverStarted(`${program} got no process`);
  const limit = command.outputBytes ?? commandLimits.outputBytes.default;
  const hidden = Object.values(given.secrets);
  const outputs = { stdout: makeOutput(limit, hidden), stderr: makeOutput(limit, hidden) };
  collect(child, outputs);
  feed(child, command.stdin);
  const ended = endingOf(child);
  // Noted at once: should we die now, the next process can tell the left-over command from a stranger.
  const noted = note(attempt, pid);
  const ending = await supervise({
    ended,
    signal: attempt.signal,
    pid,
    timeoutMs: timeoutOf(command),
    graceMs: given.graceMs,
  });
  await Promise.all([drained(child), noted]);
  const durationMs = Math.round(performance.now() - startedAt);
  return answerOfEnding(command, ending, resultOf(ending, outputs, durationMs));
}

/** A note that cannot be taken must not leave the command without anybody who waits for it. */
async function note(attempt: Attempt, pid: number): Promise<void> {
  const mark = await markOf(pid);
  if (mark !== null) await attempt.saveCheckpoint(mark as Json).catch(() => undefined);
}

/** A command that an earlier process of ours left running must not run beside its own repetition. */
async function endLeftOver(attempt: Attempt, withinMs: number): Promise<void> {
  const mark = readMark(attempt.checkpoint);
  if (mark !== null && mark.pid !== process.pid && (await isRunning(mark))) await endGroup(mark.pid, withinMs);
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}

async function secretsOf(deps: CommandDeps, { input, operation }: Attempt): Promise<Secrets> {
  const named = Object.entries((input as CommandPayload).envCredentials ?? {});
  const found = named.map(async ([name, credential]) => [
    name,
    await deps.credentials.secretFor(credential, operation.subject),
  ]);
  return Object.fromEntries(await Promise.all(found));
}

function environmentOf(command: CommandPayload, attempt: Attempt, secrets: Secrets): NodeJS.ProcessEnv {
  const own = passedOn.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]] as const]));
  return {
    ...Object.fromEntries(own),
    ...command.env,
    ...secrets,
    HOLDFAST_OPERATION_ID: attempt.operation.id,
    HOLDFAST_IDEMPOTENCY_KEY: attempt.idempotencyKey,
    HOLDFAST_ATTEMPT: String(attempt.operation.attempts),
  };
}

/** `null` once it runs; otherwise why it could not be started. */
function hasStarted(child: ChildProcess): Promise<unknown> {
  return new Promise((resolve) => {
    child.once("spawn", () => resolve(null));
    child.once("error", resolve);
  });
}

function collect(child: ChildProcess, outputs: { readonly stdout: Output; readonly stderr: Output }): void {
  child.on("error", () => undefined);
  child.stdout?.on("data", outputs.stdout.push).on("error", () => undefined);
  child.stderr?.on("data", outputs.stderr.push).on("error", () => undefined);
}

/** A program that does not read its input to the end has not failed for that. */
function feed(child: ChildProcess, text: string | undefined): void {
  child.stdin?.on("error", () => undefined);
  child.stdin?.end(text ?? "");
}

function endingOf(child: ChildProcess): Promise<Ending> {
  return new Promise((resolve) => {
    child.once("exit", (code, signal) => {
      resolve(code === null ? { kind: "signalled", signal: signal ?? "a signal" } : { kind: "exited", code });
    });
  });
}

type Supervised = {
  readonly ended: Promise<Ending>;
  readonly signal: Signal;
  readonly pid: number;
  readonly timeoutMs: number;
  readonly graceMs: number;
};

/** Waits for the end, or brings it about when time is up or we are told to stop. */
async function supervise({ ended, signal, pid, timeoutMs, graceMs }: Supervised): Promise<Ending> {
  let onAbort = () => {};
  let timer: NodeJS.Timeout | undefined;
  const cut = new Promise<Ending>((resolve) => {
    onAbort = () => resolve({ kind: "stopped" });
    signal.addEventListener("abort", onAbort);
    timer = setTimeout(() => resolve({ kind: "timed_out", afterMs: timeoutMs }), timeoutMs);
    if (signal.aborted) onAbort();
  });
  const first = await Promise.race([ended, cut]);
  clearTimeout(timer);
  signal.removeEventListener("abort", onAbort);
  if (first.kind !== "stopped" && first.kind !== "timed_out") return first;
  const own = await Promise.race([ended, null]);
  if (own !== null) return own;
  await endGroup(pid, graceMs);
  // Whatever code it leaves with now, it did not come to its own end: many programs answer SIGTERM with 0.
  return first;
}

/** Waits until all output is read, but not for grandchildren that keep it open. */
async function drained(child: ChildProcess): Promise<void> {
  const streams = [child.stdout, child.stderr].flatMap((stream) => (stream === null ? [] : [stream]));
  const closed = streams.map((stream) =>
    stream.closed ? Promise.resolve() : new Promise<void>((resolve) => stream.once("close", () => resolve())),
  );
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, drainMs);
  });
  await Promise.race([Promise.all(closed), late]);
  clearTimeout(timer);
  for (const stream of streams) stream.destroy();
}

function resultOf(
  ending: Ending,
  { stdout, stderr }: { readonly stdout: Output; readonly stderr: Output },
  durationMs: number,
): CommandResult {
  return {
    exitCode: ending.kind === "exited" ? ending.code : null,
    stdout: stdout.text(),
    stderr: stderr.text(),
    stdoutBytes: stdout.totalBytes(),
    stderrBytes: stderr.totalBytes(),
    isTruncated: stdout.isTruncated() || stderr.isTruncated(),
    durationMs,
  };
}

function answerOfStart({ argv }: CommandPayload, error: unknown): Answer {
  const program = argv[0] ?? "";
  const code = systemCode(error);
  switch (code) {
    case "ENOENT":
    case "ENOTDIR":
    case "ENAMETOOLONG":
      return rejected("command_not_found", `there is no program ${program}`, "install it, or give its full path");
    case "EACCES":
    case "EPERM":
      return rejected(
        "command_not_allowed",
        `${program} may not be run (${code})`,
        `make it executable: chmod +x ${program}`,
      );
    case "E2BIG":
      return rejected(
        "command_too_long",
        `the arguments of ${program} are too long for this system`,
        "give it a file instead",
      );
    case "ENOEXEC":
      return rejected(
        "command_not_allowed",
        `${program} is no program`,
        "name its interpreter first, e.g. ['sh', 'script.sh']",
      );
    case "ERR_INVALID_ARG_VALUE":
      // Its own words show the value, which may be a secret.
      return rejected(
        "command_unusable",
        `the arguments or the environment of ${program} hold a NUL character`,
        "look at its credentials, and set the one that holds it again",
      );
    default:
      // No memory, no process to spare: nothing ran, and later there may be room.
      return neverStarted(`${program} could not be started (${code || String(error)})`);
  }
}

function neverStarted(message: string): Answer {
  const problem = { code: "command_not_started", message, hint: "it is tried again by itself" };
  return { kind: "unknown", problem, mayHaveLanded: false };
}

function rejected(code: string, message: string, hint: string): Answer {
  return { kind: "rejected", problem: { code, message, hint } };
}
