import { describe, expect, it } from "vitest";
import { TileData } from "../src/tile_grid/data";
import {
  colorIndex,
  colorTable,
  cssColor,
  paintTile,
  scaleOf,
  symmetric,
} from "../src/tile_grid/scale";
import { type State, TileStore, type Traits } from "../src/tile_grid/state";
import {
  badgesOf,
  countText,
  describeTile,
  emptyText,
  labelOf,
  placeText,
  valueText,
} from "../src/tile_grid/texts";
import { fakeModel } from "./fake_model";
import { tables, traitsOf } from "./tile_grid_traits";

const { NaN: NAN, POSITIVE_INFINITY: INF } = Number;

/** Numbers in [-3, 3), the same in each run. */
function values(count: number): number[] {
  let seed = 7;
  return Array.from({ length: count }, () => {
    seed = (seed * 16807) % 2147483647;
    return (6 * seed) / 2147483647 - 3;
  });
}

function stateOf(traits: Traits): State {
  return new TileStore().read(fakeModel(traits));
}

describe.each([8, 16] as const)("values carried in %i bits", (bits) => {
  const tiles = [values(12), values(12).map((value) => 1000 * value), new Array(12).fill(0.3)];
  const data = new TileData(traitsOf(tiles, 4, bits));

  it("come back within their error", () => {
    tiles.forEach((tile, index) => {
      tile.forEach((value, place) => {
        const read = data.read(index, Math.floor(place / 4), place % 4);
        expect(Math.abs(read.value - Math.fround(value))).toBeLessThanOrEqual(read.error);
        const range = Math.max(...tile) - Math.min(...tile);
        expect(read.error).toBeLessThanOrEqual((0.52 * range) / (2 ** bits - 5) + 1e-3);
      });
    });
  });

  it("are exact at both ends, at zero and where they are constant", () => {
    const some = new TileData(traitsOf([[-1.5, 0, 0.7, 2.5]], 4, bits));
    expect(some.read(0, 0, 0).value).toBe(-1.5);
    expect(some.read(0, 0, 1)).toEqual({ value: 0, error: 0 });
    expect(some.read(0, 0, 3).value).toBe(2.5);
    expect(data.read(2, 0, 0)).toEqual({ value: Math.fround(0.3), error: 0 });
  });

  it("may be NaN and infinite", () => {
    const some = new TileData(
      traitsOf(
        [
          [NAN, INF, -INF, 1],
          [NAN, NAN, NAN, NAN],
        ],
        4,
        bits,
      ),
    );
    expect([0, 1, 2, 3].map((column) => some.read(0, 0, column).value)).toEqual([
      NAN,
      INF,
      -INF,
      1,
    ]);
    expect(some.specials(0)).toEqual({ missing: 1, infinite: 2 });
    expect(some.specials(1)).toEqual({ missing: 4, infinite: 0 });
    expect(some.range(1)).toEqual({ low: NAN, high: NAN });
    expect(some.shared).toEqual({ low: 1, high: 1 });
  });
});

describe("tile data", () => {
  it("knows the range of all tiles", () => {
    expect(
      new TileData(
        traitsOf(
          [
            [1, 2],
            [-4, 0],
            [NAN, 7],
          ],
          2,
        ),
      ).shared,
    ).toEqual({ low: -4, high: 7 });
    expect(new TileData(traitsOf([[NAN, NAN]], 2)).shared.low).toBeNaN();
    expect(new TileData(traitsOf([], 2)).shared.low).toBeNaN();
  });

  it("reads the colors of pictures", () => {
    const bytes = new Uint8Array(2 * 2 * 3).map((_, index) => index);
    const traits = { ...traitsOf([], 2), _encoding: "rgb", _shape: [2, 1, 2], _data: bytes };
    expect(new TileData(traits).color(1, 0, 1)).toEqual([9, 10, 11]);
  });

  it("refuses a buffer that doesn't fit its shape", () => {
    const traits = { ...traitsOf([[1, 2]], 2), _shape: [2, 1, 2] };
    expect(() => new TileData(traits)).toThrow(/expected 4 values of 2 tiles, got 2/);
  });
});

