/**
 * Owns the explanation of why an operation does not move: one sentence for people, blockers for programs, and when it moves next.
 * It reads the same gates as a claim, so it cannot tell another story.
 */
import { State, shortId, statusOf } from "../operation.ts";
import { recordWriteType } from "../record.ts";
import type { Blocker, Why } from "../verbs.ts";
import { closedBy } from "./claim.ts";
import { requireOperation } from "./find.ts";
import { isLanePaused, readGates } from "./gates.ts";
import { flyingInLane, laneHeadOf } from "./lane-rows.ts";
import { dependenciesOf } from "./lanes.ts";
import { getChannel, getSettings } from "./meta.ts";
import { getReachability, remoteGate } from "./network.ts";
import { toOperation } from "./operations.ts";
import type { Brief } from "./queue.ts";
import { getBrief, getRow } from "./queue.ts";
import { isDrained } from "./status.ts";
import type { Store } from "./store.ts";
import { nextRunAt } from "./sync.ts";

/** How many operations the chain of an explanation follows to its root. */
const chainLimit = 50;

export function explain(store: Store, given: string): Why {
  const op = requireOperation(store, given);
  const blockers = blockersOf(store, op);
  return {
    id: op.id,
    status: statusOf(op.state, op.outcome),
    sentence: sentenceOf(store, op, blockers),
    since: op.since,
    nextMoveAt: nextMoveOf(store, op, blockers),
    blockers: [...blockers],
  };
}

function sentenceOf(store: Store, op: Brief, blockers: readonly Blocker[]): string {
  const first = blockers[0];
  if (op.state === State.done) return doneSentence(op);
  if (first === undefined) return "Nothing keeps it: it goes with the next claim.";
  const root = op.state === State.waiting ? rootOf(store, op) : null;
  const rest =
    root === null || root.id === first.id
      ? rootReason(store, root)
      : ` That one waits in turn; at the end of the chain is ${shortId(root.id)}.${rootReason(store, root)}`;
  if (op.state === State.scheduled) return `${first.detail}.${besides(blockers.slice(1))}`;
  const more = blockers.length > 1 && op.state === State.waiting ? ` (and ${blockers.length - 1} more)` : "";
  return `${first.detail}${more}.${rest}`;
}

/** What keeps it after its time as well, until somebody acts. */
function besides(blockers: readonly Blocker[]): string {
  const closed = blockers.filter(({ until }) => until === undefined);
  return closed.map(({ detail }) => ` ${detail.replace(/^It waits /, "It also waits ")}.`).join("");
}

function rootReason(store: Store, root: Brief | null): string {
  // What is done has been called so already: nothing of it will move.
  if (root === null || root.state === State.waiting || root.state === State.done) return "";
  const blocker = blockersOf(store, root)[0];
  return blocker === undefined ? " That one goes next." : ` ${blocker.detail.replace(/^It /, "That one ")}.`;
}

function doneSentence(op: Brief): string {
  switch (op.outcome) {
    case "applied":
      return "It has landed.";
    case "duplicate":
      return "It has landed; the remote had it already from an earlier attempt.";
    case "superseded":
      return "It is settled: the remote's version was kept.";
    case "expired":
      return op.attempts === 0
        ? "It expired before it could be sent."
        : "It expired before any attempt was answered with a yes.";
    case "replaced":
      return "It was replaced by a newer operation with the same key.";
    default:
      return "It was cancelled.";
  }
}

function blockersOf(store: Store, op: Brief): readonly Blocker[] {
  switch (op.state) {
    case State.done:
      return [];
    case State.draft:
      return [{ kind: "draft", detail: "It is a draft and has not been submitted" }];
    case State.inFlight:
      return [{ kind: "in_flight", detail: "It is on the wire right now" }];
    case State.parked:
    case State.aside:
      return [parkedBlocker(store, op)];
    case State.held:
      return [pausedLane(op.lane)];
    case State.waiting:
      return waitingBlockers(store, op);
    case State.scheduled:
      return [scheduledBlocker(store, op), ...laneBlockers(store, op), ...channelBlockers(store, op)];
    case State.ready:
      return channelBlockers(store, op);
  }
}

