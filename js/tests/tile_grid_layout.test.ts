import { describe, expect, it } from "vitest";
import { moveCursor, tickStep } from "../src/tile_grid/enlarged_geometry";
import {
  arrange,
  automaticTileSize,
  cornerOf,
  hitTest,
  type Layout,
  moveByKey,
  nextTileSize,
  scrollToShow,
  tileSizes,
  visibleSlots,
} from "../src/tile_grid/layout";

const INPUT = { width: 500, count: 50, rows: 28, columns: 28, tileSize: 56, pixelRatio: 1 };

function layoutOf(change: Partial<typeof INPUT> = {}): Layout {
  return arrange({ ...INPUT, ...change });
}

/** Many different layouts, the same in each run. */
function* layouts(): Generator<Layout> {
  for (const width of [30, 120, 333, 900]) {
    for (const count of [1, 2, 7, 50, 333]) {
      for (const [rows, columns] of [
        [7, 7],
        [3, 40],
        [40, 3],
        [150, 150],
      ] as const) {
        for (const pixelRatio of [1, 1.25, 2]) {
          for (const tileSize of [0, 20, 150]) {
            yield arrange({ width, count, rows, columns, tileSize, pixelRatio });
          }
        }
      }
    }
  }
}

describe("arrangement", () => {
  it("puts every tile inside the width, in order, none over another", () => {
    for (const width of [100, 333, 900]) {
      const layout = layoutOf({ width });
      for (let slot = 0; slot < layout.count; slot += 1) {
        const { x, y } = cornerOf(layout, slot);
        expect(x).toBeGreaterThanOrEqual(layout.inset);
        expect(x + layout.tileWidth).toBeLessThanOrEqual(width - layout.inset);
        expect(y + layout.tileHeight + layout.caption).toBeLessThanOrEqual(layout.height);
      }
      expect(layout.pitchX).toBeGreaterThan(layout.tileWidth);
      expect(layout.pitchY).toBeGreaterThan(layout.tileHeight + layout.caption);
      expect(layout.across * layout.down).toBeGreaterThanOrEqual(layout.count);
      expect(layout.across * (layout.down - 1)).toBeLessThan(layout.count);
    }
  });

  it("takes as many columns as fit", () => {
    const layout = layoutOf({ width: 500 });
    const narrowest = (across: number) => 2 * layout.inset + across * (layout.tileWidth + 8) - 8;
    expect(narrowest(layout.across)).toBeLessThanOrEqual(500);
    expect(narrowest(layout.across + 1)).toBeGreaterThan(500);
  });

  it("shows an enlarged value on a whole number of screen pixels", () => {
    for (const pixelRatio of [1, 1.25, 1.5, 2, 3]) {
      const layout = layoutOf({ rows: 13, columns: 13, tileSize: 70, pixelRatio });
      const perValue = (layout.tileWidth / 13) * pixelRatio;
      expect(perValue).toBeCloseTo(Math.round(perValue), 9);
      expect(layout.tileWidth).toBeLessThanOrEqual(70);
      expect(layout.tileWidth).toBeGreaterThan(70 - 13 / pixelRatio - 1e-9);
    }
  });

  it("shrinks a tile wider than the page", () => {
    const layout = layoutOf({ width: 100, rows: 300, columns: 300, tileSize: 300 });
    expect(layout.tileWidth).toBeCloseTo(84);
    expect(layout.across).toBe(1);
  });

  it("keeps thin maps visible and drops captions that have no room", () => {
    expect(layoutOf({ rows: 1, columns: 500, tileSize: 100 }).tileHeight).toBe(6);
    expect(layoutOf({ rows: 7, columns: 7, tileSize: 16 }).caption).toBe(0);
    expect(layoutOf().caption).toBeGreaterThan(0);
  });

  it("makes room for badges below the captions, where there are captions", () => {
    const [plain, badged] = [arrange(INPUT), arrange({ ...INPUT, badges: true })];
    expect(badged.pitchY - plain.pitchY).toBe(badged.caption - plain.caption);
    expect(badged.caption).toBeGreaterThan(plain.caption + 12);
    expect(arrange({ ...INPUT, tileSize: 16, badges: true }).caption).toBe(0);
  });

  it("has no height without tiles", () => {
    expect(layoutOf({ count: 0 })).toMatchObject({ down: 0, height: 0 });
  });

  it("shows few tiles larger than many, and large maps near their own size", () => {
    expect(automaticTileSize(2, 7, 7)).toBeGreaterThan(automaticTileSize(20, 7, 7));
    expect(automaticTileSize(20, 7, 7)).toBeGreaterThan(automaticTileSize(512, 7, 7));
    expect(automaticTileSize(512, 7, 7) % 7).toBe(0);
    expect(automaticTileSize(512, 90, 100)).toBe(100);
    expect(automaticTileSize(512, 400, 400)).toBe(112);
  });
});

