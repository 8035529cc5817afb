// Owns what words on the command line become on the wire: inputs of the verbs, payloads, questions before something is lost.
import { readFileSync, rmSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { HoldfastError } from "../../src/errors.ts";
import * as has from "./support/fixtures.ts";
import { record } from "./support/record-fixtures.ts";
import type { Answers, Script } from "./support/script.ts";
import { now, play } from "./support/script.ts";

const answers = { "queue.add": has.receipt(), "queue.why": has.why() } as const;

async function added(argv: readonly string[], more: Script = {}): Promise<Record<string, unknown>> {
  const played = await play(argv, { answers, ...more });
  expect(played.err).toBe("");
  const input = played.calls.find(([verb]) => verb === "queue.add")?.[1];
  return input as Record<string, unknown>;
}

describe("a request", () => {
  it("carries every option to its place", async () => {
    const input = await added([
      ...["request", "post", "https://api.example.com/notes", "--data", '{"text":"kelp"}', "--header", "X-Trace: a:b"],
      ...[
        "--credential",
        "api",
        "--lane",
        "notes",
        "--priority",
        "-5",
        "--after",
        "0f3a9c21,77aa01bc",
        "--after",
        "5b1e00d4",
      ],
      ...["--in", "5m", "--expires", "2d", "--creates", "local-1", "--dedupe", "notes:replace", "--subject", "ada"],
      ...[
        "--retry",
        "lock",
        "--on-failure",
        "skip",
        "--on-crash",
        "ask",
        "--conflict",
        "manual",
        "--title",
        "A note",
        "--group",
        "g",
      ],
      ...["--attempt-timeout", "10s", "--success", "200,404", "--id-from", "/data/id"],
    ]);
    expect(input).toEqual({
      type: "http.request",
      payload: {
        method: "POST",
        url: "https://api.example.com/notes",
        headers: { "x-trace": "a:b" },
        body: { json: { text: "kelp" } },
        credential: "api",
        timeoutMs: 10_000,
        success: [200, 404],
        idFrom: "/data/id",
      },
      lane: "notes",
      priority: -5,
      after: ["0f3a9c21", "77aa01bc", "5b1e00d4"],
      notBefore: now + 300_000,
      expiresAt: now + 172_800_000,
      creates: "local-1",
      dedupe: { key: "notes", mode: "replace-pending" },
      subject: "ada",
      retry: "lock",
      onFailure: "skip",
      onCrash: "ask",
      conflict: "manual",
      title: "A note",
      group: "g",
    });
  });

  const post = (...more: readonly string[]): readonly string[] => [
    "request",
    "POST",
    "https://api.example.com/notes",
    ...more,
  ];
  it.each<readonly [string, readonly string[], Script, unknown]>([
    ["text", post("--data", "kelp"), {}, { text: "kelp" }],
    ["a number alone", post("--data", "42"), {}, { text: "42" }],
    ["a number alone, as JSON", post("--data", "42", "--json-body"), {}, { json: 42 }],
    [
      "JSON whose numbers would change",
      post("--data", '{"id":12345678901234567890}'),
      {},
      { text: '{"id":12345678901234567890}' },
    ],
    ["stdin", post("--data", "-"), { stdin: "[1]" }, { json: [1] }],
    ["a file", post("--data", "@body.json"), { files: { "/desk/body.json": '{"a":"b"}' } }, { json: { a: "b" } }],
    ["an empty text", post("--data", ""), {}, { text: "" }],
    ["a text with a byte order mark", post("--data", "@t"), { files: { "/desk/t": "\ufeffx" } }, { text: "\ufeffx" }],
  ])("sends %s as it is", async (_name, argv, script, body) => {
    expect(await added(argv, script)).toMatchObject({ payload: { body } });
  });

  it("captures a file that is no text or too large for a payload", async () => {
    const payload = { blob: "a".repeat(64), sizeBytes: 4 };
    const local = { capture: async (path: string) => ({ payload: { ...payload, name: path }, sizeBytes: 4 }) };
    const files = {
      "/desk/photo.jpg": new Uint8Array([0xff, 0xd8, 0xff, 0xe0]),
      "/desk/big.json": `[${"1,".repeat(300_000)}1]`,
    };
    for (const [path] of Object.entries(files)) {
      const input = await added(post("--data", `@${path}`), { files, local });
      expect(input).toMatchObject({ payload: { body: { file: { ...payload, name: path } } } });
    }
  });
});

it("a command keeps its words as they are, and this directory", async () => {
  const input = await added(
    ["exec", "--retry-on", "1,75", "--env", "A=1", "--env", "HOME", "--", "git", "push", "--json", "-v", "a b"],
    { env: { HOME: "/home/ada" } },
  );
  expect(input).toEqual({
    type: "command.run",
    payload: {
      argv: ["git", "push", "--json", "-v", "a b"],
      cwd: "/desk",
      env: { A: "1", HOME: "/home/ada" },
      retryOn: [1, 75],
    },
  });
});

describe("questions before unsent work is lost", () => {
  const status: Answers = {
    "queue.status": has.troubled,
    "queue.clear": { removed: 17, unsent: 5 },
    "queue.export": { lines: ['{"a":1}'], next: null },
  };
  const cleared = (calls: readonly (readonly [string, unknown])[]): unknown =>
    calls.find(([verb]) => verb === "queue.clear")?.[1];

  it("names the number and keeps everything by default", async () => {
    const played = await play(["queue", "clear", "--all"], { answers: status, isTty: true, says: ["keep"] });
    expect(played.asked).toEqual([
      "5 unsent operations would be lost. What now? [Keep everything | Save them to a file first, then clear | Clear, and lose 5 unsent operations]",
    ]);
    expect([played.exit, cleared(played.calls)]).toEqual([1, undefined]);
  });
  it("keeps everything when the question is given up", async () => {
    const played = await play(["sync", "--clear-queue"], { answers: status, isTty: true, says: [null] });
    expect([played.exit, cleared(played.calls)]).toEqual([1, undefined]);
  });
  it("saves first when asked to, and clears only what was counted", async () => {
    const played = await play(["queue", "clear", "--all"], {
      answers: status,
      isTty: true,
      says: ["export", "mine.jsonl"],
    });
    expect(played.written).toEqual({ "/desk/mine.jsonl": '{"a":1}\n' });
    expect(cleared(played.calls)).toEqual({ scope: "all", confirm: 5 });
  });
  it("--export saves whatever is answered, and then nothing is lost any more", async () => {
    for (const [said, input] of [
      [true, { scope: "all", confirm: 5 }],
      [false, undefined],
    ] as const) {
      const argv = ["queue", "clear", "--all", "--export", "mine.jsonl"];
      const played = await play(argv, { answers: status, isTty: true, says: [said] });
      expect(played.asked).toEqual(["5 unsent operations would go; mine.jsonl holds them. Clear?"]);
      expect(played.written).toEqual({ "/desk/mine.jsonl": '{"a":1}\n' });
      expect(cleared(played.calls)).toEqual(input);
    }
  });
  it("what is not in the export is said before it goes", async () => {
    const upload = `{"payload":{"file":{"blob":"${"a".repeat(64)}"}}}`;
    const answers = { ...status, "queue.export": { lines: [upload, '{"a":1}'], next: null } };
    const argv = ["queue", "clear", "--all"];
    const played = await play(argv, { answers, isTty: true, says: ["export", "mine.jsonl", false] });
    expect(played.asked.at(-1)).toBe(
      "5 unsent operations would go; mine.jsonl holds them, without the captured files of 1, which would be deleted. Clear?",
    );
    expect(cleared(played.calls)).toBeUndefined();
    expect(played.err).toContain("1 operation sends a captured file, and the export does not hold its content");
    const exported = await play(["queue", "export", "-o", "mine.jsonl", "--json"], { answers });
    expect(JSON.parse(exported.out)).toEqual({ exported: 2, captured: 1, path: "/desk/mine.jsonl" });
  });
  it.each([
    ["queue", "clear", "--all"],
    ["sync", "--clear-queue"],
    ["queue", "clear", "--all", "--json"],
  ])("%s %s is refused where nobody can be asked", async (...argv) => {
    const played = await play(argv, { answers: status, isTty: argv.includes("--json") });
    expect([played.exit, cleared(played.calls)]).toEqual([5, undefined]);
    expect(played.err).toContain(
      argv.includes("--json") ? '"confirmation_needed"' : "5 unsent operations would be lost",
    );
  });
  it("--yes is enough, and asks nothing when nothing is unsent", async () => {
    expect(cleared((await play(["sync", "--clear-queue", "--yes"], { answers: status })).calls)).toEqual({
      scope: "all",
      confirm: 5,
    });
    const rest = { ...status, "queue.status": has.queueStatus() };
    expect(cleared((await play(["queue", "clear", "--all"], { answers: rest })).calls)).toEqual({
      scope: "all",
      confirm: 0,
    });
  });
  it("removing an unsent operation asks, removing a finished one does not", async () => {
    const removal: Answers = { "queue.remove": { done: [has.ids.note], refused: [] } };
    const unsent = await play(["queue", "remove", "0f3a9c21"], {
      answers: { ...removal, "queue.get": has.waitingNote },
      isTty: true,
      says: [false],
    });
    expect([unsent.exit, unsent.calls.map(([verb]) => verb)]).toEqual([1, ["queue.get"]]);
    const done = await play(["queue", "remove", "0f3a9c21"], { answers: { ...removal, "queue.get": has.landedNote } });
    expect(done.calls.map(([verb]) => verb)).toEqual(["queue.get", "queue.remove"]);
  });
});

describe("editing by hand", () => {
  const edit = (editor: string, more: Script = {}) =>
    play(["queue", "edit", has.ids.note], {
      isTty: true,
      env: { EDITOR: editor, NO_COLOR: "1" },
      answers: {
        "queue.get": has.waitingNote,
        "queue.edit": has.waitingNote,
        "network.status": { status: "online", isWorkingOffline: false, lastCheckAt: null, remotes: [], pokes: [] },
      },
      ...more,
    });
  const kept = (err: string): string => /kept: .*--payload @(\S+)/.exec(err)?.[1] ?? "";

  it("sends what the editor left, with the revision that was seen", async () => {
    const played = await edit("printf '{\"a\":1}' >");
    expect(played.exit).toBe(0);
    expect(played.calls.find(([verb]) => verb === "queue.edit")?.[1]).toMatchObject({ payload: { a: 1 }, revision: 0 });
  });

  it("goes on when the shell around the editor hears Ctrl-C as well", async () => {
    expect((await edit("kill -INT $$; printf '{\"a\":1}' >")).exit).toBe(0);
  });

  it("keeps what was typed when it is no JSON, when the queue refuses it, and when the editor fails", async () => {
    const refusing: Script["answers"] = {
      "queue.get": has.waitingNote,
      "queue.edit": () => {
        throw new HoldfastError("refused_by_state", "somebody edited it meanwhile", "look again");
      },
    };
    const cases = [
      [await edit("printf '{\"a\":' >"), 2, '{"a":'],
      [await edit("printf '{\"a\":1}' >", { answers: refusing }), 5, '{"a":1}'],
      [await edit('printf \'{"a":1}\' > "$1"; false'), 1, '{"a":1}'],
    ] as const;
    for (const [{ exit, err }, wanted, text] of cases) {
      expect(exit).toBe(wanted);
      expect(readFileSync(kept(err), "utf8")).toBe(text);
      rmSync(path.dirname(kept(err)), { recursive: true });
    }
  });

  it("opens nothing where no editor is named", async () => {
    const played = await edit(" ");
    expect([played.exit, played.calls]).toEqual([2, []]);
    expect(played.err).toContain("EDITOR names what opens the payload");
  });
});

describe("rows to import", () => {
  const answers: Answers = {
    "records.import": ({ rows, offset }) => ({
      imported: rows.length,
      unchanged: 0,
      refused: [],
      nextOffset: offset + rows.length,
    }),
  };
  it.each([
    ["an array after empty lines", '\n\n[{"a":1},\n{"a":2}]\n'],
    ["an array with a mark of its encoding", '\ufeff[{"a":1},{"a":2}]'],
    ["lines with such a mark", '\ufeff{"a":1}\n{"a":2}\n'],
  ])("may be %s", async (_name, text) => {
    const played = await play(["records", "import", "notes", "n.json"], { answers, files: { "/desk/n.json": text } });
    expect(played.calls.map(([, input]) => input)).toMatchObject([{ rows: [{ a: 1 }, { a: 2 }] }]);
  });
  it("are told apart by the whole path of their file, so that none goes over those of another one", async () => {
    const files = { "/desk/a/n.json": '{"a":1}', "/desk/b/n.json": '{"a":2}' };
    const sources: unknown[] = [];
    for (const file of ["a/n.json", "b/n.json"]) {
      const { calls } = await play(["records", "import", "notes", file], { answers, files });
      sources.push(...calls.map(([, input]) => (input as { readonly source: unknown }).source));
    }
    expect(sources).toEqual(["/desk/a/n.json", "/desk/b/n.json"]);
  });
});

it("a list goes on over pages until its limit, and --limit 0 reads all", async () => {
  const many = (count: number) => Array.from({ length: count }, () => has.waitingNote);
  const script: Script = {
    answers: {
      "queue.list": ({ limit = 0, cursor }) => ({
        operations: many(Math.min(limit, cursor === undefined ? 1_000 : 500)),
        next: cursor === undefined ? "2" : null,
      }),
      "queue.status": has.queueStatus(),
    },
  };
  const all = await play(["queue", "list", "--limit", "0", "--json"], script);
  expect(JSON.parse(all.out).operations).toHaveLength(1_500);
  const some = await play(["queue", "list", "--limit", "1200", "--json"], script);
  expect(JSON.parse(some.out).operations).toHaveLength(1_200);
});

it("a retry by a filter goes on until nothing new is left, and tries nothing for ever that fails again at once", async () => {
  const ids = Array.from({ length: 12_000 }, (_, at) => `0190a1b2-c3d4-7e5f-8a9b-${String(at).padStart(12, "0")}`);
  for (const isFailingAgain of [false, true]) {
    let at = 0;
    const next = (): string[] => {
      const taken = isFailingAgain ? ids.slice(0, 10_000) : ids.slice(at, at + 10_000);
      at += taken.length;
      return taken;
    };
    const played = await play(["queue", "retry", "--all"], {
      answers: { "queue.retry": () => ({ done: next(), refused: [] }) },
    });
    expect(played.calls.filter(([verb]) => verb === "queue.retry")).toHaveLength(2);
    expect(played.out).toBe(`✓ Trying again: ${isFailingAgain ? "10,000" : "12,000"} operations\n`);
  }
});

it("a number that would be another one afterwards is refused in a record, and is a text where texts are taken", async () => {
  const digits = "1234567890123456789";
  const answers = {
    "records.write": () => ({ record: record(), operation: null, warning: null }),
  };
  const put = await play(["records", "put", "notes", "n1", `{"id":${digits}}`], { answers });
  expect([put.exit, put.calls]).toEqual([2, []]);
  expect(put.err).toContain(`the number ${digits} is too long to be kept exactly`);
  const { calls } = await play(["records", "update", "notes", "n1", "--set", `id=${digits}`], { answers });
  expect(calls).toMatchObject([["records.write", { fields: { id: digits } }]]);
  const imported = await play(["records", "import", "notes", "-", "--source", "s"], {
    stdin: `{"id":1}\n{"id":${digits}}`,
  });
  expect([imported.exit, imported.err.includes(`-:2: the number ${digits}`)]).toEqual([2, true]);
});

it("an import goes in batches and skips empty lines", async () => {
  const stdin = Array.from({ length: 450 }, (_, at) => `{"n":${at}}`).join("\n\n");
  const played = await play(["queue", "import", "-"], {
    stdin,
    answers: { "queue.import": ({ lines }) => ({ imported: lines.map(() => has.ids.note), skipped: [], refused: [] }) },
  });
  expect(played.calls.map(([, input]) => (input as { lines: string[] }).lines.length)).toEqual([200, 200, 50]);
  expect(played.out).toBe("✓ Imported 450 operations\n");
});

it("a line that is refused is named by its number in the file, whatever batch it went with", async () => {
  const stdin = Array.from({ length: 1_230 }, (_, at) => `{"n":${at}}`).join("\n\n");
  const bad = { code: "invalid_input", message: "line 5: it is no exported operation", hint: "" };
  const taken = { code: "invalid_input", message: "it is taken", hint: "" };
  const played = await play(["queue", "import", "-"], {
    stdin,
    answers: {
      "queue.import": ({ lines }) =>
        lines.length === 200
          ? { imported: lines.map(() => has.ids.note), skipped: [], refused: [] }
          : {
              imported: [],
              skipped: [],
              refused: [
                { id: "line 5", ...bad },
                { id: "line 6", ...taken },
              ],
            },
    },
  });
  expect(played.exit).toBe(2);
  expect(played.err).toContain("line 2409: it is no exported operation");
  expect(played.err).toContain("✗ line 2411: it is taken");
});

it("a secret comes from stdin without its newline, or from a prompt, and is never printed", async () => {
  const stored: unknown[] = [];
  const local: NonNullable<Script["local"]> = {
    credentials: {
      list: async () => [],
      set: async (name, secret) => {
        stored.push(secret);
        return { name, subject: null, kind: secret.kind, origins: secret.origins, source: "file" };
      },
      remove: async () => false,
    },
  };
  const argv = ["credentials", "set", "api", "--origin", "https://api.example.com"];
  const piped = await play(argv, { stdin: "s3cret\n", local });
  const typed = await play([...argv, "--basic", "ada"], { isTty: true, says: ["pa ss"], local });
  const origins = ["https://api.example.com"];
  expect(stored).toEqual([
    { kind: "bearer", token: "s3cret", origins },
    { kind: "basic", username: "ada", password: "pa ss", origins },
  ]);
  for (const { out, err } of [piped, typed]) expect(out + err).not.toMatch(/s3cret|pa ss/);
  expect((await play(argv, { stdin: "", local })).exit).toBe(2);
});

it("the end of the pause of everything does not claim what is still paused by itself", async () => {
  const pause = { kind: "lane", name: "notes", reason: "", since: now } as const;
  const resumed = async (...paused: readonly (typeof pause)[]): Promise<string | undefined> =>
    (await play(["queue", "resume"], { answers: { "queue.resume": { paused: [...paused] } } })).out.split("\n")[0];
  expect(await resumed()).toBe("✓ Resumed everything");
  expect(await resumed(pause)).toBe("✓ Resumed everything that is not paused by itself");
});

it("colours are for terminals, and NO_COLOR and --no-color switch them off", async () => {
  const script = { answers: { "queue.status": has.queueStatus(), "collections.list": has.noCollections } };
  const hasColour = async (more: Script, ...argv: readonly string[]): Promise<boolean> =>
    (await play(["status", ...argv], { ...script, ...more })).out.includes("\u001b[");
  expect(await hasColour({ isTty: true })).toBe(true);
  expect(await hasColour({ isTty: false })).toBe(false);
  expect(await hasColour({ isTty: true, env: { NO_COLOR: "1" } })).toBe(false);
  expect(await hasColour({ isTty: true }, "--no-color")).toBe(false);
  expect(await hasColour({ isTty: false, env: { FORCE_COLOR: "1" } })).toBe(true);
  expect(await hasColour({ isTty: true, env: { TERM: "dumb" } })).toBe(false);
});

it("a title from outside cannot drive the terminal", async () => {
  const operations = [
    has.operation({ title: "\u001b[2J\u001b]0;owned\u0007GET evil\r\nsecond", lane: "a\u001b[31mb" }),
  ];
  const played = await play(["queue", "list"], {
    answers: { "queue.list": { operations, next: null }, "queue.status": has.queueStatus() },
  });
  expect(played.out).toContain("GET evil second");
  expect(played.out.includes("\u0007") || played.out.includes("\r")).toBe(false);
  expect(played.out.includes("\u001b")).toBe(false);
});
