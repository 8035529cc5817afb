/**
 * Owns `holdfast daemon run`: the daemon in this process, over the engine with every built-in type. What a daemon is, is
 * `src/node/daemon.ts`.
 */
import type { NetworkConfig } from "../config.ts";
import type { NetworkPolicy } from "../network.ts";
import { runDaemon } from "../node/daemon.ts";
import { openEngine } from "../node/engine.ts";
import { packageVersion } from "../node/package-version.ts";
import type { ProbeEndpoint, ProbeOptions } from "../node/probe.ts";
import { makeProbe } from "../node/probe.ts";
import type { DaemonOptions } from "./host.ts";

/** Runs until it is told to stop. */
export async function serve(directory: string, options: DaemonOptions): Promise<void> {
  const daemon = await runDaemon({
    directory,
    version: packageVersion,
    handlesProcess: true,
    openEngine: ({ network, sync, ...rest }) => {
      const policy = madeOnce(policyOf);
      const probe = madeOnce((config: NetworkConfig) => makeProbe(probeOf(config)));
      return openEngine({
        ...rest,
        ...(sync === null ? {} : { sync }),
        commands: true,
        network: () => policy(network()),
        probe: (remote, signal, known) => probe(network())(remote, signal, known),
      });
    },
    ...options,
  });
  await daemon.stopped;
}

/** The same value for the same configuration, so that it is made anew only when the file has changed. */
function madeOnce<T>(make: (config: NetworkConfig) => T): (config: NetworkConfig) => T {
  let last: { readonly config: NetworkConfig; readonly value: T } | null = null;
  return (config) => {
    if (last?.config !== config) last = { config, value: make(config) };
    return last.value;
  };
}

/** What the configuration file says about probing, as the engine's policy. */
function policyOf({ probeIntervalMs, probeTimeoutMs, reconnectJitterMs }: NetworkConfig): Partial<NetworkPolicy> {
  return {
    ...(probeIntervalMs === undefined ? {} : { probeInitialMs: probeIntervalMs }),
    ...(probeTimeoutMs === undefined ? {} : { probeTimeoutMs }),
    ...(reconnectJitterMs === undefined ? {} : { reconnectJitterMs }),
  };
}

function probeOf({ probes, probeTimeoutMs }: NetworkConfig): ProbeOptions {
  const endpoints = new Map<string, readonly ProbeEndpoint[]>();
  for (const { remote, url, status, body } of probes) {
    const endpoint = {
      url,
      ...(status === undefined ? {} : { status: [status] }),
      ...(body === undefined ? {} : { body }),
    };
    endpoints.set(remote, [...(endpoints.get(remote) ?? []), endpoint]);
  }
  const limit = probeTimeoutMs === undefined ? {} : { timeoutMs: probeTimeoutMs };
  return { endpoints: Object.fromEntries(endpoints), ...limit };
}
