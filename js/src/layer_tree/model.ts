/** The module tree without a page: nodes from dotted names, what a search leaves, where keys lead. */

/** One module as the kernel tells it. */
export type LayerRow = {
  /** Dotted name. */
  name: string;
  /** Class name. */
  kind: string;
  /** The shape each call returned, without the batch axis; null where it returned no tensor. */
  shapes: (number[] | null)[];
  parameters: number;
};

export type TreeNode = {
  /** Unique in the tree, and the same after a reload. */
  id: string;
  name: string;
  /** Which call of a module that is called more than once, otherwise -1. */
  call: number;
  /** What the row says: the last part of the name, or the call. */
  label: string;
  kind: string;
  shape: number[] | null;
  parameters: number | null;
  /** Why there is nothing to select, or an empty text. */
  reason: string;
  selectable: boolean;
  parent: TreeNode | null;
  children: TreeNode[];
};

/** A part of a text, from start to before end. */
export type Range = [start: number, end: number];

/** A node that is on show, and how. */
export type VisibleRow = {
  node: TreeNode;
  /** Counted from 1, as `aria-level` is. */
  level: number;
  expandable: boolean;
  expanded: boolean;
  /** Place among its siblings on show, from 1, and their number. */
  position: number;
  siblings: number;
  labelMatches: Range[];
  kindMatches: Range[];
};

const CALL_SEPARATOR = "\u0000";

/** The id of a row: a name, or one call of a module of that name. */
export function rowId(name: string, call: number): string {
  return call < 0 ? name : `${name}${CALL_SEPARATOR}${call}`;
}

/** Nest the modules by their dotted names, in the order given; parents that are missing are added. */
export function buildTree(rows: readonly LayerRow[], missing = "not a layer"): TreeNode[] {
  const roots: TreeNode[] = [];
  const byName = new Map<string, TreeNode>();
  const rowsByName = new Map(rows.map((row) => [row.name, row]));
  const place = (name: string): TreeNode => {
    const known = byName.get(name);
    if (known) {
      return known;
    }
    const dot = name.lastIndexOf(".");
    const parent = dot < 0 ? null : place(name.slice(0, dot));
    const node = moduleNode(name, rowsByName.get(name), parent, missing);
    byName.set(name, node);
    (parent?.children ?? roots).push(node);
    return node;
  };
  for (const row of rows) {
    place(row.name);
  }
  return roots;
}

function moduleNode(
  name: string,
  row: LayerRow | undefined,
  parent: TreeNode | null,
  missing: string,
): TreeNode {
  const shapes = row?.shapes ?? [];
  const reused = shapes.length > 1;
  const shape = reused ? null : (shapes[0] ?? null);
  const node: TreeNode = {
    id: rowId(name, -1),
    name,
    call: -1,
    label: name.slice(name.lastIndexOf(".") + 1),
    kind: row?.kind ?? "",
    shape,
    parameters: row?.parameters ?? null,
    reason: row ? reasonOf(shapes) : missing,
    selectable: shape !== null,
    parent,
    children: [],
  };
  if (row && reused) {
    node.children = shapes.map((each, call) => callNode(row, each, call, node));
  }
  return node;
}

function callNode(row: LayerRow, shape: number[] | null, call: number, parent: TreeNode): TreeNode {
  return {
    id: rowId(row.name, call),
    name: row.name,
    call,
    label: `call ${call}`,
    kind: row.kind,
    shape,
    parameters: null,
    reason: shape === null ? "no tensor" : "",
    selectable: shape !== null,
    parent,
    children: [],
  };
}

function reasonOf(shapes: readonly (number[] | null)[]): string {
  if (shapes.length === 0) {
    return "never called";
  }
  if (shapes.length > 1) {
    return `called ${shapes.length}\u00d7`;
  }
  return shapes[0] === null ? "no tensor" : "";
}

/** Every node below these, parents before children. */
export function* walk(nodes: readonly TreeNode[]): Generator<TreeNode> {
  for (const node of nodes) {
    yield node;
    yield* walk(node.children);
  }
}

