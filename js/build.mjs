// Bundles every src/<view>.ts into ../cnnviz_widgets/static/<view>.js: one self-contained ES module a
// view, because anywidget loads a view from a Blob URL, where relative imports can't resolve. Style
// sheets are carried inside the bundle as text (`import css from "./view.css"`), so no file can be
// forgotten in a wheel.
import { readdir, readFile, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build, context, transform } from "esbuild";
import { bundledLicenses } from "./licenses.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const target = ["es2022"];

// The bundle is part of every widget's saved state, so its size is a promise, kept here.
const BUDGET_BYTES = 40_000;
// Tiles carry every widget of maps, kernels and patches; it is one module for all of them.
// The map carries regl-scatterplot, and with it the WebGL layer and the licenses of both.
const LARGER_BUDGETS = { tile_grid: 42_000, embedding_map: 235_000 };

/** Style sheets become minified strings. */
const minifiedStyles = {
  name: "minified-styles",
  setup(builder) {
    builder.onLoad({ filter: /\.css$/ }, async ({ path }) => {
      const source = await readFile(path, "utf8");
      const { code } = await transform(source, { loader: "css", minify: true, target });
      return { contents: code.trim(), loader: "text" };
    });
  },
};

async function views() {
  const names = await readdir(join(here, "src"));
  return names.filter((name) => name.endsWith(".ts") && !name.endsWith(".d.ts")).sort();
}

function options(entries, outdir) {
  return {
    entryPoints: entries.map((name) => join(here, "src", name)),
    outdir,
    bundle: true,
    format: "esm",
    minify: true,
    target,
    charset: "utf8",
    legalComments: "none",
    logLevel: "warning",
    plugins: [minifiedStyles, bundledLicenses],
    // The build for production: without the checks of each call, which double its size.
    alias: { regl: join(here, "node_modules", "regl", "dist", "regl.min.js") },
  };
}

async function reportSizes(entries, outdir) {
  let tooLarge = false;
  for (const entry of entries) {
    const name = basename(entry, ".ts");
    const { size } = await stat(join(outdir, `${name}.js`));
    const budget = LARGER_BUDGETS[name] ?? BUDGET_BYTES;
    console.log(`${name}.js  ${(size / 1000).toFixed(1)} kB of ${budget / 1000} kB`);
    tooLarge ||= size > budget;
  }
  if (tooLarge) {
    throw new Error(
      "a bundle is over its budget: drop a dependency or raise the budget in build.mjs",
    );
  }
}

const outdir = join(here, "..", "cnnviz_widgets", "static");
const entries = await views();
if (entries.length === 0) {
  throw new Error("nothing to build: src/ holds no view");
}
if (process.argv.includes("--watch")) {
  const watcher = await context(options(entries, outdir));
  await watcher.watch();
  console.log(`watching ${entries.join(", ")}`);
} else {
  await build(options(entries, outdir));
  await reportSizes(entries, outdir);
}
