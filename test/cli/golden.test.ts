// Owns the committed look of every command, for people and as JSON, over a scripted daemon: fixed clock, fixed width, no colour.
// Leaves exit codes to exit-codes.test.ts and real processes to end-to-end.test.ts. `vitest -u` writes the goldens anew.
import { describe, it } from "vitest";
import type { Local } from "../../src/cli/host.ts";
import type { DaemonState } from "../../src/cli/local.ts";
import { defaultSettings } from "../../src/shapes.ts";
import type { Output } from "../../src/verbs.ts";
import * as has from "./support/fixtures.ts";
import type { Look } from "./support/looks.ts";
import { expectLook } from "./support/looks.ts";
import { syncConfig } from "./support/record-fixtures.ts";
import { now } from "./support/script.ts";

const running: DaemonState = {
  isRunning: true,
  isSilent: false,
  home: "/home/ada/.local/share/holdfast",
  pid: 4711,
  host: "127.0.0.1",
  port: 4780,
  socket: "/home/ada/.local/share/holdfast/daemon.sock",
  startedAt: now - 3_600_000,
  version: "0.1.0",
};
const nobody = { pid: null, host: null, port: null, socket: null, startedAt: null, version: null } as const;
const stopped: DaemonState = { ...running, ...nobody, isRunning: false };

const daemon = (more: Partial<Local["daemon"]>): Partial<Local> => ({
  daemon: {
    run: async () => {},
    start: async () => running,
    stop: async () => stopped,
    status: async () => running,
    log: async function* () {
      yield '{"level":"info","time":"2026-11-21T11:59:58.669Z","pid":4711,"directory":"/home/ada/my data","port":4780,"socket":null,"msg":"the daemon is ready"}';
      yield '{"level":"error","time":"2026-11-21T11:59:59.669Z","pid":4711,"error":{"code":"io_failed","at":["a\\u001b[2J"]},"msg":"the port failed"}';
      yield "node:internal/process: the last words \u001b[31mof a crash";
    },
    ...more,
  },
});

const config: Partial<Local> = {
  config: {
    path: async () => "/home/ada/.local/share/holdfast/config.toml",
    list: async () => [
      { key: "daemon.port", value: 4780, source: "file" },
      { key: "queue.retain_for", value: "7d", source: "default" },
    ],
    get: async (key) => ({ key, value: 4780, source: "file" }),
    set: async (key, typed) => ({ key, value: Number(typed), source: "file" }),
  },
};

const bulk = { done: [has.ids.note], refused: [] };
const page = { operations: [has.waitingNote, has.runningUpload, has.failedPush, has.conflicting], next: null };
/** The network as it was before somebody looked, and as that found it; twice, for people and for JSON. */
function beforeAndAfter(): () => Output<"network.status"> {
  let asked = 0;
  const before = { ...network, remotes: network.remotes.map((each) => ({ ...each, lastFailureAt: null })) };
  return () => (asked++ % 2 === 0 ? before : network);
}

const network: Output<"network.status"> = {
  status: "offline",
  ...{ isWorkingOffline: false, pokes: has.pokes },
  lastCheckAt: now - 60_000,
  remotes: [has.offlineRemote, { ...has.onlineRemote, remote: "https://files.example.com" }],
};
const run = {
  startedAt: now - 5_000,
  endedAt: now - 1_000,
  ...{ total: 3, succeeded: 2, failed: 1, conflicts: 0, remaining: 0 },
  ...{ pushed: 1, pulled: 4, merged: 0 },
  errors: [{ id: has.ids.push, title: "git push origin main", error: "git ended with exit code 128" }],
};

const ran = { isSyncing: false, mode: "eager", run } as const;
const noRecords = { "collections.list": has.noCollections };
const nothingSent = { total: 0, succeeded: 0, failed: 0, errors: [] };

