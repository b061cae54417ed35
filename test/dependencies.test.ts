import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { bundleLambda } from "./aws/bundle.ts";

const ROOT = join(import.meta.dirname, "..");
const LAMBDAS = ["drain", "migrate", "setup", "topics", "topics-api"];
const REPLACED = ["@aws-sdk/client-sts", "@aws-sdk/credential-providers"];

const readJson = (path: string) => JSON.parse(readFileSync(join(ROOT, path), "utf8"));

interface Package {
  name: string;
  version: string;
  license: string;
  scripts?: Record<string, string>;
}

/** What the Lambdas hold, by the folder that it was taken from. */
let bundled: Package[];
let directory: string;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "pg2kafka-bundles-"));
  const bundles = await Promise.all(
    LAMBDAS.map((name) => bundleLambda(name, join(directory, name))),
  );
  const inputs = bundles.flatMap(({ metafile }) =>
    Object.values(metafile.outputs).flatMap(({ inputs }) =>
      Object.entries(inputs).filter(([, { bytesInOutput }]) => bytesInOutput > 0),
    ),
  );
  const folders = inputs.flatMap(
    ([path]) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0] ?? [],
  );
  bundled = [...new Set(folders)].map((folder) => readJson(join(folder, "package.json")));
});

afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** The rows of the tables in docs/dependencies.md: direct ones have four cells. */
const rows = readFileSync(join(ROOT, "docs/dependencies.md"), "utf8")
  .split("\n")
  .filter((line) => line.startsWith("| `"))
  .map((line) =>
    line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim().replaceAll("`", "")),
  );
const direct = rows.flatMap(([name, version, license, why]) =>
  why === undefined ? [] : [{ name: name!, version: version!, license: license! }],
);
const brought = rows.flatMap(([name, license, , why]) =>
  why === undefined ? [{ name: name!, license: license! }] : [],
);

test("the bundles hold what docs/dependencies.md says, of these versions and licences, and no more", () => {
  const names = new Set(direct.map(({ name }) => name));
  const found = bundled.filter(({ name }) => names.has(name));
  expect(
    found.map(({ name, version, license }) => ({ name, version, license })).sort(byName),
  ).toEqual([...direct].sort(byName));

  const unknown = bundled.filter(({ name, license }) => {
    const row = brought.find(
      (row) => name === row.name || name.startsWith(row.name.replace("*", "")),
    );
    return !names.has(name) && row?.license !== license;
  });
  expect(unknown.map(({ name, license }) => `${name} (${license})`)).toEqual([]);
  const installing = bundled.filter(({ scripts = {} }) =>
    ["preinstall", "install", "postinstall"].some((script) => script in scripts),
  );
  expect(installing).toEqual([]);
});

test("every dependency is bundled, or stands in for one, and has an exact version", () => {
  const { dependencies, devDependencies } = readJson("package.json");
  const used = new Set([...bundled.map(({ name }) => name), ...REPLACED]);
  expect(Object.keys(dependencies).filter((name) => !used.has(name))).toEqual([]);
  for (const version of Object.values({ ...dependencies, ...devDependencies })) {
    expect(version).toMatch(/^(\d+\.\d+\.\d+(-[\w.]+)?|file:functions\/core\/credentials)$/);
  }
});

test("the lockfile has a hash of every package that is fetched", () => {
  const { packages } = readJson("package-lock.json");
  const fetched = Object.entries<{ integrity?: string; link?: boolean }>(packages).filter(
    ([path, { link }]) => path.includes("node_modules/") && !link,
  );
  expect(fetched.length).toBeGreaterThan(100);
  expect(fetched.filter(([, { integrity = "" }]) => !integrity.startsWith("sha512-"))).toEqual([]);
});

function byName(a: { name: string }, b: { name: string }): number {
  return a.name < b.name ? -1 : 1;
}
