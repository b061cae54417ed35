import { SettingsError } from "./errors.ts";
import type { ExistingKafka, ProvisionedKafka, Settings } from "./filled-settings.ts";
import { serviceName } from "./names.ts";
import { groupForLambdas, type Network } from "./network.ts";

/** Of MSK's listener for IAM inside the VPC. */
const IAM_PORT = 9098;

export interface Kafka {
  clusterArn: $util.Input<string>;
  /** `host:port`, comma-separated, of the listener for IAM. */
  brokers: $util.Input<string>;
  /** MSK's topic API is there: provisioned clusters have it, MSK Serverless does not. */
  hasTopicApi: boolean;
  /** Of topics that are created, where the settings say none; null leaves it to the cluster. */
  replication: number | null;
}

/**
 * Ask MSK for the brokers of a cluster that is there. At deploy, so that the drain's network needs
 * no way to MSK's API, and before anything is made.
 *
 * @throws {SettingsError} when the cluster has no listener for IAM
 */
export async function existingKafka(settings: ExistingKafka): Promise<Kafka> {
  const { clusterArn, brokers: which } = settings;
  const found = await aws.msk.getBootstrapBrokers({ clusterArn });
  const brokers =
    which === "public" ? found.bootstrapBrokersPublicSaslIam : found.bootstrapBrokersSaslIam;
  if (!brokers) {
    throw new SettingsError([
      `The cluster ${clusterArn} has no ${which} brokers that authenticate by IAM. Turn on IAM ` +
        `access control${which === "public" ? " and public access" : ""} in MSK's console ` +
        "(Properties, Security settings), or name another cluster in kafka.clusterArn.",
    ]);
  }
  const isServerless = brokers.includes(".kafka-serverless.");
  return { clusterArn, brokers, hasTopicApi: !isServerless, replication: isServerless ? null : 3 };
}

/** A cluster of our own, with IAM as its only authentication. */
export function newKafka(
  settings: Exclude<Settings["kafka"], ExistingKafka>,
  network: Network,
): Kafka {
  // `removal: "retain"` does not know MSK; without its group it could not be kept either.
  const retained = { retainOnDelete: $app.removal !== "remove" };
  const group = groupForLambdas("KafkaGroup", "Kafka", IAM_PORT, network, retained);
  if (settings.type === "provisioned") return provisioned(settings, network, group, retained);
  const cluster = new aws.msk.ServerlessCluster(
    "Kafka",
    {
      clusterName: serviceName($app.stage),
      clientAuthentication: { sasl: { iam: { enabled: true } } },
      vpcConfigs: [{ subnetIds: network.subnetIds, securityGroupIds: [group.id] }],
    },
    retained,
  );
  return {
    clusterArn: cluster.arn,
    brokers: cluster.bootstrapBrokersSaslIam,
    hasTopicApi: false,
    replication: null,
  };
}

function provisioned(
  { brokers, instanceType, version, volumeGb }: ProvisionedKafka,
  { subnetIds }: Network,
  group: aws.ec2.SecurityGroup,
  options: $util.CustomResourceOptions,
): Kafka {
  // Express brokers bring their own storage.
  const isExpress = instanceType.startsWith("express.");
  const cluster = new aws.msk.Cluster(
    "Kafka",
    {
      clusterName: serviceName($app.stage),
      kafkaVersion: version,
      numberOfBrokerNodes: brokers,
      brokerNodeGroupInfo: {
        instanceType,
        clientSubnets: subnetIds,
        securityGroups: [group.id],
        ...(isExpress ? {} : { storageInfo: { ebsStorageInfo: { volumeSize: volumeGb } } }),
      },
      clientAuthentication: { sasl: { iam: true }, unauthenticated: false },
      encryptionInfo: { encryptionInTransit: { clientBroker: "TLS", inCluster: true } },
    },
    options,
  );
  return {
    clusterArn: cluster.arn,
    brokers: cluster.bootstrapBrokersSaslIam,
    hasTopicApi: true,
    replication: isExpress ? 3 : Math.min(3, brokers),
  };
}
