/** Where each tile is, what is under a point, and where a key leads: plain arithmetic. */

export interface LayoutInput {
  /** Width of the scrolling area in CSS pixels. */
  width: number;
  /** Number of tiles on show. */
  count: number;
  /** Carried rows and columns of a tile. */
  rows: number;
  columns: number;
  /** Longer side of a tile in CSS pixels; 0 picks one. */
  tileSize: number;
  pixelRatio: number;
  /** Whether each tile has a badge below it. */
  badges?: boolean;
}

export interface Layout {
  /** The longer side of a map as shown. */
  tileSize: number;
  tileWidth: number;
  tileHeight: number;
  /** From the left (top) of one tile to the left (top) of the next. */
  pitchX: number;
  pitchY: number;
  /** Free space around all tiles. */
  inset: number;
  /** Height of what stands below each tile; 0 where the tiles are too narrow for one. */
  caption: number;
  across: number;
  down: number;
  height: number;
  count: number;
}

export interface Hit {
  slot: number;
  /** The place in the tile, as shares of its height and width, in [0, 1); none on the line below it. */
  place: { y: number; x: number } | undefined;
}

const INSET = 8;
export const CAPTION = 15;
const BADGE_LINE = 15;
const WIDEST_EXTRA_GAP = 12;
const NARROWEST_CAPTION = 22;
const THINNEST_TILE = 6;
export const SMALLEST_TILE = 16;
export const LARGEST_TILE = 320;

/** A size that suits the maps: few tiles large, many small, and no map shown much below its own size. */
export function automaticTileSize(count: number, rows: number, columns: number): number {
  const longest = Math.max(rows, columns);
  const wanted = count <= 4 ? 168 : count <= 24 ? 112 : 72;
  if (longest >= wanted) {
    return Math.min(longest, wanted + 40);
  }
  return longest * Math.max(1, Math.round(wanted / longest));
}

/** Arrange the tiles in rows, each pixel of a map on a whole number of screen pixels where it is enlarged. */
export function arrange(input: LayoutInput): Layout {
  const { count, rows, columns, pixelRatio } = input;
  const longest = Math.max(rows, columns);
  const room = Math.max(THINNEST_TILE, input.width - 2 * INSET);
  const wanted = input.tileSize > 0 ? input.tileSize : automaticTileSize(count, rows, columns);
  const perValue = wholeScreenPixels(Math.min(wanted / longest, room / columns), pixelRatio);
  const tileWidth = Math.max(THINNEST_TILE, columns * perValue);
  const tileHeight = Math.max(THINNEST_TILE, rows * perValue);
  const gap = tileWidth < 36 ? 4 : 8;
  const caption = tileWidth < NARROWEST_CAPTION ? 0 : CAPTION + (input.badges ? BADGE_LINE : 0);
  const pitchY = tileHeight + caption + gap;
  const across = Math.max(1, Math.floor((room + gap) / (tileWidth + gap)));
  const down = Math.ceil(count / across);
  // What is left of the width widens the gaps a little, so that full rows reach the edge.
  const left =
    down > 1 && across > 1 ? (room - across * (tileWidth + gap) + gap) / (across - 1) : 0;
  const pitchX = tileWidth + gap + Math.min(WIDEST_EXTRA_GAP, Math.floor(left));
  const height = count === 0 ? 0 : 2 * INSET + down * pitchY - gap;
  return {
    tileSize: longest * perValue,
    tileWidth,
    tileHeight,
    pitchX,
    pitchY,
    inset: INSET,
    caption,
    across,
    down,
    height,
    count,
  };
}

function wholeScreenPixels(perValue: number, pixelRatio: number): number {
  const screen = perValue * pixelRatio;
  // Below one screen pixel a value there is nothing to keep whole; the picture is smoothed instead. The
  // small allowance keeps sizes that are whole already from falling by rounding.
  return screen >= 1 ? Math.floor(screen + 1e-6) / pixelRatio : perValue;
}

/** The left top corner of a tile. */
export function cornerOf(layout: Layout, slot: number): { x: number; y: number } {
  return {
    x: layout.inset + (slot % layout.across) * layout.pitchX,
    y: layout.inset + Math.floor(slot / layout.across) * layout.pitchY,
  };
}