describe("hit testing", () => {
  it("finds for every point the tile whose box holds it", () => {
    const layout = layoutOf({ count: 11, width: 300 });
    for (let y = 0; y < layout.height + 20; y += 7.3) {
      for (let x = -5; x < 310; x += 5.9) {
        let expected: number | undefined;
        for (let slot = 0; slot < layout.count; slot += 1) {
          const corner = cornerOf(layout, slot);
          const inX = x >= corner.x && x < corner.x + layout.tileWidth;
          const inY = y >= corner.y && y < corner.y + layout.tileHeight + layout.caption;
          expected = inX && inY ? slot : expected;
        }
        expect(hitTest(layout, x, y)?.slot).toBe(expected);
      }
    }
  });

  it("tells the place in the tile, and none on its caption", () => {
    const layout = layoutOf();
    const { x, y } = cornerOf(layout, 9);
    const hit = hitTest(layout, x + 0.25 * layout.tileWidth, y + 0.75 * layout.tileHeight);
    expect(hit?.slot).toBe(9);
    expect(hit?.place?.x).toBeCloseTo(0.25);
    expect(hit?.place?.y).toBeCloseTo(0.75);
    expect(hitTest(layout, x + 1, y + layout.tileHeight + 1)).toEqual({
      slot: 9,
      place: undefined,
    });
  });
});

describe("what is visible", () => {
  it("is every tile that touches the window, and at most a row more", () => {
    for (const layout of layouts()) {
      for (const top of [0, 37, layout.height / 2, layout.height - 100]) {
        const [first, end] = visibleSlots(layout, top, 100);
        const wrong = Array.from({ length: layout.count }, (_, slot) => slot).filter((slot) => {
          const { y } = cornerOf(layout, slot);
          const seen = y + layout.tileHeight > top && y < top + 100;
          const near = y + layout.pitchY > top && y < top + 100;
          const drawn = slot >= first && slot < end;
          return (seen && !drawn) || (drawn && !near);
        });
        expect(wrong).toEqual([]);
      }
    }
  });

  it("is brought into view by the smallest move", () => {
    const layout = layoutOf();
    for (let slot = 0; slot < layout.count; slot += 7) {
      const { y } = cornerOf(layout, slot);
      const upper = y - layout.inset;
      const lower = y + layout.tileHeight + layout.caption + layout.inset;
      for (const top of [0, 100, 300]) {
        const tops = Array.from({ length: Math.ceil(layout.height) }, (_, place) => place);
        const fitting = tops.filter((place) => place <= upper && place + 200 >= lower);
        const nearest = Math.min(...fitting.map((place) => Math.abs(place - top)));
        const moved = scrollToShow(layout, slot, top, 200);
        expect(fitting).toContain(moved);
        expect(Math.abs(moved - top)).toBe(nearest);
      }
    }
  });

  it("starts with the tile's top where the window is lower than a tile", () => {
    const layout = layoutOf();
    expect(scrollToShow(layout, 20, 0, 30)).toBe(cornerOf(layout, 20).y - layout.inset);
  });
});

