/**
 * Owns the proof that damaged files are never silently wrong (T7): flipped bits, cut files, zeroed pages, missing journals.
 * Whatever is served must be what was stored, and whatever is not must be named. HOLDFAST_FLIPS and HOLDFAST_SEED make it longer.
 */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openEngine } from "../../src/node/engine.ts";
import { seeded } from "./trace.ts";

const flips = Number(process.env.HOLDFAST_FLIPS ?? 100);
const seed = Number(process.env.HOLDFAST_SEED ?? 1);
/** Hundreds of stores are written and read; memory spares the disk of the machine. */
const scratch = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "holdfast-bitflip-"));
const count = 150;
/** What was stored, by id: the payloads that may be served, and no others. */
const stored = new Map<string, string>();
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** Two states of one store: closed cleanly, and with half of its operations still in the journal as after kill -9. */
beforeAll(async () => {
  const [work, rest, killed] = ["work", "rest", "killed"].map((name) => join(scratch, name)) as [
    string,
    string,
    string,
  ];
  const engine = await openEngine({ directory: work, log: () => {} });
  const add = (n: number): void => {
    const payload = { n, text: `operation ${n} `.repeat(n % 10 === 0 ? 700 : 12) };
    const { id } = engine.handle("queue.add", { type: "demo", payload, lane: n % 3 === 0 ? "lane" : null });
    stored.set(id, JSON.stringify(payload));
  };
  for (let n = 0; n < count; n += 1) add(n);
  copyFiles(work, killed);
  engine.close();
  copyFiles(work, rest);
});

type Damage = { readonly name: string; readonly from: "rest" | "killed"; readonly apply: (directory: string) => void };

test(`${flips} flipped bits, ${flips / 2} cut files and ${flips / 2} zeroed pages are never silently wrong (seed ${seed})`, async () => {
  const random = seeded(seed);
  const damages = Array.from({ length: flips }, (_, index) => madeUp(index, random)).flatMap(
    ([flip, cut, page], index) => (index % 4 < 2 ? [flip, cut, page] : [flip]),
  );
  const tally = { clean: 0, recovered: 0, salvaged: 0 };
  const wrongs: string[] = [];
  let saved = 0;
  for (const damage of damages) {
    const outcome = await play(damage);
    tally[outcome.kind] += 1;
    saved += outcome.served;
    wrongs.push(...outcome.wrongs.map((wrong) => `${damage.name}: ${wrong}`));
  }
  console.log(
    `damage: ${damages.length} stores, ${JSON.stringify(tally)}, ${Math.round((100 * saved) / damages.length / count)} % served`,
  );
  expect(wrongs).toEqual([]);
  expect(tally.salvaged).toBeGreaterThan(0);
  expect(saved / damages.length).toBeGreaterThan(count * 0.5);
});

const alone: readonly Damage[] = [
  { name: "no journal", from: "killed", apply: (directory) => rmSync(join(directory, "holdfast.db-wal")) },
  { name: "no index of the journal", from: "killed", apply: (directory) => rmSync(join(directory, "holdfast.db-shm")) },
  { name: "no database", from: "rest", apply: (directory) => rmSync(join(directory, "holdfast.db")) },
  { name: "no witness", from: "rest", apply: (directory) => rmSync(join(directory, "holdfast.witness")) },
  { name: "an empty database", from: "rest", apply: (directory) => writeFileSync(join(directory, "holdfast.db"), "") },
  {
    name: "a text",
    from: "rest",
    apply: (directory) => writeFileSync(join(directory, "holdfast.db"), "no database\n"),
  },
  {
    name: "a text for a journal",
    from: "killed",
    apply: (directory) => writeFileSync(join(directory, "holdfast.db-wal"), "no journal\n".repeat(900)),
  },
];
test.each(alone)("$name is noticed and survived", async (damage) => {
  const { wrongs } = await play(damage);
  expect(wrongs).toEqual([]);
});

