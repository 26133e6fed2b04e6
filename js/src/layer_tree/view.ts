/** One view of the module tree: the search, the list, and what keys and mouse do in it. */
import type { AnyModel } from "@anywidget/types";
import { Cleanup, element, liveRegion, setText, shieldKeys, uniqueId } from "../lib/dom";
import { onChange, setTraits } from "../lib/model";
import { themedRoot, watchTheme } from "../lib/theme";
import styles from "./layer_tree.css";
import type { LayerRow, TreeNode, VisibleRow } from "./model";
import { buildTree, countFound, parentIndex, rowId, typeahead, visibleRows, walk } from "./model";
import { header, RowElement } from "./row";

export type Traits = {
  _rows: LayerRow[];
  _expanded: string[];
  _query: string;
  selected: string;
  selected_call: number;
  max_height: number;
  shapes: string;
  missing: string;
};

/** Milliseconds after which typed letters begin a new word. */
const TYPING_PAUSE = 700;

export class LayerTreeView {
  readonly #root = themedRoot("cvz-tree", styles);
  #cleanup = new Cleanup();
  #search = element("input", {
    type: "search",
    placeholder: "Search by name or kind",
    "aria-label": "Search layers by name or kind",
    spellcheck: "false",
    autocomplete: "off",
  });
  #count = element("span", { class: "cvz-tree-count" });
  #live = liveRegion();
  #head: HTMLElement;
  #list = element("div", { role: "tree", "aria-label": "Layers", id: uniqueId("cvz-tree") });
  #none = element("div", { class: "cvz-tree-none" });
  #scroller = element("div", { class: "cvz-tree-scroll" });
  #nodes: TreeNode[] = [];
  #byId = new Map<string, TreeNode>();
  #rows: VisibleRow[] = [];
  #elements = new Map<string, RowElement>();
  /** The id of the row that has the focus, or would get it. */
  #current = "";
  #typed = "";
  #typedAt = 0;

  constructor(
    private readonly model: AnyModel<Traits>,
    el: HTMLElement,
  ) {
    this.#search.setAttribute("aria-controls", this.#list.id);
    this.#search.value = model.get("_query");
    this.#head = header(model.get("shapes"));
    this.#scroller.append(this.#head, this.#list, this.#none);
    const bar = element("div", { class: "cvz-tree-search" }, this.#search, this.#count);
    this.#root.append(bar, this.#scroller, this.#live);
    el.append(this.#root);
    watchTheme(this.#root, this.#cleanup, () => {});
    shieldKeys(this.#root, this.#cleanup);
    this.#listen();
    this.#fitHeight();
    this.#readRows();
    this.#showSelection();
  }

  close(): void {
    this.#cleanup.run();
    this.#root.remove();
  }

  #listen(): void {
    const { model } = this;
    const cleanup = this.#cleanup;
    cleanup.listen(this.#list, "keydown", (event: KeyboardEvent) => this.#onKey(event));
    cleanup.listen(this.#list, "click", (event: MouseEvent) => this.#onClick(event));
    cleanup.listen(this.#list, "focusin", (event: FocusEvent) => this.#onFocus(event));
    cleanup.listen(this.#search, "keydown", (event: KeyboardEvent) => this.#onSearchKey(event));
    cleanup.listen(this.#search, "input", () => setTraits(model, { _query: this.#search.value }));
    onChange(model, ["_rows"], cleanup, () => {
      this.#readRows();
      this.#draw();
    });
    onChange(model, ["_expanded", "_query"], cleanup, () => this.#draw());
    onChange(model, ["selected", "selected_call"], cleanup, () => this.#showSelection());
    onChange(model, ["max_height"], cleanup, () => this.#fitHeight());
  }

  #readRows(): void {
    this.#nodes = buildTree(this.model.get("_rows"), this.model.get("missing"));
    this.#byId = new Map([...walk(this.#nodes)].map((node) => [node.id, node]));
    this.#elements.clear();
  }

  #fitHeight(): void {
    this.#scroller.style.maxHeight = `${this.model.get("max_height")}px`;
  }

  #draw(): void {
    const query = this.model.get("_query");
    if (this.#search.value !== query) {
      this.#search.value = query;
    }
    this.#rows = visibleRows(this.#nodes, new Set(this.model.get("_expanded")), query);
    const hadFocus = this.#hasFocus();
    this.#place(this.#selectedId());
    if (this.#indexOf(this.#current) < 0) {
      const selected = this.#selectedId();
      this.#current = this.#indexOf(selected) >= 0 ? selected : (this.#rows[0]?.node.id ?? "");
    }
    const current = this.#indexOf(this.#current);
    this.#setTabStop(current);
    if (hadFocus && !this.#hasFocus()) {
      this.#elementAt(current)?.focus({ preventScroll: true });
    }
    this.#showCount(query.trim());
  }

  /** Bring the list up to date without taking any row that stays out of the page: it may have the focus. */
  #place(selected: string): void {
    const wanted = this.#rows.map((row) => {
      const element = this.#elements.get(row.node.id) ?? new RowElement(this.model.get("shapes"));
      this.#elements.set(row.node.id, element);
      element.update(row, row.node.id === selected);
      return element.node;
    });
    const staying = new Set<Element>(wanted);
    for (const node of [...this.#list.children]) {
      if (!staying.has(node)) {
        node.remove();
      }
    }
    let next = this.#list.firstElementChild;
    for (const node of wanted) {
      if (node === next) {
        next = next.nextElementSibling;
      } else {
        this.#list.insertBefore(node, next);
      }
    }
  }

  #showCount(query: string): void {
    const total = this.model.get("_rows").length;
    const layers = total === 1 ? "1 layer" : `${total} layers`;
    const found = query === "" ? total : countFound(this.#nodes, query);
    setText(this.#count, query === "" ? layers : `${found} of ${total}`);
    setText(this.#live, query === "" ? "" : `${found} of ${layers} found`);
    setText(this.#none, query === "" ? "No layers." : `No layer matches \u201c${query}\u201d.`);
    this.#none.hidden = found > 0;
  }

  /** Show which row is selected, with all above it expanded. */
  #showSelection(): void {
    const selected = this.#byId.get(this.#selectedId());
    const expanded = new Set(this.model.get("_expanded"));
    const before = expanded.size;
    for (let above = selected?.parent; above; above = above.parent) {
      expanded.add(above.id);
    }
    if (expanded.size > before) {
      setTraits(this.model, { _expanded: [...expanded] });
    }
    if (selected && !this.#hasFocus()) {
      this.#current = selected.id;
    }
    this.#draw();
    this.#reveal(this.#indexOf(selected?.id ?? ""));
  }

  #selectedId(): string {
    return rowId(this.model.get("selected"), this.model.get("selected_call"));
  }

  #indexOf(id: string): number {
    return this.#rows.findIndex((row) => row.node.id === id);
  }

  #elementAt(index: number): HTMLElement | undefined {
    return this.#list.children[index] as HTMLElement | undefined;
  }

  /** The place of the row an event happened in, -1 for none. */
  #indexAt(target: EventTarget | null): number {
    const row = target instanceof Element ? target.closest(".cvz-tree-row") : null;
    return row === null ? -1 : [...this.#list.children].indexOf(row);
  }

  #hasFocus(): boolean {
    const scope = this.#list.getRootNode() as Document | ShadowRoot;
    return this.#list.contains(scope.activeElement ?? null);
  }

  #setTabStop(index: number): void {
    for (const row of this.#list.querySelectorAll<HTMLElement>("[tabindex='0']")) {
      row.tabIndex = -1;
    }
    const row = this.#elementAt(index);
    if (row) {
      row.tabIndex = 0;
    }
  }

  #focus(index: number): void {
    this.#elementAt(index)?.focus({ preventScroll: true });
    this.#reveal(index);
  }

  #onFocus(event: FocusEvent): void {
    const index = this.#indexAt(event.target);
    this.#current = this.#rows[index]?.node.id ?? this.#current;
    this.#setTabStop(index);
  }

  /** Scroll the list, and only the list, until a row is in sight below the column names. */
  #reveal(index: number): void {
    const target = this.#elementAt(index);
    if (!target) {
      return;
    }
    const top = target.offsetTop - this.#head.offsetHeight;
    const bottom = target.offsetTop + target.offsetHeight - this.#scroller.clientHeight;
    this.#scroller.scrollTop = Math.min(Math.max(this.#scroller.scrollTop, bottom), top);
  }

  #toggle(row: VisibleRow, open: boolean): void {
    // A search shows all it found; what was expanded before shows again when it is over.
    if (!row.expandable || row.expanded === open || this.#isSearching()) {
      return;
    }
    const expanded = new Set(this.model.get("_expanded"));
    if (open) {
      expanded.add(row.node.id);
    } else {
      expanded.delete(row.node.id);
    }
    setTraits(this.model, { _expanded: [...expanded] });
  }

  #isSearching(): boolean {
    return this.model.get("_query").trim() !== "";
  }

  #activate(row: VisibleRow): void {
    if (row.node.selectable) {
      setTraits(this.model, { selected: row.node.name, selected_call: row.node.call });
    } else {
      this.#toggle(row, !row.expanded);
    }
  }

  #onClick(event: MouseEvent): void {
    const index = this.#indexAt(event.target);
    const row = this.#rows[index];
    if (!row) {
      return;
    }
    this.#focus(index);
    if (row.expandable && (event.target as Element).closest(".cvz-tree-twisty")) {
      this.#toggle(row, !row.expanded);
    } else {
      this.#activate(row);
    }
  }

  #onSearchKey(event: KeyboardEvent): void {
    if (event.key === "ArrowDown") {
      event.preventDefault();
      this.#focus(Math.max(this.#indexOf(this.#current), 0));
    } else if (event.key === "Escape" && this.#search.value !== "") {
      event.preventDefault();
      setTraits(this.model, { _query: "" });
    }
  }

  #onKey(event: KeyboardEvent): void {
    const index = this.#indexAt(event.target);
    const row = this.#rows[index];
    const plain = !(event.ctrlKey || event.metaKey || event.altKey);
    if (row && plain && this.#follow(event.key, index, row)) {
      event.preventDefault();
    }
  }

  /** Do what a key stands for in a tree; return whether it stands for anything. */
  #follow(key: string, index: number, row: VisibleRow): boolean {
    const last = this.#rows.length - 1;
    const moves: Record<string, () => void> = {
      ArrowDown: () => this.#focus(Math.min(index + 1, last)),
      ArrowUp: () => this.#focus(Math.max(index - 1, 0)),
      Home: () => this.#focus(0),
      End: () => this.#focus(last),
      ArrowRight: () => (row.expanded ? this.#focus(index + 1) : this.#toggle(row, true)),
      ArrowLeft: () => this.#collapseOrLeave(index, row),
      Enter: () => this.#activate(row),
      " ": () => this.#activate(row),
    };
    const move = Object.hasOwn(moves, key) ? moves[key] : undefined;
    if (move) {
      move();
    } else if (key.length === 1) {
      this.#typeTo(key, index);
    } else {
      return false;
    }
    return true;
  }

  #collapseOrLeave(index: number, row: VisibleRow): void {
    if (row.expanded && !this.#isSearching()) {
      this.#toggle(row, false);
    } else {
      this.#focus(parentIndex(this.#rows, index));
    }
  }

  #typeTo(key: string, index: number): void {
    const now = performance.now();
    this.#typed = now - this.#typedAt > TYPING_PAUSE ? key : this.#typed + key;
    this.#typedAt = now;
    this.#focus(typeahead(this.#rows, index, this.#typed));
  }
}
