/**
 * Owns reading a recorded trace of file calls and playing it into the states that a kill or a power cut can leave behind.
 * What must hold in each state is left to the tests.
 */
import { readFileSync } from "node:fs";

export type Call =
  | { readonly kind: "open"; readonly inode: bigint; readonly path: string; readonly isTruncated: boolean }
  | { readonly kind: "write"; readonly inode: bigint; readonly at: number; readonly bytes: Buffer }
  | { readonly kind: "truncate"; readonly inode: bigint; readonly size: number }
  | { readonly kind: "sync"; readonly inode: bigint }
  | { readonly kind: "unlink"; readonly path: string }
  | { readonly kind: "rename"; readonly from: string; readonly to: string }
  | { readonly kind: "syncAll" };

/** Files by their path, as a machine finds them when it comes up again. */
export type State = ReadonlyMap<string, Buffer>;

/** Disks write sectors whole; what is larger can be torn between them. */
const sectorBytes = 512;

export function readTrace(path: string): readonly Call[] {
  const content = readFileSync(path);
  const calls: Call[] = [];
  for (let at = 0; at < content.length; ) {
    const inode = content.readBigUInt64LE(at + 1);
    const offset = Number(content.readBigUInt64LE(at + 9));
    const size = content.readUInt32LE(at + 17);
    const bytes = content.subarray(at + 21, at + 21 + size);
    calls.push(decode({ kind: content[at] ?? 0, inode, offset, bytes }));
    at += 21 + size;
  }
  return calls;
}

function decode(raw: {
  readonly kind: number;
  readonly inode: bigint;
  readonly offset: number;
  readonly bytes: Buffer;
}): Call {
  const { inode, offset, bytes } = raw;
  const text = bytes.toString("utf8");
  switch (raw.kind) {
    case 1:
      return { kind: "open", inode, path: text, isTruncated: offset === 1 };
    case 2:
      return { kind: "write", inode, at: offset, bytes };
    case 3:
      return { kind: "truncate", inode, size: offset };
    case 4:
      return { kind: "sync", inode };
    case 5:
      return { kind: "unlink", path: text };
    case 6: {
      const [from = "", to = ""] = text.split("\0");
      return { kind: "rename", from, to };
    }
    case 7:
      return { kind: "syncAll" };
    default:
      throw new Error(`the trace is damaged: a record of kind ${raw.kind}`);
  }
}

function change(file: File, call: Change): void {
  file.now = apply(file.now, call);
  file.pending.push(call);
}

type Change = Extract<Call, { kind: "write" | "truncate" }>;
type File = { now: Buffer; durable: Buffer; pending: Change[] };

export type Player = {
  /** Plays one more call. */
  readonly step: (call: Call) => void;
  /** What a killed process leaves: everything that was handed to the system. */
  readonly killState: () => State;
  /** What a power cut can leave: each write since the last sync kept, dropped or torn; unsynced names kept up to a moment. */
  readonly powerState: (random: () => number) => State;
};

export function newPlayer(): Player {
  const names = new Map<string, File>();
  let durableNames = new Map<string, File>();
  let pendingNames: Map<string, File>[] = [];
  const byInode = new Map<bigint, File>();
  const nameChanged = (): void => {
    pendingNames.push(new Map(names));
  };
  const namesSynced = (): void => {
    durableNames = new Map(names);
    pendingNames = [];
  };
  const fileOf = (inode: bigint): File => {
    const file = byInode.get(inode);
    if (file === undefined) throw new Error("the trace writes to a file that it never opened");
    return file;
  };
  const open = (call: Extract<Call, { kind: "open" }>): void => {
    const known = names.get(call.path);
    const file = known ?? { now: Buffer.alloc(0), durable: Buffer.alloc(0), pending: [] };
    byInode.set(call.inode, file);
    if (known === undefined) {
      names.set(call.path, file);
      nameChanged();
    }
    if (call.isTruncated) change(file, { kind: "truncate", inode: call.inode, size: 0 });
  };
  const step = (call: Call): void => {
    switch (call.kind) {
      case "open":
        open(call);
        return;
      case "write":
      case "truncate":
        change(fileOf(call.inode), call);
        return;
      case "sync": {
        const file = fileOf(call.inode);
        file.durable = file.now;
        file.pending = [];
        return;
      }
      case "unlink":
        names.delete(call.path);
        nameChanged();
        return;
      case "rename": {
        const file = names.get(call.from);
        names.delete(call.from);
        if (file !== undefined) names.set(call.to, file);
        nameChanged();
        return;
      }
      case "syncAll":
        namesSynced();
        return;
    }
  };
  return {
    step,
    killState: () => new Map([...names].map(([path, file]) => [path, file.now])),
    powerState: (random) => {
      const kept = Math.floor(random() * (pendingNames.length + 1));
      const survivors = kept === 0 ? durableNames : (pendingNames[kept - 1] ?? durableNames);
      return new Map([...survivors].map(([path, file]) => [path, tear(file, random)]));
    },
  };
}

/** Half of the states keep everything but the last few writes, which is what disks do most; the others are merciless. */
function tear(file: File, random: () => number): Buffer {
  const isGentle = random() < 0.5;
  let content = file.durable;
  for (const [index, call] of file.pending.entries()) {
    const isLate = file.pending.length - index <= 3;
    const fate = isGentle && !isLate ? 0 : random();
    if (fate < 0.4) content = apply(content, call);
    else if (fate < 0.7 && call.kind === "write") content = apply(content, torn(call, random));
  }
  return content;
}

function torn(call: Extract<Call, { kind: "write" }>, random: () => number): Change {
  const sectors = Math.ceil(call.bytes.length / sectorBytes);
  const cut = Math.floor(random() * sectors) * sectorBytes;
  const isHead = random() < 0.5;
  const bytes = isHead ? call.bytes.subarray(0, cut) : call.bytes.subarray(cut);
  return { ...call, at: isHead ? call.at : call.at + cut, bytes };
}

function apply(content: Buffer, call: Change): Buffer {
  if (call.kind === "truncate") {
    const cut = Buffer.alloc(call.size);
    content.copy(cut);
    return cut;
  }
  const next = Buffer.alloc(Math.max(content.length, call.at + call.bytes.length));
  content.copy(next);
  call.bytes.copy(next, call.at);
  return next;
}

/** A small seeded generator (mulberry32), so that a failing state can be played again. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
