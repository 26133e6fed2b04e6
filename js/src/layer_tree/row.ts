/** The elements of the tree: the line of column names, and one line a module. */
import { element } from "../lib/dom";
import type { Range, VisibleRow } from "./model";
import { describe, formatParameters, formatShape } from "./model";

/** The column names. Each row says what it is by itself, so they are not read out. */
export function header(shapes: string): HTMLElement {
  return element(
    "div",
    { class: "cvz-tree-head", "aria-hidden": "true" },
    element("span", {}, "layer"),
    element("span", { class: "cvz-tree-kind" }, "kind"),
    element("span", { class: "cvz-tree-shape" }, shapes),
    element("span", { class: "cvz-tree-parameters", title: "number of parameters" }, "params"),
  );
}

/** One line of the tree: an element that stays the same while what it shows changes. */
export class RowElement {
  readonly node = element("div", { class: "cvz-tree-row", role: "treeitem", tabindex: -1 });
  #content = "";

  /** `shapes` says what the shapes are. */
  constructor(private readonly shapes: string) {}

  /** Show a row with its place and state. The element keeps the focus, if it has it. */
  update(row: VisibleRow, selected: boolean): void {
    const { node } = row;
    const usable = node.selectable || row.expandable;
    const attributes: Record<string, string | null> = {
      "aria-level": String(row.level),
      "aria-posinset": String(row.position),
      "aria-setsize": String(row.siblings),
      "aria-expanded": row.expandable ? String(row.expanded) : null,
      "aria-selected": node.selectable ? String(selected) : null,
      "aria-disabled": usable ? null : "true",
      style: `--level: ${row.level}`,
    };
    for (const [name, value] of Object.entries(attributes)) {
      if (value === null) {
        this.node.removeAttribute(name);
      } else if (this.node.getAttribute(name) !== value) {
        this.node.setAttribute(name, value);
      }
    }
    const content = JSON.stringify([row.expandable, row.labelMatches, row.kindMatches]);
    if (content !== this.#content) {
      this.#content = content;
      this.node.title = describe(node, this.shapes);
      this.node.replaceChildren(...cells(row));
    }
  }
}

function cells(row: VisibleRow): HTMLElement[] {
  const { node } = row;
  return [
    element(
      "span",
      { class: "cvz-tree-name" },
      twisty(row.expandable),
      element("span", {}, ...marked(node.label, row.labelMatches)),
    ),
    element("span", { class: "cvz-tree-kind" }, ...marked(node.kind, row.kindMatches)),
    element(
      "span",
      { class: "cvz-tree-shape", "data-reason": node.reason !== "" },
      node.shape ? formatShape(node.shape) : node.reason,
    ),
    element(
      "span",
      { class: "cvz-tree-parameters" },
      node.parameters ? formatParameters(node.parameters) : "",
    ),
  ];
}

/** A text with what a search found in it marked: as nodes, so that it stays text. */
function marked(text: string, ranges: readonly Range[]): (Node | string)[] {
  const parts: (Node | string)[] = [];
  let end = 0;
  for (const range of ranges) {
    parts.push(text.slice(end, range[0]), element("mark", {}, text.slice(range[0], range[1])));
    end = range[1];
  }
  return [...parts, text.slice(end)];
}

function twisty(expandable: boolean): HTMLElement {
  const holder = element("span", { class: "cvz-tree-twisty", "aria-hidden": "true" });
  if (expandable) {
    const space = "http://www.w3.org/2000/svg";
    const picture = document.createElementNS(space, "svg");
    picture.setAttribute("viewBox", "0 0 10 10");
    const arrow = document.createElementNS(space, "path");
    arrow.setAttribute("d", "M3 1l5 4-5 4z");
    picture.append(arrow);
    holder.append(picture);
  }
  return holder;
}
