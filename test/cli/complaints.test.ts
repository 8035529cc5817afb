// Owns what the command says to words that are nearly right: the field and what was expected, the command and not the verb.
// Leaves exit codes to exit-codes.test.ts and what words become on the wire to words.test.ts.
import { describe, expect, it } from "vitest";
import { directoryOf } from "../../src/cli/real-session.ts";
import { HoldfastError } from "../../src/errors.ts";
import * as has from "./support/fixtures.ts";
import { collection, syncConfig } from "./support/record-fixtures.ts";
import type { Script } from "./support/script.ts";
import { now, play } from "./support/script.ts";

const said = async (argv: readonly string[], script: Script = {}): Promise<readonly [number, string]> => {
  const { exit, err } = await play(argv, script);
  return [exit, err];
};

describe("an input that the contract refuses", () => {
  it.each<[readonly string[], string, string]>([
    [["queue", "show", "abc"], "id: expected at least 4 characters", "queue show"],
    [["conflicts", "show", "ab"], "id: expected at least 4 characters", "conflicts show"],
    [
      ["request", "POST", "https://api.example.com/notes", "--lane", "a".repeat(201)],
      "lane: expected at most 200 characters",
      "request",
    ],
    [["records", "get", "notes", ""], "key: expected at least 1 character", "records get"],
    [
      ["collections", "declare", "notes", "--merge", "title=bogus"],
      "merge.title.rule: expected one of critical, prefer-local, prefer-remote, override, max, min, counter, set, list, text",
      "collections declare",
    ],
  ])("%j is told with the command that was typed", async (argv, message, command) =>
    expect(await said(argv, { answers: { "collections.list": has.noCollections } })).toEqual([
      2,
      `✗ ${message}\n→ see \`holdfast help ${command}\`\n`,
    ]),
  );
});

describe("an option that would do nothing", () => {
  it.each<[readonly string[], string]>([
    [["sync", "--timeout", "3s"], "sync: --timeout goes with --wait"],
    [["sync", "--export", "saved.jsonl"], "sync: --export goes with --clear-queue"],
    [["sync", "--wait", "--yes"], "sync: --yes goes with --clear-queue or --resolve"],
    [["collections", "sync", "--timeout", "3s"], "collections sync: --timeout goes with --wait"],
    [["queue", "retry", "0f3a9c21", "--lane", "notes"], "queue retry: ids and filters exclude each other"],
    [
      ["server", "token", "list", "--data", "d", "--database", "postgres://db/x"],
      "--database and --data exclude each other",
    ],
    [["server", "restore", "b.db", "--history", "--data", "d"], "a backup and --history exclude each other"],
  ])("%j is refused", async (argv, message) => {
    const [exit, err] = await said(argv);
    expect([exit, err.split("\n")[0]]).toEqual([2, `✗ ${message}`]);
  });
});

describe("conditions", () => {
  const list = (...where: readonly string[]): readonly string[] => [
    ...["records", "list", "notes"],
    ...where.flatMap((each) => ["--where", each]),
  ];
  it("about one field hold together, in words and as JSON", async () => {
    const answers = { "records.query": { records: [], next: null } };
    const played = await play(list("fee>5", '{"fee":{"lte":9},"title":"Tides"}', "stars=4"), { answers });
    expect(played.calls[0]?.[1]).toMatchObject({
      where: { fee: { gt: 5, lte: 9 }, title: "Tides", stars: { eq: 4 } },
    });
  });
  it.each([
    ["status=open", "status=closed"],
    ["fee>5", '{"fee":{"gt":7}}'],
    ["title=a", '{"title":"b"}'],
  ])("%s and %s cannot both count, and are refused", async (...where) =>
    expect(await said(list(...where))).toEqual([
      2,
      expect.stringMatching(/^✗ --where: two conditions say the same of /),
    ]),
  );
});

describe("a rule of merging that is no JSON", () => {
  it("is a wrong word, and named", async () =>
    expect(await said(["collections", "declare", "notes", "--merge", "fee={bad"])).toEqual([
      2,
      expect.stringMatching(/^✗ --merge fee is no JSON: /),
    ]));
});

