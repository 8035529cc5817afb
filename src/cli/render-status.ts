/**
 * Owns how the state of the whole looks: the one screen of `status`, the queue's summary, remotes, sync runs.
 * Single operations are in `render-operation.ts`.
 */
import { recordWriteType } from "../record.ts";
import type { Output, Pause, QueueStatus, RemoteView, SyncRun } from "../verbs.ts";
import type { Context } from "./context.ts";
import type { Paint } from "./paint.ts";
import { sign } from "./paint.ts";
import { formatAge, formatDuration, formatRelative } from "./relative-time.ts";
import { problemText, titleOf } from "./render-operation.ts";
import type { Operation } from "./session.ts";
import { wayOut } from "./sync-trouble.ts";
import type { Cell } from "./text.ts";
import { facts, formatBytes, grouped, padEnd, plain, plural, shellWord, shortId, table } from "./text.ts";

type Look = Pick<Context, "paint" | "width" | "now">;

function paintLight(paint: Paint, light: QueueStatus["light"]): (text: string) => string {
  return light === "green" ? paint.green : light === "red" ? paint.red : paint.yellow;
}

/** The light and its sentence: the first line of everything about the whole. */
export function renderLight(paint: Paint, status: Pick<QueueStatus, "light" | "sentence">): string {
  return `${paintLight(paint, status.light)(sign.light)} ${plain(status.sentence)}`;
}

/** What all collections together have unsent and undecided. */
export type RecordsStanding = { readonly collections: number; readonly pending: number; readonly conflicts: number };

type Shown = { readonly failed: readonly Operation[]; readonly records: RecordsStanding };

/** One screen: online?, pending, oldest unsent, next attempt, records, failures. */
export function renderStatus(look: Look, status: QueueStatus, { failed, records }: Shown): string {
  const { paint } = look;
  const rows = [...summaryRows(look, status), recordsRow(paint, records)];
  const parts = [renderLight(paint, status), facts(rows, paint.dim)];
  if (status.remotes.length > 0) parts.push(renderRemotes(look, status.remotes));
  const notes = warnings(look, status);
  if (notes.length > 0) parts.push(notes.map((note) => `${paint.yellow(sign.warn)} ${note}`).join("\n"));
  if (failed.length > 0) parts.push(renderFailed(look, failed, status.counts.failed ?? failed.length));
  return parts.join("\n\n");
}

/** Nothing is said where nothing waits. */
function recordsRow(paint: Paint, { pending, conflicts }: RecordsStanding): readonly [string, string | null] {
  const parts = [
    ...(pending === 0 ? [] : [`${grouped(pending)} unsent`]),
    ...(conflicts === 0
      ? []
      : [paint.red(`${plural(conflicts, "conflict")} to decide`) + paint.dim(" (holdfast conflicts groups)")]),
  ];
  return ["Records", parts.length === 0 ? null : parts.join(", ")];
}

function summaryRows(look: Look, status: QueueStatus): readonly (readonly [string, string | null])[] {
  const now = look.now();
  const { paint } = look;
  const { pending = 0, in_progress: sending = 0, failed = 0, draft = 0, completed = 0 } = status.counts;
  const oldest = status.oldestUnsentAt === null ? "" : `, oldest queued ${formatRelative(status.oldestUnsentAt, now)}`;
  const landed =
    status.lastLandedAt === null ? "nothing has landed yet" : `last landed ${formatRelative(status.lastLandedAt, now)}`;
  const conflicts = status.conflicts === 0 ? "" : ` (${plural(status.conflicts, "conflict")})`;
  return [
    [
      "Unsent",
      `${plural(status.unsent, "operation")}${status.unsent === 0 || status.bytes === 0 ? "" : `, ${formatBytes(status.bytes)}`}${oldest}`,
    ],
    ["Pending", String(pending)],
    ["Sending", sending === 0 ? null : String(sending)],
    ["Failed", failed === 0 ? "0" : paint.red(`${failed}${conflicts}`)],
    ["Drafts", draft === 0 ? null : String(draft)],
    ["Completed", `${completed} (${landed})`],
    ["Next attempt", status.nextAttemptAt === null ? null : formatRelative(status.nextAttemptAt, now)],
  ];
}