describe("scales", () => {
  const data = new TileData(
    traitsOf(
      [
        [0, 1],
        [-2, 8],
        [NAN, NAN],
      ],
      2,
    ),
  );

  it("are one for all or one each, zero in the middle if asked", () => {
    const choose = (shared: boolean, zeroCentered: boolean) => ({ shared, zeroCentered });
    expect(scaleOf(data, 0, choose(true, false))).toEqual({ low: -2, high: 8 });
    expect(scaleOf(data, 0, choose(true, true))).toEqual({ low: -8, high: 8 });
    expect(scaleOf(data, 0, choose(false, false))).toEqual({ low: 0, high: 1 });
    expect(scaleOf(data, 0, choose(false, true))).toEqual({ low: -1, high: 1 });
    expect(scaleOf(data, 2, choose(false, true))).toBeUndefined();
  });

  it("put zero in the middle of a range of nothing but zero", () => {
    expect(symmetric({ low: 0, high: 0 })).toEqual({ low: -1, high: 1 });
  });

  it("hit both ends, clip beyond, and put zero in the middle", () => {
    const scale = { low: -2, high: 2 };
    expect([-9, -2, 0, 2, 9, INF, -INF].map((value) => colorIndex(value, scale))).toEqual([
      0, 0, 128, 255, 255, 255, 0,
    ]);
    expect([3, 4, 5].map((value) => colorIndex(value, { low: 4, high: 4 }))).toEqual([0, 0, 255]);
  });

  it("paint each value in the color of its place in the table", () => {
    const tile = values(30);
    const painted = new TileData(traitsOf([tile, values(30).map((value) => value / 10)], 6));
    const pixels = new Uint32Array(30);
    paintTile(painted, 0, { shared: false, zeroCentered: true }, colorTable(tables(2), 1), pixels);
    const limit = Math.max(...tile.map(Math.abs));
    const bytes = new Uint8Array(pixels.buffer);
    tile.forEach((value, index) => {
      const place = ((value + limit) / (2 * limit)) * 255;
      const [red = -1, green, blue = -1, alpha] = bytes.subarray(4 * index, 4 * index + 4);
      expect(Math.abs(red - place)).toBeLessThan(0.51);
      expect(blue).toBe(255 - red);
      expect([green, alpha]).toEqual([1, 255]);
    });
  });

  it("leave NaN transparent and give infinities the color of their end", () => {
    const some = new TileData(traitsOf([[NAN, INF, -INF, 1, 2]], 5));
    const pixels = new Uint32Array(5);
    paintTile(some, 0, { shared: true, zeroCentered: false }, colorTable(tables(1), 0), pixels);
    const bytes = new Uint8Array(pixels.buffer);
    expect([0, 1, 2, 3, 4].map((index) => bytes[4 * index + 3])).toEqual([0, 255, 255, 255, 255]);
    expect([1, 2, 3, 4].map((index) => bytes[4 * index])).toEqual([255, 0, 0, 255]);
    const constant = new TileData(traitsOf([[NAN, 1]], 2));
    paintTile(constant, 0, { shared: true, zeroCentered: false }, colorTable(tables(1), 0), pixels);
    expect([bytes[3], bytes[7]]).toEqual([0, 255]);
  });

  it("paint pictures as they are", () => {
    const bytes = new Uint8Array([1, 2, 3, 4, 5, 6]);
    const pictures = new TileData({
      ...traitsOf([], 2),
      _encoding: "rgb",
      _shape: [1, 1, 2],
      _data: bytes,
    });
    const pixels = new Uint32Array(2);
    paintTile(pictures, 0, { shared: true, zeroCentered: false }, colorTable(tables(1), 0), pixels);
    expect([...new Uint8Array(pixels.buffer)]).toEqual([1, 2, 3, 255, 4, 5, 6, 255]);
  });

  it("paint three values a pixel as red, green and blue around gray", () => {
    const colored = new TileData({
      ...traitsOf(
        [
          [2, -1, 0, NAN, 0, 0],
          [-4, 4, 1, 0, 0, 0],
        ],
        6,
      ),
      _channels: 3,
      _shape: [2, 1, 2],
      _extent: [1, 2],
    });
    const pixels = new Uint32Array(2);
    const bytes = () => [...new Uint8Array(pixels.buffer)];
    const table = colorTable(tables(1), 0);
    const each = { shared: false, zeroCentered: true };
    paintTile(colored, 0, each, table, pixels);
    expect(bytes().slice(0, 4)).toEqual([255, 64, 128, 255]);
    expect(bytes()[7]).toBe(0);
    paintTile(colored, 0, { ...each, shared: true }, table, pixels);
    expect(bytes().slice(0, 4)).toEqual([191, 96, 128, 255]);
    paintTile(colored, 1, each, table, pixels);
    expect(bytes()).toEqual([0, 255, 159, 255, 128, 128, 128, 255]);
    expect(colored.read(1, 0, 0, 2).value).toBeCloseTo(1, 3);
    expect(colored.specials(0)).toEqual({ missing: 1, infinite: 0 });
  });

  it("take their colors from the right table", () => {
    expect(cssColor(colorTable(tables(3), 2), 7)).toBe("rgb(7 2 248)");
    expect(() => colorTable(tables(3), 3)).toThrow(/no color table 3/);
    expect(() => colorTable(tables(3), -1)).toThrow(/no color table -1/);
  });
});

