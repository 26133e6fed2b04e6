/** Drawing tiles with their captions, badges and marks on a canvas. */
import { sizeCanvas } from "../lib/canvas";
import { resolveColor } from "../lib/theme";
import type { Bitmaps } from "./bitmaps";
import { CAPTION, cornerOf, type Layout, visibleSlots } from "./layout";
import type { State } from "./state";
import { badgesOf, captionOf } from "./texts";

/** Colors and fonts of the host, resolved for a canvas. */
export interface Palette {
  background: string;
  sunken: string;
  text: string;
  muted: string;
  accent: string;
  border: string;
  font: string;
}

export function readPalette(host: HTMLElement): Palette {
  const color = (name: string) => resolveColor(host, `var(--cvz-${name})`);
  return {
    background: color("background"),
    sunken: color("sunken"),
    text: color("text"),
    muted: color("muted"),
    accent: color("accent"),
    border: color("border"),
    font: getComputedStyle(host).fontFamily || "sans-serif",
  };
}

export interface Frame {
  state: State;
  layout: Layout;
  palette: Palette;
  bitmaps: Bitmaps;
  /** What the scrolling area shows of the content, in CSS pixels. */
  top: number;
  width: number;
  height: number;
  /** The slot under the pointer, -1 for none. */
  hovered: number;
  pixelRatio: number;
}

/** Draw the tiles that the scrolling area shows, and only those. */
export function drawTiles(canvas: HTMLCanvasElement, frame: Frame): void {
  const { state, layout, palette } = frame;
  const context = sizeCanvas(canvas, frame.width, frame.height, frame.pixelRatio);
  const [first, end] = visibleSlots(layout, frame.top, frame.height);
  context.textBaseline = "alphabetic";
  const selectedSlot = state.slots[state.selected] ?? -1;
  for (let slot = first; slot < end; slot += 1) {
    const tile = state.order[slot] ?? 0;
    const corner = cornerOf(layout, slot);
    const x = snap(corner.x, frame.pixelRatio);
    const y = snap(corner.y - frame.top, frame.pixelRatio);
    const box = { x, y, width: layout.tileWidth, height: layout.tileHeight };
    drawTile(context, frame, tile, box);
    drawOutline(context, palette, box, slot === selectedSlot, slot === frame.hovered);
    if (slot === selectedSlot && state.position !== undefined) {
      drawPosition(context, state, state.position, box);
    }
    if (layout.caption > 0) {
      drawCaption(context, frame, tile, box, slot === selectedSlot);
    }
  }
}

export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

function snap(value: number, pixelRatio: number): number {
  return Math.round(value * pixelRatio) / pixelRatio;
}

function drawTile(context: CanvasRenderingContext2D, frame: Frame, tile: number, box: Box): void {
  const { state, palette } = frame;
  drawMap(context, frame, tile, box);
  const badges = badgesOf(state, tile);
  if (badges.length > 0) {
    const color = state.badgeColors[state.badges[String(tile)] ?? ""];
    if (color && frame.layout.caption > CAPTION) {
      drawBadgeBelow(context, frame, badges.join(" "), box, color);
    } else {
      drawBadge(context, palette, badges.join(" "), box, color);
    }
  }
}

/** The colored values of one tile; NaN shows as hatching below transparent pixels. */
export function drawMap(
  context: CanvasRenderingContext2D,
  frame: Pick<Frame, "state" | "bitmaps" | "palette" | "pixelRatio">,
  tile: number,
  box: Box,
): void {
  const { data } = frame.state;
  if (data.specials(tile).missing > 0) {
    context.fillStyle = hatching(context, frame.palette, frame.pixelRatio);
    context.fillRect(box.x, box.y, box.width, box.height);
  }
  // Enlarged values keep their edges; a map shown below its size is averaged, not thinned out.
  context.imageSmoothingEnabled = box.width * frame.pixelRatio < data.columns;
  context.imageSmoothingQuality = "high";
  context.drawImage(frame.bitmaps.get(frame.state, tile), box.x, box.y, box.width, box.height);
}

/** Diagonal lines for what is not a number: no color of a scale looks like that. */
function hatching(
  context: CanvasRenderingContext2D,
  palette: Palette,
  pixelRatio: number,
): CanvasPattern | string {
  const size = 6;
  const stripe = document.createElement("canvas");
  stripe.width = size;
  stripe.height = size;
  const strokes = stripe.getContext("2d");
  if (strokes === null) {
    return palette.muted;
  }
  strokes.fillStyle = palette.sunken;
  strokes.fillRect(0, 0, size, size);
  strokes.strokeStyle = palette.muted;
  strokes.lineWidth = 1;
  for (const start of [-size, 0, size]) {
    strokes.moveTo(start, size);
    strokes.lineTo(start + size, 0);
  }
  strokes.stroke();
  const pattern = context.createPattern(stripe, "repeat");
  pattern?.setTransform(new DOMMatrix().scale(1 / Math.max(1, pixelRatio / 1.5)));
  return pattern ?? palette.muted;
}

