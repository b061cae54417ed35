import "./globals.ts";

import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import * as aws from "@pulumi/aws";
import * as util from "@pulumi/pulumi";
import { run } from "../../.sst/platform/src/auto/run.ts";
import * as sst from "../../.sst/platform/src/components/index.ts";
import { build } from "../../infra/build.ts";
import { APP } from "../../infra/names.ts";
import type { StageSettings } from "../../infra/settings.ts";

export const ACCOUNT = "123456789012";
export const REGION = "eu-west-1";
const CHECKOUT = fileURLToPath(new URL("../../", import.meta.url));
/** How Pulumi marks a secret among the inputs that it records. */
const SECRET_SIGNATURE = "1b47061264138c4ac30d75fd1eb44270";
const SIGNATURE = "4dabf18193072939515e22adb298388d";

/** Everything else of a program is done several times over in this time. */
const SLOW_MS = 3_000;

type Inputs = Record<string, unknown>;

/** A resource, in the order in which they were done. Secrets are unwrapped; their paths are kept. */
export interface Made {
  type: string;
  name: string;
  inputs: Inputs;
  /** Paths of the inputs that Pulumi keeps as secrets, such as `environment.variables.SST_KEY`. */
  secretPaths: string[];
}

/** What SST's bundler is asked for. */
export interface Built {
  links: Record<string, unknown>;
  copyFiles: { to: string }[];
  properties: Record<string, unknown>;
}

export interface Deployed {
  made: Made[];
  /** What `sst remove` keeps: type and name. */
  retained: string[];
  outputs: Record<string, unknown>;
  /** By handler. */
  built: Record<string, Built>;
  /** Why the program ended; undefined when it went through. */
  error: Error | undefined;
  one(type: string, name?: string): Made;
  all(type: string): Made[];
}

export interface DeployOptions {
  stage?: string;
  secrets?: Record<string, string>;
  removal?: "remove" | "retain" | "retain-all";
  /** What `aws.msk.getBootstrapBrokers` answers. */
  brokers?: Record<string, string>;
  /** Making a resource of this type takes long: what does not wait for it overtakes it. */
  slow?: string;
}

/**
 * Run the program as `sst deploy` would, with SST's own components, and Pulumi's mocks in place of
 * AWS. One at a time: Pulumi's state is the process's.
 */
export async function deploy(
  settings: StageSettings,
  options: DeployOptions = {},
): Promise<Deployed> {
  const { stage = "test", secrets = {}, removal = "remove", slow } = options;
  const made: Made[] = [];
  const retained: string[] = [];
  const built: Deployed["built"] = {};
  const work = mkdtempSync(join(tmpdir(), "pg2kafka-infra-"));
  const server = createServer((request, response) => {
    let text = "";
    request.on("data", (chunk) => {
      text += chunk;
    });
    request.on("end", () => response.end(JSON.stringify({ result: answer(JSON.parse(text)) })));
  });
  const answer = ({ method, params: [args] }: { method: string; params: Inputs[] }) => {
    if (method === "Provider.Aws.Bootstrap") return { asset: "asset-bucket" };
    if (method !== "Runtime.Build")
      throw new Error(`The program asked SST's server for ${method}.`);
    const handler = String(args!["handler"]);
    built[handler] = args as unknown as (typeof built)[string];
    const out = join(work, createHash("sha1").update(handler).digest("hex"));
    mkdirSync(out, { recursive: true });
    writeFileSync(join(out, "bundle.mjs"), handler);
    return { handler: "bundle.handler", out, errors: [], sourcemaps: [] };
  };
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));

  setGlobals(stage, removal, work);
  const environment: Record<string, string> = {
    SST_SERVER: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
  };
  for (const [name, value] of Object.entries(secrets)) environment[`SST_SECRET_${name}`] = value;
  Object.assign(process.env, environment);

  let outputs: Record<string, unknown> = {};
  let error: Error | undefined;
  try {
    await util.runtime.setMocks(
      {
        newResource: async ({ type, name, inputs }) => {
          if (type === slow) await sleep(SLOW_MS);
          const secretPaths: string[] = [];
          const plain = unwrap(inputs, "", secretPaths) as Inputs;
          made.push({ type, name, inputs: plain, secretPaths });
          return { id: `${name}-id`, state: { ...inputs, ...attributes(type, name, plain) } };
        },
        call: ({ token, inputs }) => call(token, inputs, options.brokers),
      },
      APP,
      stage,
    );
    await util.runtime.runInPulumiStack(async () => {
      try {
        const returned = await run(async () => {
          util.runtime.registerStackTransformation(({ name, type, opts }) => {
            if (opts.retainOnDelete === true) retained.push(`${type} ${name}`);
            return undefined;
          });
          return await build({ [stage]: settings });
        });
        outputs = await resolved(returned);
      } catch (caught) {
        // Further on, Pulumi would leave it to nobody as well.
        error = caught as Error;
      }
    });
    await util.runtime.disconnect();
  } finally {
    for (const name of Object.keys(environment)) delete process.env[name];
    server.close();
    rmSync(work, { recursive: true, force: true });
  }
  const all = (type: string) => made.filter((one) => one.type === type);
  return {
    made,
    retained,
    outputs,
    built,
    error,
    all,
    one(type, name) {
      const found = all(type).filter((one) => name === undefined || one.name === name);
      if (found.length === 1) return found[0]!;
      const names = all(type).map((one) => one.name);
      throw new Error(`${found.length} of ${type} ${name ?? ""}; there are: ${names.join(", ")}`);
    },
  };
}

