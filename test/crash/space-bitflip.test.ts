// Owns the proof that a changed bit in a row of `space`, which has no seal, opens no gap in what a client sees or sends (T7).
// Sealed rows and whole damaged files are records-bitflip.test.ts.
import { expect, test } from "vitest";
import { cellOf, flipsOf } from "../support/flips.ts";
import { startRecords } from "../support/record-bench.ts";

for (const column of ["history", "head", "seen", "name", "due", "pulled", "failures", "asked", "offset_ms"])
  test(`a changed bit in the ${column} of a space opens no gap: news arrive, what is unsent goes out, nobody is asked`, async () => {
    const { server, client, run } = startRecords();
    const ada = client();
    for (const key of ["a", "b", "c"]) server.write("notes", key, { n: 1 });
    ada.put("mine", { n: 1 });
    await run(20_000);
    const [row] = ada.rows(`SELECT ${column} AS cell FROM space WHERE name = 'main'`);
    const flips = flipsOf(row?.cell ?? 0);
    expect(flips.length).toBeGreaterThan(3);
    for (const [round, flip] of flips.entries()) {
      ada.offline();
      server.write("notes", "a", { n: round + 2 });
      server.write("notes", "b", round % 2 === 0 ? null : { n: round });
      ada.update("mine", { n: round + 2 });
      ada.rows(`UPDATE space SET ${column} = ${cellOf(flip)} WHERE name = 'main'`);
      ada.crash();
      ada.online();
      await run(1_200_000);
      const shown = Object.fromEntries(
        ada
          .ask("records.query", { collection: "notes", limit: 100 })
          .records.filter(({ value }) => value !== null)
          .map(({ key, value }) => [key, value]),
      );
      expect(shown, `${column} = ${flip}`).toEqual(server.all("notes"));
      expect(server.all("notes").mine).toEqual({ n: round + 2 });
      expect(ada.conflicts("open")).toEqual([]);
    }
  });
