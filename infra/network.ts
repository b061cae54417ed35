import type { Settings } from "./filled-settings.ts";
import { serviceName } from "./names.ts";

/** Of every VPC that SST makes; its component has no setting for it. */
export const NEW_VPC_CIDR = "10.0.0.0/16";

/** Where the Lambdas are, and whatever else is new. */
export interface Network {
  vpcId: $util.Input<string>;
  subnetIds: $util.Input<$util.Input<string>[]>;
  /** Security groups of the Lambdas. New databases and clusters let in these alone. */
  lambdaGroupIds: $util.Input<$util.Input<string>[]>;
  /** Whether AWS's own APIs can be reached. Of an existing network it is not known. */
  reachesApis: boolean;
}

/**
 * A new network has no NAT and no endpoint, because the drain needs neither: Postgres and the
 * brokers are inside, a login token and an MSK token are signed locally, and logs and metrics
 * leave a Lambda without the VPC. That costs nothing. What would need a way out:
 *
 * - a database or a cluster with public addresses: `nat: "ec2"` (one t4g.nano and one address per
 *   zone, of fck-nat) or `nat: "managed"` (a NAT gateway per zone);
 * - Secrets Manager (`database.access: "secret"`): one interface endpoint, made beside the
 *   database, is cheaper than either.
 */
export async function network(settings: Settings["network"]): Promise<Network> {
  return settings.kind === "new" ? newNetwork(settings) : await existingNetwork(settings);
}

function newNetwork({ nat, zones }: Extract<Settings["network"], { kind: "new" }>): Network {
  const vpc = new sst.aws.Vpc("Network", {
    az: zones,
    ...(nat === "none" ? {} : { nat }),
    transform: {
      // Otherwise it lets in the whole VPC, on all ports; nothing here uses it.
      securityGroup: (args) => {
        args.ingress = [];
        args.egress = [];
      },
      // Otherwise it lets in the whole world.
      natSecurityGroup: (args) => {
        args.ingress = [{ protocol: "-1", fromPort: 0, toPort: 0, cidrBlocks: [NEW_VPC_CIDR] }];
      },
    },
  });
  const group = new aws.ec2.SecurityGroup("LambdaGroup", {
    description: "The Lambdas of pg2kafka: nothing comes in",
    vpcId: vpc.id,
    ingress: [],
    egress: [{ protocol: "-1", fromPort: 0, toPort: 0, cidrBlocks: ["0.0.0.0/0"] }],
    tags: { Name: `${serviceName($app.stage)}-lambda` },
  });
  return {
    vpcId: vpc.id,
    subnetIds: vpc.privateSubnets,
    lambdaGroupIds: [group.id],
    reachesApis: nat !== "none",
  };
}

async function existingNetwork(
  settings: Extract<Settings["network"], { kind: "existing" }>,
): Promise<Network> {
  const { subnetIds, securityGroupIds } = settings;
  const subnet = await aws.ec2.getSubnet({ id: subnetIds[0]! });
  return {
    vpcId: subnet.vpcId,
    subnetIds,
    lambdaGroupIds: securityGroupIds,
    reachesApis: true,
  };
}

/** A security group that lets in the Lambdas at one port, and nothing out. */
export function groupForLambdas(
  name: string,
  what: string,
  port: number,
  { vpcId, lambdaGroupIds }: Network,
  options: $util.CustomResourceOptions = {},
): aws.ec2.SecurityGroup {
  return new aws.ec2.SecurityGroup(
    name,
    {
      description: `${what} of pg2kafka: lets in its Lambdas`,
      vpcId,
      ingress: [{ protocol: "tcp", fromPort: port, toPort: port, securityGroups: lambdaGroupIds }],
      egress: [],
      tags: { Name: `${serviceName($app.stage)}-${what.toLowerCase()}` },
    },
    options,
  );
}
