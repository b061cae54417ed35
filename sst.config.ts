/// <reference path="./.sst/platform/config.d.ts" />

/** What AWS holds. The stages are in infra/stages.ts; the order of making in infra/build.ts. */
export default $config({
  // What throws here is an "unexpected error" to SST; what throws in run() is shown.
  async app(input) {
    const { appOptions } = await import("./infra/defaults.ts");
    const { STAGES } = await import("./infra/stages.ts");
    const { APP } = await import("./infra/names.ts");
    const { region, removal, protect } = appOptions(input.stage, STAGES);
    return {
      name: APP,
      home: "aws",
      removal,
      protect,
      providers: { aws: region === undefined ? {} : { region: region as aws.Region } },
    };
  },
  async run() {
    const { build } = await import("./infra/build.ts");
    const { STAGES } = await import("./infra/stages.ts");
    return await build(STAGES);
  },
});
