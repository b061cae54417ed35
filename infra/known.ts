import type { StageSettings } from "./settings.ts";

/** Of what may have kinds: the settings of all of them. */
type NameOf<Section> = Section extends unknown ? keyof Section : never;
type Names = {
  [Section in
    | "network"
    | "database"
    | "kafka"
    | "topics"
    | "drain"
    | "migration"
    | "alarms"]: Record<NameOf<NonNullable<StageSettings[Section]>>, true>;
};

/** Every setting, as settings.ts has them: SST runs the file without checking its types. */
const SECTIONS: Names = {
  network: { kind: true, nat: true, zones: true, subnetIds: true, securityGroupIds: true },
  database: {
    kind: true,
    engine: true,
    name: true,
    version: true,
    access: true,
    user: true,
    secretArn: true,
    kmsKeyArn: true,
    host: true,
    port: true,
    resourceId: true,
    ownerUser: true,
  },
  kafka: {
    kind: true,
    type: true,
    brokers: true,
    instanceType: true,
    version: true,
    volumeGb: true,
    clusterArn: true,
  },
  topics: {
    namespace: true,
    tables: true,
    create: true,
    partitions: true,
    replication: true,
    retentionMs: true,
    cleanup: true,
  },
  drain: {
    schedule: true,
    timeoutSeconds: true,
    memoryMb: true,
    reservedConcurrency: true,
    lanes: true,
    linger: true,
    delivery: true,
    variables: true,
  },
  migration: { onDeploy: true },
  alarms: { snsTopicArn: true, lagMinutes: true, queueBytes: true, noRunMinutes: true },
};
const PLAIN: Record<Exclude<keyof StageSettings, keyof Names>, true> = {
  region: true,
  removal: true,
  protect: true,
  logRetention: true,
};

/** What a stage says that is no setting, such as a typing error, each as one sentence. */
export function unknownSettings(said: StageSettings): string[] {
  const sections = Object.entries(SECTIONS) as [keyof Names, Record<string, true>][];
  return [
    ...unknownIn("", said, { ...SECTIONS, ...PLAIN }),
    ...sections.flatMap(([section, names]) =>
      unknownIn(`${section}.`, Object(said[section] ?? {}), names),
    ),
  ];
}

function unknownIn(prefix: string, said: object, names: object): string[] {
  return Object.keys(said)
    .filter((name) => !Object.hasOwn(names, name))
    .map((name) => `${prefix}${name} is no setting; there are ${Object.keys(names).join(", ")}.`);
}
