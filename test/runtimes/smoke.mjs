// Owns what is tried on every Node version that the package supports, with nothing but the installed package.
// Leaves the choice of versions to test/runtimes/runtimes.test.ts.
import assert from "node:assert/strict";
import * as front from "holdfast";
import * as node from "holdfast/node";
import * as testing from "holdfast/testing";

for (const [door, names] of Object.entries({ front, node, testing })) {
  assert.ok(Object.keys(names).length > 0, `the door ${door} is empty`);
}
assert.equal(typeof front.HoldfastError, "function");
assert.equal(typeof node.openEngine, "function");

console.log(`smoke ok on ${process.version}`);
