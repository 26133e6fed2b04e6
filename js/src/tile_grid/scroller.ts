/** The scrolling area: draws what is visible, and turns pointer and keys into tiles. */
import { Cleanup, element, setText, uniqueId } from "../lib/dom";
import { NextFrame } from "../lib/frames";
import { Bitmaps } from "./bitmaps";
import { drawTiles, type Palette } from "./drawing";
import { arrange, cornerOf, hitTest, type Layout, moveByKey, scrollToShow } from "./layout";
import type { State } from "./state";
import { countText, describeTile, emptyText } from "./texts";

/** A place of a tile, in carried rows and columns. */
export interface Place {
  tile: number;
  row: number;
  column: number;
}

export interface ScrollerEvents {
  /** A tile was chosen, by pointer at a place of it or by key. */
  select(tile: number, place: Place | undefined): void;
  enlarge(tile: number): void;
  /** A tile was picked, where that is what a click and Enter do. */
  pick(tile: number): void;
  /** Escape was pressed; false where there was nothing to leave. */
  escape(): boolean;
  /** The pointer is over another place, or over none. */
  hover(place: Place | undefined, event: PointerEvent | undefined): void;
  /** The visible tiles are on the screen. */
  painted(layout: Layout): void;
}

export class Scroller {
  readonly node: HTMLElement;
  readonly bitmaps = new Bitmaps();
  #canvas = element("canvas", { "aria-hidden": "true" });
  #spacer = element("div", { class: "cvz-tiles-spacer" }, this.#canvas);
  #empty = element("p", { class: "cvz-tiles-empty" });
  #cell = element("div", { role: "gridcell", id: uniqueId("cvz-cell") });
  #row = element("div", { role: "row", class: "cvz-hidden" }, this.#cell);
  #cleanup = new Cleanup();
  #state: State | undefined;
  #layout: Layout | undefined;
  #palette: Palette | undefined;
  #hovered = -1;
  #frame = new NextFrame(() => this.#draw());
  #lastTop = 0;

  constructor(private readonly events: ScrollerEvents) {
    this.node = element(
      "div",
      { class: "cvz-tiles-scroller", role: "grid", tabindex: "0", "aria-readonly": "true" },
      this.#row,
      this.#spacer,
      this.#empty,
    );
    this.#cleanup.listen(this.node, "scroll", () => this.#onScroll(), { passive: true });
    this.#cleanup.listen(this.node, "pointermove", (event: PointerEvent) => this.#onPointer(event));
    this.#cleanup.listen(this.node, "pointerleave", () => this.#leave());
    this.#cleanup.listen(this.node, "click", (event: MouseEvent) => this.#onClick(event));
    this.#cleanup.listen(this.node, "dblclick", (event: MouseEvent) => this.#onDoubleClick(event));
    this.#cleanup.listen(this.node, "keydown", (event: KeyboardEvent) => this.#onKey(event));
    this.#cleanup.listen(this.node, "focus", () => this.redraw());
    const observer = new ResizeObserver(() => this.#arrange());
    observer.observe(this.node);
    this.#cleanup.add(() => observer.disconnect());
  }

  get layout(): Layout | undefined {
    return this.#layout;
  }

  close(): void {
    this.#frame.cancel();
    this.#cleanup.run();
    this.bitmaps.clear();
  }

  setPalette(palette: Palette): void {
    this.#palette = palette;
    this.redraw();
  }

  /** Show another state; brings the selected tile into view when it or the tiles changed. */
  update(state: State): void {
    const before = this.#state;
    this.#state = state;
    if (before !== undefined && !sameTiles(before, state)) {
      this.node.scrollTop = 0;
      this.#lastTop = 0;
    }
    if (before?.data !== state.data || before.order !== state.order) {
      this.#leave();
    }
    this.#arrange();
    if (
      before === undefined ||
      before.selected !== state.selected ||
      before.order !== state.order
    ) {
      this.#show(state.selected);
    }
    this.#describe(state);
    this.redraw();
  }

  redraw(): void {
    this.#frame.request();
  }

  focus(): void {
    this.node.focus({ preventScroll: true });
  }

  #arrange(): void {
    const state = this.#state;
    const width = this.node.clientWidth;
    if (state === undefined || width === 0) {
      return;
    }
    const before = this.#layout;
    const layout = arrange({
      width,
      count: state.order.length,
      rows: state.data.rows,
      columns: state.data.columns,
      tileSize: state.tileSize,
      pixelRatio: window.devicePixelRatio || 1,
      badges: Object.keys(state.badgeColors).length > 0,
    });
    this.#layout = layout;
    const empty = layout.count === 0;
    this.#spacer.hidden = empty;
    this.#empty.hidden = !empty;
    setText(this.#empty, empty ? emptyText(state) : "");
    this.#spacer.style.height = `${layout.height}px`;
    // A border of one pixel above and below belongs to the height.
    const height = empty ? "auto" : `${Math.min(layout.height + 2, state.maxHeight)}px`;
    this.node.style.setProperty("--cvz-height", height);
    if (before !== undefined && before.count === layout.count && before.height !== layout.height) {
      this.#keepInView(before, layout);
    }
    this.#describe(state);
    this.redraw();
  }

  /** After zooming, the tile that led the visible ones still does. */
  #keepInView(before: Layout, now: Layout): void {
    const leading = Math.round(this.#lastTop / before.pitchY) * before.across;
    this.node.scrollTop = Math.max(0, cornerOf(now, leading).y - now.inset);
    this.#lastTop = this.node.scrollTop;
    this.#show(this.#state?.selected ?? -1);
  }

  #show(tile: number): void {
    const slot = this.#state?.slots[tile] ?? -1;
    if (slot >= 0 && this.#layout !== undefined && this.node.clientHeight > 0) {
      const { scrollTop, clientHeight } = this.node;
      this.node.scrollTop = scrollToShow(this.#layout, slot, scrollTop, clientHeight);
    }
  }

  /** Keep the accessible grid in step: its size, and the one cell that is active. */
  #describe(state: State): void {
    const layout = this.#layout;
    if (layout === undefined) {
      return;
    }
    const slot = state.slots[state.selected] ?? -1;
    this.node.setAttribute("aria-label", `${countText(state)}. Arrow keys select, Enter enlarges.`);
    this.node.setAttribute("aria-rowcount", String(layout.down));
    this.node.setAttribute("aria-colcount", String(layout.across));
    this.#row.hidden = slot < 0;
    if (slot < 0) {
      this.node.removeAttribute("aria-activedescendant");
      return;
    }
    this.#row.setAttribute("aria-rowindex", String(Math.floor(slot / layout.across) + 1));
    this.#cell.setAttribute("aria-colindex", String((slot % layout.across) + 1));
    this.#cell.setAttribute("aria-selected", "true");
    setText(this.#cell, describeTile(state, state.selected));
    this.node.setAttribute("aria-activedescendant", this.#cell.id);
  }

  #draw(): void {
    const [state, layout, palette] = [this.#state, this.#layout, this.#palette];
    const { clientWidth: width, clientHeight: height, scrollTop: top } = this.node;
    if (state === undefined || layout === undefined || palette === undefined || width === 0) {
      return;
    }
    if (layout.count > 0) {
      drawTiles(this.#canvas, {
        state,
        layout,
        palette,
        bitmaps: this.bitmaps,
        top,
        width,
        height,
        hovered: this.#hovered,
        pixelRatio: window.devicePixelRatio || 1,
      });
    }
    this.events.painted(layout);
  }

  #onScroll(): void {
    this.#lastTop = this.node.scrollTop;
    this.redraw();
  }

