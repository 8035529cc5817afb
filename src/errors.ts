/**
 * Owns the one error class and the table that gives each code its HTTP status, exit code and temper.
 * What a remote answered to an operation is not an error of ours: that is a value, see `operation.ts` and `failure.ts`.
 */

/** What a code means to the outside: HTTP status, exit code of the command, and whether trying again unchanged can help. */
export type ErrorTraits = { readonly status: number; readonly exit: ExitCode; readonly isTransient: boolean };

/** Exit codes of the command: 0 done or safely queued, 1 failed, 2 usage, 3 daemon unreachable, 4 not found, 5 refused by state. */
export type ExitCode = 0 | 1 | 2 | 3 | 4 | 5;

const traits = (status: number, exit: ExitCode, isTransient = false): ErrorTraits => ({ status, exit, isTransient });

/** Every code that a `HoldfastError` can carry. Codes are stable: they are never renamed, only added. */
export const errorTable = {
  invalid_input: traits(400, 2),
  payload_too_large: traits(413, 2),
  unknown_verb: traits(404, 2),
  not_found: traits(404, 4),
  ambiguous_id: traits(409, 4),
  refused_by_state: traits(409, 5),
  stale_revision: traits(412, 5),
  unique_violation: traits(409, 5),
  maybe_landed: traits(409, 5),
  dependency_cycle: traits(409, 5),
  duplicate_local_id: traits(409, 5),
  queue_full: traits(507, 5, true),
  confirmation_needed: traits(409, 5),
  command_disabled: traits(403, 5),
  file_missing: traits(422, 4),
  file_changed: traits(409, 5),
  credential_missing: traits(422, 4),
  disk_full: traits(507, 1, true),
  read_only: traits(503, 1, true),
  database_busy: traits(503, 1, true),
  database_newer: traits(500, 1),
  database_corrupt: traits(500, 1),
  record_corrupt: traits(500, 1, true),
  io_failed: traits(500, 1, true),
  engine_closed: traits(503, 3, true),
  daemon_unreachable: traits(503, 3, true),
  daemon_running: traits(409, 5),
  daemon_untrusted: traits(502, 3),
  unauthorized: traits(401, 3),
  forbidden_host: traits(403, 3),
  forbidden_origin: traits(403, 3),
  unsupported_media_type: traits(415, 2),
  method_not_allowed: traits(405, 2),
  rate_limited: traits(429, 1, true),
  config_invalid: traits(422, 2),
  aborted: traits(499, 1, true),
  timed_out: traits(504, 1, true),
  internal: traits(500, 1),
} as const satisfies Record<string, ErrorTraits>;

export type ErrorCode = keyof typeof errorTable;

/** How an error looks on every transport; `HoldfastError.toJSON` makes it and `errorFrom` reads it back. */
export type ErrorBody = {
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint: string;
  readonly details?: Readonly<Record<string, unknown>>;
};

/** Known to every copy of this module in one process. */
const brand: unique symbol = Symbol.for("holdfast.error") as never;

/**
 * A failure of Holdfast itself. Decide by `code`; `message` says what happened to which id, `hint` says what to do next.
 * @example
 * try { engine.handle("queue.get", { id: "0190" }) } catch (error) { if (isCode(error, "not_found")) return null; throw error }
 */
export class HoldfastError extends Error {
  /** The command is a bundle with a copy of its own, and what a program declares throws with that of the library: both are ours. */
  static override [Symbol.hasInstance](value: unknown): value is HoldfastError {
    return typeof value === "object" && value !== null && brand in value;
  }

  readonly code: ErrorCode;
  readonly hint: string;
  readonly details: Readonly<Record<string, unknown>> | undefined;

  constructor(
    code: ErrorCode,
    message: string,
    hint: string,
    more: { readonly cause?: unknown; readonly details?: Readonly<Record<string, unknown>> } = {},
  ) {
    super(message, more.cause === undefined ? undefined : { cause: more.cause });
    this.name = "HoldfastError";
    this.code = code;
    this.hint = hint;
    this.details = more.details;
  }

  get [brand](): true {
    return true;
  }

  toJSON(): ErrorBody {
    const body = { code: this.code, message: this.message, hint: this.hint };
    return this.details === undefined ? body : { ...body, details: this.details };
  }
}

/** Tells whether `error` is a `HoldfastError` with that code. */
export function isCode(error: unknown, code: ErrorCode): error is HoldfastError {
  return error instanceof HoldfastError && error.code === code;
}

/** Reads an error body that came over a transport; anything else becomes `internal`. */
export function errorFrom(body: unknown): HoldfastError {
  if (typeof body === "object" && body !== null && "code" in body && "message" in body) {
    const { code, message, hint, details } = body as { readonly [name in keyof ErrorBody]?: unknown };
    // Asked of the table itself: "constructor" is a member of every object, and no code.
    if (isErrorCode(code) && typeof message === "string") {
      const isTold = typeof details === "object" && details !== null && !Array.isArray(details);
      const more = isTold ? { details: details as Readonly<Record<string, unknown>> } : {};
      return new HoldfastError(code, message, typeof hint === "string" ? hint : "", more);
    }
  }
  return new HoldfastError(
    "internal",
    "an answer that is no Holdfast error came back",
    "check that both sides run the same version",
    {
      details: { body },
    },
  );
}

const isErrorCode = (code: unknown): code is ErrorCode => typeof code === "string" && Object.hasOwn(errorTable, code);

/** Stops the program on a broken invariant; kept on in production because a wrong queue is worse than a stopped one. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition)
    throw new HoldfastError(
      "internal",
      `broken invariant: ${message}`,
      "report this with the output of `holdfast doctor`",
    );
}

/** Ends a switch over a closed union: a new member becomes a type error here. */
export function unreachable(value: never): never {
  throw new HoldfastError(
    "internal",
    `unexpected value: ${String(value)}`,
    "report this with the output of `holdfast doctor`",
  );
}
