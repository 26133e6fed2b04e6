/** What color each point has, and what the colors mean. */

export type Rgb = readonly [number, number, number];

/** The code of a point without a class. */
export const UNKNOWN = 65_535;

export const GRAY: Rgb = [148, 148, 148];
export const PLAIN: Rgb = [63, 144, 218];

/** Of right and wrong predictions, among the class colors (as in `render/map_still.py`). */
export const RIGHT = 0;
export const WRONG = 6;

export interface LegendEntry {
  name: string;
  color: Rgb;
  count: number;
  /** Whether the name is that of a label, which can be searched for. */
  isClass: boolean;
}

export interface Coloring {
  /** Index into the palette, by point. */
  codes: Uint16Array;
  palette: readonly Rgb[];
  legend: readonly LegendEntry[];
  /** Ends of the scale of values; undefined for classes, or where no value is finite. */
  ends: { low: number; high: number } | undefined;
}

export interface ColorSource {
  count: number;
  mode: string;
  classNames: readonly string[];
  labels: Uint16Array;
  predictions: Uint16Array;
  values: Float32Array;
  /** Classes that no prediction can be: neither right nor wrong. */
  unjudged: ReadonlySet<number>;
  classColors: Uint8Array;
  valueColors: Uint8Array;
}

export function paletteOf(bytes: Uint8Array): Rgb[] {
  const colors: Rgb[] = [];
  for (let i = 0; i + 2 < bytes.length; i += 3) {
    colors.push([bytes[i] ?? 0, bytes[i + 1] ?? 0, bytes[i + 2] ?? 0]);
  }
  return colors;
}

export function css(color: Rgb): string {
  return `rgb(${color.join(" ")})`;
}

export function colorPoints(source: ColorSource): Coloring {
  switch (source.mode) {
    case "label":
      return byClass(source, source.labels);
    case "prediction":
      return byClass(source, source.predictions);
    case "correct":
      return byCorrectness(source);
    case "value":
      return byValue(source);
    default: {
      const codes = new Uint16Array(source.count);
      return { codes, palette: [PLAIN], legend: [], ends: undefined };
    }
  }
}

/** Whether a point was told right: undefined where that is unknown. */
export function isRight(source: ColorSource, index: number): boolean | undefined {
  const label = source.labels[index] ?? UNKNOWN;
  const told = source.predictions[index] ?? UNKNOWN;
  const unknown = label === UNKNOWN || told === UNKNOWN || source.unjudged.has(label);
  return unknown ? undefined : label === told;
}

function byClass(source: ColorSource, classes: Uint16Array): Coloring {
  const colors = paletteOf(source.classColors);
  const codes = new Uint16Array(source.count);
  const counts = new Map<number, number>();
  for (let index = 0; index < source.count; index += 1) {
    const code = classes[index] ?? UNKNOWN;
    counts.set(code, (counts.get(code) ?? 0) + 1);
    codes[index] = code === UNKNOWN ? colors.length : code % colors.length;
  }
  const palette = [...colors, GRAY];
  const legend = [...counts.entries()]
    .sort(([a], [b]) => a - b)
    .map(([code, count]) => ({
      name: code === UNKNOWN ? "unknown" : (source.classNames[code] ?? ""),
      color: code === UNKNOWN ? GRAY : (colors[code % colors.length] ?? GRAY),
      count,
      isClass: code !== UNKNOWN && source.mode === "label",
    }));
  return { codes, palette, legend, ends: undefined };
}

function byCorrectness(source: ColorSource): Coloring {
  const colors = paletteOf(source.classColors);
  const palette = [colors[RIGHT] ?? PLAIN, colors[WRONG] ?? GRAY, GRAY];
  const codes = new Uint16Array(source.count);
  const counts = [0, 0, 0];
  for (let index = 0; index < source.count; index += 1) {
    const right = isRight(source, index);
    const code = right === undefined ? 2 : right ? 0 : 1;
    codes[index] = code;
    counts[code] = (counts[code] ?? 0) + 1;
  }
  const legend = ["right", "wrong", "unknown"]
    .map((name, code) => ({
      name,
      color: palette[code] ?? GRAY,
      count: counts[code] ?? 0,
      isClass: false,
    }))
    .filter(({ name, count }) => name !== "unknown" || count > 0);
  return { codes, palette, legend, ends: undefined };
}

function byValue(source: ColorSource): Coloring {
  const palette = [...paletteOf(source.valueColors), GRAY];
  const last = palette.length - 2;
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  let unknown = 0;
  for (const value of source.values) {
    if (Number.isFinite(value)) {
      low = Math.min(low, value);
      high = Math.max(high, value);
    } else {
      unknown += 1;
    }
  }
  if (low < 0) {
    high = Math.max(high, -low);
    low = -high;
  }
  const span = high - low;
  const codes = Uint16Array.from(source.values, (value) => {
    if (!Number.isFinite(value)) {
      return last + 1;
    }
    return span > 0 ? Math.floor(((value - low) / span) * last + 0.5) : 0;
  });
  const legend =
    unknown > 0 ? [{ name: "unknown", color: GRAY, count: unknown, isClass: false }] : [];
  return { codes, palette, legend, ends: low <= high ? { low, high } : undefined };
}

/** How a point stands out: faded, as usual, or in front of the others. */
export const FADED = 0;
export const USUAL = 1;
export const STRONG = 2;

/** Selected and found points stand out and the others fade, where there are any. */
export function emphasize(
  count: number,
  selected: readonly number[],
  found: Uint8Array | undefined,
): Uint8Array {
  const active = selected.length > 0 || found !== undefined;
  const emphasis = new Uint8Array(count).fill(active ? FADED : USUAL);
  found?.forEach((hit, index) => {
    if (hit) {
      emphasis[index] = STRONG;
    }
  });
  for (const index of selected) {
    emphasis[index] = STRONG;
  }
  return emphasis;
}

/** The order to draw in: what stands out comes last, on top. */
export function drawingOrder(emphasis: Uint8Array): Uint32Array {
  const order = new Uint32Array(emphasis.length);
  let place = 0;
  for (const level of [FADED, USUAL, STRONG]) {
    for (let index = 0; index < emphasis.length; index += 1) {
      if (emphasis[index] === level) {
        order[place] = index;
        place += 1;
      }
    }
  }
  return order;
}
