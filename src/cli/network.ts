/**
 * Owns `holdfast network`: what is known of each remote, a look now, working offline. How it looks is in `render-status.ts`.
 */
import { HoldfastError } from "../errors.ts";
import type { Output, RemoteView } from "../verbs.ts";
import type { Context, Handler } from "./context.ts";
import { sign } from "./paint.ts";
import { formatDuration } from "./relative-time.ts";
import { renderNetwork } from "./render-status.ts";
import type { Session } from "./session.ts";
import { plain, plural } from "./text.ts";

const checkTimeoutMs = 15_000;
const lookMs = 100;

export const runNetworkStatus: Handler<[], object> = async (context) => {
  const network = await (await context.session()).call("network.status", {});
  context.answer(network, () => renderNetwork(context, network));
  return 0;
};

export const runNetworkCheck: Handler<[string | undefined], object> = async (context, [typed]) => {
  const session = await context.session();
  const before = await session.call("network.status", {});
  if (before.isWorkingOffline)
    throw new HoldfastError("refused_by_state", "working offline: no remote is probed", "holdfast network online");
  const asked = typed === undefined ? {} : { remote: remoteNamed(before.remotes, typed) };
  const { checking } = await session.call("network.check", asked);
  if (checking.length > 0) context.tell(`Checking ${plural(checking.length, "remote")}…`);
  const { network, open } = await untilChecked(context, session, { checking, before: before.remotes });
  context.answer(network, () => renderNetwork(context, typed === undefined ? network : only(network, checking)));
  for (const remote of open)
    context.tell(
      `${context.errorPaint.yellow(sign.warn)} Nothing was heard of ${plain(remote)} within ${formatDuration(checkTimeoutMs)}`,
    );
  const isReached = network.remotes.every((each) => !checking.includes(each.remote) || doesAnswer(each));
  return open.length === 0 && isReached ? 0 : 1;
};

/** Who asked about one remote is told about that one. */
function only(network: Output<"network.status">, names: readonly string[]): Output<"network.status"> {
  const remotes = network.remotes.filter(({ remote }) => names.includes(remote));
  return { ...network, remotes, status: remotes[0]?.status ?? network.status };
}

/** An address stands for its origin; another name must be one that operations go to, or a typing error would be looked for ever after. */
function remoteNamed(remotes: readonly RemoteView[], typed: string): string {
  if (remotes.some(({ remote }) => remote === typed)) return typed;
  const url = URL.parse(typed);
  if (url !== null && /^https?:$/.test(url.protocol)) return url.origin;
  throw new HoldfastError(
    "not_found",
    `there is no remote "${typed}"`,
    "see `holdfast network status`, or give an address such as https://api.example.com",
  );
}

const doesAnswer = ({ lastSuccessAt, lastFailureAt }: RemoteView): boolean =>
  lastSuccessAt !== null && lastSuccessAt >= (lastFailureAt ?? 0);

type Checking = { readonly checking: readonly string[]; readonly before: readonly RemoteView[] };
type Checked = { readonly network: Output<"network.status">; readonly open: readonly string[] };

/** Waits until each remote that was asked has answered, or has been found offline; a first silence is looked at twice. */
async function untilChecked(context: Context, session: Session, { checking, before }: Checking): Promise<Checked> {
  const end = context.now() + checkTimeoutMs;
  const isChecked = (now: RemoteView | undefined): boolean => {
    const old = before.find(({ remote }) => remote === now?.remote);
    const isNews =
      now?.lastSuccessAt !== (old?.lastSuccessAt ?? null) || now.lastFailureAt !== (old?.lastFailureAt ?? null);
    return now !== undefined && isNews && now.status !== "checking" && (doesAnswer(now) || now.status === "offline");
  };
  for (;;) {
    const network = await session.call("network.status", {});
    const open = checking.filter((name) => !isChecked(network.remotes.find(({ remote }) => remote === name)));
    if (open.length === 0 || context.now() >= end) return { network, open };
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
