/** The tiles as Python sent them, and the true values they stand for. */
import { asFloat32, asUint8, asUint16, type Binary } from "../lib/buffers";

export interface DataTraits {
  _data: Binary;
  _ranges: Binary;
  _shape: number[];
  _extent: number[];
  _factor: number;
  _encoding: string;
  /** Values a pixel: 1, or 3 that are colored as red, green and blue around a gray zero. */
  _channels: number;
  /** The training step of each frame; empty where there is one frame only. */
  _steps: number[];
}

export interface Range {
  low: number;
  high: number;
}

/** What of a tile has no place on a scale. */
export interface Specials {
  missing: number;
  infinite: number;
}

/** What the highest codes stand for: `SPECIALS` of `cnnviz_widgets/render/quantize.py`. */
export const SPECIALS = [
  0,
  Number.NEGATIVE_INFINITY,
  Number.POSITIVE_INFINITY,
  Number.NaN,
] as const;

/**
 * N tiles of `rows` x `columns` carried values each: one frame of those that were sent, all of one scale.
 *
 * A value is carried as a code from 0 to `levels`, which divides the tile's own range evenly; the four
 * codes above are exactly zero, -∞, +∞ and NaN. Color pictures carry red, green and blue instead and have no values.
 */
export class TileData {
  readonly count: number;
  readonly rows: number;
  readonly columns: number;
  /** Size of the maps before they were shrunk: each carried value is the mean of factor x factor. */
  readonly extent: { rows: number; columns: number };
  readonly factor: number;
  readonly pictures: boolean;
  /** Whether each pixel has three values of its own, for red, green and blue. */
  readonly colored: boolean;
  /** Codes a pixel. */
  readonly depth: number;
  readonly levels: number;
  readonly codes: Uint8Array | Uint16Array;
  /** The range that holds all tiles; NaN where no value is finite. */
  readonly shared: Range;
  #ranges: Float32Array;
  #specials = new Map<number, Specials>();

  constructor(
    traits: DataTraits,
    readonly frame = 0,
  ) {
    const [count = 0, rows = 1, columns = 1] = traits._shape;
    const [extentRows = rows, extentColumns = columns] = traits._extent;
    this.count = count;
    this.rows = rows;
    this.columns = columns;
    this.extent = { rows: extentRows, columns: extentColumns };
    this.factor = traits._factor;
    this.pictures = traits._encoding === "rgb";
    this.colored = !this.pictures && traits._channels === 3;
    this.depth = this.pictures || this.colored ? 3 : 1;
    const wide = traits._encoding === "uint16";
    const codes = wide ? asUint16(traits._data) : asUint8(traits._data);
    this.levels = (wide ? 65535 : 255) - SPECIALS.length;
    const ranges = asFloat32(traits._ranges);
    const frames = Math.max(1, traits._steps.length);
    const size = count * rows * columns * this.depth;
    const rangesSize = this.pictures ? 0 : 2 * count;
    if (codes.length !== frames * size || ranges.length !== frames * rangesSize) {
      throw new RangeError(
        `expected ${frames * size} values of ${count} tiles, got ${codes.length}`,
      );
    }
    this.codes = codes.subarray(frame * size, (frame + 1) * size);
    this.#ranges = ranges.subarray(frame * rangesSize, (frame + 1) * rangesSize);
    this.shared = sharedRange(ranges);
  }

  /** The smallest and the largest finite value of a tile; NaN where it has none. */
  range(tile: number): Range {
    return {
      low: this.#ranges[2 * tile] ?? Number.NaN,
      high: this.#ranges[2 * tile + 1] ?? Number.NaN,
    };
  }

  /** The value a code of a tile stands for. */
  decode(tile: number, code: number): number {
    if (code > this.levels) {
      return SPECIALS[code - this.levels - 1] ?? Number.NaN;
    }
    const share = code / this.levels;
    const { low, high } = this.range(tile);
    return low * (1 - share) + high * share;
  }

  /** The value at a place of a tile, in carried rows and columns, and how far it can lie from the true one. */
  read(tile: number, row: number, column: number, channel = 0): { value: number; error: number } {
    const place = (tile * this.rows + row) * this.columns + column;
    const code = this.codes[place * this.depth + channel] ?? Number.NaN;
    return { value: this.decode(tile, code), error: code > this.levels ? 0 : this.error(tile) };
  }

  /** How far a value of this tile can lie from the one that was computed. */
  error(tile: number): number {
    const { low, high } = this.range(tile);
    if (!(high > low)) {
      return 0;
    }
    const rounding = Math.max(Math.abs(low), Math.abs(high)) * 2 ** -23;
    return (0.51 * (high - low)) / this.levels + rounding;
  }

  /** Red, green and blue at a place of a picture. */
  color(tile: number, row: number, column: number): [number, number, number] {
    const start = 3 * ((tile * this.rows + row) * this.columns + column);
    return [this.codes[start] ?? 0, this.codes[start + 1] ?? 0, this.codes[start + 2] ?? 0];
  }

  /** How many values of a tile are NaN or infinite; counted once. */
  specials(tile: number): Specials {
    let found = this.#specials.get(tile);
    if (found === undefined) {
      found = this.pictures ? { missing: 0, infinite: 0 } : this.#countSpecials(tile);
      this.#specials.set(tile, found);
    }
    return found;
  }

  #countSpecials(tile: number): Specials {
    const size = this.rows * this.columns * this.depth;
    const found = { missing: 0, infinite: 0 };
    for (let index = tile * size; index < (tile + 1) * size; index += 1) {
      const code = this.codes[index] ?? 0;
      if (code > this.levels + 1) {
        found[code === this.levels + SPECIALS.length ? "missing" : "infinite"] += 1;
      }
    }
    return found;
  }
}

/** The range that holds all of these; NaN where none has a finite value. */
function sharedRange(ranges: Float32Array): Range {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (let index = 0; index < ranges.length; index += 2) {
    // Comparisons with NaN are false, so tiles without a finite value leave the range alone.
    low = Math.min(low, Number.isNaN(ranges[index]) ? low : (ranges[index] ?? low));
    high = Math.max(high, Number.isNaN(ranges[index]) ? high : (ranges[index + 1] ?? high));
  }
  return low <= high ? { low, high } : { low: Number.NaN, high: Number.NaN };
}