const reading: readonly Look[] = [
  [
    "status at rest",
    ["status"],
    { answers: { ...noRecords, "queue.status": has.queueStatus({ remotes: [has.onlineRemote] }) } },
  ],
  [
    "status in trouble",
    ["status"],
    {
      answers: {
        ...noRecords,
        "queue.status": has.troubled,
        "queue.list": { operations: [has.failedPush, has.conflicting], next: null },
      },
    },
  ],
  [
    "queue status",
    ["queue", "status"],
    {
      answers: {
        "queue.status": has.troubled,
        "queue.list": { operations: [has.runningUpload, has.waitingNote], next: null },
      },
    },
  ],
  ["queue list", ["queue", "list"], { answers: { "queue.list": page, "queue.status": has.troubled } }],
  [
    "queue list narrow",
    ["queue", "list"],
    { isTty: true, columns: 72, env: { NO_COLOR: "1" }, answers: { "queue.list": page, "queue.status": has.troubled } },
  ],
  [
    "queue list empty",
    ["queue", "list", "--lane", "notes"],
    { answers: { "queue.list": { operations: [], next: null }, "queue.status": has.queueStatus() } },
  ],
  [
    "queue list more",
    ["queue", "list", "--limit", "2"],
    {
      answers: {
        "queue.list": { operations: [has.waitingNote, has.runningUpload], next: "2" },
        "queue.status": has.troubled,
      },
    },
  ],
  [
    "queue show",
    ["queue", "show", "0f3a9c21"],
    {
      answers: {
        "queue.get": {
          ...has.landedNote,
          lane: "notes",
          creates: "local-1",
          serverId: "8812",
          dependsOn: [has.ids.upload],
        },
      },
    },
  ],
  ["queue show conflict", ["queue", "show", "c0ffee01"], { answers: { "queue.get": has.conflicting } }],
  ["queue why", ["queue", "why", "0f3a9c21"], { answers: { "queue.why": has.whyOffline } }],
  [
    "queue history",
    ["queue", "history", "0f3a9c21"],
    {
      answers: {
        "queue.history": {
          id: has.ids.note,
          entries: [
            { sequence: 1, at: now - 300_000, kind: "enqueued", detail: { lane: "notes" } },
            {
              sequence: 2,
              at: now - 60_000,
              kind: "attempt",
              detail: { attempt: 1, problem: { code: "ECONNREFUSED", message: "no answer" }, delayMs: 1_000 },
            },
          ],
        },
      },
    },
  ],
  ["network status", ["network", "status"], { answers: { "network.status": network } }],
  [
    "sync status",
    ["sync", "--status"],
    { answers: { "sync.status": ran, "queue.status": has.troubled, "network.status": network } },
  ],
  [
    "ids get",
    ["ids", "get", "local-1"],
    { answers: { "ids.get": { localId: "local-1", serverId: "8812", operation: has.ids.note } } },
  ],
  [
    "ids get none",
    ["ids", "get", "local-1"],
    { answers: { "ids.get": { localId: "local-1", serverId: null, operation: has.ids.note } } },
  ],
  ["settings get", ["settings", "get"], { answers: { "settings.get": defaultSettings } }],
  ["config list", ["config", "list"], { local: config }],
  ["config path", ["config", "path"], { local: config }],
  ["config get", ["config", "get", "daemon.port"], { local: config }],
  ["daemon status", ["daemon", "status"], { local: daemon({}) }],
  ["daemon status stopped", ["daemon", "status"], { local: daemon({ status: async () => stopped }) }],
  ["daemon logs", ["daemon", "logs"], { local: daemon({}) }],
  [
    "credentials list",
    ["credentials", "list"],
    {
      local: {
        credentials: {
          list: async () => [
            { name: "api", subject: null, kind: "bearer", origins: ["https://api.example.com"], source: "file" },
          ],
          set: async () => Promise.reject(new Error("not here")),
          remove: async () => true,
        },
      },
    },
  ],
  [
    "doctor",
    ["doctor"],
    {
      local: {
        ...syncConfig({}),
        diagnose: async () => ({
          nodeVersion: "v24.21.0",
          home: "/home/ada/.local/share/holdfast",
          doesExist: true,
          configTrouble: null,
          loose: [{ path: "/home/ada/.local/share/holdfast/token", mode: "644", wanted: "600" }],
          isWritable: true,
          freeBytes: 120_000_000,
          daemon: running,
        }),
      },
      answers: {
        "engine.info": {
          version: "0.1.0",
          schemaVersion: 3,
          sequence: 40,
          isReadOnly: false,
          drainer: "daemon 4711",
          isDrainer: true,
          types: ["http.request"],
          recovery: null,
        },
        "engine.check": { isSound: true, findings: [], checked: 17 },
        "queue.status": has.troubled,
        "events.list": { events: [has.event()], last: 40, isTruncated: false },
        "network.status": network,
      },
    },
  ],
];

