// Owns that the page of failures is made from the table. Leaves the table itself to failure.test.ts.
import { expect, test } from "vitest";
import { describeFailures } from "./failure-page.ts";
import { failureTable } from "./failures.ts";

test("docs/failures.md is generated from the rows", async () => {
  await expect(describeFailures()).toMatchFileSnapshot("../docs/failures.md");
});

test("the page names every code", () => {
  for (const { code } of failureTable) expect(describeFailures()).toContain(`\`${code}\``);
});
