/**
 * Owns `holdfast doctor`: looks at everything that can be wrong around the queue, and says for each finding what to do.
 * Facts of the data directory come from `real-local.ts`, facts of the store from the daemon.
 */
import type { ExitCode } from "../errors.ts";
import { isCode } from "../errors.ts";
import type { Json } from "../operation.ts";
import { recordWriteType } from "../record.ts";
import type { Output } from "../verbs.ts";
import type { Context, Handler } from "./context.ts";
import type { Diagnosis } from "./local.ts";
import { sign } from "./paint.ts";
import { formatAge, formatDuration, formatRelative } from "./relative-time.ts";
import { toHoldfastError } from "./report.ts";
import type { Session } from "./session.ts";
import { refusalOf } from "./sync-trouble.ts";
import { formatBytes, plain, plainLines, plural, shellWord } from "./text.ts";

type Finding = {
  readonly check: string;
  readonly level: "ok" | "warning" | "problem";
  readonly message: string;
  /** What to do; empty when all is well. */
  readonly hint: string;
};

const lowBytes = 268_435_456;
const oldestNode = [22, 18] as const;
const clockSlackMs = 60_000;
const firstPlausible = Date.UTC(2024, 0, 1);

const ok = (check: string, message: string): Finding => ({ check, level: "ok", message, hint: "" });
const warning = (check: string, message: string, hint: string): Finding => ({ check, level: "warning", message, hint });
const problem = (check: string, message: string, hint: string): Finding => ({ check, level: "problem", message, hint });

export const runDoctor: Handler<[], object> = async (context) => {
  const diagnosis = await (await context.local()).diagnose();
  const findings = [
    ...checkNode(diagnosis),
    ...checkDirectory(diagnosis),
    ...checkConfig(diagnosis),
    ...checkDisk(diagnosis),
    ...(await checkRunning(context)),
  ];
  const problems = findings.filter(({ level }) => level === "problem").length;
  context.answer({ isHealthy: problems === 0, findings }, () => renderFindings(context, findings));
  const exit: ExitCode = problems === 0 ? 0 : 1;
  return exit;
};

function checkNode({ nodeVersion }: Diagnosis): readonly Finding[] {
  const [major = 0, minor = 0] = nodeVersion.replace(/^v/, "").split(".").map(Number);
  const isEnough = major > oldestNode[0] || (major === oldestNode[0] && minor >= oldestNode[1]);
  return [
    isEnough
      ? ok("node", `Node ${nodeVersion}`)
      : problem("node", `Node ${nodeVersion} is too old`, `install Node ${oldestNode.join(".")} or newer`),
  ];
}

function checkDirectory({ home, doesExist, loose, isWritable }: Diagnosis): readonly Finding[] {
  if (!doesExist) return [ok("directory", `${home} does not exist yet; the daemon makes it`)];
  const rights = loose.map(({ path, mode, wanted }) =>
    problem("directory", `${path} can be reached by other users (${mode})`, `chmod ${wanted} ${shellWord(path)}`),
  );
  if (!isWritable)
    return [
      ...rights,
      problem("directory", `${home} cannot be written`, `check its owner and rights: ls -ld ${shellWord(home)}`),
    ];
  return rights.length > 0 ? rights : [ok("directory", `${home}, only yours`)];
}

/** What the daemon says about it when it starts is in its log; a daemon that runs already has kept what it knew before. */
function checkConfig({ configTrouble }: Diagnosis): readonly Finding[] {
  return configTrouble === null ? [] : [problem("config", configTrouble.message, configTrouble.hint)];
}

function checkDisk({ home, freeBytes }: Diagnosis): readonly Finding[] {
  if (freeBytes === null)
    return [warning("disk", "it is unknown how much room the disk has", `look yourself: df -h ${shellWord(home)}`)];
  if (freeBytes < lowBytes)
    return [
      warning(
        "disk",
        `only ${formatBytes(freeBytes)} free`,
        "make room: new operations are refused when the disk is full",
      ),
    ];
  return [ok("disk", `${formatBytes(freeBytes)} free`)];
}

async function checkRunning(context: Context): Promise<readonly Finding[]> {
  try {
    const session = await context.session();
    const { info } = session;
    const daemon = ok(
      "daemon",
      `process ${info.pid} on port ${info.port}${info.isNew ? ", started for this check" : ""}`,
    );
    const version =
      info.version === context.host.version
        ? []
        : [
            warning(
              "daemon",
              `it runs version ${info.version}, this command is ${context.host.version}`,
              "holdfast daemon stop && holdfast daemon start",
            ),
          ];
    return [
      daemon,
      ...version,
      ...(await checkStore(session)),
      ...(await checkClock(context, session)),
      ...(await checkRemotes(context, session)),
      ...(await checkCredentials(context, session)),
    ];
  } catch (error) {
    const { message, hint, code } = toHoldfastError(error);
    return [
      problem(isCode(error, "daemon_unreachable") || code === "daemon_untrusted" ? "daemon" : "store", message, hint),
    ];
  }
}