const changing: readonly Look[] = [
  ["queue retry", ["queue", "retry", "0f3a9c21"], { answers: { "queue.retry": bulk, "network.status": network } }],
  [
    "queue retry refused",
    ["queue", "retry", "0f3a9c21", "77aa01bc"],
    {
      answers: {
        "queue.retry": {
          done: [has.ids.note],
          refused: [
            {
              id: has.ids.upload,
              code: "refused_by_state",
              message: `${has.ids.upload} is completed`,
              hint: "queue it again",
            },
          ],
        },
        "network.status": { ...network, status: "online" },
      },
    },
  ],
  [
    "queue edit",
    ["queue", "edit", "0f3a9c21", "--priority", "50"],
    {
      answers: {
        "queue.edit": { ...has.waitingNote, priority: 50, revision: 1 },
        "network.status": { ...network, status: "online" },
      },
    },
  ],
  [
    "queue move",
    ["queue", "move", "0f3a9c21", "--first"],
    { answers: { "queue.move": has.waitingNote, "queue.list": { operations: [has.waitingNote], next: null } } },
  ],
  ["queue cancel", ["queue", "cancel", "0f3a9c21"], { answers: { "queue.cancel": bulk } }],
  ["queue detach", ["queue", "detach", "0f3a9c21"], { answers: { "queue.detach": has.waitingNote } }],
  [
    "queue release",
    ["queue", "release", "0f3a9c21"],
    { answers: { "queue.release": bulk, "network.status": { ...network, isWorkingOffline: true } } },
  ],
  [
    "queue resolve",
    ["queue", "resolve", "c0ffee01", "--choose", "remote"],
    { answers: { "queue.resolve": { done: [has.ids.conflict], refused: [] } } },
  ],
  [
    "queue pause",
    ["queue", "pause", "--lane", "notes", "--reason", "maintenance"],
    { answers: { "queue.pause": { paused: has.troubled.paused } } },
  ],
  ["queue resume", ["queue", "resume", "--lane", "notes"], { answers: { "queue.resume": { paused: [] } } }],
  ["queue clear", ["queue", "clear"], { answers: { "queue.clear": { removed: 12, unsent: 0 } } }],
  ["queue clear all refused", ["queue", "clear", "--all"], { answers: { "queue.status": has.troubled } }],
  [
    "queue clear all",
    ["queue", "clear", "--all", "--yes"],
    { answers: { "queue.status": has.troubled, "queue.clear": { removed: 17, unsent: 5 } } },
  ],
  ["queue remove refused", ["queue", "remove", "0f3a9c21"], { answers: { "queue.get": has.waitingNote } }],
  [
    "queue export",
    ["queue", "export", "-o", "saved.jsonl"],
    { answers: { "queue.export": { lines: ['{"a":1}', '{"a":2}'], next: null } } },
  ],
  [
    "queue import",
    ["queue", "import", "-"],
    {
      stdin: '{"a":1}\n{"a":2}\n',
      answers: { "queue.import": { imported: [has.ids.note], skipped: [has.ids.upload], refused: [] } },
    },
  ],
  ["sync", ["sync"], { answers: { "sync.run": { pending: 2, isOffline: false, sentence: "Sending 2 operations." } } }],
  [
    "sync offline",
    ["sync"],
    { answers: { "sync.run": { pending: 2, isOffline: true, sentence: "You work offline: nothing is sent." } } },
  ],
  [
    "sync wait",
    ["sync", "--wait"],
    {
      answers: {
        "sync.run": { pending: 3, isOffline: false, sentence: "Sending 3 operations." },
        "sync.status": ran,
        "queue.status": has.queueStatus(),
        "queue.get": ({ id }) => (id === has.ids.push ? has.failedPush : has.landedNote),
      },
      events: [has.event(), has.event({ id: has.ids.push, kind: "parked", status: "failed" })],
    },
  ],
  [
    "sync wait landed already",
    ["sync", "--wait"],
    {
      answers: {
        "sync.run": { pending: 0, isOffline: false, sentence: "Nothing to send." },
        "sync.status": { isSyncing: false, mode: "eager", run: { ...run, ...nothingSent } },
        "queue.status": has.queueStatus(),
      },
    },
  ],
  [
    "sync wait failed before",
    ["sync", "--wait"],
    {
      answers: {
        "sync.run": { pending: 0, isOffline: false, sentence: "Nothing to send." },
        "sync.status": { isSyncing: false, mode: "eager", run: { ...run, ...nothingSent } },
        "queue.status": has.queueStatus({ counts: { ...has.queueStatus().counts, failed: 2, draft: 1 } }),
      },
    },
  ],
  [
    "network check",
    ["network", "check"],
    { answers: { "network.check": { checking: ["https://api.example.com"] }, "network.status": beforeAndAfter() } },
  ],
  ["network offline", ["network", "offline"], { answers: { "network.offline": { isWorkingOffline: true } } }],
  [
    "network online",
    ["network", "online"],
    { answers: { "network.online": { isWorkingOffline: false }, "queue.status": has.troubled } },
  ],
  ["subject list", ["subject", "list"], { answers: { "queue.status": has.keptOut } }],
  ["subject list empty", ["subject", "list"], { answers: { "queue.status": has.queueStatus() } }],
  ["subject sign-in", ["subject", "sign-in", "ada"], { answers: { "subject.signIn": { subject: "ada", pending: 2 } } }],
  ["subject sign-out", ["subject", "sign-out", ""], { answers: { "subject.signOut": { subject: "", pending: 0 } } }],
  [
    "ids assign",
    ["ids", "assign", "local-1", "8812"],
    { answers: { "ids.assign": { localId: "local-1", serverId: "8812", rewritten: 3 } } },
  ],
  [
    "settings set",
    ["settings", "set", "conflictByType.http.request", "manual"],
    {
      answers: {
        "settings.get": defaultSettings,
        "settings.set": (patch) => ({ ...defaultSettings, ...patch }) as typeof defaultSettings,
      },
    },
  ],
  ["config set", ["config", "set", "daemon.port", "4780"], { local: { ...config, ...daemon({}) } }],
  ["daemon start", ["daemon", "start"], { local: daemon({ status: async () => stopped }) }],
  ["daemon start again", ["daemon", "start"], { local: daemon({}) }],
  ["daemon stop", ["daemon", "stop"], { local: daemon({}) }],
  [
    "credentials set",
    ["credentials", "set", "api", "--origin", "https://api.example.com"],
    {
      stdin: "s3cret\n",
      local: {
        credentials: {
          list: async () => [],
          set: async (name, secret) => ({
            name,
            subject: null,
            kind: secret.kind,
            origins: secret.origins,
            source: "file",
          }),
          remove: async () => true,
        },
      },
    },
  ],
];