describe("a time", () => {
  it("that may be a duration says so", async () =>
    expect((await said(["request", "POST", "https://a.example", "--expires", "soon"]))[1]).toContain(
      "write 2d or 1h30m",
    ));
});

describe("a body", () => {
  const url = "https://api.example.com/notes";
  const answers = { "queue.add": has.receipt(), "queue.why": has.why() } as const;

  it("that looks like JSON and is none goes as text, and that is said", async () => {
    const played = await play(["request", "POST", url, "--data", '{"a":1'], { answers });
    expect(played.calls[0]?.[1]).toMatchObject({ payload: { body: { text: '{"a":1' } } });
    expect(played.err).toMatch(
      /^! the body looks like JSON and is none, so it goes as text: .+\n→ --json-body refuses/,
    );
  });

  it("whose numbers would change on the way goes as text without a word, and is still JSON to the server", async () => {
    const words = ["request", "POST", url, "--data", '{"a":12345678901234567890}'];
    for (const argv of [words, [...words, "--json-body"]]) {
      const played = await play(argv, { answers });
      expect([played.exit, played.err]).toEqual([0, ""]);
      expect(played.calls[0]?.[1]).toMatchObject({ payload: { headers: { "content-type": "application/json" } } });
    }
    const own = await play([...words, "--header", "Content-Type: application/vnd.notes+json"], { answers });
    expect(own.calls[0]?.[1]).toMatchObject({ payload: { headers: { "content-type": "application/vnd.notes+json" } } });
  });

  it("that is too large for a payload is checked all the same, and goes as JSON", async () => {
    const local = { capture: async () => ({ payload: { blob: "a".repeat(64), sizeBytes: 4 }, sizeBytes: 4 }) };
    const files = { "/desk/big.json": `[${"1,".repeat(300_000)}1]`, "/desk/bad.json": `[${"1,".repeat(300_000)}` };
    const sent = await play(["request", "POST", url, "--data", "@big.json", "--json-body"], { answers, files, local });
    expect(sent.calls[0]?.[1]).toMatchObject({ payload: { headers: { "content-type": "application/json" } } });
    const refused = await play(["request", "POST", url, "--data", "@bad.json", "--json-body"], {
      answers,
      files,
      local,
    });
    expect([refused.exit, refused.calls]).toEqual([2, []]);
  });

  it("comes from stdin as - and, as curl writes it, as @-", async () => {
    for (const data of ["-", "@-"]) {
      const played = await play(["request", "POST", url, "--data", data], { answers, stdin: "kelp" });
      expect(played.calls[0]?.[1]).toMatchObject({ payload: { body: { text: "kelp" } } });
    }
  });

  it("on stdin that is no text, or too much of it, is told apart", async () => {
    const binary = await said(["request", "POST", url, "--data", "-"], { stdin: new Uint8Array([0xff, 0xfe]) });
    const much = await said(["request", "POST", url, "--data", "-"], { stdin: "a".repeat(600_000) });
    expect([binary[0], binary[1]]).toEqual([2, expect.stringContaining("no UTF-8")]);
    expect([much[0], much[1]]).toEqual([2, expect.stringMatching(/600.*at most 524/)]);
  });
});

it("a direction of an order is asc or desc", async () => {
  const [exit, err] = await said(["records", "list", "notes", "--order", "stars:down"]);
  expect([exit, err.split("\n")[0]]).toEqual([2, '✗ --order: "down" is no direction']);
});

it("a remote to look at is one that is known, or an address", async () => {
  const answers: NonNullable<Script["answers"]> = {
    "network.status": { status: "unknown", isWorkingOffline: false, lastCheckAt: null, remotes: [], pokes: [] },
    "network.check": { checking: [] },
  };
  const misspelt = await play(["network", "check", "foo"], { answers });
  expect([misspelt.exit, misspelt.err.split("\n")[0]]).toEqual([4, '✗ there is no remote "foo"']);
  const address = await play(["network", "check", "https://api.example.com/notes?x"], { answers });
  expect(address.calls).toContainEqual(["network.check", { remote: "https://api.example.com" }]);
});

