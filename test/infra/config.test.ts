import { inspect } from "node:util";
import { expect, it } from "vitest";
import { SettingsError } from "../../infra/errors.ts";

interface Config {
  app(input: { stage: string }): Promise<Record<string, unknown>>;
}

/** As SST evaluates it: `$config` hands back what it is given. */
async function loadConfig(): Promise<Config> {
  Object.assign(globalThis, { $config: (config: Config) => config });
  return (await import("../../sst.config.ts")).default as unknown as Config;
}

it("sst.config.ts takes what becomes of a stage from infra/stages.ts", async () => {
  const { app } = await loadConfig();
  expect(await app({ stage: "dev" })).toEqual({
    name: "pg2kafka",
    home: "aws",
    removal: "remove",
    protect: false,
    providers: { aws: {} },
  });
});

it("sst.config.ts leaves it to the program to refuse a stage that is not there, and keeps it", async () => {
  const { app } = await loadConfig();
  expect(await app({ stage: "pord" })).toMatchObject({ removal: "retain", protect: false });
});

it("SST shows a refusal without its stack: it goes by the name that Node prints", () => {
  const [first, second, third] = inspect(new SettingsError(["One.", "Two."])).split("\n");
  expect([first, second, third]).toEqual(["VisibleError: Nothing was made.", "One.", "Two."]);
});