const online = { "queue.status": has.queueStatus(), "queue.add": has.receipt(), "queue.why": has.why() } as const;
const enqueuing: readonly Look[] = [
  ["request", ["request", "POST", "https://api.example.com/notes", "--data", '{"text":"kelp"}'], { answers: online }],
  [
    "request offline",
    ["request", "POST", "https://api.example.com/notes", "--data", "kelp"],
    { answers: { ...online, "queue.add": has.receipt({ reason: "network" }), "queue.why": has.whyOffline } },
  ],
  [
    "request working offline",
    ["request", "DELETE", "https://api.example.com/notes/7"],
    {
      answers: {
        ...online,
        "queue.why": has.why({
          sentence: "Working offline since 5 minutes.",
          nextMoveAt: null,
          blockers: [{ kind: "work_offline", detail: "switched on by a person" }],
        }),
      },
    },
  ],
  [
    "request behind its lane",
    ["request", "GET", "https://api.example.com/notes", "--lane", "notes"],
    {
      answers: {
        ...online,
        "queue.why": has.why({
          sentence: "2 operations of lane notes go first.",
          blockers: [{ kind: "lane", detail: "notes" }],
        }),
      },
    },
  ],
  [
    "request again",
    ["request", "GET", "https://api.example.com/notes", "--dedupe", "notes"],
    { answers: { ...online, "queue.add": has.receipt({ isNew: false }) } },
  ],
  [
    "request replaces",
    ["request", "GET", "https://api.example.com/notes", "--dedupe", "notes:replace"],
    { answers: { ...online, "queue.add": has.receipt({ isNew: false }) } },
  ],
  [
    "request draft",
    ["request", "GET", "https://api.example.com/notes", "--draft"],
    { answers: { ...online, "queue.add": has.receipt({ status: "draft" }) } },
  ],
  [
    "request nearly full",
    ["request", "GET", "https://api.example.com/notes"],
    { answers: { ...online, "queue.add": has.receipt({ warning: "the queue is 85 % full" }) } },
  ],
  [
    "exec",
    ["exec", "--name", "deploy", "--retry-on", "1,75", "--", "git", "push", "--force-with-lease"],
    { answers: online },
  ],
  [
    "upload",
    ["upload", "big.bin", "https://files.example.com/files"],
    {
      answers: online,
      local: {
        capture: async (path) => ({
          payload: {
            blob: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            name: path.split("/").at(-1) ?? "",
          },
          sizeBytes: 40_000_000,
        }),
      },
    },
  ],
  ["queue add", ["queue", "add", "--type", "note.save", "--payload", '{"text":"kelp"}'], { answers: online }],
];

describe.each([
  ["reading", reading],
  ["changing", changing],
  ["enqueuing", enqueuing],
])("the look of %s", (_group, cases) => {
  it.each(cases)("%s", expectLook);
});
