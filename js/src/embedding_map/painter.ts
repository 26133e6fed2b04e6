/** Drawing the points: what to draw, and how to do it without WebGL. */
import { sizeCanvas } from "../lib/canvas";
import type { Screen } from "./camera";
import { FADED, type Rgb, STRONG } from "./colors";
import type { PointSet } from "./points";

/** All that the points look like. A new object wherever anything differs. */
export interface Marks {
  points: PointSet;
  codes: Uint16Array;
  palette: readonly Rgb[];
  /** `FADED`, `USUAL` or `STRONG`, by point. */
  emphasis: Uint8Array;
  /** Indices, those on top last. */
  order: Uint32Array;
}

export interface Painter {
  /** For tests and the note on the page. */
  readonly kind: "webgl" | "canvas";
  /** Draw on the canvas now. Returns the marks that are on the screen, which may still be older ones. */
  paint(marks: Marks, screen: Screen, pixelRatio: number): Marks | undefined;
  close(): void;
}

/** Diameter of a point in CSS pixels: small where there are many, and growing as the map is zoomed into. */
export function pointSize(count: number, zoom: number): number {
  const base =
    count > 20_000 ? 2.6 : count > 5_000 ? 3.4 : count > 1_000 ? 5 : count > 200 ? 6.5 : 8;
  return Math.min(16, Math.round(base * Math.max(1, zoom) ** 0.35 * 4) / 4);
}

/** How much a point of some emphasis covers, in [0, 1]. */
export function opacityOf(emphasis: number, count: number): number {
  const usual = count > 20_000 ? 0.7 : count > 2_000 ? 0.8 : 0.9;
  return emphasis === FADED ? 0.16 : emphasis === STRONG ? 1 : usual;
}

/** Points that stand out are drawn larger by this. */
export const STRONG_SIZE = 1.35;

export class CanvasPainter implements Painter {
  readonly kind = "canvas";

  constructor(private readonly canvas: HTMLCanvasElement) {}

  paint(marks: Marks, screen: Screen, pixelRatio: number): Marks {
    const pen = sizeCanvas(this.canvas, screen.width, screen.height, pixelRatio);
    this.#drawPoints(pen, marks, screen);
    return marks;
  }

  close(): void {}

  #drawPoints(pen: CanvasRenderingContext2D, marks: Marks, screen: Screen): void {
    const { points, order, emphasis, codes, palette } = marks;
    const usual = pointSize(points.count, zoomOf(points, screen));
    const left = screen.width / 2 - screen.x * screen.scale;
    const top = screen.height / 2 + screen.y * screen.scale;
    const fills = palette.map((color) => `rgb(${color.join(" ")})`);
    // Squares where circles would be too small to be told from them: they take a fifth of the time.
    const square = usual < 4;
    for (const index of order) {
      const level = emphasis[index] ?? 1;
      const size = level === STRONG ? usual * STRONG_SIZE : usual;
      const x = left + points.x(index) * screen.scale;
      const y = top - points.y(index) * screen.scale;
      if (x < -size || y < -size || x > screen.width + size || y > screen.height + size) {
        continue;
      }
      pen.globalAlpha = opacityOf(level, points.count);
      pen.fillStyle = fills[codes[index] ?? 0] ?? "gray";
      if (square) {
        pen.fillRect(x - size / 2, y - size / 2, size, size);
      } else {
        pen.beginPath();
        pen.arc(x, y, size / 2, 0, 2 * Math.PI);
        pen.fill();
      }
    }
  }
}

/** How much larger than "all points fit" a screen shows; a little off where the margins differ. */
export function zoomOf(points: PointSet, screen: Screen): number {
  const fit = Math.min(
    screen.width / 2 / Math.max(points.half.x, 0.01),
    screen.height / 2 / Math.max(points.half.y, 0.01),
  );
  return screen.scale / fit;
}
