/** A map that goes along with another one, when that one shows other points. */
import { describe, expect, it } from "vitest";
import { MapStore, type Model, type PlacesModel } from "../src/embedding_map/state";
import { EmbeddingMapView } from "../src/embedding_map/view";
import { fakeModel } from "./fake_model";

const places = (count: number) => Float32Array.from({ length: 2 * count }, (_, i) => i % 7);
/** What belongs to points of two classes; two bytes a label tell more than 254 classes apart. */
const dataOf = (count: number, bytes: number) => ({
  _points: places(count),
  _labels: new Uint8Array(count * bytes),
});

describe("a linked map", () => {
  it.each([
    [3, 1],
    [9, 1],
    [3, 2],
  ])("shows nothing of 5 points once there are %i (%i bytes a label)", async (count, bytes) => {
    const shared = fakeModel({
      ...dataOf(5, 1),
      _serial: 0,
      _drawn: -1,
      height: 200,
      _class_names: ["cat", "dog"],
      _predictions: null,
      _values: null,
      _names: [],
      _ids: null,
      _unjudged: [],
      _pages: [],
      _atlas: [0, 0, 0, 0, 1, 1],
      _note: "",
      _class_colors: Uint8Array.from([1, 2, 3, 4, 5, 6]),
      _value_colors: null,
      value_name: "value",
      color_by: "label",
      selected: [4],
      current: 4,
      query: "",
      thumbnails_shown: true,
    });
    const model = fakeModel({ _points: places(5), _serial: 0, _drawn: -1, height: 200, map: "" });
    const el = document.createElement("div");
    const store = new MapStore();
    const models = [model as unknown as PlacesModel, shared as unknown as Model] as const;
    const view = new EmbeddingMapView(...models, store, el);
    const footer = () => el.querySelector(".cvz-map-footer")?.textContent;
    expect(footer()).toContain("5 points");
    shared.receive({ ...dataOf(count, bytes), selected: [], current: -1, _serial: 1 });
    await Promise.resolve();
    expect(footer()).toContain(`${count} points`);
    expect(footer()).toContain("no places here yet");
    expect(store.points(...models).count).toBe(0);
    // Its places arrive in a message of their own.
    store.forgetPoints();
    model.receive({ _points: places(count), _serial: 1 });
    await Promise.resolve();
    expect(footer()).not.toContain("no places");
    expect(store.points(...models).count).toBe(count);
    view.close();
    expect(shared.listeners + model.listeners).toBe(0);
  });
});
