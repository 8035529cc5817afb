// Owns operations and answers that several tests of the command show; leaves what is particular to a test to that test.
import type { Operation } from "../../../src/cli/session.ts";
import type { HoldfastEvent, Output, QueueStatus, Why } from "../../../src/verbs.ts";
import { now } from "./script.ts";

const idOf = (tail: string): string => `019aa5e2-7c00-7000-8000-0000${tail}`;

export const ids = {
  note: idOf("0f3a9c21"),
  upload: idOf("77aa01bc"),
  push: idOf("5b1e00d4"),
  conflict: idOf("c0ffee01"),
} as const;

/** An operation with what a test does not care about filled in. */
export function operation(more: Partial<Operation> = {}): Operation {
  return {
    id: ids.note,
    sequence: 12,
    type: "http.request",
    version: 1,
    status: "pending",
    reason: null,
    payload: { method: "POST", url: "https://api.example.com/notes", body: { json: { text: "kelp" } } },
    title: "POST https://api.example.com/notes",
    lane: null,
    priority: 0,
    subject: "",
    remote: "https://api.example.com",
    dependsOn: [],
    creates: null,
    serverId: null,
    group: null,
    dedupe: null,
    notBefore: null,
    expiresAt: null,
    retry: { maxAttempts: 8, initialMs: 1_000, maxMs: 60_000, jitter: 1 },
    onFailure: "hold",
    onCrash: "resend",
    conflict: null,
    attempts: 0,
    failures: 0,
    mayHaveLanded: false,
    revision: 0,
    idempotencyKey: more.id ?? ids.note,
    createdAt: now - 300_000,
    since: now - 300_000,
    nextAttemptAt: null,
    settledAt: null,
    outcome: null,
    problem: null,
    progress: null,
    checkpoint: null,
    result: null,
    remoteVersion: null,
    ...more,
  };
}

export const waitingNote = operation({
  reason: "network",
  lane: "notes",
  attempts: 1,
  nextAttemptAt: now + 12_000,
  problem: { code: "ECONNREFUSED", message: "no answer: connection refused" },
});
export const runningUpload = operation({
  id: ids.upload,
  type: "file.upload",
  status: "in_progress",
  title: "big.bin to https://files.example.com/files",
  remote: "https://files.example.com",
  priority: 50,
  attempts: 2,
  progress: { done: 12_500_000, total: 40_000_000, unit: "bytes" },
  createdAt: now - 7_200_000,
});
export const failedPush = operation({
  id: ids.push,
  type: "command.run",
  status: "failed",
  reason: "gave_up",
  title: "git push origin main",
  remote: "",
  attempts: 5,
  failures: 5,
  retry: { maxAttempts: 5, initialMs: 1_000, maxMs: 15_000, jitter: 0.2 },
  problem: {
    code: "exit",
    message: "git ended with exit code 128",
    hint: "look at its output with `holdfast queue show`",
    status: 128,
  },
  createdAt: now - 3 * 86_400_000,
});
export const conflicting = operation({
  id: ids.conflict,
  status: "failed",
  reason: "conflict",
  title: "PUT https://api.example.com/notes/7",
  payload: { method: "PUT", url: "https://api.example.com/notes/7", body: { json: { text: "mine" } } },
  remoteVersion: { text: "theirs" },
  attempts: 1,
  failures: 1,
  problem: { code: "conflict", message: "the remote has another version (412)", status: 412 },
});
export const landedNote = operation({
  status: "completed",
  outcome: "applied",
  attempts: 3,
  failures: 2,
  settledAt: now,
  result: { status: 201, body: { id: "8812" } },
});

