/** Atlas addresses, search, colors and thumbnails in place, without a page. */
import { describe, expect, it } from "vitest";
import { placeOf, readLayout } from "../src/embedding_map/atlas";
import { HOME, screenOf } from "../src/embedding_map/camera";
import {
  colorPoints,
  drawingOrder,
  emphasize,
  FADED,
  STRONG,
  UNKNOWN,
  USUAL,
} from "../src/embedding_map/colors";
import { MAX_THUMBNAILS, placeThumbnails, thumbnailAt } from "../src/embedding_map/overlay";
import { PointSet } from "../src/embedding_map/points";
import { exactly, search } from "../src/embedding_map/search";
import { describe as describePoint, readCodes } from "../src/embedding_map/state";

describe("placeOf", () => {
  it.each([
    [1, 1, 5],
    [7, 3, 50],
    [36, 36, 5000],
    [128, 128, 50_000],
  ])("gives %i x %i tiles a page each its own place in reading order", (across, down, count) => {
    const layout = readLayout([10, 12, 16, 14, across, down]);
    const wrong: number[] = [];
    let index = 0;
    for (let page = 0; index < count; page += 1) {
      for (let row = 0; row < down; row += 1) {
        for (let column = 0; column < across && index < count; column += 1) {
          const place = placeOf(layout, index);
          if (place.page !== page || place.x !== column * 14 || place.y !== row * 16) {
            wrong.push(index);
          }
          index += 1;
        }
      }
    }
    expect(wrong).toEqual([]);
  });
});

describe("search", () => {
  const classNames = ["cat", "Egyptian cat", "dog"];
  const codes = Uint16Array.from([0, 1, 2, UNKNOWN, 1]);
  const find = (query: string, names: string[] = []) => {
    const found = search(query, 5, classNames, codes, names);
    return found && [...found];
  };

  it("finds parts of labels in any case, and names", () => {
    expect(find(" CAT ")).toEqual([1, 1, 0, 0, 1]);
    expect(find("egypt")).toEqual([0, 1, 0, 0, 1]);
    expect(find("img7", ["", "", "", "IMG7.png", ""])).toEqual([0, 0, 0, 1, 0]);
    expect(find("bird")).toEqual([0, 0, 0, 0, 0]);
  });

  it("finds exactly one label in quotes, and nothing is no query", () => {
    expect(find(exactly("cat"))).toEqual([1, 0, 0, 0, 0]);
    expect(find(exactly("Cat"))).toEqual([0, 0, 0, 0, 0]);
    expect(search(exactly("Cat"), 2, ["Cat", "cat"], Uint16Array.from([0, 1]), [])).toEqual(
      Uint8Array.from([1, 0]),
    );
    expect(find("  ")).toBeUndefined();
  });
});

