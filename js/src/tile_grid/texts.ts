/** What is said about a tile and about a place in it, for eyes and for screen readers. */
import { formatCount, formatNumber, formatWithin } from "../lib/format";
import type { Range } from "./data";
import type { State } from "./state";

/** The name of a tile: its label, or "channel 12". */
export function labelOf(state: State, tile: number): string {
  return state.labels[tile] ?? `${state.noun} ${tile}`;
}

/** What stands below a tile, where there is little room. */
export function captionOf(state: State, tile: number): string {
  return state.labels[tile] ?? String(tile);
}

/** Remarks on a tile: the badge it was given, and whether it has NaN or infinities. */
export function badgesOf(state: State, tile: number): string[] {
  const { missing, infinite } = state.data.specials(tile);
  const given = state.badges[String(tile)];
  return [
    ...(given ? [given] : []),
    ...(missing > 0 ? ["NaN"] : []),
    ...(infinite > 0 ? ["\u221e"] : []),
  ];
}

/** The range of values as text: "0 … 3.41", or that all of them are the same. */
export function rangeText({ low, high }: Range): string {
  if (Number.isNaN(low)) {
    return "no finite value";
  }
  return low === high
    ? `constant at ${formatNumber(low)}`
    : `${formatNumber(low)} \u2026 ${formatNumber(high)}`;
}

/** One line on a tile: name, range, badges, and how many of its values are NaN or infinite. */
export function describeTile(state: State, tile: number): string {
  const { data } = state;
  const parts = [labelOf(state, tile)];
  const given = state.badges[String(tile)];
  if (given) {
    parts.push(given);
  }
  if (!data.pictures) {
    parts.push(rangeText(data.range(tile)));
    const { missing, infinite } = data.specials(tile);
    if (missing > 0) {
      parts.push(`${formatCount(missing)} NaN`);
    }
    if (infinite > 0) {
      parts.push(`${formatCount(infinite)} infinite`);
    }
  }
  return parts.join(" \u00b7 ");
}

/** Rows and columns of the maps themselves that a carried place stands for. */
export function placeText(state: State, row: number, column: number): string {
  const { axes, data } = state;
  const { factor, extent } = data;
  return `${axes[0]} ${span(row, factor, extent.rows)}, ${axes[1]} ${span(column, factor, extent.columns)}`;
}

function span(index: number, factor: number, limit: number): string {
  const first = index * factor;
  const last = Math.min(limit, first + factor) - 1;
  return first === last ? String(first) : `${first}\u2013${last}`;
}

/** The value at a place with its unit, "≈" where the carried precision is below the digits shown. */
export function valueText(state: State, tile: number, row: number, column: number): string {
  const { data } = state;
  if (data.pictures) {
    const [red, green, blue] = data.color(tile, row, column);
    return `red ${red}, green ${green}, blue ${blue}`;
  }
  const mean = data.factor > 1 ? ` (mean of ${data.factor}\u00d7${data.factor})` : "";
  const texts = (data.colored ? ["red ", "green ", "blue "] : [""]).map((name, channel) => {
    const { value, error } = data.read(tile, row, column, channel);
    return name + formatWithin(value, error);
  });
  return `${texts.join(", ")} ${state.unit}${mean}`;
}

/** How many tiles are on show, and what was done to make them fit. */
export function countText(state: State): string {
  const shown = state.order.length;
  const { count, factor, extent } = state.data;
  const noun = shown === 1 && count === 1 ? state.noun : plural(state.noun);
  const counted =
    shown === count
      ? `${formatCount(count)} ${noun}`
      : `${formatCount(shown)} of ${formatCount(count)} ${noun}`;
  const size = `${extent.rows}\u00d7${extent.columns}`;
  const means = factor > 1 ? ` as means of ${factor}\u00d7${factor}` : "";
  const step = state.step === undefined ? "" : `, step ${formatCount(state.step)}`;
  return `${counted}, ${size}${means}${step}`;
}

/** What stands in place of the tiles when there are none. */
export function emptyText(state: State): string {
  if (state.data.count === 0) {
    return `No ${plural(state.noun)} to show.`;
  }
  return `The filter leaves none of the ${formatCount(state.data.count)} ${plural(state.noun)}.`;
}

function plural(noun: string): string {
  return /(?:s|x|z|ch|sh)$/.test(noun) ? `${noun}es` : `${noun}s`;
}
