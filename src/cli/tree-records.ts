/**
 * Owns the words of `holdfast records` and `holdfast collections`: arguments, options, help. What they do is in the files of
 * their names.
 */
import type { Command } from "commander";
import { examples } from "./help.ts";
import { collect, parseList } from "./parse.ts";
import type { Bind } from "./tree.ts";

const whereHelp = "only records that meet it, e.g. status=open, fee>5, name^=Jo, or JSON; may be given more than once";
const dataHelp = "value as JSON: text, @file, or - for stdin";

export function addRecordCommands(root: Command, bind: Bind): void {
  const records = root
    .command("records")
    .summary("read and write records; their history")
    .description("Reads and writes records. Writes are kept here at once and travel to the server by themselves.")
    .addHelpText(
      "after",
      examples(
        "holdfast records list notes",
        `holdfast records put notes n1 '{"title":"Tides"}'`,
        "holdfast records history notes n1",
      ),
    );
  addReading(records, bind);
  addWriting(records, bind);
  addPast(records, bind);
  addMoving(records, bind);
  addCollections(root, bind);
}

function addReading(records: Command, bind: Bind): void {
  const list = records
    .command("list")
    .argument("<collection>", "name of the collection")
    .option("--where <condition>", whereHelp, collect)
    .option("--order <fields>", "fields to order by; with :desc for descending, with commas", parseList)
    .option("--state <states>", "synced, pending, failed, conflict, local-only; with commas", parseList)
    .option("--limit <n>", "how many at most; 0 for all", "50")
    .option("--all", "all of them, as --limit 0")
    .option("--count", "only how many there are")
    .description("Lists records, with what is unsent already in them.")
    .addHelpText(
      "after",
      examples(
        "holdfast records list notes",
        "holdfast records list bookings --where status=open --where 'fee>5' --order start:desc",
        "holdfast records list notes --state pending,conflict --json",
        "holdfast records list notes --all --json > notes.json",
        "holdfast records list notes --count",
      ),
    );
  bind(list, async () => (await import("./records-read.ts")).runRecordList);
  const get = records
    .command("get")
    .argument("<collection>", "name of the collection")
    .argument("<key>", "the record's key")
    .description("Shows one record: its value, how it stands, why the server refused it.")
    .addHelpText(
      "after",
      examples("holdfast records get notes n1", "holdfast records get notes n1 --json | jq .value"),
    );
  bind(get, async () => (await import("./records-read.ts")).runRecordGet);
  const sql = records
    .command("sql")
    .argument("<statement>", "one SELECT; each collection is a view of its name")
    .argument("[parameters...]", "values for the ? in it")
    .option("--limit <n>", "rows at most", "100")
    .description("Runs one read-only SQL statement over the collections.")
    .addHelpText(
      "after",
      examples(
        "holdfast records sql 'SELECT status, count(*) FROM bookings GROUP BY status'",
        "holdfast records sql 'SELECT * FROM notes WHERE title LIKE ?' 'T%'",
      ),
    );
  bind(sql, async () => (await import("./records-read.ts")).runRecordSql);
}

function addWriting(records: Command, bind: Bind): void {
  const put = records
    .command("put")
    .argument("<collection>", "name of the collection")
    .argument("[key]", "the record's key; without it a new record is created")
    .argument("[value]", dataHelp)
    .option("--data <json>", "the value, instead of behind the key")
    .description("Creates a record, or replaces it as a whole.")
    .addHelpText(
      "after",
      examples(
        `holdfast records put notes n1 '{"title":"Tides"}'`,
        `holdfast records put notes '{"title":"Tides"}'`,
        "holdfast records put notes --data @note.json",
      ),
    );
  bind(put, async () => (await import("./records-change.ts")).runRecordPut);
  const update = records
    .command("update")
    .argument("<collection>", "name of the collection")
    .argument("<key>", "the record's key")
    .argument("[fields]", "the changed fields as JSON: text, @file, or - for stdin")
    .option("--set <field=value>", "a field's new value, JSON where it is JSON; may be given more than once", collect)
    .option("--unset <fields>", "fields to take away; with commas", parseList)
    .option("--data <json>", "the changed fields, instead of behind the key")
    .description("Changes some fields of a record; only those travel, so that other people's changes to the rest stay.")
    .addHelpText(
      "after",
      examples(
        "holdfast records update notes n1 --set title=Tides --set stars=5",
        `holdfast records update notes n1 '{"tags":["sea"]}' --unset draft`,
      ),
    );
  bind(update, async () => (await import("./records-change.ts")).runRecordUpdate);
  const patch = records
    .command("patch")
    .argument("<collection>", "name of the collection")
    .argument("<key>", "the record's key")
    .argument("[patch]", "an object (JSON Merge Patch) or a list of steps (JSON Patch): text, @file, or - for stdin")
    .option("--data <json>", "the patch, instead of behind the key")
    .description("Patches a record; a `test` step refuses the write when the record is not what you saw.")
    .addHelpText(
      "after",
      examples(
        `holdfast records patch notes n1 '{"title":"Ebb","draft":null}'`,
        `holdfast records patch notes n1 '[{"op":"test","path":"/stars","value":4},{"op":"replace","path":"/stars","value":5}]'`,
      ),
    );
  bind(patch, async () => (await import("./records-change.ts")).runRecordPatch);
  const remove = records
    .command("remove")
    .argument("<collection>", "name of the collection")
    .argument("<keys...>", "keys of records; up to 100 go all or none")
    .description("Removes records. Their history stays, and `records restore` brings them back.")
    .addHelpText("after", examples("holdfast records remove notes n1", "holdfast records remove notes n1 n2"));
  bind(remove, async () => (await import("./records-change.ts")).runRecordRemove);
}

