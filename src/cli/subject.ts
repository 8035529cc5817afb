/**
 * Owns `holdfast subject`: who has fresh credentials and who has not. Credentials themselves are in `credentials.ts`.
 */
import type { Context, Handler } from "./context.ts";
import { sign } from "./paint.ts";
import { formatRelative } from "./relative-time.ts";
import { accessWord } from "./sync-trouble.ts";
import { plain, plural, table } from "./text.ts";

const nameOf = (subject: string): string => (subject === "" ? "The owner" : plain(subject));

function waiting(pending: number, one: string, many: string): string {
  return pending === 0 ? "" : `; ${plural(pending, "operation")} ${pending === 1 ? one : many}`;
}

export const runSignIn: Handler<[string], object> = async (context: Context, [subject]) => {
  const answer = await (await context.session()).call("subject.signIn", { subject });
  context.confirm(
    answer,
    () =>
      `${context.paint.green(sign.yes)} ${nameOf(subject)} is signed in${waiting(answer.pending, "moves again", "move again")}`,
  );
  return 0;
};

export const runSignOut: Handler<[string], object> = async (context: Context, [subject]) => {
  const answer = await (await context.session()).call("subject.signOut", { subject });
  context.confirm(
    answer,
    () =>
      `${context.paint.green(sign.yes)} ${nameOf(subject)} is signed out${waiting(answer.pending, "waits; nothing is deleted", "wait; nothing is deleted")}`,
  );
  return 0;
};

export const runSubjectList: Handler<[], object> = async (context) => {
  const { signedOut } = await (await context.session()).call("queue.status", {});
  context.answer({ signedOut }, () => {
    if (signedOut.length === 0) return "Nobody is signed out, and no remote refuses anybody.";
    const { paint, width } = context;
    const rows = signedOut.map(({ subject, remote, code, since, pending, reason }) => [
      { text: subject === "" ? "(owner)" : plain(subject), paint: paint.bold },
      { text: accessWord(code), paint: paint.yellow },
      { text: remote === "" ? "everywhere" : plain(remote) },
      { text: formatRelative(since, context.now()), paint: paint.dim },
      { text: pending === 0 ? "" : String(pending) },
      { text: plain(reason), paint: paint.dim },
    ]);
    const columns = [
      { title: "SUBJECT", isWhole: true },
      { title: "ACCESS", isWhole: true },
      { title: "REMOTE" },
      { title: "SINCE", isWhole: true, isOptional: true },
      { title: "UNSENT", isRight: true },
      { title: "REASON", isFlexible: true },
    ];
    return table(columns, rows, { width, head: paint.dim });
  });
  return 0;
};
