/**
 * Owns what `command.run` is: its payload, what is refused at enqueue, what each exit means, and how output is bounded.
 * Starting and ending processes is `node/command.ts`; who may queue commands is decided by the engine's settings.
 */
import * as z from "zod/mini";
import { HoldfastError } from "./errors.ts";
import { firstIssue, wordless } from "./issue.ts";
import type { Answer, Json } from "./operation.ts";
import { isSecretName, redacted } from "./redact.ts";
import type { OperationType } from "./world.ts";

/** Limits of one command. */
export const commandLimits = {
  arguments: 1_000,
  argumentLength: 131_071,
  environment: 200,
  stdinLength: 262_144,
  outputBytes: { default: 65_536, max: 524_288 },
  timeoutMs: { default: 600_000, max: 7 * 86_400_000 },
  title: 200,
} as const;

/** EX_TEMPFAIL of sysexits.h: the one exit code that has always meant "not now, try again". */
const temporaryFailure = 75;
/** How long a process may take to end after SIGTERM before SIGKILL follows. */
export const graceMs = 5_000;

const noNul = z.regex(/^[^\0]*$/, "no NUL characters");
const argument = z.string().check(z.maxLength(commandLimits.argumentLength), noNul);
const variable = z.string().check(z.regex(/^[A-Za-z_][A-Za-z0-9_]{0,199}$/, "no name of an environment variable"));
const exitCodes = z.array(z.int().check(z.gte(0), z.lte(255))).check(z.maxLength(256));

const payloadShape = z.strictObject({
  /** Program and arguments, given to it as they are: no shell reads them. */
  argv: z.array(argument).check(z.minLength(1), z.maxLength(commandLimits.arguments)),
  cwd: z.string().check(z.maxLength(4_096), z.regex(/^(\/|[A-Za-z]:[\\/]|\\\\)[^\0]*$/, "an absolute path")),
  env: z.optional(z.record(variable, argument)),
  /** Environment variable to the name of the credential whose secret it gets when the command starts. */
  envCredentials: z.optional(z.record(variable, z.string().check(z.minLength(1), z.maxLength(200)))),
  timeoutMs: z.optional(z.int().check(z.gte(1), z.lte(commandLimits.timeoutMs.max))),
  stdin: z.optional(z.string().check(z.maxLength(commandLimits.stdinLength))),
  successOn: z.optional(exitCodes.check(z.minLength(1))),
  retryOn: z.optional(exitCodes),
  failOn: z.optional(exitCodes),
  /** How much of each of stdout and stderr is kept: its first and its last half. */
  outputBytes: z.optional(z.int().check(z.gte(0), z.lte(commandLimits.outputBytes.max))),
});
export type CommandPayload = z.infer<typeof payloadShape>;

/**
 * `command.run` without its running part. A crash in the middle asks a person by default: nobody but its author knows whether a
 * command may run twice. Queue what may, e.g. `git push`, with `onCrash: "resend"`.
 */
export const commandRun: OperationType = {
  type: "command.run",
  check: (payload) => checkCommand(payload) as Json,
  title: (payload) => titleOf(payload as CommandPayload),
  remoteOf: () => "",
  // The command ends itself on its own clock and needs time to be ended: ours only stands behind it.
  timeoutMs: (payload) => timeoutOf(payload as CommandPayload) + 4 * graceMs,
  onCrash: "ask",
  redact: (payload) => redactCommand(payload as CommandPayload) as Json,
};

/** The payload to store, or `invalid_input` that names the field. */
export function checkCommand(payload: unknown): CommandPayload {
  const parsed = z.safeParse(payloadShape, payload, wordless);
  if (!parsed.success) {
    throw refuse(firstIssue(parsed.error, "payload"), "a command needs at least `argv` and an absolute `cwd`");
  }
  const command = parsed.data;
  if (command.argv[0] === "")
    throw refuse("argv: the program has no name", "put the program first, e.g. ['git', 'push']");
  const names = [...Object.keys(command.env ?? {}), ...Object.keys(command.envCredentials ?? {})];
  if (names.length > commandLimits.environment) {
    throw refuse(`env: more than ${commandLimits.environment} variables`, "give fewer, or a file");
  }
  const reserved = names.find((name) => name.startsWith("HOLDFAST_"));
  if (reserved !== undefined) throw refuse(`env: ${reserved} is set by Holdfast`, "use another name");
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw refuse(`env: ${twice} is given as text and as a credential`, "give it once");
  const { successOn, retryOn, failOn } = meaningOf(command);
  const torn = successOn.find((code) => retryOn.includes(code) || failOn.includes(code));
  const between = retryOn.find((code) => failOn.includes(code));
  if (torn !== undefined || between !== undefined) {
    throw refuse(
      `exit code ${torn ?? between} has two meanings`,
      "name each code in one of successOn, retryOn, failOn",
    );
  }
  return command;
}

/** How a process ended. `stopped`: we were told to stop, so what it would have done is not known. */
export type Ending =
  | { readonly kind: "exited"; readonly code: number }
  | { readonly kind: "signalled"; readonly signal: string }
  | { readonly kind: "timed_out"; readonly afterMs: number }
  | { readonly kind: "stopped" };

