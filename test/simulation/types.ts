// Owns the operation types of the simulation: how an attempt goes over the faulty network and how its reply is judged.
// The network and the remotes are network.ts and model-server.ts; what may be sent at all is checked by the watcher.
import type { Answer, Json, Problem } from "../../src/operation.ts";
import type { VirtualProcess } from "../../src/testing/virtual-world.ts";
import type { Attempt, OperationType } from "../../src/world.ts";
import type { Body, Reply, Request } from "./model-server.ts";
import type { FaultyNetwork, Silence } from "./network.ts";

/** Who looks at every attempt as it leaves and at every answer as it comes back. */
export type Watcher = {
  readonly onSend: (process: VirtualProcess, attempts: readonly Attempt[]) => void;
  readonly onAnswer: (process: VirtualProcess, attempt: Attempt, answer: Answer) => void;
};

export type TypeParts = {
  readonly process: VirtualProcess;
  readonly network: FaultyNetwork;
  readonly watcher: Watcher;
  /** The token that this machine holds for a subject; 0 when it never signed in. */
  readonly tokenOf: (subject: string) => number;
  /** Runs a local job and calls back when it is over. */
  readonly runJob: (attempt: Attempt, done: () => void) => void;
};

/** Milliseconds that an attempt may take; shorter than the longest lateness of the network. */
const timeoutMs = 20_000;

export const remoteOfType: { readonly [type: string]: string } = {
  write: "receipts",
  make: "receipts",
  bulk: "receipts",
  batch: "receipts",
  later: "receipts",
  note: "plain",
  job: "",
};

/** Types known from the start; `later` is registered by processes that start later. */
export function simulatedTypes(parts: TypeParts, isLaterKnown: boolean): readonly OperationType[] {
  const { process, watcher } = parts;
  const one = async (attempt: Attempt): Promise<Answer> => {
    watcher.onSend(process, [attempt]);
    return await exchange(parts, attempt);
  };
  const overNetwork = (type: string, more: Partial<OperationType> = {}): OperationType => ({
    type,
    remoteOf: () => remoteOfType[type] ?? "",
    resend: (payload, remote) => ({
      ...(payload as object),
      base: (remote as { readonly version: number } | null)?.version ?? 0,
    }),
    timeoutMs,
    run: one,
    ...more,
  });
  const runBatch = async (attempts: readonly Attempt[]): Promise<readonly Answer[]> => {
    watcher.onSend(process, attempts);
    // Order inside a batch is kept: the next member leaves when the one before it has its answer.
    const answers: Answer[] = [];
    for (const attempt of attempts) answers.push(answerOf(await ask(parts, attempt)));
    attempts.forEach((attempt, index) => {
      watcher.onAnswer(process, attempt, answers[index] as Answer);
    });
    return answers;
  };
  const { run: _run, ...batch } = overNetwork("batch");
  const types: readonly OperationType[] = [
    overNetwork("write"),
    overNetwork("make"),
    overNetwork("note"),
    overNetwork("bulk", { isBulk: true, run: (attempt) => transfer(parts, attempt) }),
    { ...batch, runBatch: { max: 4, run: runBatch } },
    { type: "job", timeoutMs: 0, run: (attempt) => job(parts, attempt) },
  ];
  return isLaterKnown ? [...types, overNetwork("later")] : types;
}

const ask = (parts: TypeParts, attempt: Attempt): Promise<Reply | Silence> =>
  parts.network.send(parts.process, requestOf(parts, attempt), attempt.signal);

async function exchange(parts: TypeParts, attempt: Attempt): Promise<Answer> {
  const answer = answerOf(await ask(parts, attempt));
  parts.watcher.onAnswer(parts.process, attempt, answer);
  return answer;
}

/** A long transfer: two checkpoints, then the request that makes it count. */
async function transfer(parts: TypeParts, attempt: Attempt): Promise<Answer> {
  parts.watcher.onSend(parts.process, [attempt]);
  const done = typeof attempt.checkpoint === "number" ? attempt.checkpoint : 0;
  for (let part = done; part < 2; part += 1) {
    attempt.reportProgress({ done: part, total: 2 });
    await attempt.saveCheckpoint(part + 1);
  }
  return await exchange(parts, attempt);
}

function job(parts: TypeParts, attempt: Attempt): Promise<Answer> {
  const { process, watcher } = parts;
  watcher.onSend(process, [attempt]);
  return new Promise((resolve) => {
    parts.runJob(attempt, () => {
      const body = attempt.input as unknown as Body;
      const answer: Answer =
        body.poison === true
          ? { kind: "rejected", problem: problem("exit", "the job failed") }
          : { kind: "applied", result: { name: body.name } };
      process.enter(() => {
        watcher.onAnswer(process, attempt, answer);
        resolve(answer);
      });
    });
  });
}

function requestOf(parts: TypeParts, attempt: Attempt): Request {
  const { operation, idempotencyKey, input } = attempt;
  return {
    remote: remoteOfType[operation.type] ?? "",
    operation: operation.id,
    key: idempotencyKey,
    type: operation.type,
    subject: operation.subject,
    token: parts.tokenOf(operation.subject),
    body: input as unknown as Body,
  };
}

/** The table of decision "answer semantics": only the remote's own words are terminal, and only its failures are charged. */
function answerOf(reply: Reply | Silence): Answer {
  if ("silence" in reply) {
    return { kind: "unknown", problem: problem("silence", reply.silence), mayHaveLanded: reply.mayHaveLanded };
  }
  switch (reply.status) {
    case 200: {
      const result: Json = { status: 200 };
      const created = reply.serverId === undefined ? {} : { serverId: reply.serverId };
      return { kind: reply.isRepeated ? "duplicate" : "applied", result, ...created };
    }
    case 0:
      return { kind: "unknown", problem: problem("portal", "a page of the network"), mayHaveLanded: false };
    case 401:
      return { kind: "auth", problem: problem("http_401", "the token has expired") };
    case 409:
      return {
        kind: "conflict",
        problem: problem("http_409", "another version"),
        remote: { version: reply.version },
      };
    case 422:
      return { kind: "rejected", problem: problem("http_422", "refused") };
    case 500:
      return { kind: "retry", problem: problem("http_500", "failed"), isCharged: true, scope: "operation" };
    case 429:
    case 503:
      return {
        kind: "retry",
        problem: problem(`http_${reply.status}`, "busy"),
        isCharged: false,
        scope: "remote",
        afterMs: reply.retryAfterMs,
      };
  }
}

function problem(code: string, message: string): Problem {
  const [, status] = /^http_(\d+)$/.exec(code) ?? [];
  return { code, message, ...(status === undefined ? {} : { status: Number(status) }) };
}