/** Everything that keeps operations from moving and that a person may want to change. */
function warnings({ now }: Look, status: QueueStatus): readonly string[] {
  const { limits } = status;
  const found = [
    ...(status.isWorkingOffline ? ["Working offline: nothing is sent until `holdfast network online`"] : []),
    ...status.paused.map((pause) => `Paused: ${pauseText(pause, now())}`),
    ...status.signedOut.map(({ subject, remote, reason, code, pending }) =>
      remote === ""
        ? `${subject === "" ? "The owner" : plain(subject)} is signed out: ${waiting(pending)} for \`holdfast subject sign-in ${shellWord(subject)}\``
        : `${plain(remote)} refuses the credentials${subject === "" ? "" : ` of ${plain(subject)}`}: ${plain(reason)}. ${pending === 0 ? "To do" : waiting(pending)}: ${wayOut(code)}`,
    ),
    ...status.unknownTypes.map(({ type, pending }) =>
      type === recordWriteType
        ? `${plural(pending, "change")} of records ${pending === 1 ? "waits" : "wait"}: no sync server is named, see \`holdfast config set sync.url\``
        : `${plural(pending, "operation")} of type ${plain(type)} ${pending === 1 ? "waits" : "wait"}: nobody here knows how to send it`,
    ),
    ...(status.isDiskFull ? ["The disk is full: nothing new is accepted, what is queued goes on"] : []),
    ...(status.isReadOnly ? ["The store can only be read: check the disk and its rights"] : []),
    ...(limits.isWarning ? [`The queue is ${Math.round(limits.usedPercent)} % full`] : []),
    ...(status.drainer === null && !status.isDraining && status.unsent > 0
      ? ["Nobody is sending: start the daemon with `holdfast daemon start`"]
      : []),
  ];
  return found;
}

const waiting = (pending: number): string => `${plural(pending, "operation")} ${pending === 1 ? "waits" : "wait"}`;

export function pauseText(pause: Pause, now: number): string {
  const what = pause.kind === "all" ? "everything" : `${pause.kind} ${plain(pause.name)}`;
  const reason = pause.reason === "" ? "" : `: ${plain(pause.reason)}`;
  return `${what} for ${formatAge(pause.since, now)}${reason}`;
}

function renderFailed({ paint }: Look, failed: readonly Operation[], total: number): string {
  const lines = failed.map(
    (each) => `  ${paint.red(sign.no)} ${paint.bold(shortId(each.id))} ${titleOf(each)}: ${problemText(each.problem)}`,
  );
  const more = total > failed.length ? [paint.dim(`  … and ${total - failed.length} more`)] : [];
  const hint = paint.dim(
    `  ${sign.hint} holdfast queue list --status failed, then queue retry|edit|cancel ID; nothing is lost meanwhile`,
  );
  return [paint.red("Need your attention"), ...lines, ...more, hint].join("\n");
}

/** Document-style summary of the queue with what goes next. */
export function renderQueueStatus(look: Look, status: QueueStatus, next: readonly Operation[]): string {
  const { paint } = look;
  const now = look.now();
  const { pending = 0, in_progress: sending = 0, completed = 0, failed = 0 } = status.counts;
  const counts = [
    ["Pending:", pending],
    ["Sending:", sending],
    ["Completed:", completed],
    ["Failed:", failed],
  ] as const;
  const head = [
    paint.bold("Operation queue"),
    paint.dim("─".repeat(Math.min(50, look.width))),
    renderLight(paint, status),
    "",
  ];
  const lines = counts.map(
    ([name, count]) => `  ${padEnd(name, 10)} ${name === "Failed:" && count > 0 ? paint.red(String(count)) : count}`,
  );
  const entries = next.flatMap((each, at) => [
    `  ${at + 1}. ${titleOf(each)} ${paint.dim(`(${formatRelative(each.createdAt, now)})`)}`,
    paint.dim(
      `     ID: ${shortId(each.id)} | Priority: ${each.priority} | Attempts: ${each.attempts}${each.lane === null ? "" : ` | Lane: ${plain(each.lane)}`}`,
    ),
    ...(each.problem === null ? [] : [paint.red(`     Last: ${problemText(each.problem)}`)]),
  ]);
  const waiting = pending + sending;
  const more = waiting > next.length ? [paint.dim(`  … and ${waiting - next.length} more: holdfast queue list`)] : [];
  const hint =
    waiting > 0 ? ["", paint.dim(`  ${sign.hint} holdfast sync                  to send what is pending now`)] : [];
  const failedHint =
    failed > 0 ? [paint.dim(`  ${sign.hint} holdfast sync --retry-failed   to try failed operations again`)] : [];
  return [...head, ...lines, ...(entries.length === 0 ? [] : ["", ...entries]), ...more, ...hint, ...failedHint].join(
    "\n",
  );
}

