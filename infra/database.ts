import type { IamDatabase, NewDatabase, SecretDatabase, Settings } from "./filled-settings.ts";
import { groupForLambdas, type Network } from "./network.ts";
import { type Account, loginStatements, type Statement, secretStatements } from "./permissions.ts";
import { DATABASE_URL_SECRET, databaseNameOf } from "./secrets.ts";

const POSTGRES_PORT = 5432;

/** How a Lambda gets to the database: what its Function is given. */
export interface DatabaseAccess {
  environment: Record<string, $util.Input<string>>;
  link: unknown[];
  permissions: $util.Input<Statement[]>;
}

export interface Database {
  /** Its name goes into the topics' names. */
  name: string;
  /** For the drain. */
  drain: DatabaseAccess;
  /** For the migration and setup(), which need more than the drain. */
  owner: DatabaseAccess;
  /** For the query editor; only Aurora that is new. */
  secretArn: $util.Output<string> | undefined;
  host: $util.Output<string> | undefined;
  /** What must be there before anybody connects. */
  ready: $util.Resource[];
}

/**
 * The database, and three ways in:
 *
 * - "link": the URL, linked. SST encrypts it into the Lambda's package; the key is a variable of
 *   the Lambda, so whoever may call lambda:GetFunction has both. Costs nothing; a new password
 *   needs a deploy.
 * - "secret": Secrets Manager, read at each connection, so a rotation needs no deploy. Needs a way
 *   to its API: a new network without NAT gets an endpoint for it.
 * - "iam": a token, signed locally at each connection: no password, no way out needed. The drain
 *   has a user of its own, which somebody must make first; the owner of a new database comes in
 *   by link.
 */
export function database(
  settings: Settings["database"],
  network: Network,
  account: Account,
): Database {
  if (settings.kind === "new") return newDatabase(settings, network, account);
  switch (settings.access) {
    case "url":
      return databaseByUrl();
    case "secret":
      return databaseBySecret(settings);
    case "iam":
      return databaseByToken(settings, account);
  }
}

/** Of a database that is not made here. */
const THERE = { secretArn: undefined, host: undefined, ready: [] };

function databaseByUrl(): Database {
  const url = new sst.Secret(DATABASE_URL_SECRET);
  const access = { environment: {}, link: [url], permissions: [] };
  const name = databaseNameOf(process.env[`SST_SECRET_${DATABASE_URL_SECRET}`]!)!;
  return { name, drain: access, owner: access, ...THERE };
}

function databaseBySecret(settings: SecretDatabase): Database {
  const { secretArn, kmsKeyArn, name } = settings;
  const access = {
    environment: { DATABASE_SECRET_ARN: secretArn, ...address(settings) },
    link: [],
    permissions: secretStatements(secretArn, kmsKeyArn),
  };
  return { name, drain: access, owner: access, ...THERE };
}

function databaseByToken(settings: IamDatabase, account: Account): Database {
  const as = (user: string): DatabaseAccess => ({
    environment: { DATABASE_AUTH: "iam", DATABASE_USER: user, ...address(settings) },
    link: [],
    permissions: loginStatements(account, settings.resourceId, user),
  });
  const { name, user, ownerUser } = settings;
  return { name, drain: as(user), owner: as(ownerUser), ...THERE };
}

function address({ host, port, name }: { host: string; port: number; name: string }) {
  return { DATABASE_HOST: host, DATABASE_PORT: String(port), DATABASE_NAME: name };
}

/** What is the same of Aurora and RDS once made. */
interface Server {
  host: $util.Output<string>;
  username: $util.Output<string>;
  password: $util.Output<string>;
  secretArn: $util.Output<string>;
  /** As IAM calls it. */
  resourceId: $util.Output<string>;
  /** All of it, instances included. */
  component: $util.Resource;
}