/** What an ending means for the operation; `result` is kept where there is a place for it. */
export function answerOfEnding(command: CommandPayload, ending: Ending, result: CommandResult): Answer {
  const program = command.argv[0] ?? "";
  const detail = result as Json;
  const again = (code: string, message: string, hint: string): Answer => ({
    kind: "retry",
    problem: { code, message, hint, detail },
    isCharged: true,
    scope: "operation",
  });
  switch (ending.kind) {
    case "stopped": {
      const problem = {
        code: "stopped",
        message: `${program} was stopped with Holdfast`,
        hint: "look whether it had its effect; then retry or cancel it",
      };
      return { kind: "unknown", problem: { ...problem, detail }, mayHaveLanded: true };
    }
    case "timed_out":
      return again(
        "command_timed_out",
        `${program} did not end within ${ending.afterMs} ms`,
        "raise timeoutMs if it needs longer",
      );
    case "signalled":
      return again(
        "command_killed",
        `${program} was ended by ${ending.signal}`,
        "the system or a person ended it; look at its output and at the free memory",
      );
    case "exited":
      return answerOfExit(command, ending.code, result);
  }
}

/** What a command left behind. Output is text: bytes that are no UTF-8 become U+FFFD. */
export type CommandResult = {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** Bytes that were written, kept or not. */
  readonly stdoutBytes: number;
  readonly stderrBytes: number;
  readonly isTruncated: boolean;
  readonly durationMs: number;
};

/** Limit of one run in milliseconds. */
export function timeoutOf(command: CommandPayload): number {
  return command.timeoutMs ?? commandLimits.timeoutMs.default;
}

/** Where UTF-8 text may be cut at or before `end`: never inside a character. */
export function cutBefore(bytes: Uint8Array, end: number): number {
  if (end >= bytes.length) return bytes.length;
  let at = end;
  // A character has at most three bytes after its first; more of them in a row are no UTF-8, and then every cut is as good.
  while (at > 0 && end - at < 3 && isContinuation(bytes[at])) at -= 1;
  return isContinuation(bytes[at]) ? end : at;
}

/** Where UTF-8 text may begin at or after `start`. */
export function cutAfter(bytes: Uint8Array, start: number): number {
  let at = start;
  while (at < bytes.length && at - start < 3 && isContinuation(bytes[at])) at += 1;
  return isContinuation(bytes[at]) ? start : at;
}

/** One line of a command as a person would type it. */
export function displayCommand(argv: readonly string[]): string {
  return argv.map((each) => (/^[\w@%+=:,./-]+$/.test(each) ? each : `'${each.replaceAll("'", "'\\''")}'`)).join(" ");
}

function answerOfExit(command: CommandPayload, code: number, result: CommandResult): Answer {
  const { successOn, retryOn } = meaningOf(command);
  if (successOn.includes(code)) return { kind: "applied", result: result as Json };
  const said = lastLine(result.stderr) || lastLine(result.stdout);
  const message = `${command.argv[0]} ended with code ${code}${said === "" ? "" : `: ${said}`}`;
  const problem = { message, status: code, detail: result as Json };
  if (retryOn.includes(code)) {
    const hint = "it runs again by itself: this code means 'not now'";
    return { kind: "retry", problem: { code: "command_retry", hint, ...problem }, isCharged: true, scope: "operation" };
  }
  const hint = "look at its output, mend what it complains about and retry it; name codes to retry on in retryOn";
  return { kind: "rejected", problem: { code: "command_failed", hint, ...problem } };
}

function meaningOf({ successOn, retryOn, failOn }: CommandPayload): {
  readonly successOn: readonly number[];
  readonly retryOn: readonly number[];
  readonly failOn: readonly number[];
} {
  const success = successOn ?? [0];
  const fail = failOn ?? [];
  // A code that is named elsewhere has lost its usual meaning.
  const usual = [temporaryFailure].filter((code) => !success.includes(code) && !fail.includes(code));
  return { successOn: success, failOn: fail, retryOn: retryOn ?? usual };
}

function titleOf({ argv }: CommandPayload): string {
  const title = displayCommand(argv).replace(/\s+/g, " ");
  return title.length <= commandLimits.title ? title : `${title.slice(0, commandLimits.title - 1)}…`;
}

/** Names stay, values go: nobody can tell which of a command's texts is a secret, but its options often say so. */
function redactCommand(command: CommandPayload): CommandPayload {
  const { argv, env, stdin } = command;
  const hidden = argv.map((each, index) => {
    const assigned = /^(-*)([\w.-]+)=/.exec(each);
    if (assigned !== null && isSecretName(assigned[2] ?? "")) return `${assigned[0]}${redacted}`;
    const option = /^--?([\w.-]+)$/.exec(argv[index - 1] ?? "");
    return option !== null && isSecretName(option[1] ?? "") && !each.startsWith("-") ? redacted : each;
  });
  return {
    ...command,
    argv: hidden,
    ...(env === undefined ? {} : { env: Object.fromEntries(Object.keys(env).map((name) => [name, redacted])) }),
    ...(stdin === undefined ? {} : { stdin: redacted }),
  };
}

function lastLine(text: string): string {
  return text.trimEnd().split("\n").at(-1)?.trim().slice(0, 200) ?? "";
}

function isContinuation(byte: number | undefined): boolean {
  return byte !== undefined && (byte & 0xc0) === 0x80;
}

function refuse(message: string, hint: string): HoldfastError {
  return new HoldfastError("invalid_input", `command.run: ${message}`, hint);
}