/** A queue at rest; tests say what differs. */
export function queueStatus(more: Partial<QueueStatus> = {}): QueueStatus {
  return {
    light: "green",
    sentence: "Everything has landed.",
    counts: { draft: 0, pending: 0, in_progress: 0, completed: 12, failed: 0, cancelled: 0, expired: 0 },
    unsent: 0,
    bytes: 0,
    oldestUnsentAt: null,
    nextAttemptAt: null,
    lastLandedAt: now - 180_000,
    conflicts: 0,
    isWorkingOffline: false,
    isDraining: true,
    drainer: "daemon 4711",
    isReadOnly: false,
    isDiskFull: false,
    paused: [],
    unknownTypes: [],
    signedOut: [],
    limits: { maxOperations: 1_000_000, maxBytes: 1_073_741_824, usedPercent: 0, isWarning: false },
    remotes: [],
    ...more,
  };
}

export const onlineRemote: QueueStatus["remotes"][number] = {
  remote: "https://api.example.com",
  status: "online",
  reason: "answered",
  since: now - 600_000,
  lastSuccessAt: now - 3_000,
  lastFailureAt: null,
  nextProbeAt: null,
  opensAt: null,
  pending: 1,
};
export const offlineRemote: QueueStatus["remotes"][number] = {
  ...onlineRemote,
  status: "offline",
  reason: "no answer: connection refused",
  since: now - 300_000,
  lastSuccessAt: now - 400_000,
  lastFailureAt: now - 60_000,
  nextProbeAt: now + 12_000,
};

export const troubled = queueStatus({
  light: "warning",
  sentence: "2 operations failed and need you; 2 wait.",
  counts: { draft: 1, pending: 1, in_progress: 1, completed: 12, failed: 2, cancelled: 0, expired: 0 },
  unsent: 5,
  bytes: 40_001_234,
  oldestUnsentAt: now - 3 * 86_400_000,
  nextAttemptAt: now + 12_000,
  conflicts: 1,
  paused: [{ kind: "lane", name: "notes", reason: "maintenance", since: now - 60_000 }],
  signedOut: [
    {
      subject: "ada",
      remote: "https://api.example.com",
      reason: "401",
      code: "unauthorized",
      since: now - 60_000,
      pending: 1,
    },
  ],
  unknownTypes: [{ type: "note.save", pending: 1 }],
  remotes: [offlineRemote, { ...onlineRemote, remote: "https://files.example.com" }],
});

const out = { subject: "", remote: "https://sync.example.com", since: now - 120_000, pending: 2 };
export const keptOut = queueStatus({
  signedOut: [
    { ...out, subject: "ada", remote: "", reason: "signed out", code: "signed_out" },
    { ...out, reason: "the account is suspended: left the company", code: "account_suspended", pending: 0 },
  ],
});

export function receipt(more: Partial<Output<"queue.add">> = {}): Output<"queue.add"> {
  return { id: ids.note, sequence: 12, status: "pending", reason: null, isNew: true, warning: null, ...more };
}

export function why(more: Partial<Why> = {}): Why {
  return {
    id: ids.note,
    status: "pending",
    sentence: "It is next in line.",
    since: now,
    nextMoveAt: now,
    blockers: [],
    ...more,
  };
}

export const whyOffline = why({
  sentence: "https://api.example.com does not answer since 5 minutes; it is looked for again in 12 s.",
  since: now - 300_000,
  nextMoveAt: now + 12_000,
  blockers: [
    { kind: "network", detail: "no answer: connection refused", name: "https://api.example.com", until: now + 12_000 },
  ],
});

export function event(more: Partial<HoldfastEvent> = {}): HoldfastEvent {
  return { sequence: 40, at: now, kind: "settled", id: ids.note, status: "completed", detail: null, ...more };
}

export const noCollections: Output<"collections.list"> = { collections: [], lastSyncAt: null, clockOffsetMs: 0 };

/** One space whose pokes come through, one whose do not. */
export const pokes: Output<"network.status">["pokes"] = [
  {
    ...{ space: "team", state: "listening", pollMs: 300_000, lastError: null },
    ...{ since: now - 3_600_000, lastPokeAt: now - 120_000 },
  },
  {
    ...{ space: "archive", state: "polling", pollMs: 30_000, since: now - 300_000, lastPokeAt: null },
    lastError: { at: now - 20_000, reason: "it answered text/html, no stream" },
  },
];