async function checkStore(session: Session): Promise<readonly Finding[]> {
  const info = await session.call("engine.info", {});
  const check = await session.call("engine.check", {});
  const rescue =
    "save what can be read: holdfast queue export -o saved.jsonl; then stop the daemon and start it again: it keeps the damaged file and salvages the rest";
  const findings = check.isSound
    ? [ok("store", `sound: ${plural(check.checked, "operation")} checked`)]
    : check.findings.map((finding) => problem("store", plain(finding), rescue));
  return [
    ...findings,
    ok("schema", `version ${info.schemaVersion}`),
    ...writable(info),
    ...recovered(info.recovery),
    ...(await checkTypes(session)),
  ];
}

function writable(info: Output<"engine.info">): readonly Finding[] {
  return info.isReadOnly
    ? [problem("store", "it can only be read", "check the disk and the rights of the data directory")]
    : [];
}

/** What opening the store has found: an unclean end is checked and done with; what is lost or was set aside stays a warning. */
function recovered(recovery: Json): readonly Finding[] {
  if (typeof recovery !== "object" || recovery === null || Array.isArray(recovery)) return [];
  const { kind, findings, lostSequences, quarantinedFiles } = recovery as Readonly<Record<string, unknown>>;
  if (kind === undefined || kind === "clean") return [];
  const said = textsOf(findings).map(plain);
  const lost = (Array.isArray(lostSequences) ? lostSequences : []).map(
    (range: { readonly from?: unknown; readonly to?: unknown }) => `${range.from} to ${range.to}`,
  );
  const aside = textsOf(quarantinedFiles).map(plain);
  const mended = mendedRecords(recovery);
  if (lost.length === 0 && aside.length === 0)
    return said.length === 0 ? mended : [ok("recovery", said.join("; ")), ...mended];
  const gone = lost.length === 0 ? [] : [`lost: operations number ${lost.join(", ")}`];
  return [
    warning(
      "recovery",
      ["the store was damaged when it was opened", ...said, ...gone].join("; "),
      aside.length === 0
        ? "look what is missing: holdfast queue list --all"
        : `the damaged file is kept: ${aside.join(", ")}; delete it when nothing is missed`,
    ),
    ...mended,
  ];
}

function textsOf(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.map(String) : [];
}

type Mended = { readonly collections: Readonly<Record<string, Readonly<Record<string, number | boolean>>>> };

/** What was found of each collection, in words: what is certain, what was taken from elsewhere, and what is gone. */
const mendedWords = [
  ["proven", "put right with proof"],
  ["restored", "restored from history or unsent work"],
  ["again", "asked of the server again"],
  ["lost", "lost"],
  ["historyDamaged", "entries of the history that can only be read"],
  ["conflictsReopened", "conflicts made again"],
  ["conflictsDamaged", "decided conflicts without their sides"],
] as const;

function mendedRecords(recovery: Json): readonly Finding[] {
  const { records } = recovery as { readonly records?: Json };
  if (records === undefined || records === null) return [];
  return Object.entries((records as unknown as Mended).collections).flatMap(([name, tally]) => {
    const told = mendedWords.flatMap(([field, words]) =>
      Number(tally[field]) > 0 ? [`${tally[field]} ${words}`] : [],
    );
    if (tally.isReadAgain === true) told.push("everything is read again from the server");
    if (told.length === 0) return [];
    const kept = `${plural(Number(tally.records), "record")} kept, ${tally.unsent} unsent, ${plural(Number(tally.openConflicts), "open conflict")}`;
    const message = `collection ${plain(name)}: ${kept}; ${told.join(", ")}`;
    const hint =
      Number(tally.lost) > 0
        ? `holdfast records list ${shellWord(name)} --state failed   shows what is missing; the damaged file is beside the store`
        : `holdfast records list ${shellWord(name)} --state failed,conflict`;
    return [warning("records", message, hint)];
  });
}