/** The statements of the one inline policy of a Lambda's role, as IAM would get them. */
export function policyOf(deployed: Deployed, component: string): Inputs[] {
  const role = deployed.one("aws:iam/role:Role", `${component}Role`);
  const policies = role.inputs["inlinePolicies"] as { policy: string }[];
  return policies.flatMap(({ policy }) => JSON.parse(policy).Statement);
}

/** The plain variables of a Lambda. */
export function variablesOf(deployed: Deployed, component: string): Record<string, string> {
  const { inputs } = deployed.one("aws:lambda/function:Function", `${component}Function`);
  return (inputs["environment"] as { variables: Record<string, string> }).variables;
}

function setGlobals(stage: string, removal: string, work: string): void {
  Object.assign(globalThis, {
    $app: { name: APP, stage, removal, protect: false, providers: { aws: {} } },
    $dev: false,
    $cli: {
      command: "deploy",
      paths: { root: CHECKOUT, work, platform: join(CHECKOUT, ".sst/platform"), home: work },
      state: { version: {} },
    },
    $util: util,
    $interpolate: util.interpolate,
    $jsonParse: util.jsonParse,
    $jsonStringify: util.jsonStringify,
    aws,
    sst,
  });
}

async function resolved(value: Record<string, unknown>): Promise<Record<string, unknown>> {
  return await new Promise((resolve, reject) => {
    util.output(value).apply((plain) => resolve(plain as Record<string, unknown>));
    setTimeout(
      () => reject(new Error("The outputs were not known after two minutes.")),
      120_000,
    ).unref();
  });
}

function unwrap(value: unknown, path: string, secretPaths: string[]): unknown {
  if (Array.isArray(value)) {
    return value.map((item, index) => unwrap(item, `${path}.${index}`, secretPaths));
  }
  if (typeof value !== "object" || value === null) return value;
  const record = value as Inputs;
  if (record[SIGNATURE] === SECRET_SIGNATURE) {
    secretPaths.push(path.slice(1));
    return unwrap(record["value"], path, secretPaths);
  }
  return Object.fromEntries(
    Object.entries(record).map(([name, item]) => [
      name,
      unwrap(item, `${path}.${name}`, secretPaths),
    ]),
  );
}

