/** The deploy cannot begin. Thrown before anything is made. */
export class SettingsError extends Error {
  /** One sentence per problem: the setting, its value unless it is secret, its bound. */
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(["Nothing was made.", ...problems].join("\n"));
    this.problems = problems;
  }
}

/* What calls itself so SST shows without its stack. By definition, because the bundler renames one
   of two classes of the same name, and SST's own is in the bundle.
   https://github.com/sst/sst/blob/dev/cmd/sst/mosaic/ui/error.go */
Object.defineProperty(SettingsError, "name", { value: "VisibleError" });