/** The words of a search: a node is found where each is in its name or in its kind. */
export function searchPatterns(query: string): RegExp[] {
  const words = query.split(/\s+/).filter((word) => word !== "");
  return words.map((word) => new RegExp(word.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&"), "giu"));
}

function isFound(node: TreeNode, patterns: readonly RegExp[]): boolean {
  return patterns.every((each) => node.name.search(each) >= 0 || node.kind.search(each) >= 0);
}

/** Where the words are in a text from `offset` on, in its coordinates, sorted and without overlap. */
export function findMatches(text: string, patterns: readonly RegExp[], offset = 0): Range[] {
  const found: Range[] = [];
  for (const pattern of patterns) {
    for (const match of text.matchAll(pattern)) {
      const start = Math.max(match.index - offset, 0);
      const end = match.index + match[0].length - offset;
      if (end > start) {
        found.push([start, end]);
      }
    }
  }
  found.sort((a, b) => a[0] - b[0]);
  const merged: Range[] = [];
  for (const range of found) {
    const last = merged[merged.length - 1];
    if (last && range[0] <= last[1]) {
      last[1] = Math.max(last[1], range[1]);
    } else {
      merged.push([...range]);
    }
  }
  return merged;
}

/**
 * The rows on show, from top to bottom.
 *
 * Without a search these are the nodes whose ancestors are all expanded. With one, they are the nodes found
 * and their ancestors, whatever is expanded.
 */
export function visibleRows(
  roots: readonly TreeNode[],
  expanded: ReadonlySet<string>,
  query = "",
): VisibleRow[] {
  const patterns = searchPatterns(query);
  const searching = patterns.length > 0;
  const kept = new Set<TreeNode>();
  if (searching) {
    for (const node of walk(roots)) {
      if (isFound(node, patterns)) {
        for (let each: TreeNode | null = node; each; each = each.parent) {
          kept.add(each);
        }
      }
    }
  }
  const rows: VisibleRow[] = [];
  const show = (nodes: readonly TreeNode[], level: number) => {
    const siblings = searching ? nodes.filter((node) => kept.has(node)) : nodes;
    siblings.forEach((node, index) => {
      const below = searching
        ? node.children.some((child) => kept.has(child))
        : node.children.length > 0;
      const open = below && (searching || expanded.has(node.id));
      const offset =
        node.call < 0 ? node.name.length - node.label.length : Number.POSITIVE_INFINITY;
      rows.push({
        node,
        level,
        expandable: below,
        expanded: open,
        position: index + 1,
        siblings: siblings.length,
        labelMatches: node.call < 0 ? findMatches(node.name, patterns, offset) : [],
        kindMatches: findMatches(node.kind, patterns),
      });
      if (open) {
        show(node.children, level + 1);
      }
    });
  };
  show(roots, 1);
  return rows;
}

/** How many modules a search finds; calls of one module count as that module. */
export function countFound(roots: readonly TreeNode[], query: string): number {
  const patterns = searchPatterns(query);
  let count = 0;
  for (const node of walk(roots)) {
    count += node.call < 0 && node.kind !== "" && isFound(node, patterns) ? 1 : 0;
  }
  return count;
}

/** The place of the row one level up, or of the row itself where it has no parent. */
export function parentIndex(rows: readonly VisibleRow[], index: number): number {
  const level = rows[index]?.level ?? 1;
  for (let above = index - 1; above >= 0; above -= 1) {
    if ((rows[above]?.level ?? 0) < level) {
      return above;
    }
  }
  return index;
}

/**
 * The row typed letters lead to: the next one whose label begins with them, round the end; -1 if none does.
 *
 * A first letter moves on from the row that has the focus, further letters may stay on it.
 */
export function typeahead(rows: readonly VisibleRow[], from: number, typed: string): number {
  const wanted = typed.toLowerCase();
  const first = typed.length > 1 ? 0 : 1;
  for (let step = first; step < rows.length + first; step += 1) {
    const index = (from + step) % rows.length;
    if (rows[index]?.node.label.toLowerCase().startsWith(wanted)) {
      return index;
    }
  }
  return -1;
}

const UNITS = ["", "k", "M", "G", "T"];

/** A count in three significant digits: `999`, `1.79 k`, `2.36 M`. */
export function formatParameters(count: number): string {
  let value = count;
  let unit = 0;
  // 999.5 k would be written as 1000 k, so it already counts in the next unit.
  while (value >= (unit === 0 ? 1000 : 999.5) && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const text = unit === 0 ? String(value) : value.toPrecision(3);
  return unit === 0 ? text : `${text}\u202f${UNITS[unit]}`;
}

/** A shape as people write it: `128 × 55 × 55`; a scalar is `1`. */
export function formatShape(shape: readonly number[]): string {
  return shape.length === 0 ? "1" : shape.join("\u2009\u00d7\u2009");
}

/** All a row knows, for its tooltip. */
export function describe(node: TreeNode, shapes = "output"): string {
  const call = node.call < 0 ? "" : `, call ${node.call}`;
  const lines = [`${node.name}${call}`];
  if (node.kind) {
    lines.push(node.kind);
  }
  if (node.shape) {
    lines.push(`${shapes} ${formatShape(node.shape)}`);
  }
  if (node.parameters !== null) {
    lines.push(node.parameters === 1 ? "1 parameter" : `${exact(node.parameters)} parameters`);
  }
  if (node.reason) {
    lines.push(node.reason);
  }
  return lines.join("\n");
}

function exact(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ",");
}
