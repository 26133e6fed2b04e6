import type { Traits } from "../src/tile_grid/state";

/** Values as Python quantizes them, written from the format's description: four codes stand for themselves. */
export function quantized(tiles: number[][], bits: 8 | 16): { data: DataView; ranges: DataView } {
  const levels = 2 ** bits - 5;
  const size = bits / 8;
  const values = tiles.flat();
  // One byte off, as buffers in a message often are.
  const data = new DataView(new ArrayBuffer(values.length * size + 1), 1);
  const ranges = new DataView(new ArrayBuffer(tiles.length * 8 + 1), 1);
  let offset = 0;
  tiles.forEach((tile, index) => {
    const finite = tile.filter(Number.isFinite);
    const low = Math.fround(finite.length > 0 ? Math.min(...finite) : Number.NaN);
    const high = Math.fround(finite.length > 0 ? Math.max(...finite) : Number.NaN);
    ranges.setFloat32(8 * index, low, true);
    ranges.setFloat32(8 * index + 4, high, true);
    for (const value of tile) {
      const special = [0, Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY, Number.NaN].findIndex(
        (known) => Object.is(known, value),
      );
      const share = high > low ? (value - low) / (high - low) : 0;
      const code = special >= 0 ? levels + 1 + special : Math.round(share * levels);
      if (bits === 8) {
        data.setUint8(offset, code);
      } else {
        data.setUint16(offset, code, true);
      }
      offset += size;
    }
  });
  return { data, ranges };
}

/** Tables whose entry i of table t is (i, t, 255 - i): a color tells its place. */
export function tables(count: number): DataView {
  const bytes = new Uint8Array(count * 768);
  for (let table = 0; table < count; table += 1) {
    for (let entry = 0; entry < 256; entry += 1) {
      bytes.set([entry, table, 255 - entry], 768 * table + 3 * entry);
    }
  }
  return new DataView(bytes.buffer);
}

/** The traits of a grid of these tiles, of `columns` values a row. */
export function traitsOf(tiles: number[][], columns: number, bits: 8 | 16 = 16): Traits {
  const { data, ranges } = quantized(tiles, bits);
  const rows = (tiles[0]?.length ?? columns) / columns;
  return {
    _data: data,
    _ranges: ranges,
    _shape: [tiles.length, rows, columns],
    _extent: [rows, columns],
    _factor: 1,
    _encoding: `uint${bits}`,
    _steps: [],
    _labels: [],
    _badges: {},
    _badge_colors: {},
    _channels: 1,
    _order: new DataView(Uint32Array.from(tiles.keys()).buffer),
    _serial: 0,
    _tables: tables(2),
    _sequential_names: ["first"],
    _diverging_names: ["second"],
    unit: "activation",
    noun: "channel",
    axes: ["row", "column"],
    scale: "shared",
    zero_centered: false,
    sequential: "first",
    diverging: "second",
    tile_size: 0,
    max_height: 300,
    selected: -1,
    enlarged: -1,
    picks: false,
    position: [-1, -1],
    pointer: [-1, -1, -1],
    step: -1,
  };
}
