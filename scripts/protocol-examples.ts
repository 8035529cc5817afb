// Owns the examples of docs/protocol.md: plays every request of the page against a server and writes the answers under them.
// Leaves the words of the page to its author; a test holds the page to what is played here. Run it after a change of the protocol.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { sha256 } from "../src/node/server-store.ts";
import { openDatabase } from "../src/node/sqlite.ts";
import { openEmbeddedStore } from "../src/server/embedded.ts";
import type { SyncServer } from "../src/server/server.ts";
import { openServer } from "../src/server/server.ts";
import { addToken } from "../src/server/tokens.ts";

const now = 1_900_000_001_000;
const request =
  /<!-- request (GET|POST) (\S+)(?: as ([\w ]+))? -->\n```(?:json|text)\n([\s\S]*?)```\n(?:\nAnswer(?:, as lines)?:\n\n```json\n[\s\S]*?```\n)?/g;

/** The page with the answers that a server gives today. */
export async function renderProtocol(page: string): Promise<string> {
  const store = openEmbeddedStore(openDatabase(":memory:"));
  const server = await openServer({
    store,
    version: "0.1.0",
    hash: sha256,
    now: () => now,
    newId: () => "b7a8c6f0-5d0e-4a55-9a53-7f4b3c2d1e00",
    collections: [
      {
        name: "notes",
        rules: [
          ({ after }) =>
            Number(after?.stars ?? 0) > 5
              ? { code: "too_many_stars", message: "five stars are the most", field: "stars", hint: "give 0 to 5" }
              : null,
        ],
      },
    ],
  });
  const spaces = [{ space: "main", roles: ["writer"] }];
  const { token } = await addToken(store, { subject: "ana", spaces }, { now: () => now, hash: sha256 });
  try {
    const parts: string[] = [];
    let end = 0;
    for (const match of page.matchAll(request)) {
      const [whole, method = "", path = "", manner = "", body = ""] = match;
      const answer = await play(server, { method, path, manner, body, token });
      const words = manner === "lines" ? "Answer, as lines:" : "Answer:";
      parts.push(
        page.slice(end, match.index),
        opening({ method, path, manner, body }),
        `\n${words}\n\n`,
        `\`\`\`json\n${answer}\n\`\`\`\n`,
      );
      end = match.index + whole.length;
    }
    return parts.join("") + page.slice(end);
  } finally {
    await server.close();
    await store.close();
  }
}

type Asked = { readonly method: string; readonly path: string; readonly manner: string; readonly body: string };

function opening({ method, path, manner, body }: Asked): string {
  const said = manner === "" ? "" : ` as ${manner}`;
  const language = method === "GET" ? "text" : "json";
  return `<!-- request ${method} ${path}${said} -->\n\`\`\`${language}\n${body}\`\`\`\n`;
}

async function play(
  server: SyncServer,
  { method, path, manner, body, token }: Asked & { readonly token: string },
): Promise<string> {
  const response = await server.fetch(
    new Request(`http://server.test${path}`, {
      method,
      headers: {
        "holdfast-protocol": "1",
        ...(manner === "a stranger" ? {} : { authorization: `Bearer ${token}` }),
        ...(manner === "lines" ? { accept: "application/x-ndjson" } : {}),
        ...(method === "POST" ? { "content-type": "application/json" } : {}),
      },
      ...(method === "POST" ? { body } : {}),
    }),
  );
  const text = (await response.text()).trimEnd();
  return manner === "lines" ? text : compact(JSON.parse(text), "");
}

/** JSON with a line per member, but what fits on one line stays there. */
function compact(value: unknown, indent: string): string {
  const line = JSON.stringify(value);
  if (typeof value !== "object" || value === null || line.length + indent.length <= 110) return spaced(value);
  const inner = `${indent}  `;
  if (Array.isArray(value)) return `[\n${value.map((each) => inner + compact(each, inner)).join(",\n")}\n${indent}]`;
  const members = Object.entries(value).map(
    ([name, each]) => `${inner}${JSON.stringify(name)}: ${compact(each, inner)}`,
  );
  return `{\n${members.join(",\n")}\n${indent}}`;
}

function spaced(value: unknown): string {
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(spaced).join(", ")}]`;
  const members = Object.entries(value).map(([name, each]) => `${JSON.stringify(name)}: ${spaced(each)}`);
  return members.length === 0 ? "{}" : `{ ${members.join(", ")} }`;
}

export const protocolPage = join(import.meta.dirname, "../docs/protocol.md");

if (import.meta.main) writeFileSync(protocolPage, await renderProtocol(readFileSync(protocolPage, "utf8")));
