import type { AnyModel } from "@anywidget/types";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { LayerTreeView, type Traits } from "../src/layer_tree/view";
import { fakeModel } from "./fake_model";

const HOSTILE = "<img src=x onerror=alert(1)>";

function traits(): Traits {
  return {
    _rows: [
      { name: "a", kind: "Sequential", shapes: [[4, 2, 2]], parameters: 10 },
      { name: "a.conv", kind: "Conv2d", shapes: [[4, 2, 2]], parameters: 10 },
      {
        name: "a.relu",
        kind: "ReLU",
        shapes: [
          [4, 2, 2],
          [4, 1, 1],
        ],
        parameters: 0,
      },
      { name: "aux", kind: "Linear", shapes: [], parameters: 3 },
      { name: HOSTILE, kind: HOSTILE, shapes: [[1]], parameters: 0 },
    ],
    _expanded: ["a"],
    _query: "",
    selected: "a.conv",
    selected_call: -1,
    max_height: 300,
    shapes: "output",
    missing: "not a layer",
  };
}

describe("LayerTreeView", () => {
  let model = fakeModel(traits());
  let host = document.createElement("div");
  let view: LayerTreeView;

  const settle = () => new Promise<void>((resolve) => queueMicrotask(resolve));
  const rows = () => [...host.querySelectorAll<HTMLElement>("[role=treeitem]")];
  const labels = () => rows().map((row) => row.querySelector(".cvz-tree-name")?.textContent);
  const active = () => document.querySelector("[role=treeitem]:focus .cvz-tree-name")?.textContent;
  const selected = () => rows().filter((row) => row.getAttribute("aria-selected") === "true");
  const press = async (...keys: string[]) => {
    for (const key of keys) {
      document.activeElement?.dispatchEvent(
        new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }),
      );
      await settle();
    }
  };
  const search = async (text: string) => {
    const field = host.querySelector("input") as HTMLInputElement;
    field.value = text;
    field.dispatchEvent(new Event("input"));
    await settle();
  };

  beforeEach(() => {
    model = fakeModel(traits());
    host = document.createElement("div");
    document.body.append(host);
    view = new LayerTreeView(model as AnyModel<Traits>, host);
  });
  afterEach(() => {
    view.close();
    host.remove();
  });

  it("shows the tree with the selected row as its only tab stop", () => {
    expect(labels()).toEqual(["a", "conv", "relu", "aux", HOSTILE]);
    expect(selected().map((row) => row.title.split("\n")[0])).toEqual(["a.conv"]);
    expect(rows().map((row) => row.tabIndex)).toEqual([-1, 0, -1, -1, -1]);
    expect(rows()[3]?.getAttribute("aria-disabled")).toBe("true");
    expect(rows()[3]?.textContent).toContain("never called");
  });

  it("shows hostile names as text, marked or not", async () => {
    await search("onerror");
    expect(labels()).toEqual([HOSTILE]);
    expect(host.querySelector("img")).toBeNull();
    expect([...host.querySelectorAll("mark")].map((mark) => mark.textContent)).toEqual([
      "onerror",
      "onerror",
    ]);
  });

  it("marks several finds and leaves the text whole", async () => {
    await search("x one ert");
    expect(labels()).toEqual([HOSTILE]);
    const marks = [...(rows()[0]?.querySelectorAll(".cvz-tree-name mark") ?? [])];
    expect(marks.map((mark) => mark.textContent)).toEqual(["x", "one", "ert"]);
  });

  it("keeps the focus in the tree when the focused row folds away", async () => {
    rows()[2]?.focus();
    model.receive({ _expanded: [] });
    await settle();
    expect(labels()).toEqual(["a", "aux", HOSTILE]);
    expect(active()).toBe("a");
  });

  it("walks by keys, expands, collapses, and selects a call", async () => {
    rows()[1]?.focus();
    await press("ArrowDown", "ArrowRight");
    expect(labels()).toEqual(["a", "conv", "relu", "call 0", "call 1", "aux", HOSTILE]);
    expect(active()).toBe("relu");
    await press("ArrowRight", "ArrowDown", "Enter");
    expect(model.saved.at(-1)).toEqual({ selected: "a.relu", selected_call: 1 });
    expect(selected().map((row) => row.title.split("\n")[0])).toEqual(["a.relu, call 1"]);
    await press("ArrowLeft");
    expect(active()).toBe("relu");
    await press("ArrowLeft");
    expect(labels()).toEqual(["a", "conv", "relu", "aux", HOSTILE]);
    await press("End", "Home", "a");
    expect(active()).toBe("aux");
  });

  it("selects nothing where there is nothing to show", async () => {
    rows()[3]?.click();
    rows()[3]?.focus();
    await press("Enter", " ");
    expect(model.get("selected")).toBe("a.conv");
    expect(model.saved).toEqual([]);
  });

  it("selects by click, and toggles by the triangle only", async () => {
    rows()[0]?.click();
    await settle();
    expect(model.saved).toEqual([{ selected: "a", selected_call: -1 }]);
    rows()[0]?.querySelector<HTMLElement>(".cvz-tree-twisty")?.click();
    await settle();
    expect(labels()).toEqual(["a", "aux", HOSTILE]);
    expect(rows()[0]?.getAttribute("aria-expanded")).toBe("false");
  });

  it("searches, counts, and shows the former tree again", async () => {
    await search("relu");
    expect(labels()).toEqual(["a", "relu", "call 0", "call 1"]);
    expect(host.querySelector(".cvz-tree-count")?.textContent).toBe("1 of 5");
    await search("no such layer");
    expect(rows()).toEqual([]);
    expect(host.querySelector(".cvz-tree-none")?.textContent).toContain("no such layer");
    host
      .querySelector("input")
      ?.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", cancelable: true }));
    await settle();
    expect(labels()).toEqual(["a", "conv", "relu", "aux", HOSTILE]);
  });

  it("follows a selection made in Python, expanding what hides it, and keeps the keyboard's place", async () => {
    rows()[4]?.focus();
    model.receive({ selected: "a.relu", selected_call: 0 });
    await settle();
    expect(selected().map((row) => row.title.split("\n")[0])).toEqual(["a.relu, call 0"]);
    expect(active()).toBe(HOSTILE);
  });

  it("leaves keys with modifiers to the notebook", () => {
    rows()[1]?.focus();
    const event = new KeyboardEvent("keydown", {
      key: "s",
      ctrlKey: true,
      cancelable: true,
      bubbles: true,
    });
    document.activeElement?.dispatchEvent(event);
    expect(event.defaultPrevented).toBe(false);
  });

  it("stops listening when it is closed", () => {
    view.close();
    expect(model.listeners).toBe(0);
    expect(host.childNodes).toHaveLength(0);
  });
});
