// Owns what the processes of the kill tests tell each other: receipts, acknowledgements, and the moments to die at.
// Leaves the processes themselves to the files beside.

/** Where in the handling of a request somebody dies: before anything, after the effect, after the answer. */
export type Moment = "arrived" | "recorded" | "answered";

/** The receiver dies, or tells the campaign to kill the daemon, when the moment has come `after` times. */
export type Armed = { readonly victim: "receiver" | "daemon"; readonly moment: Moment; readonly after: number };

/** One line of the receiver's journal. `replay`: a key that was known; `leak`: a local id that should not have come. */
export type Line = {
  readonly what: "request" | "put" | "tus" | "replay" | "leak";
  readonly key: string;
  readonly url: string;
  readonly id?: string;
  readonly body?: unknown;
  readonly sha256?: string;
  readonly location?: string;
};

/** One acknowledged operation, as its client has noted it. */
export type Acknowledged = {
  readonly id: string;
  readonly kind: "request" | "create" | "refer" | "command" | "put" | "tus";
  readonly after?: readonly string[];
  readonly creates?: string;
  readonly refersTo?: string;
  readonly sha256?: string;
};