function addPast(records: Command, bind: Bind): void {
  const history = records
    .command("history")
    .argument("<collection>", "name of the collection")
    .argument("<key>", "the record's key")
    .option("--limit <n>", "how many entries at most", "20")
    .description("Shows every change of a record, newest first: who, what, from which sync run.")
    .addHelpText("after", examples("holdfast records history notes n1"));
  bind(history, async () => (await import("./records-read.ts")).runRecordHistory);
  const restore = records
    .command("restore")
    .argument("<collection>", "name of the collection")
    .argument("<key>", "the record's key")
    .argument("<sequence>", "number of an entry of its history")
    .option("--before", "what it was before that entry, instead of after")
    .description("Writes again what a record was after, or before, an entry of its history.")
    .addHelpText(
      "after",
      examples("holdfast records restore notes n1 812", "holdfast records restore notes n1 812 --before"),
    );
  bind(restore, async () => (await import("./records-change.ts")).runRecordRestore);
}

function addMoving(records: Command, bind: Bind): void {
  const imported = records
    .command("import")
    .argument("<collection>", "name of the collection")
    .argument("<file>", "a JSON array or JSON Lines, or - for stdin")
    .option("--key <field>", "field that holds the key; without it keys follow from source and position")
    .option(
      "--source <name>",
      "name of what is imported, so that it can go on where it stopped; default: the file's path",
    )
    .description(
      "Imports rows as records. Run it again after an interruption: nothing comes twice. A refused row is named by its number, from 1 on.",
    )
    .addHelpText(
      "after",
      examples(
        "holdfast records import notes notes.json --key id",
        "jq -c '.[]' big.json | holdfast records import notes - --source big",
      ),
    );
  bind(imported, async () => (await import("./records-import.ts")).runRecordImport);
  const pin = records
    .command("pin")
    .argument("<collection>", "name of the collection")
    .argument("[keys...]", "keys of records")
    .option("--where <condition>", whereHelp, collect)
    .option("--off", "let them go again")
    .description("Keeps records on this device, whatever the collection's budget.")
    .addHelpText(
      "after",
      examples(
        "holdfast records pin notes n1",
        "holdfast records pin bookings --where status=open",
        "holdfast records pin notes n1 --off",
      ),
    );
  bind(pin, async () => (await import("./records-change.ts")).runRecordPin);
}

function addCollections(root: Command, bind: Bind): void {
  const collections = root
    .command("collections")
    .summary("collections of records and where each stands")
    .description("Tells where each collection stands, declares collections, and pulls them.")
    .addHelpText("after", examples("holdfast collections list", "holdfast collections declare notes"));
  const list = collections
    .command("list")
    .description("Lists collections: records, unsent, conflicts, and as of when each is known to be complete.")
    .addHelpText("after", examples("holdfast collections list"));
  bind(list, async () => (await import("./collections.ts")).runCollectionList);
  const declare = collections
    .command("declare")
    .argument("<name>", "lower-case letters, digits and _, beginning with a letter")
    .option(
      "--index <fields>",
      "a field, or fields with commas, to order and look up by; may be given more than once",
      collect,
    )
    .option("--unique <fields>", "fields whose values no two records share; may be given more than once", collect)
    .option(
      "--merge <field=rule>",
      "how a field is merged, e.g. body=text, fee=max; may be given more than once",
      collect,
    )
    .option("--strategy <strategy>", "local_wins, remote_wins, merge or manual; or kind=strategy", collect)
    .option("--space <space>", "space at the server")
    .option("--filter <condition>", "pull only records that meet it; may be given more than once", collect)
    .option("--local", "stays on this device and is never sent")
    .option("--spec <json>", "parts of the specification as JSON: text, @file, or - for stdin")
    .option("--replace", "forget what was declared before; otherwise indexes and rules are added and the rest stays")
    .description("Declares a collection without code, or changes what is named of it.")
    .addHelpText(
      "after",
      examples(
        "holdfast collections declare notes",
        "holdfast collections declare bookings --index status,start --unique plate,start --merge note=text",
        "holdfast collections declare notes --spec @notes.json --replace",
      ),
    );
  bind(declare, async () => (await import("./collections.ts")).runCollectionDeclare);
  const sync = collections
    .command("sync")
    .argument("[collection]", "only this one")
    .argument("[key]", "only this record")
    .option("--full", "read everything again and keep unsent work")
    .option("--wait", "follow it until all is here; exit 1 when the server is silent, 5 when somebody must act first")
    .option("--timeout <duration>", "stop waiting after this")
    .description("Pulls now: everything, one collection, or one record.")
    .addHelpText(
      "after",
      examples(
        "holdfast collections sync --wait",
        "holdfast collections sync notes --full",
        "holdfast collections sync notes n1",
      ),
    );
  bind(sync, async () => (await import("./collections.ts")).runCollectionSync);
}
