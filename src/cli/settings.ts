/**
 * Owns `holdfast settings`: what the store keeps and may be changed while it runs. The file is `config.ts`.
 */
import { HoldfastError } from "../errors.ts";
import type { Input, Output } from "../verbs.ts";
import type { Handler } from "./context.ts";
import { sign } from "./paint.ts";
import { nearest, parseLoose } from "./parse.ts";
import { facts, plain } from "./text.ts";

type Settings = Output<"settings.get">;
type Name = keyof Settings & string;

const namesOf = (settings: Settings): readonly Name[] => Object.keys(settings) as Name[];

export const runGet: Handler<[string | undefined], object> = async (context, [name]) => {
  const settings = await (await context.session()).call("settings.get", {});
  if (name === undefined) {
    context.answer(settings, () =>
      facts(
        namesOf(settings).map((each) => [each, show(settings[each])]),
        context.paint.dim,
      ),
    );
    return 0;
  }
  const [key, member] = split(settings, name);
  const whole: unknown = settings[key];
  const parts = new Map(Object.entries(whole ?? {}));
  const value = member === null ? whole : parts.get(member);
  if (value === undefined)
    throw new HoldfastError("not_found", `nothing is set for ${name}`, `see \`holdfast settings get ${key}\``);
  context.answer({ [name]: value }, () => show(value));
  return 0;
};

export const runSet: Handler<[string, string], object> = async (context, [name, text]) => {
  const session = await context.session();
  const before = await session.call("settings.get", {});
  const [key, member] = split(before, name);
  const value = parseLoose(text);
  const next = member === null ? value : { ...(before[key] as object), [member]: value };
  const settings = await session.call("settings.set", { [key]: next } as Input<"settings.set">);
  context.confirm(
    settings,
    () => `${context.paint.green(sign.yes)} ${name} is ${show(member === null ? settings[key] : value)}`,
  );
  return 0;
};

/** "conflictByType.http.request" names one member of a map, whose own name may hold dots. */
function split(settings: Settings, name: string): readonly [key: Name, member: string | null] {
  const names = namesOf(settings);
  const dot = name.indexOf(".");
  const head = dot === -1 ? name : name.slice(0, dot);
  const key = names.find((each) => each === head);
  if (key === undefined) {
    const near = nearest(head, names);
    throw new HoldfastError(
      "not_found",
      `there is no setting ${head}`,
      near === undefined ? `choose one of ${names.join(", ")}` : `did you mean ${near}?`,
    );
  }
  const isMap = typeof settings[key] === "object";
  if (dot !== -1 && !isMap)
    throw new HoldfastError("invalid_input", `${key} has no parts`, `write \`holdfast settings set ${key} VALUE\``);
  return [key, dot === -1 ? null : name.slice(dot + 1)];
}

function show(value: unknown): string {
  return plain(typeof value === "string" ? value : JSON.stringify(value));
}