const pausedLane = (lane: string): Blocker => ({
  kind: "paused",
  detail: `It waits because lane "${lane}" is paused`,
  name: lane,
});

const laneBlockers = (store: Store, op: Brief): readonly Blocker[] =>
  op.lane !== "" && isLanePaused(store, op.lane) ? [pausedLane(op.lane)] : [];

const parkedKinds = ["rejected", "conflict", "gave_up", "unsure", "corrupt", "no_server_id", "dependency"] as const;

function parkedBlocker(store: Store, op: Brief): Blocker {
  const problem = toOperation(store, getRow(store, op.seq)).problem;
  const kind = parkedKinds.find((each) => each === op.reason) ?? "rejected";
  const words = {
    rejected: "It was refused",
    conflict: "It is in conflict with the remote",
    gave_up: "It was tried as often as allowed",
    unsure: "It was on the wire when the process ended, so it may or may not have landed",
    corrupt: "It cannot be sent",
    no_server_id: "It cannot be sent yet",
    dependency: "It cannot be sent yet",
  } as const;
  const hint = problem?.hint === undefined ? "" : `; ${problem.hint}`;
  return { kind, detail: `${words[kind]}: ${problem?.message ?? "no reason was given"}${hint}` };
}

function waitingBlockers(store: Store, op: Brief): readonly Blocker[] {
  const head = op.lane === "" ? null : laneHeadOf(store, op.lane);
  const behind: Blocker[] = [];
  const flying = head?.seq === op.seq ? flyingInLane(store, op.lane) : null;
  if (flying !== null) {
    behind.push({ kind: "lane", detail: `It waits until ${flying} has its answer`, id: flying, name: op.lane });
  }
  if (head !== null && head.seq !== op.seq) {
    const group = op.group === null ? `lane "${op.lane}"` : `group "${op.group}"`;
    behind.push({
      kind: "lane",
      detail: `It waits behind ${shortId(head.id)} in ${group}`,
      id: head.id,
      name: op.lane,
    });
  }
  const needs = dependenciesOf(store, op.seq)
    .map((seq) => getBrief(store, seq))
    .filter((each) => each !== null)
    .map((need): Blocker => {
      const status = statusOf(need.state, need.outcome);
      const end = need.state === State.done ? ", which will never land: detach it or cancel it too" : "";
      return { kind: "dependency", detail: `It depends on ${shortId(need.id)} (${status})${end}`, id: need.id };
    });
  return [...behind, ...needs];
}

/** The operation at the end of the chain of lanes and dependencies. */
function rootOf(store: Store, start: Brief): Brief | null {
  let current: Brief | null = start;
  for (let step = 0; step < chainLimit && current !== null && current.state === State.waiting; step += 1) {
    const head: Brief | null = current.lane === "" ? null : laneHeadOf(store, current.lane);
    if (head !== null && head.seq !== current.seq) {
      current = head;
      continue;
    }
    const [need] = dependenciesOf(store, current.seq);
    current = need === undefined ? null : getBrief(store, need);
  }
  return current === null || current.seq === start.seq ? null : current;
}

function scheduledBlocker(store: Store, op: Brief): Blocker {
  const problem = toOperation(store, getRow(store, op.seq)).problem;
  const because = problem === null ? "" : `: ${problem.message}`;
  switch (op.reason) {
    case "retry":
      return {
        kind: "retry",
        detail: `Attempt ${op.attempts} failed${because}; it is tried again by itself`,
        until: op.due,
      };
    case "network":
      return {
        kind: "network",
        detail: `No answer came to attempt ${op.attempts}${because}; it is tried again by itself`,
        until: op.due,
      };
    case "paced":
      return { kind: "paced", detail: `The remote asked to wait${because}`, until: op.due };
    case "auth":
      return { kind: "auth", detail: `It waits for its credential${because}`, until: op.due };
    default:
      return { kind: "schedule", detail: "It is scheduled for later", until: op.due };
  }
}