/** The tile under a point of the content, its caption included; `undefined` in the gaps. */
export function hitTest(layout: Layout, x: number, y: number): Hit | undefined {
  const column = Math.floor((x - layout.inset) / layout.pitchX);
  const row = Math.floor((y - layout.inset) / layout.pitchY);
  if (column < 0 || column >= layout.across || row < 0) {
    return undefined;
  }
  const slot = row * layout.across + column;
  const right = x - layout.inset - column * layout.pitchX;
  const below = y - layout.inset - row * layout.pitchY;
  const { tileWidth, tileHeight, caption } = layout;
  if (slot >= layout.count || right >= tileWidth || below >= tileHeight + caption) {
    return undefined;
  }
  const place = below < tileHeight ? { y: below / tileHeight, x: right / tileWidth } : undefined;
  return { slot, place };
}

/** The tiles that a window of the content touches: first, and the one after the last. */
export function visibleSlots(layout: Layout, top: number, height: number): [number, number] {
  const first = Math.max(0, Math.floor((top - layout.inset) / layout.pitchY));
  const last = Math.max(first, Math.ceil((top + height - layout.inset) / layout.pitchY));
  return [
    Math.min(layout.count, first * layout.across),
    Math.min(layout.count, last * layout.across),
  ];
}

/** Where to scroll so that a tile is wholly seen, moving as little as possible. */
export function scrollToShow(layout: Layout, slot: number, top: number, height: number): number {
  const { y } = cornerOf(layout, slot);
  const upper = y - layout.inset;
  const lower = y + layout.tileHeight + layout.caption + layout.inset;
  if (upper < top) {
    return upper;
  }
  return lower > top + height ? Math.min(upper, lower - height) : top;
}

/**
 * The tile a key leads to; `undefined` for keys that do not move. As in the grid pattern of ARIA: Home and End
 * go to the ends of the row, with Control to the first and the last tile.
 */
export function moveByKey(
  layout: Layout,
  slot: number,
  key: string,
  control: boolean,
  pageHeight: number,
): number | undefined {
  if (layout.count === 0) {
    return undefined;
  }
  const { across } = layout;
  const last = layout.count - 1;
  const page = across * Math.max(1, Math.floor(pageHeight / layout.pitchY));
  const rowStart = slot - (Math.max(0, slot) % across);
  const targets: Record<string, number> = {
    ArrowLeft: slot - 1,
    ArrowRight: slot + 1,
    ArrowUp: slot - across,
    ArrowDown: slot + across,
    PageUp: slot - page,
    PageDown: slot + page,
    Home: control ? 0 : rowStart,
    End: control ? last : Math.min(last, rowStart + across - 1),
  };
  const target = targets[key];
  if (target === undefined) {
    return undefined;
  }
  if (slot < 0) {
    return key === "End" && control ? last : 0; // nothing is selected yet: any key enters the grid
  }
  if (key === "ArrowUp" || key === "ArrowDown") {
    return target < 0 || target > last ? nearestInColumn(layout, slot, key) : target;
  }
  if (key === "PageUp") {
    return target < 0 ? slot % across : target;
  }
  if (key === "PageDown") {
    return target > last ? lastInColumn(layout, slot) : target;
  }
  return Math.min(last, Math.max(0, target));
}

function nearestInColumn(layout: Layout, slot: number, key: string): number {
  const lastRow = Math.floor((layout.count - 1) / layout.across);
  const row = Math.floor(slot / layout.across);
  // Down into a last row that is shorter: to its end.
  return key === "ArrowDown" && row < lastRow ? layout.count - 1 : slot;
}

function lastInColumn(layout: Layout, slot: number): number {
  const column = slot % layout.across;
  const inLastRow = Math.floor((layout.count - 1) / layout.across) * layout.across + column;
  return inLastRow < layout.count ? inLastRow : Math.max(column, inLastRow - layout.across);
}

/**
 * The tile sizes worth offering, smallest first: those at which a value takes a whole number of screen
 * pixels, or a whole number of values one pixel, thinned out where they lie close together.
 */
export function tileSizes(rows: number, columns: number, pixelRatio: number): number[] {
  const longest = Math.max(rows, columns) / pixelRatio;
  const sizes: number[] = [];
  for (let part = Math.ceil(longest / SMALLEST_TILE); part > 1; part -= 1) {
    sizes.push(longest / part);
  }
  for (let times = 1; times * longest <= LARGEST_TILE; times += 1) {
    sizes.push(longest * times);
  }
  const offered: number[] = [];
  for (const size of sizes) {
    const previous = offered.at(-1) ?? 0;
    if (size >= SMALLEST_TILE && size <= LARGEST_TILE && size >= previous * 1.2) {
      offered.push(size);
    }
  }
  return offered;
}

/** The next offered size above or below the present one; `undefined` at the end. */
export function nextTileSize(sizes: number[], now: number, up: boolean): number | undefined {
  return up
    ? sizes.find((size) => size > now * 1.05)
    : [...sizes].reverse().find((size) => size < now / 1.05);
}
