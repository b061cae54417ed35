/** Environment variables, or what stands for them. An empty one counts as not set. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** Whether this process is a Lambda function. */
export function isLambda(env: Environment): boolean {
  return Boolean(env["AWS_LAMBDA_FUNCTION_NAME"]);
}

export function readFlag(env: Environment, name: string, problems: string[]): boolean {
  return readChoice(env, name, ["true", "false"], "false", problems) === "true";
}

/** @returns `standard` when the variable is not set, or wrong */
export function readChoice<Choice extends string>(
  env: Environment,
  name: string,
  choices: readonly Choice[],
  standard: NoInfer<Choice>,
  problems: string[],
): Choice {
  const text = env[name] || standard;
  const choice = choices.find((one) => one === text);
  if (choice !== undefined) return choice;
  problems.push(`${name} is "${text}"; it may be ${choices.join(" or ")}.`);
  return standard;
}

/** Certificates to trust, as PEM; undefined when there are none. Their text is not shown. */
export function readCertificates(
  env: Environment,
  name: string,
  problems: string[],
): string | undefined {
  const text = env[name] || undefined;
  // Where a variable cannot hold line breaks, they are written \n.
  const pem = text?.replaceAll("\\n", "\n");
  if (pem !== undefined && !pem.includes("-----BEGIN CERTIFICATE-----")) {
    problems.push(`${name} holds no PEM certificate (-----BEGIN CERTIFICATE-----).`);
  }
  return pem;
}

/** A region of AWS, as far as its form tells. */
export const REGION = /^[a-z]{2}(-[a-z]+)+-\d+$/;
