/** From values to colors, in the page: switching the scale needs no kernel. */
import { asUint8, type Binary } from "../lib/buffers";
import type { Range, TileData } from "./data";

export interface ScaleChoice {
  /** One scale for all tiles, or one each. */
  shared: boolean;
  /** Whether zero lies in the middle. */
  zeroCentered: boolean;
}

/** 256 opaque colors, each as the four bytes of a pixel. */
export type ColorTable = Uint32Array;

/** Cut table number `index` out of the tables that were sent, 256 x 3 bytes each. */
export function colorTable(tables: Binary, index: number): ColorTable {
  const colors = asUint8(tables).subarray(index * 768, (index + 1) * 768);
  if (colors.length !== 768) {
    throw new RangeError(`there is no color table ${index}`);
  }
  // Bytes written in memory order and read as words: right on machines of either byte order.
  const pixels = new Uint8Array(1024);
  for (let entry = 0; entry < 256; entry += 1) {
    pixels.set(colors.subarray(3 * entry, 3 * entry + 3), 4 * entry);
    pixels[4 * entry + 3] = 255;
  }
  return new Uint32Array(pixels.buffer);
}

/** A color of a table as CSS text. */
export function cssColor(table: ColorTable, index: number): string {
  const [red, green, blue] = new Uint8Array(table.buffer, 4 * index, 3);
  return `rgb(${red} ${green} ${blue})`;
}

/** Widen a range so that zero lies in its middle; a range of nothing but zero becomes (-1, 1). */
export function symmetric({ low, high }: Range): Range {
  const limit = Math.max(Math.abs(low), Math.abs(high)) || 1;
  return { low: -limit, high: limit };
}

/** The ends of the scale a tile is colored on; `undefined` where nothing is finite. */
export function scaleOf(data: TileData, tile: number, choice: ScaleChoice): Range | undefined {
  const range = choice.shared ? data.shared : data.range(tile);
  if (Number.isNaN(range.low)) {
    return undefined;
  }
  return choice.zeroCentered ? symmetric(range) : range;
}

/** The entry of a color table for a value: 0 at the low end, 255 at the high one and beyond. */
export function colorIndex(value: number, { low, high }: Range): number {
  if (low === high) {
    return value > low ? 255 : 0;
  }
  const place = Math.floor(((value - low) / (high - low)) * 255 + 0.5);
  return Math.min(255, Math.max(0, place));
}

/**
 * Color one tile into `pixels`. NaN is left transparent; infinities get the color of their end.
 *
 * Neighboring codes mostly share a color, so the color of a code is worked out only when it differs from the
 * last one.
 */
export function paintTile(
  data: TileData,
  tile: number,
  choice: ScaleChoice,
  table: ColorTable,
  pixels: Uint32Array,
): void {
  if (data.pictures) {
    paintPicture(data, tile, pixels);
    return;
  }
  const scale = scaleOf(data, tile, choice) ?? { low: 0, high: 1 };
  if (data.colored) {
    paintColors(data, tile, symmetric(scale), pixels);
    return;
  }
  const size = data.rows * data.columns;
  const start = tile * size;
  let lastCode = -1;
  let lastColor = 0;
  for (let index = 0; index < size; index += 1) {
    const code = data.codes[start + index] ?? 0;
    if (code !== lastCode) {
      lastCode = code;
      const value = data.decode(tile, code);
      lastColor = Number.isNaN(value) ? 0 : (table[colorIndex(value, scale)] ?? 0);
    }
    pixels[index] = lastColor;
  }
}

/** Three values a pixel: 0 is middle gray, the ends of the scale are no light and full light of a color. */
function paintColors(data: TileData, tile: number, scale: Range, pixels: Uint32Array): void {
  const bytes = new Uint8Array(pixels.buffer, pixels.byteOffset, pixels.byteLength);
  const start = 3 * tile * pixels.length;
  for (let index = 0; index < pixels.length; index += 1) {
    let alpha = 255;
    for (let channel = 0; channel < 3; channel += 1) {
      const value = data.decode(tile, data.codes[start + 3 * index + channel] ?? 0);
      bytes[4 * index + channel] = colorIndex(value, scale);
      alpha = Number.isNaN(value) ? 0 : alpha;
    }
    bytes[4 * index + 3] = alpha;
  }
}

function paintPicture(data: TileData, tile: number, pixels: Uint32Array): void {
  const bytes = new Uint8Array(pixels.buffer, pixels.byteOffset, pixels.byteLength);
  const size = data.rows * data.columns;
  const start = 3 * tile * size;
  for (let index = 0; index < size; index += 1) {
    bytes[4 * index] = data.codes[start + 3 * index] ?? 0;
    bytes[4 * index + 1] = data.codes[start + 3 * index + 1] ?? 0;
    bytes[4 * index + 2] = data.codes[start + 3 * index + 2] ?? 0;
    bytes[4 * index + 3] = 255;
  }
}
