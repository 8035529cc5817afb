/**
 * Owns the text of `docs/failures.md`, made from the rows of `failures.ts`, so that the page cannot differ from what is done.
 * A test compares the two; `npx vitest run src/failure-page -u` writes the page anew.
 */
import type { FailureRow } from "./failure-row.ts";
import { failureParts } from "./failures.ts";

const headings: { readonly [part in keyof typeof failureParts]: string } = {
  network: "Without an answer",
  doubtful: "Answers that may not be the remote's",
  refusals: "Refusals of the remote",
  serverErrors: "Failures of the remote itself",
  local: "Before anything is sent",
  sync: "Refusals of a sync server",
};

const introduction = `# Failure classes

How Holdfast judges an attempt that did not succeed. Generated from the rows of \`src/failures.ts\`; a test compares the two.

- **unknown**: no trustworthy answer. Sent again with growing delay, never charged, and evidence that the remote is away.
- **retry**: the remote said "not now". Charged attempts count against \`retry.maxAttempts\`; free ones do not. Where it says
  *remote*, everything for that remote waits as well, for the time that the answer names.
- **auth**: paused until there are fresh credentials. Costs nothing.
- **conflict**: the remote's version is another one. Settled by the declared strategy, or parked with both sides.
- **rejected**: a definite refusal. Parked with its reason; only what depends on it waits.

"Landed" tells whether the attempt may have taken effect all the same. It is then sent again with the same idempotency key.
A failure after a followed redirect or inside a body may always have landed.
`;

/** The text of `docs/failures.md`. */
export function describeFailures(): string {
  const parts = Object.entries(failureParts).map(([part, rows]) => {
    const lines = rows.map(
      (each) =>
        `| ${cell(each.on)} | ${effectOf(each)} | ${landedOf(each)} | \`${each.code}\` | ${each.reason} | ${each.hint} |`,
    );
    const head = "| when | class | landed | code | reason | what to do |\n|---|---|---|---|---|---|";
    return `## ${headings[part as keyof typeof failureParts]}\n\n${head}\n${lines.join("\n")}\n`;
  });
  return [introduction, ...parts].join("\n");
}

function cell(keys: readonly string[]): string {
  return keys
    .map((key) => (/^[A-Z0-9_*]+$|^name:|^\dxx$/.test(key) ? `\`${key.replace("name:", "")}\`` : key))
    .join(", ");
}

function effectOf(each: FailureRow): string {
  if (each.kind !== "retry") return each.kind;
  return `retry, ${each.isCharged ? "charged" : "free"}${each.scope === "remote" ? ", remote" : ""}`;
}

function landedOf(each: FailureRow): string {
  if (each.landing === "unless_connecting") return "maybe, unless while connecting";
  return each.landing === "yes" ? "maybe" : "no";
}
