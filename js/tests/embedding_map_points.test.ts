/** Points by place: each answer against a slow loop over all points. */
import { describe, expect, it } from "vitest";
import {
  fromScreen,
  HOME,
  panned,
  revealing,
  screenOf,
  toScreen,
  visibleBox,
  zoomed,
} from "../src/embedding_map/camera";
import { movement } from "../src/embedding_map/painter_host";
import { type Direction, PointSet } from "../src/embedding_map/points";

/** A generator of numbers in [0, 1), the same in every run. */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32;
    return state / 2 ** 32;
  };
}

function randomPoints(count: number, seed: number): PointSet {
  const random = numbers(seed);
  return new PointSet(Float32Array.from({ length: 2 * count }, () => random() * 30 - 7));
}

function all(points: PointSet): number[] {
  return Array.from({ length: points.count }, (_, index) => index);
}

describe("PointSet", () => {
  it("brings the longer side to -1 ... 1 and keeps the proportions", () => {
    const points = new PointSet(new Float32Array([1e6, 5, 1e6 + 8, 7, 1e6 + 4, 6]));
    expect([...points.xy]).toEqual([-1, -0.25, 1, 0.25, 0, 0]);
    expect(points.half).toEqual({ x: 1, y: 0.25 });
    expect(points.origin).toEqual({ x: 1e6 + 4, y: 6, unit: 4 });
  });

  it("takes points that all lie at one place", () => {
    const points = new PointSet(new Float32Array([3, 4, 3, 4]));
    expect([...points.xy]).toEqual([0, 0, 0, 0]);
    expect(points.nearest(0.001, 0, 0.01)).toBe(0);
  });

  it.each([1, 2, 3, 50, 1000])("finds the nearest of %i points as a loop does", (count) => {
    const points = randomPoints(count, count);
    const random = numbers(99);
    for (let trial = 0; trial < 60; trial += 1) {
      const [x, y, radius] = [random() * 2.4 - 1.2, random() * 2.4 - 1.2, random() * 0.3];
      const distance = (index: number) => Math.hypot(points.x(index) - x, points.y(index) - y);
      const within = all(points).filter((index) => distance(index) < radius);
      const expected = within.sort((a, b) => distance(a) - distance(b) || a - b)[0] ?? -1;
      expect(points.nearest(x, y, radius)).toBe(expected);
    }
  });

  it("visits the points of a box, and counts no fewer", () => {
    const points = randomPoints(700, 3);
    const random = numbers(4);
    for (let trial = 0; trial < 40; trial += 1) {
      const [left, bottom] = [random() * 2 - 1.2, random() * 2 - 1.2];
      const box = { left, bottom, right: left + random(), top: bottom + random() };
      const expected = all(points).filter((index) => {
        const [x, y] = [points.x(index), points.y(index)];
        return x >= box.left && x <= box.right && y >= box.bottom && y <= box.top;
      });
      const found: number[] = [];
      points.visit(box, (index) => found.push(index));
      expect(found.sort((a, b) => a - b)).toEqual(expected);
      expect(points.countNear(box)).toBeGreaterThanOrEqual(expected.length);
    }
  });

  it("selects what is inside a circle drawn as a lasso", () => {
    const points = randomPoints(900, 5);
    const circle = Array.from({ length: 720 }, (_, step): [number, number] => {
      const angle = (step / 720) * 2 * Math.PI;
      return [0.2 + 0.5 * Math.cos(angle), -0.1 + 0.5 * Math.sin(angle)];
    });
    const distance = (index: number) => Math.hypot(points.x(index) - 0.2, points.y(index) + 0.1);
    const clear = all(points).filter((index) => Math.abs(distance(index) - 0.5) > 1e-4);
    const inside = new Set(points.inside(circle));
    expect(clear.filter((index) => inside.has(index))).toEqual(
      clear.filter((index) => distance(index) < 0.5),
    );
    expect(inside.size).toBeGreaterThan(50);
  });

  it("leaves the hole of a lasso that turns around itself out, by the even-odd rule", () => {
    const points = new PointSet(new Float32Array([-1, -1, 1, 1, 0, 0, 0.6, 0]));
    const square = (half: number): [number, number][] => [
      [-half, -half],
      [half, -half],
      [half, half],
      [-half, half],
      [-half, -half],
    ];
    expect(points.inside([...square(0.8), ...square(0.3)])).toEqual([3]);
    expect(points.inside(square(0.8).slice(0, 2))).toEqual([]);
  });

  it("walks to the nearest point in a direction, as a loop over angles does", () => {
    const points = randomPoints(300, 8);
    const angles: Record<Direction, number> = { right: 0, up: 90, left: 180, down: 270 };
    for (const [direction, middle] of Object.entries(angles) as [Direction, number][]) {
      for (let from = 0; from < 40; from += 1) {
        const candidates = all(points).filter((index) => {
          const [dx, dy] = [points.x(index) - points.x(from), points.y(index) - points.y(from)];
          const angle = (Math.atan2(dy, dx) * 180) / Math.PI;
          const off = Math.abs(((angle - middle + 540) % 360) - 180);
          return index !== from && off <= 45;
        });
        const distance = (index: number) =>
          Math.hypot(points.x(index) - points.x(from), points.y(index) - points.y(from));
        const expected = candidates.sort((a, b) => distance(a) - distance(b))[0] ?? -1;
        expect(points.neighbor(from, direction)).toBe(expected);
      }
    }
  });

  it("reaches every one of several points at the same place, and goes on from there", () => {
    const points = new PointSet(new Float32Array([0, 0, 5, 0, 0, 0, 0, 0, -5, 0]));
    expect(points.neighbor(0, "right")).toBe(2);
    expect(points.neighbor(2, "right")).toBe(3);
    expect(points.neighbor(3, "right")).toBe(1);
    expect(points.neighbor(3, "left")).toBe(2);
    expect(points.neighbor(0, "left")).toBe(4);
    expect(points.neighbor(4, "left")).toBe(-1);
  });
});

