/**
 * Owns the shapes in which the data directory's own facts reach the renderers: configuration, credentials, daemon, diagnosis.
 * The facts themselves are gathered by `src/node/`; see `real-local.ts`.
 */

export type ConfigEntry = {
  readonly key: string;
  readonly value: unknown;
  /** Where the value comes from. */
  readonly source: "default" | "file";
};

/** A credential without its value: that one is never shown. */
export type Credential = {
  readonly name: string;
  readonly subject: string | null;
  readonly kind: "bearer" | "basic" | "headers";
  readonly origins: readonly string[];
  readonly source: "file" | "environment";
};

/** A credential with its value, on its way into the store. */
export type Secret =
  | { readonly kind: "bearer"; readonly token: string; readonly origins: readonly string[] }
  | {
      readonly kind: "basic";
      readonly username: string;
      readonly password: string;
      readonly origins: readonly string[];
    }
  | {
      readonly kind: "headers";
      readonly headers: Readonly<Record<string, string>>;
      readonly origins: readonly string[];
    };

export type DaemonState = {
  readonly isRunning: boolean;
  /** A process holds the data directory and does not answer as the daemon: it is starting, stopping, stuck, or a stranger. */
  readonly isSilent: boolean;
  readonly home: string;
  readonly pid: number | null;
  readonly host: string | null;
  readonly port: number | null;
  readonly socket: string | null;
  readonly startedAt: number | null;
  readonly version: string | null;
};

/** What `holdfast doctor` can see without the daemon. */
export type Diagnosis = {
  readonly nodeVersion: string;
  readonly home: string;
  readonly doesExist: boolean;
  /** Files that others than the owner can reach, with what to do. */
  readonly loose: readonly { readonly path: string; readonly mode: string; readonly wanted: string }[];
  /** Why config.toml, or a file that it names, cannot be used. */
  readonly configTrouble: { readonly message: string; readonly hint: string } | null;
  readonly isWritable: boolean;
  readonly freeBytes: number | null;
  readonly daemon: DaemonState;
};