async function checkTypes(session: Session): Promise<readonly Finding[]> {
  const { unknownTypes, drainer, unsent } = await session.call("queue.status", {});
  const unknown = unknownTypes.map(({ type, pending }) => {
    // Changes of records are sent by the engine itself, once it knows where to.
    if (type === recordWriteType)
      return warning(
        "sync",
        `${plural(pending, "change")} of records ${pending === 1 ? "waits" : "wait"}: no sync server is named`,
        "holdfast config set sync.url https://…",
      );
    return warning(
      "types",
      `${plural(pending, "operation")} of type ${plain(type)} ${pending === 1 ? "waits" : "wait"}: nobody here can send it`,
      "declare the type in the file that `types` in config.toml names",
    );
  });
  const idle =
    drainer === null && unsent > 0
      ? [problem("daemon", "nobody is sending", "holdfast daemon stop && holdfast daemon start")]
      : [];
  return [...unknown, ...idle];
}

/** A clock that was set back makes schedules late; one before our first release is simply wrong. */
async function checkClock(context: Context, session: Session): Promise<readonly Finding[]> {
  const now = context.now();
  if (now < firstPlausible)
    return [
      problem(
        "clock",
        `it says ${new Date(now).toISOString()}`,
        "set the clock: certificates and schedules depend on it",
      ),
    ];
  const { last } = await session.call("events.list", { limit: 1 });
  const { events } = await session.call("events.list", { after: Math.max(0, last - 1), limit: 1 });
  const newest = events[0];
  if (newest !== undefined && newest.at > now + clockSlackMs) {
    return [
      warning(
        "clock",
        `it was set back: the newest change is dated ${formatRelative(newest.at, now)}`,
        "set the clock; nothing is lost or reordered, schedules may be late",
      ),
    ];
  }
  return [ok("clock", `${new Date(now).toISOString().slice(0, 19)}Z`)];
}

async function checkRemotes(context: Context, session: Session): Promise<readonly Finding[]> {
  const { remotes, isWorkingOffline, pokes } = await session.call("network.status", {});
  const byChoice = isWorkingOffline
    ? [warning("network", "working offline: nothing is sent", "holdfast network online")]
    : [];
  const each = remotes.map((remote) => {
    const since = formatAge(remote.since, context.now());
    if (remote.status !== "offline") return ok("remote", `${plain(remote.remote)} ${remote.status} for ${since}`);
    return warning(
      "remote",
      `${plain(remote.remote)} is offline for ${since}: ${plain(remote.reason)}`,
      "check its address and your connection; what is queued is sent when it answers",
    );
  });
  const heard = pokes.map((space) => checkPokes(context, space));
  return [...byChoice, ...(remotes.length === 0 ? [ok("remotes", "none used yet")] : each), ...heard];
}

/** Without pokes nothing is lost; news only come later. */
function checkPokes(context: Context, pokes: Output<"network.status">["pokes"][number]): Finding {
  const { space, state, since, pollMs, lastError } = pokes;
  const age = formatAge(since, context.now());
  if (state === "listening") return ok("pokes", `space ${plain(space)}: the server tells of news at once, for ${age}`);
  const why = lastError === null ? "" : `: ${plain(lastError.reason)}`;
  return warning(
    "pokes",
    `space ${plain(space)}: the server is only asked for news, every ${formatDuration(pollMs)}, for ${age}${why}`,
    "nothing is lost, news come later; a proxy that cuts or buffers long answers (text/event-stream) is a common cause",
  );
}

async function checkCredentials(context: Context, session: Session): Promise<readonly Finding[]> {
  const { signedOut } = await session.call("queue.status", {});
  const refusals = await Promise.all(signedOut.map((each) => refusalOf(context, each)));
  return refusals.map(({ message, hint }) => problem("sign-in", message, hint));
}

const margin = " ".repeat("✓ directory ".length);
const indented = (text: string): string => plainLines(text).trimEnd().replaceAll("\n", `\n${margin}`);

function renderFindings({ paint }: Context, findings: readonly Finding[]): string {
  const signs = { ok: paint.green(sign.yes), warning: paint.yellow(sign.warn), problem: paint.red(sign.no) } as const;
  const lines = findings.map(({ check, level, message, hint }) => {
    const line = `${signs[level]} ${paint.dim(check.padEnd(9))} ${indented(message)}`;
    return hint === "" ? line : `${line}\n${margin}${paint.dim(`${sign.hint} ${indented(hint)}`)}`;
  });
  const problems = findings.filter(({ level }) => level === "problem").length;
  const warnings = findings.filter(({ level }) => level === "warning").length;
  const end =
    problems > 0
      ? paint.red(`${plural(problems, "problem")}, ${plural(warnings, "warning")}`)
      : warnings > 0
        ? paint.yellow(plural(warnings, "warning"))
        : paint.green("All is well.");
  return [...lines, "", end].join("\n");
}
