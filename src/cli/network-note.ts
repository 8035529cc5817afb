/**
 * Owns the line below a command's answer that says that one is offline, where the answer itself has not said it.
 * Which answers say it is known here by the verbs that were asked; how the network looks in full is in `render-status.ts`.
 */
import type { RemoteView, Verb } from "../verbs.ts";
import type { Context } from "./context.ts";
import { sign } from "./paint.ts";
import { formatAge } from "./relative-time.ts";
import type { Session } from "./session.ts";
import { plain, plural } from "./text.ts";

/** Whose answer says how the network stands: a command that asks one of them tells it in its own words. */
const tellingVerbs: ReadonlySet<Verb> = new Set([
  "queue.status",
  "queue.why",
  "network.status",
  "network.offline",
  "network.online",
  "sync.run",
  "sync.status",
  "collections.sync",
]);

/** A session that remembers whether it was asked how the network stands. */
export type Watched = { readonly session: Session; readonly isTold: () => boolean };

export function watched(session: Session): Watched {
  let isTold = false;
  const call: Session["call"] = (verb, input) => {
    isTold ||= tellingVerbs.has(verb);
    return session.call(verb, input);
  };
  return { session: { ...session, call }, isTold: () => isTold };
}

/** Says that one is offline. It is an extra: a daemon that has gone since takes nothing from the answer. */
export async function noteOffline(context: Context): Promise<void> {
  if (context.isJson || context.isQuiet) return;
  const session = context.untold();
  const network = await session?.call("network.status", {}).catch(() => null);
  if (network === undefined || network === null) return;
  const { yellow } = context.errorPaint;
  if (network.isWorkingOffline)
    context.tell(`${yellow(sign.warn)} Working offline: nothing is sent until \`holdfast network online\``);
  else
    for (const remote of network.remotes.filter(isMissed))
      context.tell(`${yellow(sign.warn)} ${text(context, remote)}`);
}

/** An address that never answered and that nothing goes to was only looked at once, by a mistake perhaps. */
const isMissed = ({ status, pending, lastSuccessAt }: RemoteView): boolean =>
  status === "offline" && (pending > 0 || lastSuccessAt !== null);

function text(context: Context, { remote, since, pending }: RemoteView): string {
  const goes = pending === 1 ? "goes by itself" : "go by themselves";
  const waiting = pending === 0 ? "" : `; ${plural(pending, "operation")} ${goes} when it does`;
  return `Offline: ${plain(remote)} does not answer for ${formatAge(since, context.now())}${waiting}`;
}
