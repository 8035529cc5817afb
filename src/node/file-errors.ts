/**
 * Owns turning the operating system's file errors into ours, and making a change to a folder durable.
 * Which file is read or written and why is left to `blobs.ts` and `blob-file.ts`.
 */
import { open } from "node:fs/promises";
import { HoldfastError } from "../errors.ts";

/** The error code of the operating system, e.g. "ENOENT"; empty when there is none. */
export function systemCode(error: unknown): string {
  if (typeof error !== "object" || error === null || !("code" in error)) return "";
  return typeof error.code === "string" ? error.code : "";
}

/** What reading a person's file failed with. */
export function sourceError(error: unknown, path: string): HoldfastError {
  if (error instanceof HoldfastError) return error;
  const code = systemCode(error);
  if (code === "ENOENT" || code === "ENOTDIR") {
    return new HoldfastError("file_missing", `there is no file ${path}`, "check the path, or put the file back", {
      cause: error,
    });
  }
  if (code === "EACCES" || code === "EPERM") {
    return new HoldfastError(
      "file_missing",
      `${path} may not be read (${code})`,
      "give this user the right to read it",
      {
        cause: error,
      },
    );
  }
  return new HoldfastError(
    "io_failed",
    `reading ${path} failed (${code || String(error)})`,
    "check the disk it is on",
    {
      cause: error,
    },
  );
}

/** What writing into our own folder failed with. */
export function storeError(error: unknown, folder: string): HoldfastError {
  if (error instanceof HoldfastError) return error;
  const code = systemCode(error);
  const cause = { cause: error };
  if (code === "ENOSPC" || code === "EDQUOT") {
    return new HoldfastError(
      "disk_full",
      `no room in ${folder}; the file was not captured`,
      "free some space, or capture by reference",
      cause,
    );
  }
  if (code === "EROFS" || code === "EACCES" || code === "EPERM") {
    return new HoldfastError(
      "read_only",
      `${folder} may not be written (${code})`,
      "check its owner and how it is mounted",
      cause,
    );
  }
  return new HoldfastError(
    "io_failed",
    `writing into ${folder} failed (${code || String(error)})`,
    "check the disk it is on",
    cause,
  );
}

/** Makes renames and new entries of a folder survive a power cut; platforms that cannot open a folder do it by themselves. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r").catch(() => null);
  if (handle === null) return;
  try {
    await handle.sync();
  } catch (error) {
    if (!["EPERM", "EINVAL", "ENOTSUP", "EISDIR"].includes(systemCode(error))) throw error;
  } finally {
    await handle.close();
  }
}