describe("colors", () => {
  const source = {
    count: 5,
    mode: "label",
    classNames: ["a", "b", "c"],
    labels: Uint16Array.from([0, 1, 2, UNKNOWN, 1]),
    predictions: Uint16Array.from([0, 0, UNKNOWN, 1, 1]),
    values: Float32Array.from([0, 10, Number.NaN, 5, Number.POSITIVE_INFINITY]),
    classColors: Uint8Array.from({ length: 30 }, (_, i) => i),
    valueColors: Uint8Array.from({ length: 768 }, (_, i) => Math.floor(i / 3)),
    unjudged: new Set<number>(),
  };

  it("tells classes, and points without one", () => {
    const { codes, palette, legend } = colorPoints(source);
    expect([...codes].map((code) => palette[code])).toEqual([
      [0, 1, 2],
      [3, 4, 5],
      [6, 7, 8],
      [148, 148, 148],
      [3, 4, 5],
    ]);
    expect(legend.map(({ name, count }) => [name, count])).toEqual([
      ["a", 1],
      ["b", 2],
      ["c", 1],
      ["unknown", 1],
    ]);
  });

  it("begins again after the last color", () => {
    const labels = Uint16Array.from([0, 10, 20, 9, 19]);
    const names = Array.from({ length: 21 }, (_, i) => `class ${i}`);
    const { codes } = colorPoints({ ...source, labels, classNames: names });
    expect([...codes]).toEqual([0, 0, 0, 9, 9]);
  });

  it("tells right from wrong, where both are known", () => {
    const { codes, legend } = colorPoints({ ...source, mode: "correct" });
    expect([...codes].map((code) => legend[code]?.name)).toEqual([
      "right",
      "wrong",
      "unknown",
      "unknown",
      "right",
    ]);
  });

  it("calls a class that no prediction can be neither right nor wrong", () => {
    const { codes } = colorPoints({ ...source, mode: "correct", unjudged: new Set([1]) });
    expect([...codes]).toEqual([0, 2, 2, 2, 2]);
  });

  it("numbers points as the data set does", () => {
    const subjects = { ...source, names: [], ids: new Uint32Array(0), valueName: "v", note: "" };
    expect(describePoint(subjects, 4).name).toBe("#4");
    const numbered = { ...subjects, ids: Uint32Array.from([3, 4, 7, 8, 1234]) };
    expect(describePoint(numbered, 4).name).toBe("#1234");
    expect(describePoint({ ...numbered, labels: new Uint16Array(0) }, 4).title).toBe("Point 1234");
  });

  it("spreads the finite values over the table, zero in the middle of a signed one", () => {
    const plain = colorPoints({ ...source, mode: "value" });
    expect([...plain.codes]).toEqual([0, 255, 256, 128, 256]);
    expect(plain.ends).toEqual({ low: 0, high: 10 });
    const signed = colorPoints({
      ...source,
      mode: "value",
      values: Float32Array.from([-2, 0, 1, 2, 0]),
    });
    expect(signed.ends).toEqual({ low: -2, high: 2 });
    expect([...signed.codes]).toEqual([0, 128, 191, 255, 128]);
  });

  it("lets selected and found points stand out, and draws them last", () => {
    expect([...emphasize(3, [], undefined)]).toEqual([USUAL, USUAL, USUAL]);
    const emphasis = emphasize(4, [1], Uint8Array.from([0, 0, 1, 0]));
    expect([...emphasis]).toEqual([FADED, STRONG, STRONG, FADED]);
    expect([...drawingOrder(emphasis)]).toEqual([0, 3, 1, 2]);
  });

  it("reads classes of one byte and of two", () => {
    expect([...readCodes(Uint8Array.from([0, 7, 255]), 3)]).toEqual([0, 7, UNKNOWN]);
    expect([...readCodes(Uint8Array.from([0, 0, 44, 1, 255, 255]), 3)]).toEqual([0, 300, UNKNOWN]);
    expect([...readCodes(new Uint8Array(0), 3)]).toEqual([]);
  });
});

describe("thumbnails in place", () => {
  const grid = (side: number) => {
    const values: number[] = [];
    for (let row = 0; row < side; row += 1) {
      for (let column = 0; column < side; column += 1) {
        values.push(column, row);
      }
    }
    return new PointSet(Float32Array.from(values));
  };
  const marks = (points: PointSet, selected: number[] = []) => {
    const emphasis = emphasize(points.count, selected, undefined);
    const codes = new Uint16Array(points.count);
    return { points, codes, palette: [], emphasis, order: drawingOrder(emphasis) };
  };

  it("never overlap, are never more than the cap, and the selected one comes first", () => {
    const points = grid(30);
    const screen = screenOf(HOME, points.half, 4000, 4000);
    const { side, placed } = placeThumbnails(marks(points, [899]), screen);
    expect(placed[0]?.index).toBe(899);
    expect(placed.length).toBeLessThanOrEqual(MAX_THUMBNAILS);
    expect(placed.length).toBeGreaterThan(100);
    const distances = placed.flatMap((one, place) =>
      placed
        .slice(place + 1)
        .map((other) => Math.max(Math.abs(one.left - other.left), Math.abs(one.top - other.top))),
    );
    expect(distances.length).toBe((placed.length * (placed.length - 1)) / 2);
    expect(distances.reduce((least, each) => Math.min(least, each))).toBeGreaterThanOrEqual(side);
    const last = placed[placed.length - 1];
    expect(thumbnailAt({ side, placed }, (last?.left ?? 0) + side / 2, last?.top ?? 0)).toBe(
      last?.index,
    );
  });

  it("are left out where too many points share the screen, and come when zoomed in", () => {
    const points = grid(60);
    expect(placeThumbnails(marks(points), screenOf(HOME, points.half, 800, 500)).placed).toEqual(
      [],
    );
    const closer = screenOf({ ...HOME, zoom: 8 }, points.half, 800, 500);
    expect(placeThumbnails(marks(points), closer).placed.length).toBeGreaterThan(20);
  });
});
