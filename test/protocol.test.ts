// Owns holding docs/protocol.md to what a server answers, and to the codes and routes of the contract. Leaves the rules of the server to
// the tests beside src/server.
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { protocolPage, renderProtocol } from "../scripts/protocol-examples.ts";
import { routes, wireCodes } from "../src/wire.ts";

const page = readFileSync(protocolPage, "utf8");

test("docs/protocol.md has the answers that `node scripts/protocol-examples.ts` writes", async () => {
  expect(page).toBe(await renderProtocol(page));
});

test("docs/protocol.md names every route and every code of the contract", () => {
  for (const word of [...Object.values(routes), ...wireCodes]) expect(page).toContain(word);
});

test("docs/protocol.md shows every outcome of an operation", () => {
  for (const outcome of ["applied", "duplicate", "conflict", "rejected", "retry", "stale"])
    expect(page).toContain(`"outcome": "${outcome}"`);
});
