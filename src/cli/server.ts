/**
 * Owns `holdfast server`: running a sync server in this process, its tokens, its backups. What a server is, is `src/node/server-host.ts`.
 */
import { HoldfastError } from "../errors.ts";
import type { ServerConfig } from "../node/server-config.ts";
import { findServerConfig, loadServerConfig } from "../node/server-config.ts";
import type { StorePlace, TokenDesk } from "../node/server-store.ts";
import {
  backupServer,
  compactServer,
  defaultServerDirectory,
  renewHistory,
  restoreServer,
  withTokens,
} from "../node/server-store.ts";
import type { Context, Handler } from "./context.ts";
import { sign } from "./paint.ts";
import { parseAfter, parseInteger, usage } from "./parse.ts";
import { formatRelative } from "./relative-time.ts";
import { facts, plain, plural, table } from "./text.ts";

type PlaceOptions = { readonly database?: string; readonly data?: string; readonly config?: string };
type RunOptions = PlaceOptions & { readonly port?: string; readonly host?: string };

type Grant = Parameters<TokenDesk["add"]>[0]["spaces"][number];
type TokenInfo = Awaited<ReturnType<TokenDesk["list"]>>[number];

const defaultPort = 4_700;

export const runServer: Handler<[], RunOptions> = async (context, _args, options) => {
  const { openLog } = await import("../node/log.ts");
  const { startServer } = await import("../node/server-host.ts");
  const path = findServerConfig(options.config, context.host.cwd);
  const config = path === null ? {} : await loadServerConfig(path);
  const place = placeOf(context, config, options);
  const isDevelopment = config.collections === undefined && config.auth === undefined && config.isOpen !== false;
  // The answer of the command, one line of JSON under --json, has standard output for itself.
  const log = openLog({ stream: context.host.stderr });
  const server = await startServer({
    ...{ place, config, isDevelopment },
    host: options.host ?? config.host ?? "127.0.0.1",
    port: options.port === undefined ? (config.port ?? defaultPort) : parsePort(options.port),
    log: ({ level, message, ...fields }) => log.write(level, message, fields),
  });
  tellStart(context, { path, place, server });
  await untilStopped(context);
  await server.stop();
  context.tell("The server has stopped.");
  return 0;
};

type Started = {
  readonly path: string | null;
  readonly place: StorePlace;
  readonly server: { readonly url: string; readonly token: string | null; readonly isOpen: boolean };
};

function tellStart(context: Context, { path, place, server }: Started): void {
  const { url, token, isOpen } = server;
  const store = place.kind === "embedded" ? place.directory : "PostgreSQL";
  context.tell(`${context.errorPaint.green(sign.yes)} The sync server listens on ${url}`);
  context.tell(`  data: ${store}   configuration: ${path ?? "none"}`);
  // Said whatever was asked to be quiet: an open server is nothing that should go unnoticed.
  const warning = "OPEN: it accepts every collection and checks no rules; for development only.";
  if (isOpen) context.host.stderr.write(`  ${context.errorPaint.yellow(warning)}\n`);
  if (token !== null) context.tell(`  Token for development: ${token}`);
  if (context.isJson) context.line({ url, isOpen, token, data: store, config: path });
}

function untilStopped(context: Context): Promise<void> {
  return new Promise((resolve) => {
    context.host.onInterrupt(resolve);
  });
}