describe("texts", () => {
  it("name tiles by label or by number", () => {
    const traits = traitsOf([[0, 1]], 2);
    expect(labelOf(stateOf(traits), 0)).toBe("channel 0");
    expect(labelOf(stateOf({ ...traits, _labels: ["<b>x</b>"] }), 0)).toBe("<b>x</b>");
  });

  it("say what is special about a tile", () => {
    const state = stateOf({
      ...traitsOf(
        [
          [0, 0],
          [NAN, INF],
          [1, 2],
        ],
        2,
      ),
      _badges: { "0": "dead" },
    });
    expect(badgesOf(state, 0)).toEqual(["dead"]);
    expect(badgesOf(state, 1)).toEqual(["NaN", "\u221e"]);
    expect(describeTile(state, 0)).toBe("channel 0 \u00b7 dead \u00b7 constant at 0");
    expect(describeTile(state, 1)).toBe(
      "channel 1 \u00b7 no finite value \u00b7 1 NaN \u00b7 1 infinite",
    );
    expect(describeTile(state, 2)).toBe("channel 2 \u00b7 1 \u2026 2");
  });

  it("give a value with its unit, and mark it where it is not certain", () => {
    const tiles = [[0, 0.01234567, 100]];
    expect(valueText(stateOf(traitsOf(tiles, 3, 16)), 0, 0, 2)).toBe("100 activation");
    expect(valueText(stateOf(traitsOf(tiles, 3, 16)), 0, 0, 0)).toBe("0 activation");
    expect(valueText(stateOf(traitsOf(tiles, 3, 8)), 0, 0, 1)).toBe("\u2248\u20090 activation");
    const small = [[-0.1, 0.001234567, 0.1]];
    expect(valueText(stateOf(traitsOf(small, 3, 16)), 0, 0, 1)).toMatch(/^\u2248\u20090\.00123/);
  });

  it("name the block that a shrunk value stands for", () => {
    const state = stateOf({ ...traitsOf([[1, 2, 3, 4]], 2), _factor: 2, _extent: [3, 4] });
    expect(placeText(state, 0, 1)).toBe("row 0\u20131, column 2\u20133");
    expect(placeText(state, 1, 0)).toBe("row 2, column 0\u20131");
    expect(valueText(state, 0, 1, 1)).toBe("4 activation (mean of 2\u00d72)");
    expect(countText(state)).toBe("1 channel, 3\u00d74 as means of 2\u00d72");
  });

  it("give three values where a pixel has three, and call the axes what they are", () => {
    const traits = traitsOf([[0.5, -2, 0]], 3);
    const state = stateOf({ ...traits, _channels: 3, _shape: [1, 1, 1], _extent: [1, 1] });
    expect(valueText(state, 0, 0, 0)).toMatch(
      /^red \S*\s?0\.5\S*, green \u22122, blue 0 activation$/,
    );
    expect(state.choice.zeroCentered).toBe(true);
    const matrix = stateOf({ ...traits, axes: ["kernel", "input channel"] });
    expect(placeText(matrix, 0, 2)).toBe("kernel 0, input channel 2");
  });

  it("give the color of a picture", () => {
    const traits = {
      ...traitsOf([], 1),
      _encoding: "rgb",
      _shape: [1, 1, 1],
      _data: new Uint8Array([1, 2, 3]),
    };
    expect(valueText(stateOf(traits), 0, 0, 0)).toBe("red 1, green 2, blue 3");
  });

  it("count what is shown, and say why there is nothing", () => {
    const traits = traitsOf([[1], [2], [3]], 1);
    expect(countText(stateOf(traits))).toBe("3 channels, 1\u00d71");
    const filtered = { ...traits, _order: new Uint32Array([2]), noun: "patch" };
    expect(countText(stateOf(filtered))).toBe("1 of 3 patches, 1\u00d71");
    expect(emptyText(stateOf({ ...traits, _order: null }))).toBe(
      "The filter leaves none of the 3 channels.",
    );
    expect(emptyText(stateOf(traitsOf([], 1)))).toBe("No channels to show.");
  });
});