describe("a look at the network", () => {
  const remote = { ...has.onlineRemote, lastSuccessAt: null, lastFailureAt: null };
  const network = { status: "unknown" as const, isWorkingOffline: false, lastCheckAt: null, pokes: [] };
  type Remote = typeof has.onlineRemote;
  /** What is known of the remote each time somebody asks; the last of it stays. */
  const looks = (...seen: readonly Partial<Remote>[]) => {
    const left = [...seen];
    const next = (): Partial<Remote> | undefined => (left.length > 1 ? left.shift() : left[0]);
    return play(["network", "check"], {
      answers: {
        "network.check": { checking: [remote.remote] },
        "network.status": () => ({ ...network, remotes: [{ ...remote, ...next() }] }),
      },
    });
  };
  const unknown = { status: "unknown", reason: "not tried yet" } as const;
  const silence = { status: "unknown", reason: "no answer", lastFailureAt: now } as const;

  it("waits for what comes back, and a first silence is looked at again", async () => {
    const offline = await looks(unknown, unknown, silence, { ...silence, status: "offline" });
    expect([offline.exit, offline.out]).toEqual([1, expect.stringContaining("● offline")]);
    const online = await looks(unknown, unknown, silence, { ...silence, status: "online", lastSuccessAt: now + 1 });
    expect([online.exit, online.out]).toEqual([0, expect.stringContaining("● online")]);
  });

  it("an answer from before the look does not count, and no end of it is no success", async () => {
    const known = { status: "online", lastSuccessAt: now - 60_000 } as const;
    const played = await looks(known, known);
    expect([played.exit, played.err]).toEqual([1, expect.stringContaining("Nothing was heard of")]);
    expect((await looks(unknown, { status: "checking" })).exit).toBe(1);
  });

  it("tells that one remote is away, not that the network is", async () => {
    const remotes = [has.offlineRemote, { ...has.onlineRemote, remote: "https://files.example.com" }];
    const answers = { "network.status": { ...network, status: "offline" as const, remotes } };
    const { out } = await play(["network", "status"], { answers });
    expect(out.split("\n")[0]).toBe("● 1 of 2 remotes does not answer");
    const alone = { "network.status": { ...network, status: "offline" as const, remotes: [has.offlineRemote] } };
    expect((await play(["network", "status"], { answers: alone })).out.split("\n")[0]).toBe("● Network is offline");
  });

  it("at one remote tells of that one, and tells a program of all", async () => {
    const files = { ...has.onlineRemote, remote: "https://files.example.com" };
    let asked = 0;
    const seen = () => ({ ...files, lastSuccessAt: now + asked++ });
    const answers: NonNullable<Script["answers"]> = {
      "network.check": { checking: [files.remote] },
      "network.status": () => ({ ...network, status: "offline", remotes: [has.offlineRemote, seen()] }),
    };
    const { exit, out } = await play(["network", "check", files.remote], { answers });
    expect([exit, out.split("\n")[0], out.includes(has.offlineRemote.remote)]).toEqual([
      0,
      "● Network is online",
      false,
    ]);
    const json = await play(["network", "check", files.remote, "--json"], { answers });
    expect(JSON.parse(json.out)).toMatchObject({ status: "offline", remotes: [{}, {}] });
  });

  it("is refused while working offline, because nothing is probed then", async () => {
    const answers = { "network.status": { ...network, isWorkingOffline: true, remotes: [] } };
    expect((await play(["network", "check"], { answers })).exit).toBe(5);
  });
});

