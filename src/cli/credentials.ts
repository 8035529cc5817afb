/**
 * Owns `holdfast credentials`: secrets come from a prompt or stdin, never from an argument, and are never shown.
 * Keeping them is `src/node/credentials.ts`.
 */
import { HoldfastError } from "../errors.ts";
import type { Context, Handler } from "./context.ts";
import { sign } from "./paint.ts";
import { usage } from "./parse.ts";
import { plain, table } from "./text.ts";

type SetOptions = { readonly origin?: readonly string[]; readonly header?: string };

export const runSet: Handler<[string], SetOptions> = async (context, [name], options) => {
  const value = await readSecret(context, name);
  const local = await context.local();
  const origins = options.origin ?? [];
  const stored = await local.credentials.set(
    name,
    value,
    options.header === undefined ? { origins } : { origins, header: options.header },
  );
  context.answer(stored, () => {
    const where = stored.origins.length === 0 ? "any origin that a request names it for" : stored.origins.join(", ");
    return `${context.paint.green(sign.yes)} Stored ${plain(name)} for ${plain(where)}`;
  });
  return 0;
};

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
    const rows = credentials.map(({ name, origins, header }) => [
      { text: plain(name), paint: context.paint.bold },
      { text: header },
      { text: origins.length === 0 ? "any" : origins.join(", ") },
    ]);
    return table([{ title: "NAME" }, { title: "HEADER" }, { title: "ORIGINS", isFlexible: true }], rows, {
      width: context.width,
      head: context.paint.dim,
    });
  });
  return 0;
};

export const runRemove: Handler<[string], object> = async (context, [name]) => {
  const isRemoved = await (await context.local()).credentials.remove(name);
  if (!isRemoved)
    throw new HoldfastError("not_found", `there is no credential ${name}`, "see `holdfast credentials list`");
  context.answer({ removed: name }, () => `${context.paint.green(sign.yes)} Removed ${plain(name)}`);
  return 0;
};
