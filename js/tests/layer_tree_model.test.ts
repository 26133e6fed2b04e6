import { expect, describe as group, it } from "vitest";
import type { LayerRow, TreeNode } from "../src/layer_tree/model";
import {
  buildTree,
  countFound,
  describe,
  findMatches,
  formatParameters,
  formatShape,
  parentIndex,
  rowId,
  searchPatterns,
  typeahead,
  visibleRows,
  walk,
} from "../src/layer_tree/model";

const ROWS: LayerRow[] = [
  { name: "stem", kind: "Sequential", shapes: [[8, 4, 4]], parameters: 224 },
  { name: "stem.conv", kind: "Conv2d", shapes: [[8, 8, 8]], parameters: 224 },
  {
    name: "stem.relu",
    kind: "ReLU",
    shapes: [
      [8, 8, 8],
      [8, 4, 4],
    ],
    parameters: 0,
  },
  { name: "lstm", kind: "LSTM", shapes: [null], parameters: 1 },
  { name: "aux", kind: "Linear", shapes: [], parameters: 2_359_296 },
  { name: "body.0.fc", kind: "Linear", shapes: [[10]], parameters: 90 },
];

const everything = (nodes: TreeNode[]) => new Set([...walk(nodes)].map((node) => node.id));
const ids = (rows: ReturnType<typeof visibleRows>) =>
  rows.map((row) => row.node.id.replace("\0", "#"));

group("buildTree", () => {
  it("nests by dotted names, adds parents that are missing, and gives each call a row", () => {
    const nodes = buildTree(ROWS);
    expect(ids(visibleRows(nodes, everything(nodes)))).toEqual([
      "stem",
      "stem.conv",
      "stem.relu",
      "stem.relu#0",
      "stem.relu#1",
      "lstm",
      "aux",
      "body",
      "body.0",
      "body.0.fc",
    ]);
  });

  it("says what can be selected and why the rest can't", () => {
    const byId = new Map([...walk(buildTree(ROWS))].map((node) => [node.id, node]));
    const state = (name: string, call = -1) => {
      const node = byId.get(rowId(name, call));
      return [node?.selectable, node?.reason];
    };
    expect(state("stem")).toEqual([true, ""]);
    expect(state("stem.relu")).toEqual([false, "called 2\u00d7"]);
    expect(state("stem.relu", 1)).toEqual([true, ""]);
    expect(state("lstm")).toEqual([false, "no tensor"]);
    expect(state("aux")).toEqual([false, "never called"]);
    expect(state("body")).toEqual([false, "not a layer"]);
    expect(byId.get(rowId("stem.relu", 1))?.shape).toEqual([8, 4, 4]);
    const kernels = new Map(
      [...walk(buildTree(ROWS, "no kernels"))].map((node) => [node.id, node]),
    );
    expect(kernels.get("body")?.reason).toBe("no kernels");
  });

  it("keeps names apart that only look like calls or like properties of objects", () => {
    const rows = ["__proto__", "constructor", "call 0"].map((name) => ({
      name,
      kind: "ReLU",
      shapes: [[1]],
      parameters: 0,
    }));
    expect(ids(visibleRows(buildTree(rows), new Set()))).toEqual(rows.map((row) => row.name));
  });
});