describe("keys", () => {
  // three rows: 0 1 2 3 / 4 5 6 7 / 8 9
  const layout = { ...layoutOf(), count: 10, across: 4, down: 3, pitchY: 50 };
  const go = (slot: number, key: string, control = false) =>
    moveByKey(layout, slot, key, control, 110);

  it.each([
    [5, "ArrowLeft", 4],
    [4, "ArrowLeft", 3],
    [0, "ArrowLeft", 0],
    [9, "ArrowRight", 9],
    [3, "ArrowRight", 4],
    [5, "ArrowUp", 1],
    [1, "ArrowUp", 1],
    [1, "ArrowDown", 5],
    [7, "ArrowDown", 9],
    [9, "ArrowDown", 9],
    [5, "Home", 4],
    [5, "End", 7],
    [8, "End", 9],
    [1, "PageDown", 9],
    [3, "PageDown", 7],
    [9, "PageUp", 1],
    [6, "PageUp", 2],
  ])("from %i, %s leads to %i", (slot, key, expected) => {
    expect(go(slot, key)).toBe(expected);
  });

  it("goes to the first and the last tile with Control", () => {
    expect(go(5, "Home", true)).toBe(0);
    expect(go(5, "End", true)).toBe(9);
  });

  it("enters a grid in which nothing is selected", () => {
    expect(go(-1, "ArrowDown")).toBe(0);
    expect(go(-1, "End", true)).toBe(9);
  });

  it("leaves other keys, and empty grids, alone", () => {
    expect(go(5, "a")).toBeUndefined();
    expect(go(5, "Tab")).toBeUndefined();
    expect(moveByKey(layoutOf({ count: 0 }), -1, "ArrowDown", false, 100)).toBeUndefined();
  });

  it("never leads outside", () => {
    const keys = [
      "ArrowLeft",
      "ArrowRight",
      "ArrowUp",
      "ArrowDown",
      "Home",
      "End",
      "PageUp",
      "PageDown",
    ];
    for (const some of layouts()) {
      const slots = [0, Math.floor(some.count / 2), some.count - 1];
      const targets = keys.flatMap((key) =>
        slots.map((slot) => moveByKey(some, slot, key, false, 100)),
      );
      expect(targets.filter((target = -1) => target < 0 || target >= some.count)).toEqual([]);
    }
  });
});

describe("tile sizes", () => {
  it("are whole multiples or fractions of a map, apart from each other, within the limits", () => {
    for (const [rows, columns, ratio] of [
      [7, 7, 1],
      [28, 20, 2],
      [111, 111, 1],
      [600, 600, 1.5],
    ] as const) {
      const sizes = tileSizes(rows, columns, ratio);
      expect(sizes.length).toBeGreaterThan(2);
      sizes.forEach((size, index) => {
        const times = (size * ratio) / Math.max(rows, columns);
        const whole = times >= 1 ? times : 1 / times;
        expect(whole).toBeCloseTo(Math.round(whole), 9);
        expect(size >= 16 && size <= 320).toBe(true);
        expect(size).toBeGreaterThanOrEqual(1.2 * (sizes[index - 1] ?? 0));
      });
    }
  });

  it("step to the next one that is really larger or smaller", () => {
    expect(nextTileSize([20, 40, 60], 40, true)).toBe(60);
    expect(nextTileSize([20, 40, 60], 40, false)).toBe(20);
    expect(nextTileSize([20, 40, 60], 45, false)).toBe(40);
    expect(nextTileSize([20, 40, 60], 60, true)).toBeUndefined();
    expect(nextTileSize([20, 40, 60], 20, false)).toBeUndefined();
  });
});

describe("the enlarged tile", () => {
  it("labels its axes at round numbers, far enough apart", () => {
    expect(tickStep(7, 420)).toBe(1);
    expect(tickStep(28, 420)).toBe(2);
    expect(tickStep(28, 252)).toBe(5);
    expect(tickStep(300, 300)).toBe(50);
    expect(tickStep(10000, 300)).toBe(1000);
    expect(tickStep(3, 10)).toBe(5);
  });

  it("moves its cursor by keys, within the map", () => {
    const start = { row: 0, column: 2 };
    expect(moveCursor("ArrowRight", start, 3, 4)).toEqual({ row: 0, column: 3 });
    expect(moveCursor("ArrowUp", start, 3, 4)).toEqual(start);
    expect(moveCursor("ArrowDown", start, 3, 4)).toEqual({ row: 1, column: 2 });
    expect(moveCursor("Home", start, 3, 4)).toEqual({ row: 0, column: 0 });
    expect(moveCursor("End", start, 3, 4)).toEqual({ row: 0, column: 3 });
    expect(moveCursor("ArrowLeft", undefined, 3, 4)).toEqual({ row: 0, column: 0 });
    expect(moveCursor("x", start, 3, 4)).toBeUndefined();
  });
});
