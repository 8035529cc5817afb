/**
 * Owns the version of this package as the running program knows it: read from its package.json, in the sources and in the build alike.
 */
import { readFileSync } from "node:fs";

const found: unknown = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));

/** E.g. "1.4.0". */
export const packageVersion: string =
  typeof found === "object" && found !== null && "version" in found ? String(found.version) : "0.0.0";
