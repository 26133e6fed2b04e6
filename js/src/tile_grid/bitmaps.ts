/** Colored tiles kept as small bitmaps, so that scrolling only copies them. */
import { paintTile } from "./scale";
import type { State } from "./state";

type Bitmap = HTMLCanvasElement | OffscreenCanvas;

/** Pixels kept at most, about 16 MB; the least recently drawn tiles go first. */
const KEPT_PIXELS = 4_000_000;
const KEPT_TILES = 4096;

export class Bitmaps {
  #kept = new Map<number, Bitmap>();
  #colorKey = "";
  #data: unknown;

  /** The bitmap of a tile, one pixel a value; painted when first asked for. */
  get(state: State, tile: number): Bitmap {
    if (this.#colorKey !== state.colorKey || this.#data !== state.data) {
      this.#kept.clear();
      this.#colorKey = state.colorKey;
      this.#data = state.data;
    }
    let bitmap = this.#kept.get(tile);
    if (bitmap !== undefined) {
      this.#kept.delete(tile); // put back at the end: a Map keeps the order of insertion
    } else {
      bitmap = paint(state, tile);
      this.#makeRoom(state.data.rows * state.data.columns);
    }
    this.#kept.set(tile, bitmap);
    return bitmap;
  }

  clear(): void {
    this.#kept.clear();
    this.#data = undefined;
  }

  #makeRoom(size: number): void {
    const limit = Math.min(KEPT_TILES, Math.max(1, Math.floor(KEPT_PIXELS / size)));
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size < limit) {
        return;
      }
      this.#kept.delete(oldest);
    }
  }
}

function paint(state: State, tile: number): Bitmap {
  const { rows, columns } = state.data;
  const bitmap = blank(columns, rows);
  const context = bitmap.getContext("2d") as CanvasRenderingContext2D | null;
  if (context === null) {
    throw new Error("this browser has no canvas to draw the tiles on");
  }
  const image = context.createImageData(columns, rows);
  paintTile(state.data, tile, state.choice, state.table, new Uint32Array(image.data.buffer));
  context.putImageData(image, 0, 0);
  return bitmap;
}

function blank(width: number, height: number): Bitmap {
  if (typeof OffscreenCanvas !== "undefined") {
    return new OffscreenCanvas(width, height);
  }
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}
