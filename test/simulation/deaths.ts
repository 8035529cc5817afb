// Owns the one exception to "no unhandled rejection": what still runs of a killed virtual process fails where nobody listens.
// Everything else that is not handled stays a failure of the run.
import { isDeath } from "../../src/testing/virtual-world.ts";

/** Lets dead processes fail unheard. Returns its end. */
export function tolerateDeaths(): () => void {
  const listen = (reason: unknown): void => {
    if (!isDeath(reason)) throw reason;
  };
  process.on("unhandledRejection", listen);
  return () => void process.off("unhandledRejection", listen);
}