/** One flip, one cut and one zeroed page, each somewhere in the database or its journal. */
function madeUp(index: number, random: () => number): readonly [Damage, Damage, Damage] {
  const from = index % 2 === 0 ? "rest" : "killed";
  const name = from === "killed" && index % 4 === 1 ? "holdfast.db-wal" : "holdfast.db";
  const [byte, bit, cut, page] = [random(), Math.floor(random() * 8), random(), random()];
  const change = (edit: (content: Buffer) => Buffer) => (directory: string) => {
    const path = join(directory, name);
    writeFileSync(path, edit(readFileSync(path)));
  };
  return [
    {
      name: `flip ${index} of bit ${bit} at ${byte} in the ${from} ${name}`,
      from,
      apply: change((content) => {
        const at = Math.floor(byte * content.length);
        content[at] = (content[at] ?? 0) ^ (1 << bit);
        return content;
      }),
    },
    {
      name: `cut ${index} at ${cut} of the ${from} ${name}`,
      from,
      apply: change((content) => content.subarray(0, Math.floor(cut * content.length))),
    },
    {
      name: `zeroed page ${index} at ${page} of the ${from} ${name}`,
      from,
      apply: change((content) => {
        const at = Math.floor((page * content.length) / 4_096) * 4_096;
        return content.fill(0, at, at + 4_096);
      }),
    },
  ];
}

type Outcome = {
  readonly kind: "clean" | "recovered" | "salvaged";
  readonly served: number;
  readonly wrongs: readonly string[];
};
type Recovery = {
  readonly kind: "clean" | "recovered" | "salvaged";
  readonly lostSequences: readonly { readonly from: number; readonly to: number }[];
  readonly quarantinedFiles: readonly string[];
};

async function play(damage: Damage): Promise<Outcome> {
  const directory = join(scratch, "damaged");
  rmSync(directory, { recursive: true, force: true });
  copyFiles(join(scratch, damage.from), directory);
  damage.apply(directory);
  const wrongs: string[] = [];
  const ran: string[] = [];
  const type = {
    type: "demo",
    run: async ({ input, operation }: { readonly input: unknown; readonly operation: { readonly id: string } }) => {
      ran.push(`${operation.id} ${JSON.stringify(input)}`);
      return { kind: "applied" as const };
    },
  };
  let served = 0;
  let recovery: Recovery | null = null;
  try {
    const engine = await openEngine({ directory, log: () => {}, types: [type] });
    const listed = engine.handle("queue.list", { limit: 1_000 }).operations;
    const parked = listed.filter((operation) => operation.reason === "corrupt").length;
    engine.start();
    // What stands behind a parked operation never runs, so the wait ends when nothing has run for a while.
    for (let [quiet, before] = [0, 0]; quiet < 20 && ran.length < listed.length - parked; before = ran.length) {
      await pause(2);
      quiet = ran.length === before ? quiet + 1 : 0;
    }
    const { isSound, findings } = engine.handle("engine.check", {});
    recovery = engine.handle("engine.info", {}).recovery as Recovery | null;
    const after = engine.handle("queue.list", { limit: 1_000 }).operations;
    // A payload that no longer matches its hash is parked for a person and never sent; it is served, marked as what it is.
    const marked = after.filter((operation) => operation.reason === "corrupt").length;
    served = after.length - marked;
    const lost = (recovery?.lostSequences ?? []).reduce((sum, { from, to }) => sum + to - from + 1, 0);
    // A flip inside a counter or a column that no hash covers is noticed by the check; a salvaged store has none left.
    if (!isSound && marked === 0 && recovery?.kind === "salvaged") wrongs.push(`not sound: ${findings.join("; ")}`);
    if (after.length + lost < count && damage.name !== "no witness")
      wrongs.push(`${after.length} served, ${lost} named as lost, of ${count}`);
    for (const path of recovery?.quarantinedFiles ?? []) {
      if (!existsSync(path)) wrongs.push(`${path} was not kept`);
    }
    await engine.stop(10);
    engine.close();
  } catch (error) {
    wrongs.push(`it does not work: ${error instanceof Error ? error.stack : String(error)}`);
  }
  for (const sent of ran) {
    const [id = "", payload] = [sent.slice(0, 36), sent.slice(37)];
    if (stored.get(id) !== payload) wrongs.push(`sent something that was never stored: ${sent.slice(0, 120)}`);
  }
  if (new Set(ran).size !== ran.length) wrongs.push("sent something twice");
  return { kind: recovery?.kind ?? "clean", served, wrongs };
}

function copyFiles(from: string, to: string): void {
  mkdirSync(to, { recursive: true });
  for (const name of readdirSync(from)) {
    if (name.startsWith("holdfast.")) copyFileSync(join(from, name), join(to, name));
  }
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
