import { cpSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { build, type Metafile } from "esbuild";

const ROOT = join(import.meta.dirname, "../..");

/** @see pkg/runtime/node/build.go in SST 4.17.1 */
const BANNER = [
  "import { createRequire as topLevelCreateRequire } from 'module';",
  "const require = topLevelCreateRequire(import.meta.url);",
  'import { fileURLToPath as topLevelFileUrlToPath, URL as topLevelURL } from "url"',
  "const __filename = topLevelFileUrlToPath(import.meta.url)",
  'const __dirname = topLevelFileUrlToPath(new topLevelURL(".", import.meta.url))',
  "",
].join("\n");

export interface Bundle {
  directory: string;
  /** What went into it. */
  metafile: Metafile;
}

/** A Lambda of functions/, such as `drain`; or a module's text. */
type Entry = string | { text: string };

/**
 * Bundle a Lambda as `sst deploy` does, into a folder that stands for its package.
 *
 * @param splitting as `nodejs.splitting` of SST: what is imported later gets files of its own, which
 *   saves a cold start from reading what it does not use
 */
export async function bundleLambda(
  entry: Entry,
  directory: string,
  { splitting = true } = {},
): Promise<Bundle> {
  mkdirSync(directory, { recursive: true });
  const { metafile } = await build({
    absWorkingDir: ROOT,
    ...(typeof entry === "string"
      ? { entryPoints: [`functions/${entry}.ts`] }
      : { stdin: { contents: entry.text, resolveDir: ROOT } }),
    platform: "node",
    external: ["sharp", "pg-native"],
    keepNames: true,
    bundle: true,
    splitting,
    metafile: true,
    format: "esm",
    target: "es2024",
    mainFields: ["module", "main"],
    banner: { js: BANNER },
    minify: true,
    logLevel: "error",
    ...(splitting
      ? { outdir: directory, entryNames: "bundle", outExtension: { ".js": ".mjs" } }
      : { outfile: join(directory, "bundle.mjs") }),
  });
  cpSync(join(ROOT, "sql"), join(directory, "sql"), { recursive: true });
  return { directory, metafile };
}
