/**
 * Owns what the command says when the sync server gives nothing and takes nothing: what is wrong, and the command that changes it.
 * That something is wrong is found by the engine; how long is waited for it is the business of who waits.
 */
import type { Context } from "./context.ts";

/** Which sync server config.toml names, and the name of the credential for it. */
export type SyncTarget = { readonly url: string | null; readonly credential: string | null };

export async function syncTarget(context: Context): Promise<SyncTarget> {
  const { config } = await context.local();
  const read = async (key: string): Promise<string | null> => {
    const { value, source } = await config.get(key);
    return source !== "default" && typeof value === "string" ? value : null;
  };
  return { url: await read("sync.url"), credential: await read("sync.credential") };
}
