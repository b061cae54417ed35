/** The network that the Lambdas work in. */
export type NetworkSettings =
  | {
      kind: "new";
      /** "none" (default) reaches Postgres and MSK, and nothing else; see network.ts. */
      nat?: "none" | "ec2" | "managed";
      /** Availability zones, 2 (default) or 3. */
      zones?: number;
    }
  | {
      kind: "existing";
      /** Private subnets that reach the database and the brokers. */
      subnetIds: string[];
      /** Of the Lambdas; the database and the brokers must let these in. */
      securityGroupIds: string[];
    };

/** Where the tables and the queue are. */
export type DatabaseSettings =
  | {
      kind: "new";
      /** "aurora" (default) has the Data API and thereby the query editor; "rds" has neither. */
      engine?: "aurora" | "rds";
      /** Its first database; default "pg2kafka". */
      name?: string;
      /** The major version; default "17". */
      version?: string;
      /** "link" (default), "secret" or "iam": see database.ts. */
      access?: "link" | "secret" | "iam";
      /** With "iam": who the drain logs in as; default "pg2kafka_drain". */
      user?: string;
    }
  | {
      kind: "existing";
      /** The URL is the SST secret DatabaseUrl. */
      access: "url";
    }
  | {
      kind: "existing";
      /** Secrets Manager, as RDS writes it: {"username", "password"}. */
      access: "secret";
      secretArn: string;
      /** Only when the secret is encrypted with a key of your own. */
      kmsKeyArn?: string;
      host: string;
      port?: number;
      name: string;
    }
  | {
      kind: "existing";
      /** A token instead of a password, at each login. */
      access: "iam";
      host: string;
      port?: number;
      name: string;
      /** What IAM calls the server: "db-…", "cluster-…", or "prx-…" for RDS Proxy. */
      resourceId: string;
      /** Who the drain logs in as: `grant rds_iam to …`. */
      user: string;
      /** Who migrates, and calls setup(); default `user`. */
      ownerUser?: string;
    };

/** Where the events go. IAM is the only authentication. */
export type KafkaSettings =
  | { kind: "new"; type?: "serverless" }
  | {
      kind: "new";
      type: "provisioned";
      /** As many per zone, so a multiple of the network's zones; default: one per zone. */
      brokers?: number;
      /** Default "kafka.t3.small". */
      instanceType?: string;
      /** Default "3.8.x"; 3.6 is the oldest with MSK's topic API. */
      version?: string;
      /** Per broker; default 10. */
      volumeGb?: number;
    }
  | {
      kind: "existing";
      clusterArn: string;
      /** "private" (default, port 9098) or "public" (9198). */
      brokers?: "private" | "public";
    };

export interface TopicSettings {
  /** Goes into the topics' names. */
  namespace?: string;
  /** As in `setup()`, `products` or `sales."Orders"`: their topics are created at deploy. */
  tables?: string[];
  /** The drain creates the topics of tables that turn up later. Default: when Kafka is new. */
  create?: boolean;
  /** Default 6. */
  partitions?: number;
  /** Default: 3 in a provisioned cluster that exists, as many as its brokers up to 3 in a new one; in MSK
   *  Serverless the cluster's own. */
  replication?: number;
  /** -1 keeps all; default: the cluster's own. */
  retentionMs?: number;
  /** Default: the cluster's own. MSK Serverless takes it at creation only. */
  cleanup?: "delete" | "compact" | "compact,delete";
}

export interface DrainSettings {
  /** `rate(…)` or `cron(…)`; default "rate(1 minute)". */
  schedule?: string;
  /** Default 240; with `linger` the schedule's rate and 30 seconds: see linger.ts. */
  timeoutSeconds?: number;
  /** Default 512. */
  memoryMb?: number;
  /** Of each lane: default 1, with `linger` 2. Null leaves it out, for accounts whose limit of 10
   *  allows none: see drain.ts. */
  reservedConcurrency?: number | null;
  /** Drains side by side, each a Lambda with a share of the keys: 1 (default) to 16. */
  lanes?: number;
  /** Each invocation waits for new events until its time is nearly up, and sends them within
   *  milliseconds; default false. What it costs: docs/deploy.md. */
  linger?: boolean;
  /** Default "at-least-once"; with "exactly-once" batches are transactions of Kafka's. */
  delivery?: "at-least-once" | "exactly-once";
  /** Further variables of the Lambdas: the README's table "Settings". */
  variables?: Record<string, string>;
}

export interface AlarmSettings {
  /** Who is told; without it an alarm is only seen in CloudWatch. */
  snsTopicArn?: string;
  /** Default 15. */
  lagMinutes?: number;
  /** Of the queue on the database's disk; default 1 GiB. */
  queueBytes?: number;
  /** Default 5, and at least twice the schedule's rate. */
  noRunMinutes?: number;
}

/** What can be said of a stage. Everything may be left out. */
export interface StageSettings {
  /** Default: AWS_REGION, or the profile's. */
  region?: string;
  /** What `sst remove` does with databases, networks and MSK; default "retain". */
  removal?: "remove" | "retain" | "retain-all";
  /** Refuse `sst remove`. Default false: it would also refuse after a first deploy that failed. */
  protect?: boolean;
  network?: NetworkSettings;
  database?: DatabaseSettings;
  kafka?: KafkaSettings;
  topics?: TopicSettings;
  drain?: DrainSettings;
  migration?: {
    /** Migrate at deploy, when the code changed, instead of by hand. Default false. */
    onDeploy?: boolean;
  };
  /** How long CloudWatch keeps the logs; default "1 month". */
  logRetention?: LogRetention;
  alarms?: AlarmSettings;
}

export const LOG_RETENTIONS = [
  "1 day",
  "3 days",
  "1 week",
  "2 weeks",
  "1 month",
  "3 months",
  "6 months",
  "1 year",
] as const;
export type LogRetention = (typeof LOG_RETENTIONS)[number];
