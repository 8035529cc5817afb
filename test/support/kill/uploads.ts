// Owns what counts as an upload of the receiver in the kill tests, for the receiver itself and for whoever judges it afterwards.
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";

/** What died while it was made is not made: the tus store writes the description after the file, and not at once. */
export function isUploadMade(folder: string, location: string): boolean {
  const made = path.join(folder, path.basename(location));
  try {
    JSON.parse(readFileSync(`${made}.json`, "utf8"));
    return existsSync(made);
  } catch {
    return false;
  }
}
