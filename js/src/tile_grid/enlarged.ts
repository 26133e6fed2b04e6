/** One tile, large: with rows and columns along its edges, and each value to be read off. */
import { sizeCanvas } from "../lib/canvas";
import { Cleanup, element, setText, uniqueId } from "../lib/dom";
import { NextFrame } from "../lib/frames";
import type { Bitmaps } from "./bitmaps";
import { type Box, drawMap, drawPosition, type Palette } from "./drawing";
import { fitMap, MARGIN, moveCursor, tickStep } from "./enlarged_geometry";
import type { Place } from "./scroller";
import type { State } from "./state";
import { badgesOf, describeTile, labelOf, placeText, valueText } from "./texts";

export interface EnlargedEvents {
  close(): void;
  /** Go to another tile on show. */
  go(tile: number): void;
  /** A place was chosen. */
  pin(place: Place): void;
  hover(place: Place | undefined): void;
}

/** Of the box around the map, as in the style sheet. */
const PADDING = 8;

export class Enlarged {
  readonly node: HTMLElement;
  #title = element("strong");
  #previous = button("\u2039", "Previous tile");
  #next = button("\u203a", "Next tile");
  #close = button("\u2715", "Close");
  #canvas = element("canvas", { tabindex: "0", role: "application" });
  #readout = element("div", {
    class: "cvz-readout",
    "aria-live": "polite",
    id: uniqueId("cvz-readout"),
  });
  #cleanup = new Cleanup();
  #state: State | undefined;
  #palette: Palette | undefined;
  #box: Box = { x: 0, y: 0, width: 0, height: 0 };
  #cursor: { row: number; column: number } | undefined;
  #frame = new NextFrame(() => this.#draw());

  constructor(
    private readonly bitmaps: Bitmaps,
    private readonly events: EnlargedEvents,
  ) {
    const header = element(
      "div",
      { class: "cvz-enlarged-header" },
      this.#previous,
      this.#title,
      this.#next,
      this.#close,
    );
    this.node = element(
      "div",
      { class: "cvz-enlarged", role: "group" },
      header,
      this.#canvas,
      this.#readout,
    );
    this.node.hidden = true;
    this.#listen();
  }

  get open(): boolean {
    return !this.node.hidden;
  }

  close(): void {
    this.#frame.cancel();
    this.#cleanup.run();
  }

  focus(): void {
    this.#canvas.focus({ preventScroll: true });
  }

  setPalette(palette: Palette): void {
    this.#palette = palette;
    this.redraw();
  }

  update(state: State): void {
    const before = this.#state;
    this.#state = state;
    this.node.hidden = state.enlarged < 0 || state.enlarged >= state.data.count;
    if (!this.open) {
      this.#cursor = undefined;
      return;
    }
    if (before?.data !== state.data) {
      this.#cursor = undefined;
    }
    const badges = badgesOf(state, state.enlarged);
    setText(this.#title, [labelOf(state, state.enlarged), ...badges].join(" \u00b7 "));
    this.node.setAttribute("aria-label", `${labelOf(state, state.enlarged)}, enlarged`);
    const slot = state.slots[state.enlarged] ?? -1;
    this.#previous.disabled = slot <= 0;
    this.#next.disabled = slot < 0 || slot >= state.order.length - 1;
    this.#canvas.setAttribute(
      "aria-label",
      `${describeTile(state, state.enlarged)}. Arrow keys read values, Page Up and Page Down change the tile, Escape closes.`,
    );
    this.#read();
    this.redraw();
  }

  redraw(): void {
    this.#frame.request();
  }

  #listen(): void {
    const on = this.#cleanup.listen.bind(this.#cleanup);
    on(this.#close, "click", () => this.events.close());
    on(this.#previous, "click", () => this.#step(-1));
    on(this.#next, "click", () => this.#step(1));
    on(this.node, "keydown", (event: KeyboardEvent) => this.#onKey(event));
    on(this.#canvas, "pointermove", (event: PointerEvent) =>
      this.#moveCursor(this.#placeAt(event)),
    );
    on(this.#canvas, "pointerleave", () => this.#moveCursor(undefined));
    on(this.#canvas, "click", (event: MouseEvent) => {
      this.#moveCursor(this.#placeAt(event));
      this.#pin();
    });
    const observer = new ResizeObserver(() => this.redraw());
    observer.observe(this.node);
    this.#cleanup.add(() => observer.disconnect());
  }

  #step(by: number): void {
    const state = this.#state;
    const tile = state?.order[(state.slots[state.enlarged] ?? -1) + by];
    if (state !== undefined && tile !== undefined && (state.slots[state.enlarged] ?? -1) >= 0) {
      this.events.go(tile);
    }
  }

  #pin(): void {
    if (this.#state !== undefined && this.#cursor !== undefined) {
      this.events.pin({ tile: this.#state.enlarged, ...this.#cursor });
    }
  }

  #moveCursor(place: { row: number; column: number } | undefined): void {
    const same = place?.row === this.#cursor?.row && place?.column === this.#cursor?.column;
    if (this.#state === undefined || same) {
      return;
    }
    this.#cursor = place;
    this.events.hover(place === undefined ? undefined : { tile: this.#state.enlarged, ...place });
    this.#read();
    this.redraw();
  }

  /** Write the value under the cursor, or else of the marked place. */
  #read(): void {
    const state = this.#state;
    const place =
      this.#cursor ?? (state?.enlarged === state?.selected ? state?.position : undefined);
    if (state === undefined) {
      return;
    }
    this.#readout.classList.toggle("cvz-muted", place === undefined);
    setText(
      this.#readout,
      place === undefined
        ? "Point at a value or use the arrow keys to read it."
        : `${placeText(state, place.row, place.column)}: ${valueText(state, state.enlarged, place.row, place.column)}`,
    );
  }

  #onKey(event: KeyboardEvent): void {
    const state = this.#state;
    if (state === undefined || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) {
      return;
    }
    if (event.key === "Escape") {
      this.events.close();
    } else if (event.key === "PageUp" || event.key === "PageDown") {
      this.#step(event.key === "PageUp" ? -1 : 1);
    } else if (event.target !== this.#canvas) {
      return; // a button: Enter and Space press it
    } else if (event.key === "Enter") {
      this.#pin();
    } else {
      const start = this.#cursor ?? state.position;
      const moved = moveCursor(event.key, start, state.data.rows, state.data.columns);
      if (moved === undefined) {
        return;
      }
      this.#moveCursor(moved);
    }
    event.preventDefault();
    event.stopPropagation();
  }

  #placeAt(event: MouseEvent): { row: number; column: number } | undefined {
    const state = this.#state;
    const frame = this.#canvas.getBoundingClientRect();
    const x = (event.clientX - frame.left - this.#box.x) / this.#box.width;
    const y = (event.clientY - frame.top - this.#box.y) / this.#box.height;
    if (state === undefined || !(x >= 0 && x < 1 && y >= 0 && y < 1)) {
      return undefined;
    }
    return { row: Math.floor(y * state.data.rows), column: Math.floor(x * state.data.columns) };
  }

  #draw(): void {
    const [state, palette] = [this.#state, this.#palette];
    const room = this.node.clientWidth - 2 * PADDING;
    if (state === undefined || palette === undefined || !this.open || room <= 0) {
      return;
    }
    const pixelRatio = window.devicePixelRatio || 1;
    this.#box = fitMap(state, room, pixelRatio);
    const width = MARGIN.left + this.#box.width + MARGIN.right;
    const height = MARGIN.top + this.#box.height + MARGIN.bottom;
    const context = sizeCanvas(this.#canvas, width, height, pixelRatio);
    const frame = { state, palette, bitmaps: this.bitmaps, pixelRatio };
    drawMap(context, frame, state.enlarged, this.#box);
    context.strokeStyle = palette.border;
    context.lineWidth = 1;
    context.strokeRect(
      this.#box.x - 0.5,
      this.#box.y - 0.5,
      this.#box.width + 1,
      this.#box.height + 1,
    );
    drawAxes(context, state, palette, this.#box);
    if (state.position !== undefined && state.enlarged === state.selected) {
      drawPosition(context, state, state.position, this.#box);
    }
    if (this.#cursor !== undefined) {
      drawPosition(context, state, this.#cursor, this.#box);
    }
  }
}

function button(text: string, label: string): HTMLButtonElement {
  return element("button", { type: "button", "aria-label": label, title: label }, text);
}

function drawAxes(
  context: CanvasRenderingContext2D,
  state: State,
  palette: Palette,
  box: Box,
): void {
  const { extent, factor, rows, columns } = state.data;
  context.fillStyle = palette.muted;
  context.font = `400 10px ${palette.font}`;
  context.textBaseline = "middle";
  context.textAlign = "right";
  // A shrunk map's last block may be cut off, so a row of the map itself is this high:
  const rowHeight = box.height / (rows * factor);
  for (let row = 0; row < extent.rows; row += tickStep(extent.rows, box.height)) {
    context.fillText(String(row), box.x - 6, box.y + (row + 0.5) * rowHeight);
  }
  context.textBaseline = "top";
  context.textAlign = "center";
  const columnWidth = box.width / (columns * factor);
  for (let column = 0; column < extent.columns; column += tickStep(extent.columns, box.width)) {
    context.fillText(String(column), box.x + (column + 0.5) * columnWidth, box.y + box.height + 6);
  }
}
