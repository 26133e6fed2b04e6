// Licenses of what is bundled travel with it, in the wheel as in a saved notebook: each bundle ends with a
// comment that holds the notices of every package it contains, and of those that these contain in turn.
import { appendFile, readdir, readFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";

// Copied into a package's own sources, so no package manager tells of it: its notice, and whose text it shares.
const COPIED = {
  "regl-scatterplot": [
    { name: "kdbush 4.0.2", copyright: "Copyright (c) 2018, Vladimir Agafonkin", like: "earcut" },
  ],
};

/** Appends the notices to every bundle that holds packages. */
export const bundledLicenses = {
  name: "bundled-licenses",
  setup(builder) {
    builder.initialOptions.metafile = true;
    builder.onEnd(async ({ metafile, errors }) => {
      if (errors.length > 0) {
        return;
      }
      for (const [output, { inputs }] of Object.entries(metafile.outputs)) {
        const folders = new Set(Object.keys(inputs).map(packageFolder).filter(Boolean));
        if (folders.size > 0) {
          await appendFile(output, await notices([...folders]));
        }
      }
    });
  },
};

/** The package's folder a file belongs to, if it is one of a package. */
function packageFolder(path) {
  return /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0];
}

async function notices(folders) {
  const found = new Map();
  for (const folder of folders) {
    await collect(resolve(folder), found);
  }
  const groups = new Map();
  for (const { name, copyrights, text } of found.values()) {
    const key = text.toLowerCase().replace(/[^a-z]+/g, " ");
    const group = groups.get(key) ?? { text, heads: [] };
    group.heads.push(name, ...copyrights.map((line) => `  ${line}`));
    groups.set(key, group);
  }
  const parts = [...groups.values()].map(({ heads, text }) => `${heads.join("\n")}\n\n${text}`);
  const comment = parts.join("\n\n---\n\n").replaceAll("*/", "* /");
  return `/*! This file contains:\n\n${comment}\n*/\n`;
}

/** Read the notices of a package and of its dependencies, each once. */
async function collect(folder, found) {
  const { name, version, dependencies = {} } = await readManifest(folder);
  const key = `${name} ${version}`;
  if (found.has(key)) {
    return;
  }
  const file = (await readdir(folder)).find((entry) => /^licen[cs]e(\.|$)/i.test(entry));
  if (file === undefined) {
    throw new Error(`${folder} holds no license, and is bundled: its notice must travel along`);
  }
  const lines = (await readFile(join(folder, file), "utf8")).trim().split(/\r?\n/);
  const isCopyright = (line) => /^\s*copyright\b.*\d{4}/i.test(line);
  const isTitle = (line) =>
    /^\s*(this software is released under )?(the )?(mit|isc) license/i.test(line);
  const copyrights = lines.filter(isCopyright).map((line) => line.trim());
  const text = lines
    .filter((line) => !isCopyright(line) && !isTitle(line))
    .join("\n")
    .trim();
  found.set(key, { name: key, copyrights, text });
  for (const dependency of Object.keys(dependencies)) {
    await collect(await findPackage(folder, dependency), found);
  }
  for (const { name: copied, copyright, like } of COPIED[name] ?? []) {
    const shared = [...found.values()].find((each) => each.name.startsWith(`${like} `));
    found.set(copied, { name: copied, copyrights: [copyright], text: shared.text });
  }
}

async function readManifest(folder) {
  return JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
}

/** Where node finds a package from the folder of another. */
async function findPackage(from, name) {
  for (let folder = from; dirname(folder) !== folder; folder = dirname(folder)) {
    const candidate = join(folder, "node_modules", name);
    if (basename(folder) !== "node_modules" && (await exists(candidate))) {
      return candidate;
    }
  }
  throw new Error(`${name}, which ${from} depends on, is not installed: run npm ci`);
}

async function exists(folder) {
  return readManifest(folder).then(
    () => true,
    () => false,
  );
}