function channelBlockers(store: Store, op: Brief): readonly Blocker[] {
  const channel = getChannel(store, op.channel);
  const settings = getSettings(store);
  const gates = readGates(store);
  const closed = closedBy(store, channel, gates, settings);
  switch (closed) {
    case "paused": {
      const pause = gates.pauses.find(
        (each) =>
          each.kind === "all" ||
          (each.kind === "type" && each.name === channel.type) ||
          (each.kind === "remote" && each.name === channel.remote),
      );
      const what =
        pause === undefined || pause.kind === "all"
          ? "everything is paused"
          : `${pause.kind} "${pause.name}" is paused`;
      return [
        {
          kind: "paused",
          detail: `It waits because ${what}${pause?.reason ? ` (${pause.reason})` : ""}`,
          name: pause?.name ?? "",
        },
      ];
    }
    case "work_offline":
      return [
        { kind: "work_offline", detail: "It waits because you work offline; `holdfast network online` ends that" },
      ];
    case "signed_out":
      return [
        {
          kind: "signed_out",
          detail: `It waits because ${nameOf(channel.subject)} is signed out`,
          name: channel.subject,
        },
      ];
    case "auth": {
      const gate = gates.auth.find((each) => each.subject === channel.subject && each.remote === channel.remote);
      const detail = `It waits for fresh credentials of ${nameOf(channel.subject)} for ${channel.remote || "its remote"}: ${gate?.reason ?? ""}`;
      return [{ kind: "auth", detail, name: channel.subject, ...(gate === undefined ? {} : { until: gate.until }) }];
    }
    case "unknown_type":
      return isDrained(store) && store.memory.epoch === 0 ? [] : [unknownType(channel.type)];
    case "sync_mode": {
      const until = nextRunAt(store);
      const detail = `It waits for the next sync: the mode is ${settings.syncMode}`;
      return [{ kind: "sync_mode", detail, ...(until === null ? {} : { until }) }];
    }
    case "network": {
      const gate = remoteGate(store, channel.remote);
      const kind = gate.kind === "paced" ? "paced" : "offline";
      const detail =
        kind === "paced"
          ? pacedDetail(store, channel.remote, gate.reason)
          : `${channel.remote} cannot be reached: ${gate.reason}`;
      return [{ kind, detail, name: channel.remote, ...(gate.opensAt === null ? {} : { until: gate.opensAt }) }];
    }
    default:
      break;
  }
  if (!isDrained(store))
    return [{ kind: "no_drainer", detail: "It waits because no process is sending; start the daemon" }];
  return store.memory.isDiskFull ? [{ kind: "disk_full", detail: "It waits because the disk is full" }] : [];
}

/** Only a remote that named a time has asked for it; the other two waits are ours. */
function pacedDetail(store: Store, remote: string, reason: string): string {
  switch (getReachability(store, remote).closedBy) {
    case "breaker":
      return `${remote} is given a rest after ${reason}`;
    case "reconnect":
      return `${remote} is reachable again, and is not asked by everybody at the same moment`;
    default:
      return `${remote} asked to wait: ${reason}`;
  }
}

const nameOf = (subject: string): string => (subject === "" ? "the owner" : `"${subject}"`);

const unknownType = (type: string): Blocker => ({
  kind: "unknown_type",
  detail:
    type === recordWriteType
      ? "It waits because no sync server is named; `holdfast config set sync.url https://…` names one"
      : `It waits because nothing here knows how to send "${type}"; it goes as soon as that type is registered`,
  name: type,
});

function nextMoveOf(store: Store, op: Brief, blockers: readonly Blocker[]): number | null {
  if (op.state === State.done || op.state === State.inFlight) return null;
  const [first] = blockers;
  if (first === undefined) return store.world.now();
  if (op.state !== State.scheduled) return first.until ?? null;
  // Its time alone moves nothing while something else is closed.
  const times = blockers.map(({ until }) => until ?? Number.POSITIVE_INFINITY);
  const last = Math.max(...times);
  return Number.isFinite(last) ? last : null;
}
