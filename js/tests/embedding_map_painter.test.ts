/** What is painted when: the points only where they, or what is on the screen, have changed. */
import { beforeEach, describe, expect, it, vi } from "vitest";
import { HOME, screenOf, zoomed } from "../src/embedding_map/camera";
import type { Marks } from "../src/embedding_map/painter";
import { PainterHost } from "../src/embedding_map/painter_host";
import { PointSet } from "../src/embedding_map/points";

const points = new PointSet(new Float32Array([0, 0, 1, 1, 2, 0]));

function makeMarks(): Marks {
  return {
    points,
    order: new Uint32Array([0, 1, 2]),
    emphasis: new Uint8Array([1, 1, 1]),
    codes: new Uint16Array(3),
    palette: [[1, 2, 3]],
  };
}

describe("PainterHost", () => {
  let cleared = 0;

  beforeEach(() => {
    cleared = 0;
    const pen = {
      setTransform() {},
      clearRect: () => (cleared += 1),
      beginPath() {},
      arc() {},
      fill() {},
      fillRect() {},
    };
    vi.spyOn(console, "warn").mockImplementation(() => {});
    vi.stubGlobal("requestAnimationFrame", () => 0);
    vi.spyOn(HTMLCanvasElement.prototype, "getContext").mockImplementation(((kind: string) =>
      kind === "2d" ? pen : null) as never);
  });

  it("does not draw the points again for what lies over them", () => {
    const host = new PainterHost(
      document.createElement("canvas"),
      document.createElement("div"),
      document.createElement("div"),
      () => {},
    );
    host.setVisible(true);
    const marks = makeMarks();
    const home = screenOf(HOME, points.half, 400, 300);
    expect(host.paint(marks, home, 1)).toBe(marks);
    expect(cleared).toBe(1);
    expect(host.paint(marks, { ...home }, 1)).toBe(marks);
    expect(cleared).toBe(1);
    // Each of these is another picture.
    const others = makeMarks();
    const closer = screenOf(zoomed(HOME, home, 2), points.half, 400, 300);
    for (const [shown, screen, ratio] of [
      [others, home, 1],
      [others, closer, 1],
      [others, closer, 2],
      [others, screenOf(HOME, points.half, 500, 300), 2],
    ] as const) {
      const before = cleared;
      expect(host.paint(shown, screen, ratio)).toBe(shown);
      expect(cleared).toBe(before + 1);
      host.paint(shown, screen, ratio);
      expect(cleared).toBe(before + 1);
    }
    // The picture of a map that was scrolled away is made anew.
    const before = cleared;
    host.setVisible(false);
    expect(host.paint(others, closer, 2)).toBeUndefined();
    host.setVisible(true);
    host.paint(others, closer, 2);
    expect(cleared).toBe(before + 1);
  });
});