function placeOf(context: Context, config: ServerConfig, options: PlaceOptions): StorePlace {
  if (options.database !== undefined && options.data !== undefined)
    throw usage("--database and --data exclude each other", "give one of them");
  // What was typed goes before the file, and the file before the environment.
  const isPlaced = options.data !== undefined || (config.data !== undefined && config.database === undefined);
  const url = options.database ?? (isPlaced ? undefined : (config.database ?? context.host.env.HOLDFAST_DATABASE));
  if (url !== undefined && url !== "") {
    if (!/^postgres(ql)?:\/\//.test(url))
      throw usage("--database names no PostgreSQL database", "write postgres://user@host:5432/name");
    const { connections } = config;
    return { kind: "postgres", url, ...(connections === undefined ? {} : { connections }) };
  }
  const directory = options.data ?? config.data ?? defaultServerDirectory(context.host.env);
  return { kind: "embedded", directory };
}

async function placeFor(context: Context, options: PlaceOptions): Promise<StorePlace> {
  const path = findServerConfig(options.config, context.host.cwd);
  return placeOf(context, path === null ? {} : await loadServerConfig(path), options);
}

function parsePort(text: string): number {
  const port = parseInteger(text, "--port");
  if (port < 0 || port > 65_535)
    throw usage(`--port: ${port} is no port`, "choose 1024 to 65535, or 0 for any free one");
  return port;
}

// ---- tokens -----------------------------------------------------------------------------------------------------

type AddOptions = PlaceOptions & {
  readonly space?: readonly string[];
  readonly role?: readonly string[];
  readonly name?: string;
  readonly expires?: string;
};

export const runTokenAdd: Handler<[string], AddOptions> = async (context, [subject], options) => {
  const spaces = grantsOf(options);
  refuseNobody(subject);
  const expiresAt = options.expires === undefined ? null : parseAfter(options.expires, "--expires", context.now());
  const named = options.name === undefined ? {} : { name: options.name };
  const made = await atDesk(context, options, (desk) => desk.add({ subject, spaces, expiresAt, ...named }));
  context.answer(made, () => {
    if (context.isQuiet) return made.token;
    const note = `shown this once; ${made.id} names it, ${sign.hint} holdfast server token revoke ${made.id}`;
    return `${context.paint.green(sign.yes)} ${made.token}\n${context.paint.dim(note)}`;
  });
  return 0;
};

/** Most likely an empty variable of a script; a token of nobody would open something all the same. */
function refuseNobody(subject: string): void {
  if (subject.trim() === "") throw usage("the subject is empty", "name the account");
}

function grantsOf({ space, role }: AddOptions): readonly Grant[] {
  const isMissing = space === undefined || space.length === 0 || space.some((each) => each.trim() === "");
  if (isMissing) throw usage("--space is missing", "name the spaces, or * for all");
  return space.map((each) => ({ space: each, roles: [...(role ?? [])] }));
}

export const runTokenList: Handler<[], PlaceOptions> = async (context, _args, options) => {
  const { tokens, barred } = await atDesk(context, options, async (desk) => ({
    tokens: await desk.list(),
    barred: new Set((await desk.suspensions()).map(({ subject }) => subject)),
  }));
  context.answer({ tokens: tokens.map((each) => ({ ...each, isSuspended: barred.has(each.subject) })) }, () =>
    tokens.length === 0 ? "No tokens." : tokensText(context, tokens, barred),
  );
  return 0;
};

function tokensText(context: Context, tokens: readonly TokenInfo[], barred: ReadonlySet<string>): string {
  const now = context.now();
  return tokens
    .map((token) => {
      const state = stateOf(token, now) + (barred.has(token.subject) ? ", its account is suspended" : "");
      const spaces = token.spaces.map(({ space, roles }) =>
        roles.length === 0 ? space : `${space} (${roles.join(", ")})`,
      );
      return `${token.id}  ${state}\n${facts(
        [
          ["subject", plain(token.subject)],
          ["name", plain(token.name)],
          ["spaces", plain(spaces.join(", "))],
          ["created", formatRelative(token.createdAt, now)],
          ["expires", token.expiresAt === null ? null : formatRelative(token.expiresAt, now)],
        ],
        context.paint.dim,
      )}`;
    })
    .join("\n");
}

function stateOf({ revokedAt, expiresAt }: TokenInfo, now: number): string {
  if (revokedAt !== null) return "revoked";
  return expiresAt !== null && expiresAt <= now ? "expired" : "valid";
}

export const runTokenRevoke: Handler<[string], PlaceOptions> = async (context, [id], options) => {
  const isRevoked = await atDesk(context, options, (desk) => desk.revoke(id));
  if (!isRevoked)
    throw new HoldfastError("not_found", `there is no valid token ${id}`, "see `holdfast server token list`");
  context.confirm({ id, isRevoked }, () => `${context.paint.green(sign.yes)} ${id} opens nothing any more`);
  return 0;
};

export const runSuspend: Handler<[string], PlaceOptions & { readonly reason?: string }> = async (
  context,
  [subject],
  options,
) => {
  const reason = options.reason ?? "";
  refuseNobody(subject);
  await atDesk(context, options, (desk) => desk.suspend(subject, reason));
  context.confirm(
    { subject, reason },
    () => `${context.paint.green(sign.yes)} ${plain(subject)} is suspended; its clients keep what is unsent`,
  );
  return 0;
};

export const runSuspended: Handler<[], PlaceOptions> = async (context, _args, options) => {
  const suspended = await atDesk(context, options, (desk) => desk.suspensions());
  context.answer({ suspended }, () => {
    if (suspended.length === 0) return "No account is suspended.";
    const rows = suspended.map(({ subject, suspendedAt, reason }) => [
      { text: plain(subject) },
      { text: formatRelative(suspendedAt, context.now()), paint: context.paint.dim },
      { text: plain(reason) },
    ]);
    const columns = [
      { title: "SUBJECT", isWhole: true },
      { title: "SINCE", isWhole: true },
    ];
    return table([...columns, { title: "REASON", isFlexible: true }], rows, {
      width: context.width,
      head: context.paint.dim,
    });
  });
  return 0;
};

export const runReinstate: Handler<[string], PlaceOptions> = async (context, [subject], options) => {
  if (!(await atDesk(context, options, (desk) => desk.reinstate(subject))))
    throw new HoldfastError("not_found", `${subject} is not suspended`, "see `holdfast server suspended`");
  context.confirm({ subject }, () => `${context.paint.green(sign.yes)} ${plain(subject)} may use the server again`);
  return 0;
};

async function atDesk<T>(context: Context, options: PlaceOptions, work: (desk: TokenDesk) => Promise<T>): Promise<T> {
  return withTokens(await placeFor(context, options), context.now, work);
}

// ---- backups ----------------------------------------------------------------------------------------------------

export const runBackup: Handler<[string], PlaceOptions> = async (context, [file], options) => {
  await backupServer(await placeFor(context, options), file);
  context.confirm({ file }, () => `${context.paint.green(sign.yes)} ${file} holds the server's database`);
  return 0;
};

export const runRestore: Handler<[string | undefined], PlaceOptions & { readonly history?: boolean }> = async (
  context,
  [file],
  options,
) => {
  const place = await placeFor(context, options);
  if (options.history === true && file !== undefined)
    throw usage("a backup and --history exclude each other", "a restored backup gets a new history by itself");
  if (options.history === true) {
    const spaces = await renewHistory(place);
    context.answer(
      { spaces },
      () =>
        `${context.paint.green(sign.yes)} A new history for ${plural(spaces, "space")}; clients read everything again`,
    );
    return 0;
  }
  if (file === undefined) throw usage("the backup is missing", "holdfast server restore <file>");
  const restored = await restoreServer(place, file, context.now());
  context.answer(restored, () => {
    const kept =
      restored.replaced === null ? "" : `\n${context.paint.dim(`what was there is kept as ${restored.replaced}`)}`;
    return `${context.paint.green(sign.yes)} Restored ${plural(restored.spaces, "space")}; clients read everything again and keep what is unsent${kept}`;
  });
  return 0;
};

export const runCompact: Handler<[], PlaceOptions> = async (context, _args, options) => {
  const path = findServerConfig(options.config, context.host.cwd);
  const config = path === null ? {} : await loadServerConfig(path);
  const { limits } = config;
  const done = await compactServer(placeOf(context, config, options), limits === undefined ? {} : { limits });
  context.answer(
    done,
    () =>
      `${context.paint.green(sign.yes)} Forgot ${plural(done.tombstones, "removal")} and ${plural(done.receipts, "receipt")}`,
  );
  return 0;
};
