/**
 * Owns `holdfast credentials`: secrets come from a prompt or stdin, never from an argument, and are never shown.
 * Keeping them is `src/node/credentials.ts`.
 */
import { HoldfastError } from "../errors.ts";
import type { Context, Handler } from "./context.ts";
import type { Secret } from "./local.ts";
import { sign } from "./paint.ts";
import { usage } from "./parse.ts";
import { syncTarget } from "./sync-trouble.ts";
import { plain, table } from "./text.ts";

type SetOptions = {
  readonly origin?: readonly string[];
  readonly basic?: string;
  readonly header?: string;
  readonly subject?: string;
};

export const runSet: Handler<[string], SetOptions> = async (context, [name], options) => {
  if (options.basic !== undefined && options.header !== undefined) {
    throw usage("--basic and --header exclude each other", "give one of them, or none for a bearer token");
  }
  const origins = options.origin ?? [await syncOrigin(context, name)];
  const value = await readSecret(context, name);
  const local = await context.local();
  const stored = await local.credentials.set(name, secretOf(options, value, origins), options.subject);
  context.confirm(
    stored,
    () => `${context.paint.green(sign.yes)} Stored ${plain(name)} for ${plain(stored.origins.join(", "))}`,
  );
  return 0;
};

/** A secret without an origin is the sync server's where nothing speaks against it, and that is said. */
async function syncOrigin(context: Context, name: string): Promise<string> {
  const { url, credential } = await syncTarget(context);
  const command = `holdfast credentials set ${name} --origin`;
  if (url === null)
    throw usage("--origin is missing: a secret goes only where you say", `${command} https://api.example.com`);
  const { origin } = new URL(url);
  if (credential !== null && credential !== name)
    throw usage(
      `--origin is missing: the sync server takes ${credential}, not ${name}`,
      `${command} https://api.example.com, or holdfast credentials set ${credential} for the sync server`,
    );
  const { dim } = context.errorPaint;
  context.tell(dim(`  ${name} goes to ${origin} alone, the sync server of config.toml; --origin names another one`));
  if (credential === null)
    context.tell(dim(`${sign.hint} holdfast config set sync.credential ${name}   so that the sync server is given it`));
  return origin;
}

function secretOf({ basic, header }: SetOptions, value: string, origins: readonly string[]): Secret {
  if (basic !== undefined) return { kind: "basic", username: basic, password: value, origins };
  if (header !== undefined) return { kind: "headers", headers: { [header]: value }, origins };
  return { kind: "bearer", token: value, origins };
}

async function readSecret(context: Context, name: string): Promise<string> {
  const { host } = context;
  if (host.stdin.isTty) {
    const typed = context.isInteractive ? await host.ask.password(`Value of ${name}`) : null;
    if (typed === null || typed === "")
      throw usage(
        "no value was given; nothing was stored",
        `type it, or pipe it: … | holdfast credentials set ${name}`,
      );
    return typed;
  }
  // A pipe ends its text with a newline that is no part of the secret.
  const piped = new TextDecoder().decode(await host.stdin.readBytes()).replace(/\r?\n$/, "");
  if (piped === "")
    throw usage("stdin was empty; nothing was stored", `pipe the value: … | holdfast credentials set ${name}`);
  return piped;
}

export const runList: Handler<[], object> = async (context) => {
  const credentials = await (await context.local()).credentials.list();
  context.answer({ credentials }, () => {
    if (credentials.length === 0) return "No credentials are stored.";
    const rows = credentials.map((each) => [
      { text: plain(each.name), paint: context.paint.bold },
      { text: each.subject === null ? "" : plain(each.subject) },
      { text: each.kind },
      { text: each.source },
      { text: plain(each.origins.join(", ")) },
    ]);
    const columns = [
      { title: "NAME" },
      { title: "SUBJECT" },
      { title: "KIND" },
      { title: "FROM" },
      { title: "ORIGINS", isFlexible: true },
    ];
    return table(columns, rows, { width: context.width, head: context.paint.dim });
  });
  return 0;
};

export const runRemove: Handler<[string], { readonly subject?: string }> = async (context, [name], options) => {
  const isRemoved = await (await context.local()).credentials.remove(name, options.subject);
  if (!isRemoved)
    throw new HoldfastError(
      "not_found",
      `there is no credential ${name}${options.subject === undefined ? "" : ` of ${options.subject}`}`,
      "see `holdfast credentials list`",
    );
  context.confirm({ removed: name }, () => `${context.paint.green(sign.yes)} Removed ${plain(name)}`);
  return 0;
};
