/**
 * Owns `holdfast queue edit`: by options, or by the payload in the person's editor with the revision that they saw.
 */
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HoldfastError } from "../errors.ts";
import { strategies } from "../operation.ts";
import type { Input } from "../verbs.ts";
import type { Context, Handler } from "./context.ts";
import { readJson } from "./data.ts";
import { definedOnly, parseRetry } from "./order.ts";
import { sign } from "./paint.ts";
import { parseChoice, parseDeadline, parseExpiry, parseInteger, parseJson, usage } from "./parse.ts";
import { titleOf } from "./render-operation.ts";
import { toHoldfastError } from "./report.ts";
import type { Operation, Session } from "./session.ts";
import { shortId } from "./text.ts";

type EditOptions = {
  readonly payload?: string;
  readonly priority?: string;
  readonly at?: string;
  readonly expires?: string;
  readonly retry?: string;
  readonly conflict?: string;
  readonly title?: string;
  readonly revision?: string;
  readonly force?: boolean;
};
type Edit = Input<"queue.edit">;

export const runEdit: Handler<[string], EditOptions> = async (context, [id], options) => {
  const changes = await parseEdit(context, options);
  const session = await context.session();
  const isEmpty = Object.keys(changes).every((key) => key === "force" || key === "revision");
  const edited = isEmpty
    ? await editByHand(context, session, { id, ...changes })
    : await session.call("queue.edit", { id, ...changes });
  if (edited === null) {
    context.say("Nothing was changed.");
    return 0;
  }
  context.confirm(
    edited,
    () =>
      `${context.paint.green(sign.yes)} Edited ${context.paint.bold(shortId(edited.id))} ${titleOf(edited)} (revision ${edited.revision})`,
  );
  return 0;
};

async function parseEdit(context: Context, options: EditOptions): Promise<Omit<Edit, "id">> {
  const now = context.now();
  const { at, expires, conflict } = options;
  return definedOnly<Omit<Edit, "id">>({
    payload:
      options.payload === undefined
        ? undefined
        : ((await readJson(context.host, options.payload, "--payload")) as never),
    priority: options.priority === undefined ? undefined : parseInteger(options.priority, "--priority"),
    notBefore: at === undefined ? undefined : at === "now" ? null : parseDeadline(at, "--at", now),
    expiresAt: expires === undefined ? undefined : expires === "never" ? null : parseExpiry(expires, now),
    retry: options.retry === undefined ? undefined : parseRetry(options.retry),
    conflict:
      conflict === undefined
        ? undefined
        : conflict === "default"
          ? null
          : parseChoice(conflict, "--conflict", strategies),
    title: options.title,
    revision: options.revision === undefined ? undefined : parseInteger(options.revision, "--revision"),
    force: options.force,
  });
}

/** Opens the payload in the person's editor; null when they left it as it was. */
async function editByHand(
  context: Context,
  session: Session,
  base: Pick<Edit, "id" | "force" | "revision">,
): Promise<Operation | null> {
  const { env } = context.host;
  const editor = env.VISUAL?.trim() || env.EDITOR?.trim() || "";
  if (!context.isInteractive || editor === "") {
    throw usage(
      "queue edit: what is to be changed?",
      "give --payload, --priority, --at, --expires, --retry, --conflict or --title; in a terminal EDITOR names what opens the payload",
    );
  }
  const operation = await session.call("queue.get", { id: base.id });
  const before = `${JSON.stringify(operation.payload, null, 2)}\n`;
  const directory = await mkdtemp(join(tmpdir(), "holdfast-edit-"));
  const path = join(directory, `${shortId(operation.id)}.json`);
  // What a person has typed outlives a mistake in it, an editor that fails, and a queue that refuses it.
  let isKept = false;
  try {
    await writeFile(path, before, { mode: 0o600 });
    await openEditor(context, editor, path);
    const after = await readFile(path, "utf8");
    if (after === before) return null;
    const payload = parseJson(after, "the edited payload") as never;
    return await session.call("queue.edit", { revision: operation.revision, ...base, id: operation.id, payload });
  } catch (error) {
    isKept = (await readFile(path, "utf8").catch(() => before)) !== before;
    throw isKept ? keptIn(path, operation, error) : error;
  } finally {
    if (!isKept) await rm(directory, { recursive: true, force: true });
  }
}

function keptIn(path: string, operation: Operation, thrown: unknown): HoldfastError {
  const error = toHoldfastError(thrown);
  return new HoldfastError(
    error.code,
    error.message,
    `${error.hint}${error.hint === "" ? "" : "\n"}what you typed is kept: holdfast queue edit ${shortId(operation.id)} --payload @${path}`,
    { cause: thrown, ...(error.details === undefined ? {} : { details: error.details }) },
  );
}

function openEditor({ host }: Context, editor: string, path: string): Promise<void> {
  // Ctrl-C is the editor's as long as it has the screen, however often it is pressed: each press is heard as the first one.
  let release = (): void => {};
  const hear = (): void => {
    release();
    release = host.onInterrupt(hear);
  };
  hear();
  return new Promise<void>((resolve, reject) => {
    // EDITOR may hold arguments ("code --wait"), so a shell reads it, as git does; the path comes in as its own word.
    // It hears Ctrl-C too, and must not die of what its editor lives on with.
    const child = spawn("/bin/sh", ["-c", `trap : INT\n${editor} "$1"`, "editor", path], { stdio: "inherit" });
    child.on("error", reject);
    child.on("exit", (code) => {
      if (code === 0) resolve();
      else
        reject(
          new HoldfastError(
            "aborted",
            `the editor ended with ${code ?? "a signal"}; nothing was changed`,
            "edit it again, or use --payload @file",
          ),
        );
    });
  }).finally(() => release());
}
