/** What one view shows, read from the model's traits. */
import type { AnyModel } from "@anywidget/types";
import { asFloat32, asUint8, asUint16, asUint32, type Binary } from "../lib/buffers";
import { formatNumber } from "../lib/format";
import { Thumbnails } from "./atlas";
import { type ColorSource, isRight, UNKNOWN } from "./colors";
import { PointSet } from "./points";

/** Where points are; with the reference of another map whose points they are, of which the rest is true. */
export interface Places extends Record<string, unknown> {
  _points: Binary;
  _serial: number;
  _drawn: number;
  height: number;
  map?: string;
}

export interface Traits extends Places {
  _class_names: string[];
  _labels: Binary;
  _predictions: Binary;
  _values: Binary;
  _names: string[];
  _ids: Binary;
  _unjudged: number[];
  _pages: Binary[];
  _atlas: number[];
  _note: string;
  _class_colors: Binary;
  _value_colors: Binary;
  value_name: string;
  color_by: string;
  selected: number[];
  current: number;
  query: string;
  thumbnails_shown: boolean;
}

export type Model = AnyModel<Traits>;
export type PlacesModel = AnyModel<Places>;

/** The model that says what the points are: another map's, or the model itself. */
export async function sharedOf(model: PlacesModel): Promise<Model> {
  const reference = model.get("map");
  return reference === undefined
    ? (model as unknown as Model)
    : await model.widget_manager.get_model<Traits>(reference.replace("IPY_MODEL_", ""));
}

export const POINT_TRAITS = ["_points", "_serial"] as const;
export const THUMBNAIL_TRAITS = ["_pages", "_atlas"] as const;
export const CLASS_TRAITS = [
  "_class_names",
  "_labels",
  "_predictions",
  "_values",
  "_names",
  "_ids",
  "_unjudged",
  "_class_colors",
  "_value_colors",
  "value_name",
  "_note",
] as const;

/** What the points are, without where they are. */
export interface Subjects extends ColorSource {
  names: readonly string[];
  /** What the points are numbered; empty where that is their index. */
  ids: Uint32Array;
  valueName: string;
  note: string;
}

/** What all views of one model share: points and thumbnails, decoded once. */
export class MapStore {
  #points: PointSet | undefined;
  /** How many points there are to be placed. */
  #expected = -1;
  #thumbnails: Thumbnails | undefined;

  forgetPoints(): void {
    this.#points = undefined;
  }

  forgetThumbnails(): void {
    this.#thumbnails?.close();
    this.#thumbnails = undefined;
  }

  /** The points at the model's places; none as long as another map has others, which these are not places of. */
  points(model: PlacesModel, shared: PlacesModel): PointSet {
    const expected = countOf(shared);
    if (this.#points === undefined || this.#expected !== expected) {
      const there = countOf(model) === expected;
      this.#points = new PointSet(there ? asFloat32(model.get("_points")) : new Float32Array(0));
      this.#expected = expected;
    }
    return this.#points;
  }

  thumbnails(model: Model): Thumbnails {
    this.#thumbnails ??= new Thumbnails(model.get("_pages"), model.get("_atlas"));
    return this.#thumbnails;
  }
}

/** How many points a model has places of, x and y in four bytes each. */
function countOf(model: PlacesModel): number {
  return asUint8(model.get("_points")).byteLength / 8;
}

export function readSubjects(model: Model): Subjects {
  const count = countOf(model);
  return {
    count,
    mode: model.get("color_by"),
    classNames: model.get("_class_names"),
    labels: readCodes(model.get("_labels"), count),
    predictions: readCodes(model.get("_predictions"), count),
    values: asFloat32(model.get("_values")),
    classColors: asUint8(model.get("_class_colors")),
    valueColors: asUint8(model.get("_value_colors")),
    names: model.get("_names"),
    ids: asUint32(model.get("_ids")),
    unjudged: new Set(model.get("_unjudged")),
    valueName: model.get("value_name"),
    note: model.get("_note"),
  };
}

/** The class of each point: one byte where there are few classes, else two, the largest for unknown. */
export function readCodes(data: Binary, count: number): Uint16Array {
  const bytes = asUint8(data);
  return bytes.length === count
    ? Uint16Array.from(bytes, (code) => (code === 255 ? UNKNOWN : code))
    : asUint16(bytes);
}

/** What the points can be colored by, with what the switch calls it. */
export function colorModes(subjects: Subjects): [string, string][] {
  const modes: [string, string, boolean][] = [
    ["label", "Label", subjects.labels.length > 0],
    ["prediction", "Prediction", subjects.predictions.length > 0],
    ["correct", "Right or wrong", subjects.labels.length > 0 && subjects.predictions.length > 0],
    ["value", subjects.valueName, subjects.values.length > 0],
    ["none", "One color", true],
  ];
  return modes.filter(([, , there]) => there).map(([mode, text]) => [mode, text]);
}

/** What a hover text says about a point. */
export interface Description {
  title: string;
  prediction: string;
  right: boolean | undefined;
  value: string;
  name: string;
}

export function describe(subjects: Subjects, index: number): Description {
  const label = className(subjects, subjects.labels, index);
  const told = className(subjects, subjects.predictions, index);
  const value = subjects.values[index];
  // A number to look something up by: no separators.
  const number = String(subjects.ids[index] ?? index);
  return {
    title: label ?? `Point ${number}`,
    prediction: told === undefined ? "" : `predicted ${told}`,
    right: isRight(subjects, index),
    value: value === undefined ? "" : `${subjects.valueName} ${formatNumber(value)}`,
    name: [subjects.names[index] ?? "", label === undefined ? "" : `#${number}`]
      .filter((part) => part !== "")
      .join(" · "),
  };
}

/** The same in one line, to be read out. */
export function describeAloud(subjects: Subjects, index: number): string {
  const { title, prediction, right, value, name } = describe(subjects, index);
  const judged = right === undefined ? "" : right ? " (right)" : " (wrong)";
  return [title, prediction + judged, value, name].filter((part) => part.trim() !== "").join(", ");
}

function className(subjects: Subjects, codes: Uint16Array, index: number): string | undefined {
  const code = codes[index];
  if (code === undefined) {
    return undefined;
  }
  return code === UNKNOWN ? "unknown" : (subjects.classNames[code] ?? "");
}
