/** The deploy cannot begin. Thrown before anything is made. */
export class SettingsError extends Error {
  override readonly name = "SettingsError";
  /** One sentence per problem: the setting, its value unless it is secret, its bound. */
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(`Nothing was made. ${problems.join(" ")}`);
    this.problems = problems;
  }
}
