/** What one view shows, read from the model's traits in one go. */
import type { AnyModel } from "@anywidget/types";
import { asUint32, type Binary } from "../lib/buffers";
import { nearestStep } from "../lib/steps";
import { type DataTraits, TileData } from "./data";
import { type ColorTable, colorTable, type ScaleChoice } from "./scale";

export interface Traits extends DataTraits, Record<string, unknown> {
  _labels: string[];
  _badges: Record<string, string>;
  _badge_colors: Record<string, string>;
  _order: Binary;
  _serial: number;
  _tables: Binary;
  _sequential_names: string[];
  _diverging_names: string[];
  unit: string;
  noun: string;
  axes: string[];
  scale: string;
  zero_centered: boolean;
  sequential: string;
  diverging: string;
  tile_size: number;
  max_height: number;
  selected: number;
  enlarged: number;
  picks: boolean;
  position: number[];
  pointer: number[];
  step: number;
}

export type Model = AnyModel<Traits>;

export interface State {
  data: TileData;
  /** Tile index by slot: what is shown, in the order it is shown. */
  order: Uint32Array;
  /** Slot by tile index, -1 for tiles not on show. */
  slots: Int32Array;
  serial: number;
  /** The training step on show, if there are several. */
  step: number | undefined;
  labels: string[];
  badges: Record<string, string>;
  /** Badges that stand below their tile, with the color of each. */
  badgeColors: Record<string, string>;
  unit: string;
  noun: string;
  /** What rows and columns are called. */
  axes: string[];
  choice: ScaleChoice;
  table: ColorTable;
  /** All that the colors of a tile depend on, besides its index. */
  colorKey: string;
  tileSize: number;
  maxHeight: number;
  selected: number;
  enlarged: number;
  /** Whether a click and Enter pick a tile, which Python acts on, instead of enlarging it. */
  picks: boolean;
  /** The marked place in carried rows and columns, if there is one. */
  position: { row: number; column: number } | undefined;
}

/** What changes the tiles themselves. */
export const DATA_TRAITS = [
  "_serial",
  "_data",
  "_ranges",
  "_shape",
  "_extent",
  "_factor",
  "_encoding",
  "_channels",
  "_steps",
] as const;

/** What changes how they are shown. */
export const VIEW_TRAITS = [
  "_labels",
  "_badges",
  "_badge_colors",
  "_order",
  "unit",
  "noun",
  "axes",
  "scale",
  "zero_centered",
  "sequential",
  "diverging",
  "tile_size",
  "max_height",
  "selected",
  "enlarged",
  "picks",
  "position",
  "step",
] as const;

/** The decoded tiles of a model, shared by all of its views and decoded once. */
export class TileStore {
  #data: TileData | undefined;
  #order: { source: Binary; order: Uint32Array; slots: Int32Array } | undefined;

  /** Forget the tiles: the model has others. */
  clear(): void {
    this.#data = undefined;
    this.#order = undefined;
  }

  read(model: Model): State {
    const steps = model.get("_steps");
    const frame = Math.max(0, nearestStep(steps, model.get("step")));
    if (this.#data?.frame !== frame) {
      this.#data = this.#readData(model, steps, frame);
    }
    const data = this.#data;
    const { order, slots } = this.#readOrder(model.get("_order"), data.count);
    const zeroCentered = data.colored || model.get("zero_centered");
    const shared = model.get("scale") === "shared";
    const { table, name } = readTable(model, zeroCentered);
    return {
      data,
      order,
      slots,
      serial: model.get("_serial"),
      step: steps[frame],
      labels: model.get("_labels"),
      badges: badgesOf(model.get("_badges"), frame * data.count, data.count),
      badgeColors: model.get("_badge_colors"),
      unit: model.get("unit"),
      noun: model.get("noun"),
      axes: model.get("axes"),
      choice: { shared, zeroCentered },
      table,
      colorKey: `${shared} ${zeroCentered} ${name} ${data.colored}`,
      tileSize: model.get("tile_size"),
      maxHeight: model.get("max_height"),
      selected: model.get("selected"),
      enlarged: model.get("enlarged"),
      picks: model.get("picks"),
      position: readPosition(model.get("position"), data),
    };
  }

  #readData(model: Model, steps: number[], frame: number): TileData {
    const traits = {
      _data: model.get("_data"),
      _ranges: model.get("_ranges"),
      _shape: model.get("_shape"),
      _extent: model.get("_extent"),
      _factor: model.get("_factor"),
      _encoding: model.get("_encoding"),
      _channels: model.get("_channels"),
      _steps: steps,
    };
    return new TileData(traits, frame);
  }

  #readOrder(source: Binary, count: number): { order: Uint32Array; slots: Int32Array } {
    if (this.#order === undefined || this.#order.source !== source) {
      const order = asUint32(source);
      const slots = new Int32Array(count).fill(-1);
      order.forEach((tile, slot) => {
        slots[tile] = slot;
      });
      this.#order = { source, order, slots };
    }
    return this.#order;
  }
}

/** The badges of one frame, whose tiles are counted on from those of the frames before. */
function badgesOf(badges: Record<string, string>, first: number, count: number): State["badges"] {
  const inFrame = Object.entries(badges)
    .map(([key, text]): [number, string] => [Number(key) - first, text])
    .filter(([tile]) => tile >= 0 && tile < count);
  return Object.fromEntries(inFrame);
}

function readTable(model: Model, zeroCentered: boolean): { table: ColorTable; name: string } {
  const sequential = model.get("_sequential_names");
  const names = [...sequential, ...model.get("_diverging_names")];
  const name = model.get(zeroCentered ? "diverging" : "sequential");
  return { table: colorTable(model.get("_tables"), names.indexOf(name)), name };
}

function readPosition(position: number[], data: TileData): State["position"] {
  const [row = -1, column = -1] = position;
  if (row < 0 || column < 0 || row >= data.extent.rows || column >= data.extent.columns) {
    return undefined;
  }
  return { row: Math.floor(row / data.factor), column: Math.floor(column / data.factor) };
}