  /** The slot under the pointer, its tile, and the place in it where the pointer is not on the caption. */
  #under(event: MouseEvent): { slot: number; tile: number; place: Place | undefined } | undefined {
    const state = this.#state;
    if (state === undefined || this.#layout === undefined) {
      return undefined;
    }
    const frame = this.node.getBoundingClientRect();
    const x = event.clientX - frame.left - this.node.clientLeft;
    const y = event.clientY - frame.top - this.node.clientTop + this.node.scrollTop;
    const hit = hitTest(this.#layout, x, y);
    if (hit === undefined) {
      return undefined;
    }
    const tile = state.order[hit.slot] ?? 0;
    const place = hit.place && {
      tile,
      row: Math.floor(hit.place.y * state.data.rows),
      column: Math.floor(hit.place.x * state.data.columns),
    };
    return { slot: hit.slot, tile, place };
  }

  #onPointer(event: PointerEvent): void {
    const found = this.#under(event);
    if ((found?.slot ?? -1) !== this.#hovered) {
      this.#hovered = found?.slot ?? -1;
      this.redraw();
    }
    this.node.classList.toggle("cvz-on-tile", found !== undefined);
    this.events.hover(found?.place, event);
  }

  #leave(): void {
    if (this.#hovered !== -1) {
      this.#hovered = -1;
      this.redraw();
    }
    this.events.hover(undefined, undefined);
  }

  #onClick(event: MouseEvent): void {
    const found = this.#under(event);
    if (found !== undefined) {
      this.focus();
      this.events.select(found.tile, found.place);
      // The second click of a double click would pick among tiles that the first one has brought.
      if (this.#state?.picks && event.detail < 2) {
        this.events.pick(found.tile);
      }
    }
  }

  #onDoubleClick(event: MouseEvent): void {
    const found = this.#under(event);
    if (found !== undefined && !this.#state?.picks) {
      this.events.enlarge(found.tile);
    }
  }

  #onKey(event: KeyboardEvent): void {
    const [state, layout] = [this.#state, this.#layout];
    if (state === undefined || layout === undefined || event.altKey) {
      return;
    }
    const slot = state.slots[state.selected] ?? -1;
    if (event.key === "Enter" && !event.shiftKey && !event.ctrlKey && !event.metaKey) {
      if (slot < 0) {
        return;
      }
      this.events[state.picks ? "pick" : "enlarge"](state.selected);
    } else if (event.key === "Escape") {
      if (!this.events.escape()) {
        return;
      }
    } else {
      const control = event.ctrlKey || event.metaKey;
      const target = moveByKey(layout, slot, event.key, control, this.node.clientHeight);
      if (target === undefined || event.shiftKey) {
        return;
      }
      if (target !== slot) {
        this.events.select(state.order[target] ?? 0, undefined);
      }
    }
    // Handled here: the notebook has commands of its own on these keys.
    event.preventDefault();
    event.stopPropagation();
  }
}

function sameTiles(before: State, now: State): boolean {
  return (
    before.order.length === now.order.length &&
    before.data.rows === now.data.rows &&
    before.data.columns === now.data.columns
  );
}
