// Owns a sync server on an empty database for tests, asked through its front door only: requests in, answers out.
// Leaves what a test asks to the test; every server that was opened is closed by `closeServers`.
import { openDatabase } from "../../src/node/sqlite.ts";
import type { Change } from "../../src/record.ts";
import type { LogEntry } from "../../src/server/core.ts";
import { openEmbeddedStore } from "../../src/server/embedded.ts";
import type { ServerOptions, SyncServer } from "../../src/server/server.ts";
import { openServer } from "../../src/server/server.ts";
import type { ServerStore } from "../../src/server/store.ts";
import type { Grant } from "../../src/server/tokens.ts";
import { addToken } from "../../src/server/tokens.ts";
import type { FetchResponse, PullRequest, PullResponse, PushAnswer, PushResponse } from "../../src/wire.ts";

export type Asked = {
  readonly method?: string;
  readonly body?: unknown;
  readonly token?: string | null;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
};

export type Problem = {
  readonly status: number;
  readonly code: string;
  readonly hint: string;
  readonly detail: string;
};

/** One change with what tests rarely say filled in. */
export type Edit = Partial<Change> & Pick<Change, "key" | "kind">;

export type TestServer = {
  readonly server: SyncServer;
  readonly store: ServerStore;
  readonly clock: { now: number };
  readonly log: LogEntry[];
  readonly token: string;
  readonly addToken: (subject: string, spaces?: readonly Grant[], expiresAt?: number) => Promise<string>;
  readonly ask: (path: string, asked?: Asked) => Promise<Response>;
  readonly problem: (path: string, asked?: Asked) => Promise<Problem>;
  /** Pushes one operation of these edits and returns its answer. */
  readonly push: (edits: Edit | readonly Edit[], more?: PushMore) => Promise<PushAnswer>;
  readonly pushAll: (items: readonly PushMore[], token?: string) => Promise<PushResponse>;
  readonly pull: (more?: Partial<PullRequest>, token?: string) => Promise<PullResponse>;
  readonly fetch: (keys: readonly string[], token?: string) => Promise<FetchResponse>;
};

export type PushMore = {
  readonly id?: string;
  readonly number?: number;
  readonly client?: string;
  readonly floor?: number;
  readonly space?: string;
  readonly token?: string;
  readonly edits?: readonly Edit[];
};

const opened: (() => Promise<void>)[] = [];

export async function closeServers(): Promise<void> {
  for (const close of opened.splice(0).reverse()) await close();
}

/** Where servers keep their records unless a test says otherwise; test/postgres/ runs the same tests on PostgreSQL. */
let openStore = async (): Promise<ServerStore> => openEmbeddedStore(openDatabase(":memory:"), { defer: setImmediate });

export function useStore(open: () => Promise<ServerStore>): void {
  openStore = open;
}

const openFile = (path: string): ServerStore => openEmbeddedStore(openDatabase(path), { defer: setImmediate });

/** Opens a server on an empty store, or on the one that is given. */
export async function openTestServer(
  options: Partial<ServerOptions> & { readonly path?: string } = {},
): Promise<TestServer> {
  const { path, ...rest } = options;
  const clock = { now: 1_900_000_000_000 };
  const log: LogEntry[] = [];
  const store = options.store ?? (path === undefined ? await openStore() : openFile(path));
  const server = await openServer({ now: () => clock.now, log: (entry) => log.push(entry), ...rest, store });
  opened.push(async () => {
    await server.close();
    await store.close();
  });
  const hash = async (text: string): Promise<string> =>
    Buffer.from(await crypto.subtle.digest("SHA-256", Buffer.from(text))).toString("hex");
  const makeToken: TestServer["addToken"] = async (subject, spaces = [{ space: "main", roles: [] }], expiresAt) =>
    (await addToken(store, { subject, spaces, expiresAt: expiresAt ?? null }, { now: () => clock.now, hash })).token;
  const token = await makeToken("ana");
  return { server, store, clock, log, token, addToken: makeToken, ...makeCalls(server, token) };
}

let count = 0;
const probe = { space: "main", collection: "notes", keys: ["-"] };

function makeCalls(
  server: SyncServer,
  ownToken: string,
): Pick<TestServer, "ask" | "problem" | "push" | "pushAll" | "pull" | "fetch"> {
  const ask: TestServer["ask"] = (path, { method, body, token = ownToken, headers = {}, signal } = {}) =>
    server.fetch(
      new Request(`http://server.test${path}`, {
        method: method ?? (body === undefined ? "GET" : "POST"),
        headers: {
          "holdfast-protocol": "1",
          ...(token === null ? {} : { authorization: `Bearer ${token}` }),
          ...(body === undefined ? {} : { "content-type": "application/json" }),
          ...headers,
        },
        ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
        ...(signal === undefined ? {} : { signal }),
      }),
    );
  const call = async <T>(path: string, body: unknown, token = ownToken): Promise<T> => {
    const response = await ask(path, { body, token });
    const text = await response.text();
    if (response.status !== 200) throw new Error(`${response.status} ${text}`);
    return JSON.parse(text) as T;
  };
  const pushAll: TestServer["pushAll"] = (items, token) => {
    const [first] = items;
    return call(
      "/v1/push",
      {
        space: first?.space ?? "main",
        client: first?.client ?? "client-1",
        floor: first?.floor ?? 0,
        items: items.map((item) => ({
          id: item.id ?? `op-${++count}`,
          number: item.number ?? ++count,
          at: 1,
          changes: (item.edits ?? []).map((edit) => ({
            collection: "notes",
            base: 0,
            fields: {},
            schema: 1,
            ...edit,
          })),
        })),
      },
      token,
    );
  };
  return {
    ask,
    problem: async (path, asked) => (await ask(path, asked)).json() as Promise<Problem>,
    pushAll,
    push: async (edits, more = {}) => {
      const list = Array.isArray(edits) ? (edits as readonly Edit[]) : [edits as Edit];
      const { answers } = await pushAll([{ ...more, edits: list }], more.token);
      const [answer] = answers;
      if (answer === undefined) throw new Error("no answer");
      return answer;
    },
    pull: async (more = {}, token) => {
      const asked = { space: "main", history: "", wants: [{ collection: "notes", after: 0 }], limit: 100, ...more };
      // A cursor goes with the history that it belongs to; tests that do not say another mean the one that is there.
      const isMissing = more.history === undefined && asked.wants.some(({ after }) => after > 0);
      const { history } = isMissing ? await call<FetchResponse>("/v1/fetch", probe, token) : asked;
      return call("/v1/pull", { ...asked, history }, token);
    },
    fetch: (keys, token) => call("/v1/fetch", { space: "main", collection: "notes", keys }, token),
  };
}
