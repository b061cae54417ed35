/** An Amazon Resource Name, taken apart. */
export interface Arn {
  partition: string;
  service: string;
  region: string;
  account: string;
  resource: string;
}

const ARN = /^arn:(aws[a-z-]*):([a-z0-9-]+):([a-z0-9-]*):(\d{12}|):(.+)$/;

/** @returns null when the text is none */
export function parseArn(text: string): Arn | null {
  const [, partition, service, region, account, resource] = ARN.exec(text) ?? [];
  if (!partition || !service || region === undefined || account === undefined || !resource) {
    return null;
  }
  return { partition, service, region, account, resource };
}

/** The shape of each ARN in the settings; the region is not optional in any of them. */
export const ARN_SHAPES = {
  cluster: {
    service: "kafka",
    resource: /^cluster\/[A-Za-z0-9-]{1,64}\/[A-Za-z0-9-]+$/,
    example: "arn:aws:kafka:REGION:ACCOUNT:cluster/NAME/UUID",
  },
  secret: {
    service: "secretsmanager",
    resource: /^secret:[A-Za-z0-9/_+=.@!-]+-[A-Za-z0-9]{6}$/,
    example: "arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME-SUFFIX, with the suffix",
  },
  key: {
    service: "kms",
    resource: /^key\/[A-Za-z0-9-]+$/,
    example: "arn:aws:kms:REGION:ACCOUNT:key/ID",
  },
  snsTopic: {
    service: "sns",
    resource: /^[A-Za-z0-9_-]{1,256}(\.fifo)?$/,
    example: "arn:aws:sns:REGION:ACCOUNT:NAME",
  },
} as const;

export type ArnShape = keyof typeof ARN_SHAPES;

/** What keeps a text from being such an ARN, as a sentence; null if nothing. */
export function arnProblem(setting: string, text: string, shape: ArnShape): string | null {
  const { service, resource, example } = ARN_SHAPES[shape];
  const arn = parseArn(text);
  const fits =
    arn !== null &&
    arn.service === service &&
    arn.region !== "" &&
    arn.account !== "" &&
    resource.test(arn.resource);
  return fits ? null : `${setting} is "${text}"; it must be like ${example}.`;
}
