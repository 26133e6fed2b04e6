import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import widget from "../src/tile_grid";
import type { Traits } from "../src/tile_grid/state";
import { fakeModel } from "./fake_model";
import type { SightObserver } from "./setup";
import { traitsOf } from "./tile_grid_traits";

const HOSTILE = "<img src=x onerror=alert(1)>";

/** A canvas that takes everything and draws nothing: jsdom has none. */
function blankContext(): unknown {
  return new Proxy(
    {
      measureText: (text: string) => ({ width: 6 * text.length }),
      createImageData: (width: number, height: number) => ({
        data: new Uint8ClampedArray(4 * width * height),
      }),
    } as Record<string, unknown>,
    {
      get: (known, name: string) => known[name] ?? (() => undefined),
      set: () => true,
    },
  );
}

const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));

describe("TileGridView", () => {
  let model = fakeModel(traitsOf([], 1));
  let host = document.createElement("div");
  let close: () => unknown = () => {};

  const root = () => host.querySelector<HTMLElement>(".cvz-tiles");
  const grid = () => host.querySelector<HTMLElement>("[role=grid]");
  const text = () => root()?.textContent?.replace(/\s+/g, " ") ?? "";
  const press = (key: string) =>
    grid()?.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));

  async function show(traits: Traits): Promise<void> {
    model = fakeModel(traits);
    host = document.createElement("div");
    document.body.append(host);
    if (typeof widget !== "function") {
      throw new Error("the module makes a widget for each model");
    }
    const made = await widget();
    const signal = new AbortController().signal;
    const forget = await made.initialize?.({ model, signal } as never);
    const end = await made.render?.({ model, el: host, signal } as never);
    close = () => {
      for (const task of [end, forget]) {
        if (typeof task === "function") {
          task();
        }
      }
    };
    await frame();
    await frame();
  }

  beforeEach(() => {
    vi.spyOn(HTMLElement.prototype, "clientWidth", "get").mockReturnValue(400);
    vi.spyOn(HTMLElement.prototype, "clientHeight", "get").mockReturnValue(200);
    vi.spyOn(HTMLCanvasElement.prototype, "getContext").mockImplementation(blankContext as never);
  });
  afterEach(() => {
    close();
    host.remove();
    vi.restoreAllMocks();
  });

  it("tells when new tiles are painted", async () => {
    await show(traitsOf([[1], [2]], 1));
    expect(root()?.dataset.painted).toBe("0");
    model.receive({ ...traitsOf([[1], [2], [3]], 1), _serial: 1 });
    await frame();
    await frame();
    expect(root()?.dataset.painted).toBe("1");
    expect(text()).toContain("3 channels");
  });

  it("draws what came while it was scrolled away once it is in sight again", async () => {
    await show(traitsOf([[1], [2]], 1));
    // As JupyterLab's skipped cells: nothing has a size, and the observers of sizes say nothing.
    const width = vi.spyOn(HTMLElement.prototype, "clientWidth", "get").mockReturnValue(0);
    (globalThis.IntersectionObserver as unknown as typeof SightObserver).tell(false);
    model.receive({ ...traitsOf([[1], [2], [3]], 1), _serial: 1 });
    await frame();
    await frame();
    expect(root()?.dataset.painted).toBe("0");
    width.mockReturnValue(400);
    (globalThis.IntersectionObserver as unknown as typeof SightObserver).tell(true);
    await frame();
    await frame();
    expect(root()?.dataset.painted).toBe("1");
    expect(grid()?.getAttribute("aria-rowcount")).toBe("2");
  });

  it("keeps hostile labels and badges as text", async () => {
    await show({
      ...traitsOf([[1], [2]], 1),
      _labels: [HOSTILE, "b"],
      _badges: { "0": HOSTILE },
      selected: 0,
    });
    expect(host.querySelector("img")).toBeNull();
    expect(host.querySelector("[role=gridcell]")?.textContent).toBe(
      `${HOSTILE} \u00b7 ${HOSTILE} \u00b7 constant at 1`,
    );
  });

  it("selects by keys and tells screen readers", async () => {
    await show(traitsOf([[1], [2], [3]], 1));
    press("ArrowRight");
    await frame();
    press("ArrowRight");
    await frame();
    expect(model.get("selected")).toBe(1);
    expect(model.saved.at(-1)).toMatchObject({ selected: 1, position: [-1, -1] });
    const cell = host.querySelector("[role=gridcell]");
    expect(grid()?.getAttribute("aria-activedescendant")).toBe(cell?.id);
    expect(cell?.textContent).toBe("channel 1 \u00b7 constant at 2");
    expect(host.querySelector("[role=status]")?.textContent).toBe("channel 1 \u00b7 constant at 2");
  });

  it("walks in the order shown, and only through what is shown", async () => {
    await show({ ...traitsOf([[1], [2], [3]], 1), _order: new Uint32Array([2, 0]) });
    press("ArrowRight");
    expect(model.get("selected")).toBe(2);
    for (let times = 0; times < 2; times += 1) {
      await frame();
      press("ArrowRight");
    }
    expect(model.get("selected")).toBe(0);
  });

  it("picks with a click and with Enter, where that is asked for", async () => {
    await show({ ...traitsOf([[1], [2], [3]], 1), picks: true, _serial: 7 });
    press("ArrowRight");
    await frame();
    press("ArrowRight");
    await frame();
    expect(model.sent).toEqual([]);
    press("Enter");
    expect(model.sent).toEqual([{ picked: 1, serial: 7 }]);
    expect(model.get("enlarged")).toBe(-1);
    const click = (type: string, detail: number) =>
      grid()?.dispatchEvent(
        new MouseEvent(type, { clientX: 8, clientY: 8, detail, bubbles: true }),
      );
    click("click", 1);
    expect(model.sent.at(-1)).toEqual({ picked: 0, serial: 7 });
    click("click", 2);
    click("dblclick", 2);
    expect(model.sent.length).toBe(2);
    expect(model.get("enlarged")).toBe(-1);
  });

  it("sends nothing on a click where picking is not asked for", async () => {
    await show(traitsOf([[1], [2], [3]], 1));
    grid()?.dispatchEvent(new MouseEvent("click", { clientX: 8, clientY: 8, detail: 1 }));
    expect(model.get("selected")).toBe(0);
    expect(model.sent).toEqual([]);
  });

  it("enlarges with Enter, reads values by keys, and goes back with Escape", async () => {
    await show({
      ...traitsOf(
        [
          [1, 2, 3, 4],
          [5, 6, 7, 8],
        ],
        2,
      ),
      selected: 0,
    });
    press("Enter");
    expect(model.get("enlarged")).toBe(0);
    const map = host.querySelector<HTMLElement>("[role=application]");
    expect(document.activeElement).toBe(map);
    const pressInMap = (key: string) =>
      map?.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
    pressInMap("ArrowDown");
    pressInMap("ArrowDown");
    expect(host.querySelector(".cvz-readout")?.textContent).toBe("row 1, column 0: 3 activation");
    pressInMap("PageDown");
    await frame();
    expect([model.get("enlarged"), model.get("selected")]).toEqual([1, 1]);
    expect(host.querySelector(".cvz-readout")?.textContent).toBe("row 1, column 0: 7 activation");
    pressInMap("Enter");
    expect(model.get("position")).toEqual([1, 0]);
    pressInMap("Escape");
    expect(model.get("enlarged")).toBe(-1);
    expect(document.activeElement).toBe(grid());
  });

  it("leaves keys with other meanings to the notebook", async () => {
    await show({ ...traitsOf([[1], [2]], 1), selected: 0 });
    const outside = vi.fn();
    host.addEventListener("keydown", outside);
    expect(press("a")).toBe(true); // not prevented
    expect(press("Escape")).toBe(true);
    expect(outside).toHaveBeenCalledTimes(2);
    expect(press("ArrowRight")).toBe(false);
    expect(outside).toHaveBeenCalledTimes(2);
    const run = new KeyboardEvent("keydown", {
      key: "Enter",
      shiftKey: true,
      bubbles: true,
      cancelable: true,
    });
    expect(grid()?.dispatchEvent(run)).toBe(true);
    expect(model.get("enlarged")).toBe(-1);
    expect(grid()?.hasAttribute("data-lm-suppress-shortcuts")).toBe(false);
  });

  it("switches the scale, the middle and the colors", async () => {
    await show(traitsOf([[-1, 1]], 2));
    const pick = (selector: string) => host.querySelector<HTMLInputElement>(selector)?.click();
    pick("input[value=each]");
    expect(model.get("scale")).toBe("each");
    pick("input[type=checkbox]");
    expect(model.get("zero_centered")).toBe(true);
    await frame();
    const colors = host.querySelector("select");
    expect([...(colors?.options ?? [])].map((option) => option.value)).toEqual(["second"]);
    expect(text()).toContain("lowest0highest"); // each tile its own: no one pair of numbers
    model.receive({ selected: 0 });
    await frame();
    expect(text()).toContain("activation, channel 0\u2212101");
  });

  it("says what there is to see when there is nothing", async () => {
    await show(traitsOf([], 1));
    expect(text()).toContain("No channels to show.");
    expect(host.querySelector<HTMLElement>(".cvz-tiles-controls")?.hidden).toBe(true);
  });

  it("stops listening when it is closed", async () => {
    await show(traitsOf([[1]], 1));
    expect(model.listeners).toBeGreaterThan(0);
    close();
    expect(model.listeners).toBe(0);
    expect(host.children).toHaveLength(0);
  });
});
