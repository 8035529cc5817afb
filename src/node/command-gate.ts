/**
 * Owns who may have programs started on this machine: the owner, through the Unix socket that nobody else can open, and everybody
 * who holds the token once `command.enabled` says so. A page of an allowed origin holds the token, too; that is why it is not enough.
 */

import type { Engine } from "../engine/engine.ts";
import { HoldfastError, isCode } from "../errors.ts";
import type { Verb } from "../verbs.ts";

const commandType = "command.run";

/** Refuses what would start a program, or permit it, for a caller that did not come through the Unix socket. */
export function refuseForeignCommands(engine: Engine, verb: Verb, input: unknown): void {
  if (!concernsCommands(engine, verb, input) || engine.handle("settings.get", {}).isCommandEnabled) return;
  throw new HoldfastError(
    "command_disabled",
    "commands are switched off for callers that do not come through the daemon's Unix socket",
    "queue it with `holdfast exec`, or set `command.enabled = true` in config.toml",
  );
}

function concernsCommands(engine: Engine, verb: Verb, input: unknown): boolean {
  if (typeof input !== "object" || input === null) return false;
  const fields = input as Readonly<Record<string, unknown>>;
  switch (verb) {
    case "queue.add":
      return fields.type === commandType;
    case "queue.addMany":
      return (
        Array.isArray(fields.operations) && fields.operations.some((each: unknown) => typeOf(each) === commandType)
      );
    case "queue.import":
      return Array.isArray(fields.lines) && fields.lines.some(mentionsCommand);
    case "queue.edit":
      return fields.payload !== undefined && typeof fields.id === "string" && isCommand(engine, fields.id);
    case "settings.set":
      return fields.isCommandEnabled === true;
    default:
      return false;
  }
}

const typeOf = (value: unknown): unknown =>
  typeof value === "object" && value !== null && "type" in value ? value.type : undefined;

function mentionsCommand(line: unknown): boolean {
  try {
    const parsed: unknown = JSON.parse(String(line));
    const operation =
      typeof parsed === "object" && parsed !== null && "operation" in parsed ? parsed.operation : undefined;
    return typeOf(operation) === commandType;
  } catch {
    // The import says by itself what is wrong with a line that cannot be read.
    return false;
  }
}

function isCommand(engine: Engine, id: string): boolean {
  try {
    return engine.handle("queue.get", { id }).type === commandType;
  } catch (error) {
    if (isCode(error, "not_found") || isCode(error, "ambiguous_id") || isCode(error, "invalid_input")) return false;
    throw error;
  }
}