describe("the camera", () => {
  const half = { x: 1, y: 0.5 };
  const camera = { x: 0.3, y: -0.2, zoom: 3 };
  const screen = screenOf(camera, half, 800, 400);

  it("fits all points at first, with a margin", () => {
    const home = screenOf(HOME, half, 800, 400);
    expect(toScreen(home, -1, 0)).toEqual([48, 200]);
    expect(toScreen(home, 0, 0.5)).toEqual([400, 24]);
  });

  it("goes from pixels to coordinates and back", () => {
    const [x, y] = fromScreen(screen, 123, 45);
    const [left, top] = toScreen(screen, x, y);
    expect(left).toBeCloseTo(123, 9);
    expect(top).toBeCloseTo(45, 9);
    expect(visibleBox(screen, 0).left).toBeCloseTo(fromScreen(screen, 0, 0)[0], 12);
  });

  it("zooms around the pointer and pans with it", () => {
    const place = fromScreen(screen, 600, 100);
    const closer = screenOf(zoomed(camera, screen, 2, 600, 100), half, 800, 400);
    expect(toScreen(closer, ...place)[0]).toBeCloseTo(600, 6);
    expect(toScreen(closer, ...place)[1]).toBeCloseTo(100, 6);
    expect(closer.scale).toBeCloseTo(2 * screen.scale, 9);
    const moved = screenOf(panned(camera, screen, 30, -20), half, 800, 400);
    expect(toScreen(moved, ...place)[0]).toBeCloseTo(630, 6);
    expect(toScreen(moved, ...place)[1]).toBeCloseTo(80, 6);
  });

  it("moves no further than a point needs to be in sight", () => {
    const [x, y] = fromScreen(screen, 790, 200);
    const [left, top] = toScreen(
      screenOf(revealing(camera, screen, x, y, 40), half, 800, 400),
      x,
      y,
    );
    expect(left).toBeCloseTo(760, 6);
    expect(top).toBeCloseTo(200, 6);
    const [inX, inY] = fromScreen(screen, 300, 200);
    expect(revealing(camera, screen, inX, inY, 40)).toEqual(camera);
  });

  it("moves a picture to where its points are now", () => {
    const now = screenOf({ x: 0.35, y: -0.1, zoom: 4 }, half, 800, 400);
    const [a = 0, , , d = 0, e = 0, f = 0] = (movement(screen, now).match(/-?[\d.e-]+/g) ?? [])
      .slice(0)
      .map(Number);
    const [left, top] = toScreen(screen, 0.2, -0.3);
    const [nowLeft, nowTop] = toScreen(now, 0.2, -0.3);
    expect(a * left + e).toBeCloseTo(nowLeft, 6);
    expect(d * top + f).toBeCloseTo(nowTop, 6);
  });
});