group("visibleRows", () => {
  it("shows what is expanded, with level and place among siblings", () => {
    const rows = visibleRows(buildTree(ROWS), new Set(["stem"]));
    expect(ids(rows)).toEqual(["stem", "stem.conv", "stem.relu", "lstm", "aux", "body"]);
    expect(rows.map((row) => row.level)).toEqual([1, 2, 2, 1, 1, 1]);
    expect(rows.map((row) => [row.position, row.siblings].join("/"))).toEqual([
      "1/4",
      "1/2",
      "2/2",
      "2/4",
      "3/4",
      "4/4",
    ]);
    expect(rows.map((row) => row.expandable)).toEqual([true, false, true, false, false, true]);
  });

  it("keeps the ancestors of what a search finds, whatever is expanded", () => {
    expect(ids(visibleRows(buildTree(ROWS), new Set(), "LINEAR"))).toEqual([
      "aux",
      "body",
      "body.0",
      "body.0.fc",
    ]);
  });

  it("wants every word of a search, in name or kind", () => {
    const nodes = buildTree(ROWS);
    expect(ids(visibleRows(nodes, new Set(), "linear body"))).toEqual([
      "body",
      "body.0",
      "body.0.fc",
    ]);
    expect(visibleRows(nodes, new Set(), "linear stem")).toEqual([]);
    expect(countFound(nodes, "linear")).toBe(2);
    expect(countFound(nodes, "stem.relu")).toBe(1);
  });

  it("takes a search as text, not as a pattern", () => {
    const nodes = buildTree([{ name: "a", kind: "f(x)[0]*", shapes: [[1]], parameters: 0 }]);
    expect(visibleRows(nodes, new Set(), "(x)[0]*")).toHaveLength(1);
    expect(visibleRows(nodes, new Set(), ".*")).toHaveLength(0);
  });

  it("marks what was found in the label, not what was found before it", () => {
    const rows = visibleRows(buildTree(ROWS), new Set(), "m.co");
    expect(rows.map((row) => row.labelMatches)).toEqual([[], [[0, 2]]]);
    const kinds = visibleRows(buildTree(ROWS), new Set(), "2d");
    expect(kinds[1]?.kindMatches).toEqual([[4, 6]]);
  });
});

group("findMatches", () => {
  it("joins overlapping finds and counts in the text's own letters", () => {
    expect(findMatches("expand3x3", searchPatterns("pan and 3"))).toEqual([
      [2, 7],
      [8, 9],
    ]);
    // Lower-casing would turn the first letter into two and shift the rest.
    expect(findMatches("\u0130stanbul", searchPatterns("STAN"))).toEqual([[1, 5]]);
  });
});

group("keys", () => {
  const nodes = buildTree(ROWS);
  const rows = visibleRows(nodes, everything(nodes));

  it("leads to the parent, and stays where there is none", () => {
    expect(parentIndex(rows, 4)).toBe(2);
    expect(parentIndex(rows, 2)).toBe(0);
    expect(parentIndex(rows, 5)).toBe(5);
  });

  it("finds typed letters from the focused row on, round the end", () => {
    expect(typeahead(rows, 0, "c")).toBe(1);
    expect(typeahead(rows, 1, "c")).toBe(3);
    expect(typeahead(rows, 4, "c")).toBe(1);
    expect(typeahead(rows, 1, "co")).toBe(1);
    expect(typeahead(rows, 0, "LS")).toBe(5);
    expect(typeahead(rows, 0, "z")).toBe(-1);
    expect(typeahead([], 0, "z")).toBe(-1);
  });
});

group("texts", () => {
  it("writes counts in three digits", () => {
    const texts = [0, 999, 1000, 1792, 11_408, 722_496, 999_499, 999_500, 2_359_296, 61_100_840];
    expect(texts.map((count) => formatParameters(count).replace("\u202f", " "))).toEqual([
      "0",
      "999",
      "1.00 k",
      "1.79 k",
      "11.4 k",
      "722 k",
      "999 k",
      "1.00 M",
      "2.36 M",
      "61.1 M",
    ]);
  });

  it("writes shapes", () => {
    expect(formatShape([128, 55, 55]).replaceAll("\u2009", " ")).toBe("128 \u00d7 55 \u00d7 55");
    expect(formatShape([])).toBe("1");
  });

  it("tells all about a row", () => {
    const [conv, call, aux] = ["stem.conv", rowId("stem.relu", 1), "aux"].map((id) =>
      [...walk(buildTree(ROWS))].find((node) => node.id === id),
    );
    expect(describe(conv as TreeNode)).toBe(
      "stem.conv\nConv2d\noutput 8\u2009\u00d7\u20098\u2009\u00d7\u20098\n224 parameters",
    );
    expect(describe(call as TreeNode)).toContain("stem.relu, call 1");
    expect(describe(conv as TreeNode, "kernels")).toContain("\nkernels 8\u2009");
    expect(describe(aux as TreeNode)).toContain("2,359,296 parameters\nnever called");
  });
});