describe("being offline", () => {
  const away = { status: "offline" as const, isWorkingOffline: false, lastCheckAt: null, pokes: [] };
  const silent = "! Offline: https://api.example.com does not answer for 5 min";
  const never = { ...has.offlineRemote, remote: "http://typo.test", lastSuccessAt: null, pending: 0 };
  const answers = {
    "network.status": { ...away, remotes: [has.offlineRemote, never] },
    "queue.get": has.waitingNote,
    "queue.why": has.whyOffline,
    "queue.status": has.troubled,
    "queue.list": { operations: [has.waitingNote], next: null },
    "records.query": { records: [], next: null },
    "conflicts.list": { conflicts: [], next: null, open: 0 },
    "queue.cancel": { done: [has.ids.note], refused: [] },
  } as const satisfies Script["answers"];

  it.each([
    ["queue show", ["queue", "show", "0f3a9c21"]],
    ["records list", ["records", "list", "notes"]],
    ["conflicts list", ["conflicts", "list"]],
    ["queue cancel", ["queue", "cancel", "0f3a9c21"]],
  ])("is said below the answer of %s, once, of what is missed", async (_name, argv) => {
    expect((await play(argv, { answers })).err).toBe(`${silent}; 1 operation goes by itself when it does\n`);
    const idle = { ...away, remotes: [{ ...has.offlineRemote, pending: 0 }] };
    expect((await play(argv, { answers: { ...answers, "network.status": idle } })).err).toBe(`${silent}\n`);
    const byChoice = { ...away, isWorkingOffline: true, remotes: [has.offlineRemote] };
    expect((await play(argv, { answers: { ...answers, "network.status": byChoice } })).err).toBe(
      "! Working offline: nothing is sent until `holdfast network online`\n",
    );
    for (const quiet of ["--json", "--quiet"]) expect((await play([...argv, quiet], { answers })).err).toBe("");
  });

  it.each([
    ["queue why", ["queue", "why", "0f3a9c21"]],
    ["queue list", ["queue", "list"]],
    ["network status", ["network", "status"]],
  ])("is not said a second time below %s", async (_name, argv) => {
    expect((await play(argv, { answers })).err).not.toContain("does not answer");
  });

  it("takes nothing from an answer when the daemon goes meanwhile", async () => {
    const gone = (): never => {
      throw new HoldfastError("daemon_unreachable", "gone", "");
    };
    const played = await play(["queue", "show", "0f3a9c21"], { answers: { ...answers, "network.status": gone } });
    expect([played.exit, played.err]).toEqual([0, ""]);
  });
});

describe("a list of what waits for access", () => {
  const waits = (more: Parameters<typeof has.operation>[0]) =>
    has.operation({ reason: "auth", remote: "https://sync.example.com", ...more });
  const out = { subject: "", remote: "https://sync.example.com", reason: "", since: now, pending: 1 };
  const shown = async (operation: ReturnType<typeof waits>, ...signedOut: (typeof out & { code: string })[]) => {
    const answers = {
      "queue.list": { operations: [operation], next: null },
      "queue.status": has.queueStatus({ signedOut }),
    };
    return (await play(["queue", "list"], { answers })).out;
  };
  const problem = (code: string) => ({ code, message: code });

  it("says what keeps the subject out, also where another operation found it out", async () => {
    expect(await shown(waits({}), { ...out, code: "account_suspended" })).toMatch(/pending +suspended /);
    expect(await shown(waits({}), { ...out, remote: "", code: "signed_out" })).toMatch(/pending +signed out /);
    expect(await shown(waits({ problem: problem("credential_missing") }))).toMatch(/pending +no credential /);
    expect(await shown(waits({ problem: problem("unauthorized") }))).toMatch(/pending +credential refused /);
  });

  it("guesses nothing from the trouble of somebody else, or from an older one", async () => {
    const elsewhere = { ...out, subject: "bob", code: "account_suspended" };
    expect(await shown(waits({ problem: problem("http_500") }), elsewhere)).toMatch(/pending +no access /);
  });
});

it("events are not watched from before the first", async () => {
  expect((await play(["queue", "watch", "--after", "-4"], {})).exit).toBe(2);
});

it("an empty --home is no directory, least of all this one", async () => {
  expect(() => directoryOf("")).toThrow("--home names no directory");
});

