/**
 * Owns `holdfast network`: what is known of each remote, a look now, working offline. How it looks is in `render-status.ts`.
 */
import { HoldfastError } from "../errors.ts";
import type { Output } from "../verbs.ts";
import type { Context, Handler } from "./context.ts";
import { sign } from "./paint.ts";
import { renderNetwork } from "./render-status.ts";
import type { Session } from "./session.ts";
import { plural } from "./text.ts";

const checkTimeoutMs = 15_000;
const lookMs = 100;

export const runNetworkStatus: Handler<[], object> = async (context) => {
  const network = await (await context.session()).call("network.status", {});
  context.answer(network, () => renderNetwork(context, network));
  return 0;
};

export const runNetworkCheck: Handler<[string | undefined], object> = async (context, [remote]) => {
  const session = await context.session();
  const { checking } = await session.call(
    "network.check",
    remote === undefined ? {} : { remote: await remoteNamed(session, remote) },
  );
  if (checking.length > 0) context.tell(`Checking ${plural(checking.length, "remote")}…`);
  const network = await untilChecked(context, session, checking);
  context.answer(network, () => renderNetwork(context, network));
  return network.remotes.some((each) => checking.includes(each.remote) && each.status === "offline") ? 1 : 0;
};

/** An address stands for its origin; another name must be one that operations go to, or a typing error would be looked for ever after. */
async function remoteNamed(session: Session, typed: string): Promise<string> {
  const { remotes } = await session.call("network.status", {});
  if (remotes.some(({ remote }) => remote === typed)) return typed;
  const url = URL.parse(typed);
  if (url !== null && /^https?:$/.test(url.protocol)) return url.origin;
  throw new HoldfastError(
    "not_found",
    `there is no remote "${typed}"`,
    "see `holdfast network status`, or give an address such as https://api.example.com",
  );
}

/** Waits until no remote that was asked is being checked any more. */
async function untilChecked(
  context: Context,
  session: Session,
  checking: readonly string[],
): Promise<Output<"network.status">> {
  const end = context.now() + checkTimeoutMs;
  for (;;) {
    const network = await session.call("network.status", {});
    const isOpen = network.remotes.some((each) => checking.includes(each.remote) && each.status === "checking");
    if (!isOpen || context.now() >= end) return network;
    await context.host.sleep(lookMs);
  }
}

export const runOffline: Handler<[], object> = async (context) => {
  const answer = await (await context.session()).call("network.offline", {});
  context.confirm(answer, () => {
    const { paint } = context;
    return `${paint.yellow(sign.light)} Working offline: everything is queued, nothing is sent, also after a restart\n${paint.dim(`${sign.hint} holdfast network online   to send again`)}`;
  });
  return 0;
};

export const runOnline: Handler<[], object> = async (context) => {
  const session = await context.session();
  const answer = await session.call("network.online", {});
  const { counts } = await session.call("queue.status", {});
  const pending = (counts.pending ?? 0) + (counts.in_progress ?? 0);
  context.confirm({ ...answer, pending }, () => {
    const what = pending === 0 ? "nothing is pending" : `${plural(pending, "pending operation")} on the way`;
    return `${context.paint.green(sign.light)} Working online: ${what}`;
  });
  return 0;
};