function drawOutline(
  context: CanvasRenderingContext2D,
  palette: Palette,
  box: Box,
  selected: boolean,
  hovered: boolean,
): void {
  if (selected) {
    // A ring of the background between tile and accent keeps the mark visible on tiles of any color.
    strokeAround(context, box, 1, 2, palette.background);
    strokeAround(context, box, 2.5, 3, palette.accent);
  } else if (hovered) {
    strokeAround(context, box, 1.5, 1.5, palette.muted);
  }
}

function strokeAround(
  context: CanvasRenderingContext2D,
  box: Box,
  distance: number,
  width: number,
  color: string,
): void {
  context.strokeStyle = color;
  context.lineWidth = width;
  context.strokeRect(
    box.x - distance,
    box.y - distance,
    box.width + 2 * distance,
    box.height + 2 * distance,
  );
}

/** Outline the cell of a map, dark inside light, so that it shows on every color. */
export function drawPosition(
  context: CanvasRenderingContext2D,
  state: State,
  place: { row: number; column: number },
  box: Box,
): void {
  const width = box.width / state.data.columns;
  const height = box.height / state.data.rows;
  const side = Math.max(5, width);
  const x = box.x + (place.column + 0.5) * width - side / 2;
  const y = box.y + (place.row + 0.5) * height - Math.max(5, height) / 2;
  context.lineWidth = 3;
  context.strokeStyle = "rgb(0 0 0 / 75%)";
  context.strokeRect(x, y, side, Math.max(5, height));
  context.lineWidth = 1.25;
  context.strokeStyle = "white";
  context.strokeRect(x, y, side, Math.max(5, height));
}

/** A badge that must not cover its tile: on a line of its own, centered as the caption is. */
function drawBadgeBelow(
  context: CanvasRenderingContext2D,
  { layout, palette }: Frame,
  text: string,
  box: Box,
  color: string,
): void {
  context.font = `600 9px ${palette.font}`;
  const fitted = shorten(context, text, layout.pitchX - 12);
  const width = context.measureText(fitted).width + 8;
  const center = box.x + box.width / 2;
  const top = box.y + box.height + CAPTION + 1;
  context.fillStyle = color;
  context.fillRect(center - width / 2, top, width, 13);
  context.fillStyle = "white";
  context.textAlign = "center";
  context.fillText(fitted, center, top + 9.5);
}

function drawBadge(
  context: CanvasRenderingContext2D,
  palette: Palette,
  text: string,
  box: Box,
  color = "rgb(20 20 20)",
): void {
  context.font = `600 9px ${palette.font}`;
  const room = box.width - 6;
  const fitted = box.width < 20 ? "!" : shorten(context, text, room);
  const width = Math.min(box.width, context.measureText(fitted).width + 8);
  const height = Math.min(13, box.height);
  // A light edge sets the label off from dark tiles as its dark face does from light ones.
  context.fillStyle = "rgb(255 255 255 / 75%)";
  context.fillRect(box.x + box.width - width - 1, box.y, width + 1, height + 1);
  context.fillStyle = color;
  context.fillRect(box.x + box.width - width, box.y, width, height);
  context.fillStyle = "white";
  context.textAlign = "center";
  context.fillText(fitted, box.x + box.width - width / 2, box.y + height - 3.5);
}

function drawCaption(
  context: CanvasRenderingContext2D,
  frame: Frame,
  tile: number,
  box: Box,
  selected: boolean,
): void {
  const { palette, layout } = frame;
  context.font = `${selected ? 600 : 400} 10px ${palette.font}`;
  context.fillStyle = selected ? palette.text : palette.muted;
  context.textAlign = "center";
  const text = shorten(context, captionOf(frame.state, tile), layout.pitchX - 4);
  context.fillText(text, box.x + box.width / 2, box.y + box.height + 12);
}

/** As much of a text as fits, with an ellipsis where it was cut. */
export function shorten(
  context: Pick<CanvasRenderingContext2D, "measureText">,
  text: string,
  room: number,
): string {
  if (context.measureText(text).width <= room) {
    return text;
  }
  const letters = Array.from(text.slice(0, 200));
  let low = 0;
  let high = letters.length;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (context.measureText(`${letters.slice(0, middle).join("")}\u2026`).width <= room) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low > 0 ? `${letters.slice(0, low).join("")}\u2026` : (letters[0] ?? "");
}
