/**
 * Owns the answers that only a transfer can give: a file that changed, a lock, altered bytes, an upload that is not ours.
 * Everything that any remote can answer is judged by `failure.ts`.
 */
import type { HoldfastError } from "../errors.ts";
import type { Answer, Problem } from "../operation.ts";
import { originOf } from "../url.ts";

/** How long the server is given to let go of a connection that broke. */
const lockedMs = 5_000;

/** An answer for an error of ours: a file that is not what was queued parks it, with its reason. */
export function answerOfError(error: HoldfastError): Answer {
  const { code, message, hint } = error;
  const problem: Problem = { code, message, hint };
  // It concerns this operation alone, and moves by itself once the credential is there.
  if (code === "credential_missing") return { kind: "auth", problem };
  const isOurs = code === "file_changed" || code === "file_missing" || code === "invalid_input";
  return isOurs ? { kind: "rejected", problem } : { kind: "unknown", problem, mayHaveLanded: false };
}

/** Parks the operation, with the reason. */
export function rejected(problem: Problem): Answer {
  return { kind: "rejected", problem };
}

/** No answer that could be believed; tried again without charge. */
export function unsettled(message: string): Answer {
  const hint = "it is tried again; check the address, and that no sign-in page stands between";
  return { kind: "unknown", problem: { code: "malformed_answer", message, hint }, mayHaveLanded: false };
}

/** The server still holds the upload for a connection that broke. */
export function locked(): Answer {
  const message = "the server still works on an earlier connection of this upload";
  const problem = { code: "locked", message, hint: "it goes on by itself as soon as the server lets go", status: 423 };
  return { kind: "retry", problem, isCharged: false, scope: "operation", afterMs: lockedMs };
}

/** A checksum did not fit, several times over. */
export function checksumRefused(): Answer {
  const message = "the server finds that bytes were altered on their way, several times over";
  const problem = {
    code: "checksum_mismatch",
    message,
    hint: "try another network; something in between alters data",
    status: 460,
  };
  return { kind: "retry", problem, isCharged: true, scope: "operation" };
}

/** What lies at the upload's address cannot be ours. */
export function foreign(reason: string): Answer {
  const hint = "retry it to start a new upload; the stored place is not used again";
  return rejected({ code: "upload_mismatch", message: `the upload at the server is not ours: ${reason}`, hint });
}

/** An https upload would go on in the clear. */
export function insecure(location: string): Answer {
  const message = `the server sends an https upload on to ${originOf(location) || "an address that cannot be used"}`;
  return rejected({
    code: "redirect_downgrade",
    message,
    hint: "the server's public address is set wrong; it has to name https",
  });
}
