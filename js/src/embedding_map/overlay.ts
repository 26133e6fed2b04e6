/** What is drawn over the points: thumbnails in place, the current point, the lasso. */
import { sizeCanvas } from "../lib/canvas";
import type { Thumbnails } from "./atlas";
import { type Screen, toScreen, visibleBox } from "./camera";
import { css, FADED } from "./colors";
import { type Marks, pointSize, zoomOf } from "./painter";

/** At most so many thumbnails are drawn at once. */
export const MAX_THUMBNAILS = 400;

/** With more points than these on the screen it shows a distribution, not pictures. */
const MAX_POINTS_IN_VIEW = 1200;

const SMALLEST = 22;
const LARGEST = 72;

export interface OverlayPalette {
  text: string;
  background: string;
  accent: string;
}

export interface OverlayScene {
  marks: Marks;
  screen: Screen;
  thumbnails: Thumbnails;
  placement: Placement;
  selected: ReadonlySet<number>;
  current: number;
  lasso: readonly (readonly [number, number])[];
  palette: OverlayPalette;
}

/** A thumbnail in place: its point, and the middle of the picture on the screen. */
export interface Placed {
  index: number;
  left: number;
  top: number;
}

/** All thumbnails in place, squares of `side` pixels or less that don't overlap. */
export interface Placement {
  side: number;
  placed: readonly Placed[];
}

export const NOTHING: Placement = { side: 0, placed: [] };

/** Side of the thumbnails in place, in CSS pixels: larger where fewer points share the screen. */
export function thumbnailSide(inView: number, screen: Screen): number {
  const room = Math.sqrt((screen.width * screen.height) / Math.max(1, inView));
  return Math.max(SMALLEST, Math.min(LARGEST, Math.round(room * 0.55)));
}

/** Which points get their thumbnails: those that stand out first, none over another one. */
export function placeThumbnails(marks: Marks, screen: Screen): Placement {
  const { points, order, emphasis } = marks;
  const box = visibleBox(screen, 0);
  if (points.countNear(box) > 4 * MAX_POINTS_IN_VIEW) {
    return NOTHING;
  }
  const inView: number[] = [];
  points.visit(box, (index) => inView.push(index));
  if (inView.length > MAX_POINTS_IN_VIEW || order.length === 0) {
    return NOTHING;
  }
  inView.sort((a, b) => (emphasis[b] ?? 0) - (emphasis[a] ?? 0) || a - b);
  const side = thumbnailSide(inView.length, screen);
  const pitch = side + 4;
  const taken = new Map<string, Placed[]>();
  const placed: Placed[] = [];
  for (const index of inView) {
    if (placed.length >= MAX_THUMBNAILS) {
      break;
    }
    const [left, top] = toScreen(screen, points.x(index), points.y(index));
    const column = Math.floor(left / pitch);
    const row = Math.floor(top / pitch);
    if (isFree(taken, column, row, left, top, pitch)) {
      const spot = { index, left, top };
      const key = `${column} ${row}`;
      taken.set(key, [...(taken.get(key) ?? []), spot]);
      placed.push(spot);
    }
  }
  return { side, placed };
}

/** The point whose thumbnail is under a pixel, -1 for none. */
export function thumbnailAt({ side, placed }: Placement, left: number, top: number): number {
  const reach = side / 2 + 2;
  const hit = placed.find(
    (spot) => Math.abs(spot.left - left) <= reach && Math.abs(spot.top - top) <= reach,
  );
  return hit?.index ?? -1;
}

function isFree(
  taken: Map<string, Placed[]>,
  column: number,
  row: number,
  left: number,
  top: number,
  pitch: number,
): boolean {
  for (let across = column - 1; across <= column + 1; across += 1) {
    for (let down = row - 1; down <= row + 1; down += 1) {
      const close = taken
        .get(`${across} ${down}`)
        ?.some((spot) => Math.abs(spot.left - left) < pitch && Math.abs(spot.top - top) < pitch);
      if (close) {
        return false;
      }
    }
  }
  return true;
}

/** Draw everything; returns how many thumbnails are on the screen. */
export function drawOverlay(
  canvas: HTMLCanvasElement,
  scene: OverlayScene,
  pixelRatio: number,
): number {
  const { screen } = scene;
  const pen = sizeCanvas(canvas, screen.width, screen.height, pixelRatio);
  const drawn = drawThumbnails(pen, scene);
  drawCurrent(pen, scene);
  drawLasso(pen, scene);
  return drawn;
}

function drawThumbnails(pen: CanvasRenderingContext2D, scene: OverlayScene): number {
  const { marks, palette, selected, thumbnails } = scene;
  const { side, placed } = scene.placement;
  const { rows, columns } = thumbnails.layout;
  const longest = Math.max(rows, columns);
  const width = (side * columns) / longest;
  const height = (side * rows) / longest;
  pen.imageSmoothingEnabled = longest > side / 2;
  pen.imageSmoothingQuality = "high";
  let drawn = 0;
  for (const { index, left, top } of placed) {
    const x = left - width / 2;
    const y = top - height / 2;
    pen.globalAlpha = marks.emphasis[index] === FADED ? 0.3 : 1;
    pen.fillStyle = css(marks.palette[marks.codes[index] ?? 0] ?? [128, 128, 128]);
    const rim = selected.has(index) ? 3 : 2;
    pen.fillRect(x - rim, y - rim, width + 2 * rim, height + 2 * rim);
    if (thumbnails.draw(pen, index, x, y, width, height)) {
      drawn += 1;
    }
    if (selected.has(index)) {
      // In no class's color, and set off from those beside it.
      frame(pen, x - rim - 1, y - rim - 1, width + 2 * rim + 2, height + 2 * rim + 2, palette);
    }
  }
  pen.globalAlpha = 1;
  return drawn;
}

function frame(
  pen: CanvasRenderingContext2D,
  x: number,
  y: number,
  width: number,
  height: number,
  palette: OverlayPalette,
): void {
  pen.lineWidth = 5;
  pen.strokeStyle = palette.background;
  pen.strokeRect(x, y, width, height);
  pen.lineWidth = 2;
  pen.strokeStyle = palette.text;
  pen.strokeRect(x, y, width, height);
}

function drawCurrent(pen: CanvasRenderingContext2D, scene: OverlayScene): void {
  const { marks, screen, current, palette } = scene;
  if (current < 0 || current >= marks.points.count) {
    return;
  }
  const [x, y] = toScreen(screen, marks.points.x(current), marks.points.y(current));
  const radius = pointSize(marks.points.count, zoomOf(marks.points, screen)) / 2 + 4;
  pen.lineWidth = 4;
  pen.strokeStyle = palette.background;
  ring(pen, x, y, radius);
  pen.lineWidth = 2;
  pen.strokeStyle = palette.text;
  ring(pen, x, y, radius);
}

function ring(pen: CanvasRenderingContext2D, x: number, y: number, radius: number): void {
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI);
  pen.stroke();
}

function drawLasso(pen: CanvasRenderingContext2D, scene: OverlayScene): void {
  const { lasso, palette } = scene;
  if (lasso.length < 2) {
    return;
  }
  pen.beginPath();
  for (const [x, y] of lasso) {
    pen.lineTo(x, y);
  }
  pen.closePath();
  pen.fillStyle = palette.accent;
  pen.globalAlpha = 0.15;
  pen.fill();
  pen.globalAlpha = 1;
  pen.strokeStyle = palette.accent;
  pen.lineWidth = 1.5;
  pen.stroke();
}