describe("the state of a view", () => {
  it("knows each tile's slot", () => {
    const state = stateOf({ ...traitsOf([[1], [2], [3]], 1), _order: new Uint32Array([2, 0]) });
    expect([...state.order]).toEqual([2, 0]);
    expect([...state.slots]).toEqual([1, -1, 0]);
  });

  it("decodes the tiles once, until they are others", () => {
    const model = fakeModel(traitsOf([[1], [2]], 1));
    const store = new TileStore();
    const { data } = store.read(model);
    expect(store.read(model).data).toBe(data);
    store.clear();
    expect(store.read(model).data).not.toBe(data);
  });

  it("finds the carried place of a position", () => {
    const traits = { ...traitsOf([[1, 2, 3, 4]], 2), _factor: 2, _extent: [4, 4] };
    expect(stateOf({ ...traits, position: [3, 1] }).position).toEqual({ row: 1, column: 0 });
    expect(stateOf({ ...traits, position: [4, 0] }).position).toBeUndefined();
    expect(stateOf({ ...traits, position: [-1, -1] }).position).toBeUndefined();
  });
});

describe("frames of several steps", () => {
  const frames = [
    [
      [0, 1],
      [2, 3],
    ],
    [
      [4, 5],
      [6, 7],
    ],
    [
      [8, 9],
      [-10, 11],
    ],
  ];
  const traits = {
    ...traitsOf(frames.flat(), 2),
    _shape: [2, 1, 2],
    _order: new DataView(Uint32Array.from([0, 1]).buffer),
    _steps: [0, 10, 40],
    _badges: { "1": "early", "4": "late" },
  };

  it.each([
    [-1, 2],
    [0, 0],
    [5, 0],
    [6, 1],
    [25, 1],
    [26, 2],
    [900, 2],
  ])("step %i shows the nearest one, the earlier of two", (step, frame) => {
    const state = stateOf({ ...traits, step });
    expect(state.data.frame).toBe(frame);
    expect(state.step).toBe([0, 10, 40][frame]);
    for (const tile of [0, 1]) {
      for (const column of [0, 1]) {
        const read = state.data.read(tile, 0, column);
        expect(read.value).toBeCloseTo(frames[frame]?.[tile]?.[column] ?? Number.NaN, 3);
      }
    }
  });

  it("share one scale, and each has its own badges", () => {
    const first = stateOf({ ...traits, step: 0 });
    const last = stateOf({ ...traits, step: 40 });
    expect(first.data.shared).toEqual({ low: -10, high: 11 });
    expect(last.data.shared).toEqual(first.data.shared);
    expect(first.badges).toEqual({ "1": "early" });
    expect(last.badges).toEqual({ "0": "late" });
    expect(countText(last)).toBe("2 channels, 1\u00d72, step 40");
  });

  it("are read anew when the step changes, and only then", () => {
    const model = fakeModel({ ...traits, step: 0 });
    const store = new TileStore();
    const before = store.read(model).data;
    expect(store.read(model).data).toBe(before);
    model.set("step", 3);
    expect(store.read(model).data).toBe(before);
    model.set("step", 39);
    expect(store.read(model).data.frame).toBe(2);
  });
});
