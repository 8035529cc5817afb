/**
 * Owns `holdfast settings`: what the store keeps and may be changed while it runs. The file is `config.ts`.
 */
import { HoldfastError } from "../errors.ts";
import type { Settings } from "../shapes.ts";
import { defaultSettings } from "../shapes.ts";
import type { Handler } from "./context.ts";
import { sign } from "./paint.ts";
import { nearest, parseLoose } from "./parse.ts";
import { facts, plain } from "./text.ts";

const names = Object.keys(defaultSettings) as readonly (keyof Settings)[];

export const runGet: Handler<[string | undefined], object> = async (context, [name]) => {
  const settings = await (await context.session()).call("settings.get", {});
  if (name === undefined) {
    context.answer(settings, () =>
      facts(
        names.map((each) => [each, show(settings[each])]),
        context.paint.dim,
      ),
    );
    return 0;
  }
  const [key, member] = split(name);
  const whole: unknown = settings[key];
  const value = member === null ? whole : (whole as Readonly<Record<string, unknown>>)[member];
  if (value === undefined)
    throw new HoldfastError("not_found", `nothing is set for ${name}`, `see \`holdfast settings get ${key}\``);
  context.answer({ [name]: value }, () => show(value));
  return 0;
};

export const runSet: Handler<[string, string], object> = async (context, [name, text]) => {
  const session = await context.session();
  const [key, member] = split(name);
  const value = parseLoose(text);
  const before = await session.call("settings.get", {});
  const next = member === null ? value : { ...(before[key] as object), [member]: value };
  const settings = await session.call("settings.set", { [key]: next } as Partial<Settings>);
  context.answer(
    settings,
    () => `${context.paint.green(sign.yes)} ${name} is ${show(member === null ? settings[key] : value)}`,
  );
  return 0;
};

/** "conflictByType.http.request" names one member of a map, whose own name may hold dots. */
function split(name: string): readonly [key: keyof Settings, member: string | null] {
  const dot = name.indexOf(".");
  const head = dot === -1 ? name : name.slice(0, dot);
  const key = names.find((each) => each === head);
  if (key === undefined) {
    const near = nearest(head, names);
    throw new HoldfastError(
      "invalid_input",
      `there is no setting ${head}`,
      near === undefined ? `choose one of ${names.join(", ")}` : `did you mean ${near}?`,
    );
  }
  const isMap = typeof defaultSettings[key] === "object";
  if (dot !== -1 && !isMap)
    throw new HoldfastError("invalid_input", `${key} has no parts`, `write \`holdfast settings set ${key} VALUE\``);
  return [key, dot === -1 ? null : name.slice(dot + 1)];
}

function show(value: unknown): string {
  return plain(typeof value === "string" ? value : JSON.stringify(value));
}