/** What AWS would have added to a new resource, as far as the program reads it. */
function attributes(type: string, name: string, inputs: Inputs): Inputs {
  const arn = (service: string, resource: string) =>
    `arn:aws:${service}:${REGION}:${ACCOUNT}:${resource}`;
  switch (type) {
    case "aws:lambda/function:Function":
      return { arn: arn("lambda", `function:${inputs["name"]}`), publish: false };
    case "aws:msk/serverlessCluster:ServerlessCluster":
      return {
        arn: arn("kafka", `cluster/${inputs["clusterName"]}/uuid-s1`),
        bootstrapBrokersSaslIam: `boot-new.c1.kafka-serverless.${REGION}.amazonaws.com:9098`,
      };
    case "aws:msk/cluster:Cluster":
      return {
        arn: arn("kafka", `cluster/${inputs["clusterName"]}/uuid-1`),
        bootstrapBrokersSaslIam: `b-1.new.kafka.${REGION}.amazonaws.com:9098`,
      };
    case "aws:rds/cluster:Cluster":
      return {
        endpoint: "aurora.example",
        readerEndpoint: "reader.example",
        clusterResourceId: "cluster-NEW",
      };
    case "aws:rds/instance:Instance":
      return { endpoint: "rds.example:5432", resourceId: "db-NEW" };
    case "aws:secretsmanager/secret:Secret":
      return {
        id: arn("secretsmanager", `secret:${name}-AbCdEf`),
        arn: arn("secretsmanager", `secret:${name}-AbCdEf`),
      };
    case "random:index/randomPassword:RandomPassword":
      // The provider marks it so.
      return { result: { [SIGNATURE]: SECRET_SIGNATURE, value: GENERATED_PASSWORD } };
    case "random:index/randomBytes:RandomBytes":
      return { base64: "a2V5" };
    default:
      return { arn: arn("test", `${type}/${name}`) };
  }
}

/** What the mocked provider "generates"; must turn up nowhere in the clear. */
export const GENERATED_PASSWORD = "generated-password-marker";

function call(token: string, inputs: Inputs, brokers: Record<string, string> | undefined): Inputs {
  switch (token) {
    case "aws:index/getPartition:getPartition":
      return { partition: "aws", id: "aws" };
    case "aws:index/getRegion:getRegion":
      return { region: REGION, name: REGION, id: REGION };
    case "aws:index/getCallerIdentity:getCallerIdentity":
      return { accountId: ACCOUNT };
    case "aws:index/getAvailabilityZones:getAvailabilityZones":
      return { names: ["a", "b", "c"].map((zone) => `${REGION}${zone}`) };
    case "aws:ec2/getSubnet:getSubnet":
      return { vpcId: "vpc-of-the-subnet" };
    case "aws:ec2/getAmi:getAmi":
      return { id: "ami-nat" };
    case "aws:msk/getBootstrapBrokers:getBootstrapBrokers":
      return {
        bootstrapBrokersSaslIam: `b-1.there.kafka.${REGION}.amazonaws.com:9098`,
        bootstrapBrokersPublicSaslIam: "",
        ...brokers,
      };
    case "aws:iam/getPolicyDocument:getPolicyDocument":
      return policyDocument(inputs);
    default:
      throw new Error(`The program called ${token}.`);
  }
}

interface DocumentStatement {
  effect?: string;
  actions: string[];
  resources?: string[];
  principals?: { type: string; identifiers: string[] }[];
  conditions?: { test: string; variable: string; values: string[] }[];
}

function policyDocument(inputs: Inputs): Inputs {
  const statements = (inputs["statements"] ?? []) as DocumentStatement[];
  const json = JSON.stringify({
    Version: "2012-10-17",
    Statement: statements.map(({ effect, actions, resources, principals, conditions }) => ({
      Effect: effect ?? "Allow",
      Action: actions,
      ...(resources === undefined ? {} : { Resource: resources }),
      ...(principals === undefined
        ? {}
        : { Principal: Object.fromEntries(principals.map((p) => [p.type, p.identifiers])) }),
      ...(conditions === undefined
        ? {}
        : {
            Condition: Object.fromEntries(
              conditions.map(({ test, variable, values }) => [test, { [variable]: values }]),
            ),
          }),
    })),
  });
  return { statements, json };
}