/** What is known of each remote. */
function renderRemotes(look: Look, remotes: readonly RemoteView[]): string {
  const { paint, width } = look;
  const now = look.now();
  const colours = { online: paint.green, offline: paint.red, checking: paint.yellow, unknown: paint.dim } as const;
  const rows = remotes.map((each): readonly Cell[] => {
    const next = each.opensAt !== null && each.opensAt > now ? each.opensAt : each.nextProbeAt;
    return [
      { text: `${sign.light} ${each.status}`, paint: colours[each.status] },
      { text: plain(each.remote) },
      { text: formatAge(each.since, now), paint: paint.dim },
      { text: each.lastSuccessAt === null ? "never" : formatRelative(each.lastSuccessAt, now), paint: paint.dim },
      { text: next === null || each.status === "online" ? "" : formatRelative(Math.max(next, now), now) },
      { text: each.pending === 0 ? "" : String(each.pending) },
      { text: plain(each.reason), paint: paint.dim },
    ];
  });
  return table(
    [
      { title: "NETWORK", isWhole: true },
      { title: "REMOTE", isWhole: true },
      { title: "FOR", isOptional: true, isWhole: true },
      { title: "ANSWERED", isOptional: true, isWhole: true },
      { title: "NEXT TRY", isWhole: true },
      { title: "UNSENT", isRight: true },
      { title: "REASON", isFlexible: true },
    ],
    rows,
    { width, head: paint.dim },
  );
}

/** The network as a whole. */
export function renderNetwork(look: Look, network: Output<"network.status">): string {
  const { paint } = look;
  const now = look.now();
  const words = {
    online: "Network is online",
    offline: "Network is offline",
    checking: "Checking the network",
    unknown: "Nothing is known of the network yet",
  } as const;
  const silent = network.remotes.filter(({ status }) => status === "offline").length;
  // One remote that is away does not take the others with it.
  const isInPart = network.status === "offline" && silent < network.remotes.length;
  const colour =
    network.isWorkingOffline || network.status === "checking" || isInPart
      ? paint.yellow
      : network.status === "online"
        ? paint.green
        : network.status === "offline"
          ? paint.red
          : paint.dim;
  const sentence = network.isWorkingOffline
    ? "Working offline: nothing is sent until `holdfast network online`"
    : isInPart
      ? `${silent} of ${plural(network.remotes.length, "remote")} ${silent === 1 ? "does" : "do"} not answer`
      : words[network.status];
  const checked =
    network.lastCheckAt === null ? "" : ` ${paint.dim(`(checked ${formatRelative(network.lastCheckAt, now)})`)}`;
  const remotes =
    network.remotes.length === 0 ? paint.dim("No remote has been used yet.") : renderRemotes(look, network.remotes);
  const pokes = network.pokes.map((each) => `\n${pokesLine(look, each)}`).join("");
  return `${colour(sign.light)} ${sentence}${checked}\n\n${remotes}${pokes === "" ? "" : `\n${pokes}`}`;
}

/** How this device hears that the server has something new. */
export function pokesLine({ paint, now }: Look, pokes: Output<"network.status">["pokes"][number]): string {
  const { space, state, since, lastPokeAt, pollMs, lastError } = pokes;
  const age = formatAge(since, now());
  if (state === "listening") {
    const last = lastPokeAt === null ? "" : `, last ${formatRelative(lastPokeAt, now())}`;
    return `${paint.green(sign.yes)} Space ${plain(space)}: the server tells of news at once (for ${age}${last})`;
  }
  const why = lastError === null ? "" : `: ${plain(lastError.reason)}`;
  return `${paint.yellow(sign.warn)} Space ${plain(space)}: asked for news every ${formatDuration(pollMs)} (for ${age})${why}`;
}

/** What a sync run did. */
export function renderRun({ paint, now }: Look, run: SyncRun): string {
  const ended =
    run.endedAt === null
      ? `started ${formatRelative(run.startedAt, now())}`
      : `ended ${formatRelative(run.endedAt, now())}`;
  // What landed before anybody asked has landed all the same: a nought would say otherwise.
  const isCounted = run.total > 0 || run.succeeded > 0 || run.failed > 0;
  const { pushed, pulled, merged } = run;
  const moved = [
    ...(pushed === 0 ? [] : [`${pushed} sent`]),
    ...(pulled === 0 ? [] : [`${pulled} received`]),
    ...(merged === 0 ? [] : [`${merged} merged`]),
  ];
  const rows = facts(
    [
      ["Succeeded", isCounted ? paint.green(String(run.succeeded)) : null],
      ["Failed", run.failed === 0 ? (isCounted ? "0" : null) : paint.red(String(run.failed))],
      ["Records", moved.length === 0 ? null : moved.join(", ")],
      ["Conflicts", run.conflicts === 0 ? null : paint.yellow(String(run.conflicts))],
      ["Remaining", run.remaining === 0 ? null : String(run.remaining)],
    ],
    paint.dim,
  );
  const errors = run.errors.map(
    ({ id, title, error }) => `  ${paint.red(sign.no)} ${paint.bold(shortId(id))} ${plain(title)}: ${plain(error)}`,
  );
  const tail =
    errors.length === 0
      ? []
      : [
          paint.yellow("Failed operations remain queued:"),
          ...errors,
          paint.dim(`  ${sign.hint} holdfast sync --retry-failed`),
        ];
  return [`${paint.bold("Sync")} ${paint.dim(`(${ended})`)}`, ...(rows === "" ? [] : [rows]), ...tail].join("\n");
}