it("a file with hundreds of wrong lines is refused in a screenful", async () => {
  const stdin = Array.from({ length: 300 }, (_, at) => `garbage ${at}`).join("\n");
  const played = await play(["queue", "import", "-"], {
    stdin,
    answers: {
      "queue.import": ({ lines }) => ({
        imported: [],
        skipped: [],
        refused: lines.map((_, at) => ({
          id: `line ${at + 1}`,
          code: "invalid_input",
          message: `line ${at + 1}: it is not JSON`,
          hint: "give one exported operation per line, unchanged",
        })),
      }),
    },
  });
  const lines = played.err.trimEnd().split("\n");
  expect(lines).toHaveLength(22);
  expect(lines.at(-1)).toBe("  … and 280 more refusals; --json names them all");
  expect([played.exit, played.out]).toEqual([2, "! Imported 0 operations\n"]);
});

it("an import that is cut off says that repeating it goes on where it stopped", async () => {
  const gone = new HoldfastError(
    "daemon_unreachable",
    "no answer from the daemon",
    "start it with `holdfast daemon start`",
  );
  let calls = 0;
  const rows = Array.from({ length: 700 }, (_, at) => JSON.stringify({ id: `k${at}` })).join("\n");
  const records = await play(["records", "import", "notes", "-", "--source", "big"], {
    stdin: rows,
    answers: {
      "records.import": (input) => {
        calls += 1;
        if (calls > 1) throw gone;
        return { imported: input.rows.length, unchanged: 0, refused: [], nextOffset: 500 };
      },
    },
  });
  expect([records.exit, records.out]).toEqual([3, ""]);
  expect(records.err).toBe(
    "✗ the import was cut off after 500: no answer from the daemon\n→ repeat the same import: it starts the daemon again and goes on where it stopped\n",
  );
  const throwGone = () => {
    throw gone;
  };
  const queue = await play(["queue", "import", "-"], { stdin: "{}", answers: { "queue.import": throwGone } });
  expect([queue.exit, queue.err]).toEqual([3, expect.stringContaining("repeat the same import")]);
});

it("what was only done says nothing under --quiet, and a list of nothing is no line", async () => {
  const answers = {
    "collections.list": { collections: [], lastSyncAt: null, clockOffsetMs: 0 },
    "collections.declare": collection(),
    "conflicts.list": { conflicts: [], next: null, open: 0 },
    "queue.pause": { paused: [] },
  };
  for (const words of [
    ["collections", "declare", "bookings"],
    ["queue", "pause"],
    ["conflicts", "list"],
  ]) {
    const played = await play([...words, "--quiet"], { answers });
    expect([played.exit, played.out, played.err], words.join(" ")).toEqual([0, "", ""]);
  }
});

describe("a sync server that gives nothing", () => {
  const refusedBy = async (code: string, reason: string): Promise<string> => {
    const out = { subject: "", remote: "https://sync.example.com", reason, code, since: 0, pending: 1 };
    const before = has.queueStatus();
    const status = { ...before, counts: { ...before.counts, pending: 1 }, unsent: 1, signedOut: [out] };
    const played = await play(["sync", "--wait"], {
      local: syncConfig({ "sync.url": "https://sync.example.com", "sync.credential": "sync" }),
      answers: {
        "sync.run": { pending: 1, isOffline: false, sentence: "Sending 1 operation." },
        "sync.status": { mode: "eager", isSyncing: false, run: null },
        "queue.status": status,
      },
    });
    expect(played.exit).toBe(5);
    return played.out;
  };

  it("is told by what would change it: a token, another token, or the person who runs it", async () => {
    const missing = await refusedBy("credential_missing", 'there is no credential "sync" yet');
    expect(missing).toMatch(/wants a token: .*\n→ store/);
    const invalid = await refusedBy("token_expired", "the token has expired");
    expect(invalid).toMatch(/refuses the token: .*\n→ store/);
    const suspended = await refusedBy("account_suspended", "in whatever words");
    expect(suspended).toMatch(/lets nobody in with this token: .*\n→ ask who runs it; .*queue export/);
  });
});
