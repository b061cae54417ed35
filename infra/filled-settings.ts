import type {
  AlarmSettings,
  DatabaseSettings,
  DrainSettings,
  KafkaSettings,
  LogRetention,
  NetworkSettings,
  TopicSettings,
} from "./settings.ts";

type Filled<T, Optional extends keyof T = never> = Required<Omit<T, Optional>> & Pick<T, Optional>;
type NewKind<T> = Extract<T, { kind: "new" }>;
type ExistingKind<T> = Extract<T, { kind: "existing" }>;

export type NewNetwork = Filled<NewKind<NetworkSettings>>;
export type ExistingNetwork = ExistingKind<NetworkSettings>;
export type NewDatabase = Filled<NewKind<DatabaseSettings>>;
export type UrlDatabase = Extract<DatabaseSettings, { access: "url" }>;
export type SecretDatabase = Filled<
  Extract<DatabaseSettings, { kind: "existing"; access: "secret" }>,
  "kmsKeyArn"
>;
export type IamDatabase = Filled<Extract<DatabaseSettings, { kind: "existing"; access: "iam" }>>;
export type ServerlessKafka = { kind: "new"; type: "serverless" };
export type ProvisionedKafka = Filled<Extract<KafkaSettings, { type: "provisioned" }>>;
export type ExistingKafka = Filled<ExistingKind<KafkaSettings>>;

/** The settings of one stage, complete and checked. */
export interface Settings {
  region: string | undefined;
  removal: "remove" | "retain" | "retain-all";
  protect: boolean;
  network: NewNetwork | ExistingNetwork;
  database: NewDatabase | UrlDatabase | SecretDatabase | IamDatabase;
  kafka: ServerlessKafka | ProvisionedKafka | ExistingKafka;
  topics: Filled<TopicSettings, "namespace" | "replication" | "retentionMs" | "cleanup">;
  drain: Filled<DrainSettings>;
  migration: { onDeploy: boolean };
  logRetention: LogRetention;
  alarms: Filled<AlarmSettings, "snsTopicArn">;
}