function newDatabase(settings: NewDatabase, network: Network, account: Account): Database {
  const { engine, name, access, user } = settings;
  const group = groupForLambdas("DatabaseGroup", "Database", POSTGRES_PORT, network, {
    retainOnDelete: $app.removal !== "remove",
  });
  const server =
    engine === "aurora" ? aurora(settings, network, group) : rds(settings, network, group);
  const at = {
    DATABASE_HOST: server.host,
    DATABASE_PORT: String(POSTGRES_PORT),
    DATABASE_NAME: name,
  };
  const result = {
    name,
    secretArn: engine === "aurora" ? server.secretArn : undefined,
    host: server.host,
    ready: [server.component],
  };
  if (access === "secret") {
    const endpoints = network.reachesApis
      ? []
      : [secretsEndpoint(server.secretArn, network, account)];
    const bySecret = {
      environment: { DATABASE_SECRET_ARN: server.secretArn, ...at },
      link: [],
      permissions: server.secretArn.apply((arn) => secretStatements(arn)),
    };
    const ready = [...result.ready, ...endpoints];
    return { ...result, ready, drain: bySecret, owner: bySecret };
  }
  const { username, password, host } = server;
  const url = new sst.Linkable(DATABASE_URL_SECRET, {
    properties: {
      value: $interpolate`postgres://${username}:${password}@${host}:${POSTGRES_PORT}/${name}`,
    },
  });
  const byLink = { environment: {}, link: [url], permissions: [] };
  if (access === "link") return { ...result, drain: byLink, owner: byLink };
  const byToken = {
    environment: { DATABASE_AUTH: "iam", DATABASE_USER: user, ...at },
    link: [],
    permissions: server.resourceId.apply((id) => loginStatements(account, id, user)),
  };
  return { ...result, drain: byToken, owner: byLink };
}

/** Aurora PostgreSQL Serverless with the Data API, which the query editor speaks. */
function aurora(
  { name, version, access }: NewDatabase,
  { subnetIds }: Network,
  group: aws.ec2.SecurityGroup,
): Server {
  const cluster = new sst.aws.Aurora("Database", {
    engine: "postgres",
    version,
    database: name,
    dataApi: true,
    // SST's default pauses it when nobody is connected: only while the schedule is disabled.
    vpc: { subnets: subnetIds, securityGroups: [group.id] },
    transform: {
      cluster: { iamDatabaseAuthenticationEnabled: access === "iam" },
    },
  });
  const { username, password, secretArn } = cluster;
  return {
    host: cluster.host.apply((host) => host!),
    username,
    password,
    secretArn,
    resourceId: cluster.nodes.cluster!.clusterResourceId,
    component: cluster,
  };
}

/** Plain RDS: no Data API, so setup() is called by the Lambda or by psql. */
function rds(
  { name, version, access }: NewDatabase,
  { subnetIds }: Network,
  group: aws.ec2.SecurityGroup,
): Server {
  const server = new sst.aws.Postgres("Database", {
    version,
    database: name,
    vpc: { subnets: subnetIds },
    transform: {
      instance: {
        // Otherwise it has the VPC's default group.
        vpcSecurityGroupIds: [group.id],
        iamDatabaseAuthenticationEnabled: access === "iam",
      },
      // Otherwise it takes connections without TLS, and keeps WAL for logical replication.
      parameterGroup: {
        parameters: [{ name: "rds.force_ssl", value: "1" }],
      },
    },
  });
  const { username, password } = server;
  return {
    host: server.host.apply((host) => host!),
    username,
    password,
    // The component does not hand it out, but finds it by this tag itself.
    secretArn: server.nodes.instance!.tags.apply((tags) => tags!["sst:lookup:password"]!),
    resourceId: server.nodes.instance!.resourceId,
    component: server,
  };
}

/** In one zone: what needs it is a new connection, not a drain that runs. */
function secretsEndpoint(secretArn: $util.Output<string>, network: Network, account: Account) {
  const group = groupForLambdas("SecretsGroup", "Secrets", 443, network);
  return new aws.ec2.VpcEndpoint("SecretsEndpoint", {
    vpcId: network.vpcId,
    vpcEndpointType: "Interface",
    serviceName: `com.amazonaws.${account.region}.secretsmanager`,
    subnetIds: $util.output(network.subnetIds).apply((ids) => ids.slice(0, 1)),
    securityGroupIds: [group.id],
    privateDnsEnabled: true,
    policy: $jsonStringify({
      Version: "2012-10-17",
      Statement: [
        {
          Effect: "Allow",
          Principal: "*",
          Action: "secretsmanager:GetSecretValue",
          Resource: secretArn,
        },
      ],
    }),
  });
}
