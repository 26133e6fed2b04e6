import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { MARGIN, markerEnds, nearestStep } from "../src/lib/steps";
import { TimelineView, type Traits } from "../src/timeline/view";
import { fakeModel } from "./fake_model";

const HOSTILE = "<img src=x onerror=alert(1)>";

function traits(steps: number[]): Traits {
  return {
    _steps: steps,
    _texts: steps.map((step) => `text of ${step}`),
    value: -1,
    label: "",
    playable: true,
    interval: 100,
    marker_low: -0.5,
    marker_high: 0.5,
    _serial: 0,
  };
}

describe("markerEnds", () => {
  it.each([
    [0, MARGIN],
    [25, MARGIN + (1 - 2 * MARGIN) / 4],
    [100, 1 - MARGIN],
    [-1, 1 - MARGIN],
  ])("puts zero at the place of step %i", (step, share) => {
    const { marker_low, marker_high } = markerEnds([0, 25, 100], step);
    expect(-marker_low / (marker_high - marker_low)).toBeCloseTo(share, 12);
    expect(marker_high - marker_low).toBeCloseTo(1, 12);
  });

  it("is in the middle where there is one step, or none", () => {
    expect(markerEnds([7], -1)).toEqual({ marker_low: -0.5, marker_high: 0.5 });
    expect(markerEnds([], -1)).toEqual({ marker_low: -0.5, marker_high: 0.5 });
    expect(nearestStep([], 3)).toBe(-1);
  });
});

describe("TimelineView", () => {
  let model = fakeModel(traits([]));
  let host = document.createElement("div");
  let view: TimelineView | undefined;

  function show(steps: number[]): void {
    model = fakeModel(traits(steps));
    host = document.createElement("div");
    document.body.append(host);
    view = new TimelineView(model, host);
  }
  const slider = () => host.querySelector("input") as HTMLInputElement;
  const button = (name: string) =>
    [...host.querySelectorAll("button")].find(
      (each) => (each.getAttribute("aria-label") ?? each.textContent) === name,
    );
  const drag = (index: number) => {
    slider().value = String(index);
    slider().dispatchEvent(new Event("input"));
  };
  const micro = () => Promise.resolve();

  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    view?.close();
    expect(model.listeners).toBe(0);
    vi.useRealTimers();
  });

  it("sets the step that the slider is dragged to, and the latest at its end", () => {
    show([0, 10, 40]);
    expect(host.textContent).toContain("step 40 \u00b7 record 3 of 3");
    drag(1);
    expect(model.get("value")).toBe(10);
    expect(slider().getAttribute("aria-valuetext")).toBe("step 10, record 2 of 3");
    expect(host.textContent).toContain("text of 10");
    expect(-model.get("marker_low")).toBeCloseTo(MARGIN + (1 - 2 * MARGIN) / 4, 12);
    drag(2);
    expect(model.get("value")).toBe(-1);
  });

  it("follows new records only from the end", async () => {
    show([0, 10]);
    model.receive({ _steps: [0, 10, 20], _texts: ["", "", HOSTILE] });
    await micro();
    expect(slider().value).toBe("2");
    expect(host.querySelector("img")).toBeNull();
    expect(host.textContent).toContain(HOSTILE);
    drag(1);
    model.receive({ _steps: [0, 10, 20, 30] });
    await micro();
    expect(slider().value).toBe("1");
    expect(model.get("value")).toBe(10);
    button("Latest")?.click();
    model.receive({ _steps: [0, 10, 20, 30, 40] });
    await micro();
    expect(slider().value).toBe("4");
  });

  it("plays from the start, stops at the end, and pauses", () => {
    show([0, 10, 20]);
    button("Play")?.click();
    expect(model.get("value")).toBe(0);
    vi.advanceTimersByTime(100);
    expect(model.get("value")).toBe(10);
    button("Pause")?.click();
    vi.advanceTimersByTime(1000);
    expect(model.get("value")).toBe(10);
    button("Play")?.click();
    vi.advanceTimersByTime(100);
    expect(model.get("value")).toBe(-1);
    expect(button("Play")).toBeDefined();
    vi.advanceTimersByTime(1000);
    expect(model.get("value")).toBe(-1);
  });

  it("tells Python when what was sent is painted, once for a burst, and when nobody sees it", async () => {
    show([0, 10]);
    expect(model.sent).toEqual([]); // not before it is painted
    vi.advanceTimersByTime(100);
    expect(model.sent).toMatchObject([{ painted: 0, hidden: false }]);
    model.receive({ _serial: 1 });
    await micro();
    model.receive({ _serial: 2 });
    await micro();
    vi.advanceTimersByTime(100);
    expect(model.sent.slice(1)).toMatchObject([{ painted: 2 }]);
    const hidden = vi.spyOn(document, "hidden", "get").mockReturnValue(true);
    document.dispatchEvent(new Event("visibilitychange"));
    expect(model.sent[2]).toMatchObject({ hidden: true });
    expect(model.sent[2]).not.toHaveProperty("painted");
    hidden.mockRestore();
  });

  it("says that nothing is recorded", () => {
    show([]);
    expect(host.textContent).toContain("nothing recorded yet");
    expect(slider().disabled).toBe(true);
    expect(button("Play")?.disabled).toBe(true);
  });
});
