/**
 * Owns what the command says when the sync server gives nothing and takes nothing: what is wrong, and the command that changes it.
 * That something is wrong is found by the engine; how long is waited for it is the business of who waits.
 */
import { HoldfastError } from "../errors.ts";
import type { Output } from "../verbs.ts";
import type { Context } from "./context.ts";
import { formatAge } from "./relative-time.ts";
import type { Session } from "./session.ts";
import { plain, shellWord } from "./text.ts";

/** Which sync server config.toml names, and the name of the credential for it. */
export type SyncTarget = { readonly url: string | null; readonly credential: string | null };

export async function syncTarget(context: Context): Promise<SyncTarget> {
  const { config } = await context.local();
  const read = async (key: string): Promise<string | null> => {
    const { value, source } = await config.get(key);
    return source !== "default" && typeof value === "string" ? value : null;
  };
  return { url: await read("sync.url"), credential: await read("sync.credential") };
}

/** What no other token of the same person would change. */
const barring: ReadonlySet<string> = new Set(["account_suspended", "space_forbidden"]);
const missing: ReadonlySet<string> = new Set(["credential_missing", "token_missing", "token_failed"]);

/** What helps against refused credentials, in a few words. */
export const wayOut = (code: string): string =>
  barring.has(code) ? "ask who runs it" : "store fresh ones with `holdfast credentials set`";

const accessWords: Readonly<Record<string, string>> = {
  signed_out: "signed out",
  credential_missing: "no credential",
  token_missing: "no credential",
  token_failed: "no token",
  credential_refused: "credential refused",
  unauthorized: "credential refused",
  proxy_unauthorized: "credential refused",
  token_invalid: "credential refused",
  token_expired: "token expired",
  token_revoked: "token revoked",
  account_suspended: "suspended",
  space_forbidden: "not allowed",
};

/** Why a remote lets nobody in, in two words. */
export const accessWord = (code: string | undefined): string => accessWords[code ?? ""] ?? "no access";

export type SignedOut = Output<"queue.status">["signedOut"][number];

/** Credentials that a remote refuses, or lacks: what it said, and the command that stores fresh ones. */
export async function refusalOf(
  context: Context,
  { remote, subject, reason, code }: SignedOut,
): Promise<{ readonly message: string; readonly hint: string }> {
  if (remote === "")
    return {
      message: `${subject === "" ? "the owner" : plain(subject)} is signed out`,
      hint: `holdfast subject sign-in ${shellWord(subject)}`,
    };
  const { url, credential } = await syncTarget(context);
  if (url === null || new URL(url).origin !== remote)
    return {
      message: `${plain(remote)} refuses the credentials: ${plain(reason)}`,
      hint: `store fresh ones: holdfast credentials set NAME --origin ${shellWord(remote)}`,
    };
  if (barring.has(code))
    return {
      message: `the sync server ${plain(remote)} lets nobody in with this token: ${plain(reason)}`,
      hint: "ask who runs it; everything stays readable here, and `holdfast queue export -o FILE` takes what is unsent to another account or machine",
    };
  const message = missing.has(code)
    ? `the sync server ${plain(remote)} wants a token: ${plain(reason)}`
    : `the sync server ${plain(remote)} refuses the token: ${plain(reason)}`;
  if (credential !== null)
    return {
      message,
      hint: `store a valid one: holdfast credentials set ${shellWord(credential)}`,
    };
  return {
    message,
    hint: "store one and name it: holdfast credentials set sync && holdfast config set sync.credential sync",
  };
}

/** Throws what keeps records from moving until somebody acts, or since the server did not answer after `since`. */
export async function refuseTrouble(context: Context, session: Session, since: number): Promise<void> {
  const { url } = await syncTarget(context);
  const remote = url === null ? null : new URL(url).origin;
  const status = await session.call("queue.status", {});
  if (status.isWorkingOffline)
    throw refused("you work offline: nothing is sent or pulled", "holdfast network online   ends that");
  const pause = status.paused.find(({ kind, name }) => kind === "all" || (kind === "remote" && name === remote));
  if (pause !== undefined)
    throw refused(
      `${pause.kind === "all" ? "everything" : plain(pause.name)} is paused${pause.reason === "" ? "" : `: ${plain(pause.reason)}`}`,
      `holdfast queue resume${pause.kind === "all" ? "" : ` --remote ${shellWord(pause.name)}`}   ends that`,
    );
  const out = status.signedOut.find((each) => each.remote === remote);
  if (out !== undefined) {
    const { message, hint } = await refusalOf(context, out);
    throw refused(message, hint);
  }
  const { remotes } = await session.call("network.status", {});
  const silent = remotes.find((each) => each.remote === remote && each.status === "offline");
  if (silent !== undefined && (silent.lastFailureAt ?? 0) >= since)
    throw new HoldfastError(
      "timed_out",
      `the sync server ${plain(silent.remote)} does not answer, for ${formatAge(silent.since, context.now())}: ${plain(silent.reason)}`,
      "check its address and your connection; it goes on by itself when it answers",
    );
}

const refused = (message: string, hint: string): HoldfastError => new HoldfastError("refused_by_state", message, hint);
