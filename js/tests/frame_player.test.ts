import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import widget from "../src/frame_player";
import { fromRaw } from "../src/frame_player/bitmaps";
import { shownSize } from "../src/frame_player/picture";
import { frameAt, type LiveFrame, type Run, type RunInfo, Runs } from "../src/frame_player/runs";
import type { Traits } from "../src/frame_player/store";
import { durationText, progressText, rateText } from "../src/frame_player/texts";
import { isDisabled } from "../src/lib/dom";
import { MARGIN } from "../src/lib/steps";
import { fakeModel } from "./fake_model";
import { SightObserver } from "./setup";

const HOSTILE = "<img src=x onerror=alert(1)>";

class FakeImageData {
  readonly data: Uint8ClampedArray;
  constructor(
    readonly width: number,
    readonly height: number,
  ) {
    this.data = new Uint8ClampedArray(4 * width * height);
  }
}

class FakeBlob {
  constructor(readonly parts: Uint8Array[]) {}
}

class FakeBitmap {
  readonly width = 4;
  readonly height = 4;
  readonly first: number;
  constructor(parts: Uint8Array[]) {
    this.first = parts[0]?.[0] ?? -1;
  }
  close(): void {}
}

function info(number: number, changes: Partial<RunInfo> = {}): RunInfo {
  const text = "layer features.5";
  const known = { number, total: 100, first: 0, parent: null, text, state: "running", ended: "" };
  return { ...known, latest: 0, ...changes };
}

const label = (step: number) => ({
  step,
  size: [4, 4] as [number, number],
  values: { loss: 1 / step },
});
/** A frame's file: its first byte stands for its step. */
const file = (step: number) => new DataView(new Uint8Array([step, 0, 0]).buffer);

/** A trait as it is saved: runs with frames of three bytes each. */
function kept(runs: [RunInfo, number[]][]): Traits["_kept"] {
  return {
    runs: runs.map(([run, steps]) => ({
      ...run,
      frames: steps.map((step) => ({ ...label(step), bytes: 3 })),
    })),
    data: new Uint8Array(runs.flatMap(([, steps]) => steps.flatMap((step) => [step, 0, 0]))),
  };
}

function traitsOf(runs: [RunInfo, number[]][], changes: Partial<Traits> = {}): Traits {
  const run = runs[runs.length - 1]?.[0].number ?? 0;
  const ends = { marker_low: -0.5, marker_high: 0.5 };
  return { _kept: kept(runs), state: "done", run, step: -1, other: -1, ...ends, ...changes };
}

describe("frameAt", () => {
  const run = { ...info(1), frames: [] } as Run;
  run.frames = [1, 10, 20].map((step) => ({ ...label(step), bytes: new Uint8Array([step]) }));
  const raw = new Uint8Array(3);
  const live = (step: number): LiveFrame => ({
    ...label(step),
    run: 1,
    bytes: raw,
    carried: [1, 1],
  });

  it.each([
    [-1, 20],
    [0, 1],
    [15, 10], // of two the earlier one
    [16, 20],
    [999, 20],
  ])("takes the kept frame nearest to step %i", (step, nearest) => {
    expect(frameAt(run, undefined, step)?.step).toBe(nearest);
  });

  it("takes the live frame where that is the latest, or the nearest", () => {
    expect(frameAt(run, live(27), -1)?.step).toBe(27);
    expect(frameAt(run, live(27), 26)?.step).toBe(27);
    expect(frameAt(run, live(27), 21)?.step).toBe(20);
    expect(frameAt(run, live(20), -1)).toBe(run.frames[2]); // of the same step the kept one
    expect(frameAt(run, { ...live(27), run: 2 }, -1)?.step).toBe(20);
  });
});

describe("Runs", () => {
  it("keeps what is decoded when the trait comes, and drops what Python has dropped", () => {
    const runs = new Runs();
    runs.load(kept([[info(1), [1, 10]]]));
    const first = runs.get(1)?.frames[0];
    expect([...(first?.bytes ?? [])]).toEqual([1, 0, 0]);
    runs.load(
      kept([
        [info(1), [1, 20]],
        [info(2), [7]],
      ]),
    );
    expect(runs.get(1)?.frames[0]).toBe(first);
    expect(runs.get(1)?.frames.map(({ step }) => step)).toEqual([1, 20]);
    expect([...(runs.get(2)?.frames[0]?.bytes ?? [])]).toEqual([7, 0, 0]);
    runs.thin({ "1": [20], "9": [1] });
    expect(runs.get(1)?.frames.map(({ step }) => step)).toEqual([20]);
    runs.retain([2]);
    expect(runs.all.map(({ number }) => number)).toEqual([2]);
  });
});

describe("shownSize", () => {
  it.each([
    [[28, 28], 900, [448, 448, true]],
    [[28, 28], 300, [280, 280, true]], // ten times, not 10.7 times
    [[100, 50], 900, [400, 200, true]],
    [[100, 50], 60, [60, 30, false]], // no room for whole pixels
    [[224, 224], 900, [448, 448, false]],
    [[224, 112], 300, [300, 150, false]],
    [[600, 300], 900, [600, 300, false]], // large ones as they are
    [[300, 900], 900, [200, 600, false]],
  ] as [[number, number], number, [number, number, boolean]][])(
    "of %j in a room of %i is %j",
    (size, room, [width, height, pixelated]) => {
      expect(shownSize(size, room)).toEqual({ width, height, pixelated });
    },
  );
});

describe("texts", () => {
  it("say how fast and how long", () => {
    expect([0.25, 0.94, 1, 9.94, 20.6, 1234].map(rateText)).toEqual([
      "4 s a step",
      "1.1 s a step",
      "1.0 steps a second",
      "9.9 steps a second",
      "21 steps a second",
      "1,234 steps a second",
    ]);
    expect([0.2, 4, 90, 91, 540, 601, 3700].map(durationText)).toEqual([
      "1 s",
      "4 s",
      "90 s",
      "1 min 40 s",
      "9 min",
      "11 min",
      "1 h 2 min",
    ]);
    const run = { ...info(2, { latest: 45, total: 128 }), frames: [] };
    expect(progressText(run, "running", 21, true, true)).toBe(
      "step 45 of 128 \u00b7 21 steps a second \u00b7 4 s left",
    );
    expect(progressText(run, "paused", 21, true, false)).toBe("run 2 paused at step 45 of 128");
    expect(progressText({ ...run, total: null }, "running", null, true, true)).toBe("step 45");
  });
});

describe("fromRaw", () => {
  it("puts each color in its place, and refuses what is none", () => {
    vi.stubGlobal("ImageData", FakeImageData);
    const image = fromRaw(new Uint8Array([1, 2, 3, 4, 5, 6]), 2, 1);
    expect([...image.data]).toEqual([1, 2, 3, 255, 4, 5, 6, 255]);
    expect(fromRaw(new Uint8Array([7, 8, 9, 10, 11, 12]), 2, 1, image)).toBe(image);
    expect([...image.data]).toEqual([7, 8, 9, 255, 10, 11, 12, 255]);
    expect(fromRaw(new Uint8Array([1, 2, 3, 4, 5, 6]), 1, 2, image)).not.toBe(image);
    expect(fromRaw(new Uint8Array(12), 2, 2, image).height).toBe(2);
    expect(fromRaw(new Uint8Array(12), 4, 1, image).width).toBe(4);
    expect(() => fromRaw(new Uint8Array(5), 2, 1)).toThrow("no picture of 2 x 1");
    vi.unstubAllGlobals();
  });
});

describe("FramePlayerView", () => {
  let model = fakeModel(traitsOf([]));
  let host = document.createElement("div");
  let close: () => void = () => {};
  /** What was drawn in turn: a raw picture's first value, or an encoded one's first byte. */
  let drawn: number[] = [];

  async function show(traits: Traits, within: Element = document.body): Promise<void> {
    model = fakeModel(traits);
    host = document.createElement("div");
    within.append(host);
    if (typeof widget !== "function") {
      throw new Error("the module makes a widget for each model");
    }
    const made = await widget();
    const forget = await made.initialize?.({ model } as never);
    const end = await made.render?.({ model, el: host } as never);
    close = () => {
      for (const task of [end, forget]) {
        if (typeof task === "function") {
          task();
        }
      }
    };
    await settle();
  }
  async function settle(): Promise<void> {
    for (let round = 0; round < 3; round += 1) {
      await vi.advanceTimersByTimeAsync(17);
    }
  }
  const slider = () => host.querySelector("input[type=range]") as HTMLInputElement;
  const text = () => host.textContent ?? "";
  const button = (name: string) =>
    [...host.querySelectorAll("button")].find(
      (each) => (each.getAttribute("aria-label") ?? each.textContent) === name,
    ) as HTMLButtonElement;
  const press = async (node: Element | null, key: string) => {
    node?.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
    await settle();
  };
  const steps = () =>
    [...host.querySelectorAll("figure:not([hidden])")].map((each) =>
      Number((each as HTMLElement).dataset.step),
    );
  /** What a kernel answers that knows these runs. */
  const welcome = async (runs: RunInfo[] = []) => {
    const { page } = model.sent[0] as { page: string };
    const known = Object.fromEntries(
      (model.get("_kept").runs ?? []).map((run) => [run.number, run.frames.map((f) => f.step)]),
    );
    const all = [...model.get("_kept").runs, ...runs];
    model.tell({ kind: "all", page, runs: all, steps: known, frames: [] });
    await settle();
  };
  const live = (serial: number, step: number, picture = true, kept?: Record<string, number[]>) =>
    model.tell(
      {
        kind: "live",
        serial,
        run: info(1, { latest: step }),
        rate: 20,
        room: 12,
        live: picture ? [{ carried: [1, 1], kept: kept !== undefined, ...label(step) }] : [],
        frames: [],
        steps: kept ?? {},
      },
      picture ? [new DataView(new Uint8Array([step, 0, 0]).buffer)] : [],
    );

  const both = (serial: number, ...steps: [number, number]) => several(serial, steps);
  const several = (serial: number, steps: number[], room = 12) =>
    model.tell(
      {
        kind: "live",
        serial,
        run: info(1, { latest: Math.max(...steps) }),
        rate: 20,
        room,
        live: steps.map((step) => ({ carried: [1, 1], kept: step === 8, ...label(step) })),
        frames: [],
        steps: {},
      },
      steps.map((step) => new DataView(new Uint8Array([step, 0, 0]).buffer)),
    );
  /** Until the page asks for the next live frames. */
  const asked = () => vi.advanceTimersByTimeAsync(1200);

  beforeEach(() => {
    vi.useFakeTimers();
    drawn = [];
    vi.stubGlobal("ImageData", FakeImageData);
    vi.stubGlobal("ImageBitmap", FakeBitmap);
    vi.stubGlobal("Blob", FakeBlob);
    vi.stubGlobal("createImageBitmap", async (blob: FakeBlob) => new FakeBitmap(blob.parts));
    vi.spyOn(HTMLCanvasElement.prototype, "getContext").mockImplementation((() => ({
      putImageData: (image: FakeImageData) => drawn.push(image.data[0] ?? -1),
      drawImage: (image: FakeBitmap) => drawn.push(image.first),
    })) as never);
  });
  afterEach(() => {
    close();
    expect(model.listeners).toBe(0);
    vi.useRealTimers();
    vi.unstubAllGlobals();
    vi.restoreAllMocks();
  });

  it("says what it has and is sent what it lacks", async () => {
    await show(traitsOf([[info(1), [1, 10]]], { state: "running" }));
    expect(model.sent[0]).toMatchObject({ visible: true, have: { "1": [1, 10] } });
    expect(steps()).toEqual([10]);
    const { page } = model.sent[0] as { page: string };
    model.tell(
      {
        kind: "all",
        page,
        runs: [info(1, { latest: 35 })],
        steps: { "1": [1, 20, 30] },
        frames: [20, 30].map((step) => ({ run: 1, ...label(step) })),
      },
      [file(20), file(30)],
    );
    await settle();
    expect(steps()).toEqual([30]);
    expect(drawn[drawn.length - 1]).toBe(30);
    expect(text()).toContain("step 35 of 100");
  });

  it("draws live frames and acknowledges each once it is painted, the last of a burst", async () => {
    await show(traitsOf([[info(1), []]], { state: "running" }));
    const before = model.sent.length;
    live(1, 5);
    expect(model.sent.length).toBe(before); // not before it is painted
    await settle();
    expect(drawn).toEqual([5]);
    expect(model.sent.slice(before)).toMatchObject([{ visible: true, painted: 1 }]);
    live(2, 6);
    live(3, 7);
    await asked();
    expect(model.sent.slice(before + 1)).toMatchObject([{ painted: 3 }]);
    expect(steps()).toEqual([7]);
    live(4, 8, false); // nothing but how far it is
    await asked();
    expect(model.sent[model.sent.length - 1]).toMatchObject({ painted: 4 });
    expect(steps()).toEqual([7]);
  });

  const asks = () => model.sent.filter((each) => "painted" in (each as object)).length;
  /** Go on to where the page asks no sooner than it does at most. */
  const settleIn = async () => {
    for (let serial = -10; serial < 0; serial += 1) {
      live(serial, 1);
      await asked();
    }
    drawn.splice(0);
    model.sent.splice(1);
  };
  const until = async (happened: () => boolean) => {
    while (!happened()) {
      await vi.advanceTimersByTimeAsync(1);
    }
    return performance.now();
  };

  it("shows two live frames one after another, and asks for the next when both are painted", async () => {
    await show(traitsOf([[info(1), []]], { state: "running" }));
    await settleIn();
    live(1, 3);
    const asked = await until(() => asks() === 1);
    both(2, 5, 8);
    const first = await until(() => drawn.includes(5));
    expect([drawn, steps()]).toEqual([[3, 5], [5]]);
    const second = await until(() => drawn.includes(8));
    expect([drawn, steps(), asks()]).toEqual([[3, 5, 8], [8], 1]);
    expect(text()).toContain("step 8 of 100");
    expect(Math.abs(second - first - 480)).toBeLessThan(20); // half the time until the next ones
    const again = await until(() => asks() === 2);
    expect(Math.abs(again - asked - 960)).toBeLessThan(20);
    expect(model.sent[model.sent.length - 1]).toMatchObject({ painted: 2 });
  });

  it("shows many live frames one after another just as they were made, some ten a second", async () => {
    await show(traitsOf([[info(1), []]], { state: "running" }));
    await settleIn();
    const all = [11, 12, 13, 14, 15, 16, 17, 18, 19, 20];
    several(1, all);
    const times = [];
    const titles = [];
    for (const step of all) {
      times.push(await until(() => drawn.includes(step)));
      expect(steps()).toEqual([step]);
      titles.push(Number(host.querySelector(".cvz-player-title")?.textContent?.match(/\d+/)?.[0]));
    }
    // What is to be read changes less often, and is right in the end.
    expect(new Set(titles)).toEqual(new Set([11, titles[5], 20]));
    for (const [index, title] of titles.entries()) {
      expect(index + 11 - title).toBeLessThanOrEqual(4);
      expect(title).toBeLessThanOrEqual(index + 11);
    }
    for (const [index, time] of times.entries()) {
      expect(Math.abs(time - (times[0] ?? 0) - 96 * index)).toBeLessThan(20);
    }
    expect(drawn).toEqual(all);
  });

  it("asks the sooner, the fewer frames come with one message", async () => {
    await show(traitsOf([[info(1), []]], { state: "running" }));
    await settleIn();
    live(1, 3);
    let asked = await until(() => asks() === 1);
    several(2, [5, 8, 9], 3);
    const shown = [];
    for (const step of [5, 8, 9]) {
      shown.push(await until(() => drawn.includes(step)));
    }
    expect(Math.abs((shown[2] ?? 0) - (shown[0] ?? 0) - 2 * 80)).toBeLessThan(20);
    let next = await until(() => asks() === 2);
    expect(Math.abs(next - asked - 3 * 80)).toBeLessThan(20);
    asked = next;
    several(3, [10, 11], 3); // still: fewer came only because it takes a while to make them
    next = await until(() => asks() === 3);
    expect(Math.abs(next - asked - 3 * 80)).toBeLessThan(20);
  });

  it("asks soon at first, and then less and less often", async () => {
    await show(traitsOf([[info(1), [1, 2]]], { state: "running" }));
    const times: number[] = [];
    for (let serial = 1; serial <= 13; serial += 1) {
      live(serial, 2 + serial);
      times.push(await until(() => asks() === serial));
    }
    const waits = times.slice(1).map((time, index) => time - (times[index] ?? 0));
    for (const [index, wait] of waits.entries()) {
      expect(Math.abs(wait - Math.min(96 * (index + 1), 960))).toBeLessThan(20);
    }
    await press(slider(), "End"); // the latest is new to whoever looks
    live(14, 16);
    const first = await until(() => asks() === 14);
    live(15, 17);
    expect(Math.abs((await until(() => asks() === 15)) - first - 96)).toBeLessThan(20);
  });

  it("goes through all live frames, whichever were kept meanwhile without their files", async () => {
    await show(traitsOf([[info(1), [1]]], { state: "running" }));
    const told = {
      kind: "live",
      serial: 1,
      run: info(1, { latest: 9 }),
      rate: 20,
      room: 12,
      live: [3, 5, 7, 9].map((step) => ({ carried: [1, 1], kept: false, ...label(step) })),
      frames: [2, 6, 8].map((step) => ({ run: 1, ...label(step) })),
      steps: { "1": [1, 2, 6, 8] },
    };
    const raw = [3, 5, 7, 9].map((step) => new DataView(new Uint8Array([step, 0, 0]).buffer));
    drawn = [];
    model.tell(told, [file(2), file(6), file(8), ...raw]);
    await vi.advanceTimersByTimeAsync(2000);
    expect(drawn).toEqual([3, 5, 7, 9]);
    await press(slider(), "Home");
    const seen = [];
    for (const _ of [1, 2, 6, 8]) {
      seen.push(...steps());
      await press(slider(), "ArrowRight");
    }
    expect(seen).toEqual([1, 2, 6, 9]); // the last kept one stands for the latest
  });

  it("leaves pictures to come their time where nothing newer has come", async () => {
    await show(traitsOf([[info(1), []]], { state: "running" }));
    await settleIn();
    several(1, [3, 4, 5]);
    const { page } = model.sent[0] as { page: string };
    model.tell({ kind: "heard", page, act: "export" });
    model.tell({ kind: "offer", page: "another", name: "a.png", mime: "image/png" }, [file(3)]);
    await settle();
    expect(drawn).toEqual([3]);
  });

  it("saves the picture that is seen, also where the words beside it are a moment old", async () => {
    await show(traitsOf([[info(1), []]], { state: "running" }));
    await welcome([info(1)]);
    several(1, [3, 4, 5, 6]);
    await until(() => drawn.includes(4));
    expect(host.querySelector(".cvz-player-title")?.textContent).toContain("step 3");
    button("PNG").click();
    expect(model.sent[model.sent.length - 1]).toMatchObject({ act: "export", run: 1, step: 4 });
  });

  it("says at once what a run has become, also between pictures", async () => {
    await show(traitsOf([[info(1), []]], { state: "running" }));
    await welcome([info(1)]);
    await settleIn();
    several(1, [3, 4, 5, 6]);
    await until(() => drawn.includes(4));
    expect(button("Pause")).toBeDefined();
    model.receive({ state: "paused" });
    await settle();
    expect(button("Resume")).toBeDefined();
    expect(steps()).toEqual([4]);
    expect(host.querySelectorAll("input[type=radio]").length).toBe(1);
    model.tell({ kind: "runs", runs: [info(1), info(2)] });
    several(2, [7, 8, 9]); // before that is drawn
    await settle();
    expect(steps()).toEqual([7]);
    expect(host.querySelectorAll("input[type=radio]").length).toBe(2);
  });

  it("has both pictures of a comparison go on, of whatever size the frames are", async () => {
    const traits = traitsOf(
      [
        [info(1), []],
        [info(2, { state: "done", latest: 30 }), [2, 4, 6]],
      ],
      { state: "running", run: 1, other: 2 },
    );
    await show(traits);
    await settleIn();
    several(1, [2, 4, 6]);
    for (const step of [2, 4, 6]) {
      await until(() => steps()[0] === step);
      await vi.advanceTimersByTimeAsync(17);
      expect(steps()).toEqual([step, step]);
      expect(drawn[drawn.length - 1]).toBe(step);
    }
    const width = () => (host.querySelector(".cvz-player-frame") as HTMLElement).style.width;
    const height = () => (host.querySelector(".cvz-player-frame") as HTMLElement).style.height;
    expect(width()).toBe(height());
    model.tell(
      {
        kind: "live",
        serial: 2,
        run: info(1, { latest: 8 }),
        rate: 20,
        room: 12,
        live: [
          { carried: [1, 1], kept: false, ...label(7) },
          { carried: [1, 1], kept: false, ...label(8), size: [8, 4] },
          { carried: [1, 1], kept: false, ...label(9), size: [8, 4] },
        ],
        frames: [],
        steps: {},
      },
      [7, 8, 9].map((step) => new DataView(new Uint8Array([step, 0, 0]).buffer)),
    );
    await until(() => drawn.includes(8));
    await vi.advanceTimersByTimeAsync(17);
    expect(drawn).not.toContain(9);
    expect(Number.parseInt(width(), 10)).toBe(2 * Number.parseInt(height(), 10));
  });

  it("asks at once where something has happened, such as the beginning of a run", async () => {
    await show(traitsOf([[info(1), [1, 2]]], { state: "running" }));
    live(1, 3);
    await settle();
    await settleIn();
    live(1, 4);
    await until(() => asks() === 1);
    live(2, 5);
    await vi.advanceTimersByTimeAsync(60);
    expect([asks(), steps()]).toEqual([1, [5]]); // painted, and to wait
    const begun = { kind: "runs", runs: [info(1, { state: "stopped", latest: 5 }), info(2)] };
    model.tell(begun);
    await vi.advanceTimersByTimeAsync(60);
    expect(asks()).toBe(2);
    expect(model.sent[model.sent.length - 1]).toMatchObject({ painted: 2 });
    model.tell(begun);
    await asked();
    expect(asks()).toBe(2); // once
    live(3, 6);
    await vi.advanceTimersByTimeAsync(60);
    live(4, 7);
    await vi.advanceTimersByTimeAsync(30);
    expect([asks(), steps()]).toEqual([3, [7]]);
    both(5, 8, 9); // sent to another page, or out of patience: nothing is asked for before both are painted
    await vi.advanceTimersByTimeAsync(60);
    expect(asks()).toBe(3);
    await vi.advanceTimersByTimeAsync(130);
    expect(model.sent[model.sent.length - 1]).toMatchObject({ painted: 5 });
    live(6, 10);
    await vi.advanceTimersByTimeAsync(60);
    expect(asks()).toBe(4);
    await press(slider(), "End"); // to the latest, which may be another by now
    await vi.advanceTimersByTimeAsync(60);
    expect(asks()).toBe(5);
  });

  it("asks for nothing once it is hidden, or closed", async () => {
    await show(traitsOf([[info(1), []]], { state: "running" }));
    live(1, 3);
    await settle();
    live(2, 5);
    await vi.advanceTimersByTimeAsync(60);
    const told = model.sent.length;
    const hidden = vi.spyOn(document, "hidden", "get").mockReturnValue(true);
    document.dispatchEvent(new Event("visibilitychange"));
    await asked();
    expect(model.sent.slice(told)).toMatchObject([{ visible: false }]);
    expect(model.sent[model.sent.length - 1]).not.toHaveProperty("painted");
    hidden.mockRestore();
    document.dispatchEvent(new Event("visibilitychange"));
    live(3, 7);
    close(); // with its frame of the page to come
    close = () => {};
    expect(vi.getTimerCount()).toBe(0);
  });

  it("shows no live frame after what is newer", async () => {
    await show(traitsOf([[info(1), []]], { state: "running" }));
    both(1, 5, 8);
    model.tell({ kind: "runs", runs: [info(1, { state: "done", latest: 9 })] });
    await settle();
    expect(steps()).toEqual([8]);
    const frame = { run: 1, ...label(9) };
    both(2, 8, 9);
    const told = { kind: "kept", run: info(1, { latest: 9 }), rate: 20, steps: {}, frame };
    model.tell(told, [file(9)]);
    await asked();
    expect(steps()).toEqual([9]);
    await press(slider(), "Home");
    expect(steps()).toEqual([8]); // it was kept, too, and not shown for long
  });

  it("keeps a live frame that is kept, and shows it again without its file", async () => {
    await show(traitsOf([[info(1), []]], { state: "running" }));
    live(1, 4, true, { "1": [4] });
    await settle();
    live(2, 7);
    live(3, 8, true, { "1": [4, 8] });
    live(4, 9);
    await settle();
    await press(slider(), "Home");
    expect(model.get("step")).toBe(4);
    expect(drawn).toEqual([4, 9, 4]);
    await press(slider(), "ArrowRight");
    expect(model.get("step")).toBe(-1); // the last kept one stands for the latest
    // At a pause the files come; the picture on show is drawn from its file from then on.
    model.receive({ step: 4, _kept: kept([[info(1), [4, 8]]]) });
    await settle();
    expect(drawn.slice(3)).toEqual([9, 4]);
    await press(slider(), "End");
    expect(steps()).toEqual([9]);
  });

  it("takes the frames that were kept before a live one, with one drawing", async () => {
    await show(traitsOf([[info(1), [1]]], { state: "running" }));
    const before = [4, 8].map((step) => ({ run: 1, ...label(step) }));
    const told = {
      kind: "live",
      serial: 3,
      run: info(1, { latest: 9 }),
      rate: 20,
      live: [{ carried: [1, 1], kept: false, ...label(9) }],
    };
    const raw = new DataView(new Uint8Array([9, 0, 0]).buffer);
    drawn = [];
    model.tell({ ...told, frames: before, steps: { "1": [4, 8] } }, [file(4), file(8), raw]);
    await settle();
    expect(drawn).toEqual([9]);
    await press(slider(), "Home");
    expect([steps(), drawn[1]]).toEqual([[4], 4]);
  });

  it("makes no picture of what it does not draw", async () => {
    await show(traitsOf([[info(1), []]], { state: "running" }));
    const made = vi.fn();
    vi.stubGlobal(
      "ImageData",
      class extends FakeImageData {
        constructor(width: number, height: number) {
          super(width, height);
          made();
        }
      },
    );
    live(1, 4);
    live(2, 5);
    live(3, 6);
    await settle();
    expect(made).toHaveBeenCalledOnce();
    model.set("step", 4);
    await settle();
    expect(made).toHaveBeenCalledTimes(1);
    model.set("step", -1);
    live(4, 7);
    await settle();
    expect(drawn[drawn.length - 1]).toBe(7);
    expect(made).toHaveBeenCalledTimes(1); // the next one takes its place
  });

  it("greets until it is answered, and again when it is not heard", async () => {
    await show(traitsOf([[info(1, { state: "done" }), [1, 10]]]));
    const greetings = () => model.sent.filter((each) => "have" in (each as object)).length;
    expect(greetings()).toBe(1);
    await vi.advanceTimersByTimeAsync(3100);
    expect(greetings()).toBe(2);
    host.querySelector(".cvz-player")?.dispatchEvent(new Event("pointerenter"));
    expect(greetings()).toBe(3);
    await vi.advanceTimersByTimeAsync(500_000);
    expect(greetings()).toBe(6); // then there is no kernel
    await welcome();
    expect(isDisabled(button("Start"))).toBe(false);
    host.querySelector(".cvz-player")?.dispatchEvent(new Event("pointerenter"));
    expect(greetings()).toBe(6);
    button("Start").click();
    await vi.advanceTimersByTimeAsync(9000);
    expect([greetings(), button("Start").title]).toEqual([6, ""]);
    await vi.advanceTimersByTimeAsync(1100);
    expect(greetings()).toBe(7);
    expect(button("Start").title).toContain("running kernel");
    await welcome();
    expect(isDisabled(button("Start"))).toBe(false); // the kernel was busy only
    model.emit("comm_live_update");
    await settle();
    expect([greetings(), isDisabled(button("Start"))]).toEqual([8, true]);
  });

  it("is away with its page, and back with it", async () => {
    await show(traitsOf([[info(1), []]], { state: "running" }));
    window.dispatchEvent(new Event("pagehide"));
    expect(model.sent[model.sent.length - 1]).toMatchObject({ visible: false });
    window.dispatchEvent(new Event("pageshow"));
    expect(model.sent[model.sent.length - 1]).toMatchObject({ visible: true, have: { "1": [] } });
  });

  it("keeps the focus on a button that may be pressed no more", async () => {
    await show(traitsOf([[info(1, { state: "running" }), [1, 10]]], { state: "running" }));
    await welcome();
    const asked = () => model.sent.filter((each) => "act" in (each as object)).length;
    for (const [name, count] of [
      ["Stop", 1],
      ["Pause", 1], // stop was asked for
      ["Remove run", 1], // it is going
      ["Stop", 1],
    ] as const) {
      button(name).focus();
      button(name).click();
      await settle();
      expect(document.activeElement).toBe(button(name));
      expect(isDisabled(button(name))).toBe(true);
      expect(asked()).toBe(count);
    }
    slider().focus();
    model.tell({ kind: "runs", runs: [info(2)] });
    model.receive({ run: 2 });
    await settle();
    expect([isDisabled(slider()), document.activeElement === slider()]).toEqual([true, true]);
    await press(slider(), "Home");
    button("Replay").click();
    await settle();
    expect([model.get("step"), button("End replay")]).toEqual([-1, undefined]);
  });

  it("shows no other picture in the place of one that is damaged", async () => {
    const logged = vi.spyOn(console, "error").mockImplementation(() => {});
    const make = async (blob: FakeBlob) => {
      if (blob.parts[0]?.[0] === 10) {
        throw new DOMException("no picture");
      }
      return new FakeBitmap(blob.parts);
    };
    vi.stubGlobal("createImageBitmap", vi.fn(make));
    await show(traitsOf([[info(1, { latest: 40 }), [1, 10, 40]]]));
    model.set("step", 10);
    await settle();
    expect(text()).toContain("This picture is damaged");
    expect(steps()).toEqual([-1]);
    expect(logged).toHaveBeenCalledOnce();
    model.set("step", 1);
    await settle();
    expect(text()).not.toContain("damaged");
    expect(steps()).toEqual([1]);
    expect(createImageBitmap).toHaveBeenCalledTimes(3); // not tried again with each drawing
  });

  it("says beside which live frame a picture is damaged, for as long as that one is shown", async () => {
    vi.spyOn(console, "error").mockImplementation(() => {});
    vi.stubGlobal("createImageBitmap", async (blob: FakeBlob) => {
      if (blob.parts[0]?.[0] === 4) {
        throw new DOMException("no picture");
      }
      return new FakeBitmap(blob.parts);
    });
    const done = info(2, { state: "done", latest: 30 });
    const traits = { state: "running", run: 1, other: 2 };
    await show(
      traitsOf(
        [
          [info(1), []],
          [done, [2, 4, 6]],
        ],
        traits,
      ),
    );
    await settleIn();
    const damaged = () => text().includes("This picture is damaged");
    several(1, [2, 4, 6, 7]);
    await until(() => steps()[1] === -1);
    several(2, [2, 4, 6, 7]); // now it is known
    for (const [step, is] of [
      [2, false],
      [4, true],
      [6, false],
    ] as [number, boolean][]) {
      await until(() => steps()[0] === step);
      await vi.advanceTimersByTimeAsync(34);
      expect([damaged(), steps()]).toEqual([is, [step, is ? -1 : step]]);
    }
  });

  it("writes nothing on the page that is not new", async () => {
    await show(traitsOf([[info(1), [1]]], { state: "running" }));
    live(1, 5);
    await settle();
    const written: string[] = [];
    const observer = new MutationObserver((records) => {
      written.push(...records.map(({ attributeName, type }) => attributeName ?? type));
    });
    observer.observe(host, { subtree: true, attributes: true, childList: true });
    live(2, 5); // the same again
    await settle();
    expect(written).toEqual([]);
    live(3, 6);
    await settle();
    observer.disconnect();
    expect(written).not.toContain("class");
    expect(written.filter((name) => name === "style")).toEqual(["style"]); // of the progress bar
  });

  it("tells when nobody sees it, and when somebody does again", async () => {
    await show(traitsOf([[info(1), []]], { state: "running" }));
    SightObserver.tell(false);
    expect(model.sent[model.sent.length - 1]).toMatchObject({ visible: false });
    SightObserver.tell(true);
    await settle();
    expect(model.sent[model.sent.length - 1]).toMatchObject({ visible: true });
    const hidden = vi.spyOn(document, "hidden", "get").mockReturnValue(true);
    document.dispatchEvent(new Event("visibilitychange"));
    expect(model.sent[model.sent.length - 1]).toMatchObject({ visible: false });
    live(9, 5);
    await settle();
    expect(model.sent[model.sent.length - 1]).toMatchObject({ visible: false });
    hidden.mockRestore();
    document.dispatchEvent(new Event("visibilitychange"));
    await settle();
    expect(model.sent[model.sent.length - 1]).toMatchObject({ visible: true, have: { "1": [] } });
  });

  it("tells whether anything is seen of the widget that it is part of", async () => {
    const whole = document.createElement("div");
    whole.className = "jupyter-widgets whole";
    const part = document.createElement("div");
    part.className = "jupyter-widgets";
    whole.append(part);
    document.body.append(whole);
    await show(traitsOf([[info(1), []]], { state: "running" }), part);
    expect(model.sent[0]).toMatchObject({ visible: true, near: true });
    SightObserver.tell(false, "cvz-player");
    expect(model.sent[model.sent.length - 1]).toMatchObject({ visible: false, near: true });
    SightObserver.tell(false, "whole");
    expect(model.sent[model.sent.length - 1]).toMatchObject({ visible: false, near: false });
    SightObserver.tell(true, "whole");
    expect(model.sent[model.sent.length - 1]).toMatchObject({ visible: false, near: true });
    whole.remove();
  });

  it("goes from kept frame to kept frame by keys and by the slider, and follows from the end", async () => {
    await show(traitsOf([[info(1, { latest: 40 }), [1, 10, 20, 40]]]));
    await press(slider(), "Home");
    expect(model.get("step")).toBe(1);
    expect(drawn[drawn.length - 1]).toBe(1);
    await press(slider(), "ArrowRight");
    expect([model.get("step"), steps()[0]]).toEqual([10, 10]);
    expect(slider().getAttribute("aria-valuetext")).toBe("step 10, 4 kept");
    slider().value = "17";
    slider().dispatchEvent(new Event("input"));
    await settle();
    expect([model.get("step"), slider().value]).toEqual([20, "20"]);
    await press(host.querySelector("[role=img]"), "ArrowLeft");
    expect(model.get("step")).toBe(10);
    button("Latest").click();
    await settle();
    expect([model.get("step"), steps()[0]]).toEqual([-1, 40]);
    await press(slider(), "ArrowLeft");
    expect(model.get("step")).toBe(20);
    await press(slider(), "End");
    expect(model.get("step")).toBe(-1);
    // A step that is kept no longer: the nearest one is shown.
    model.receive({ step: 10 });
    model.tell({ kind: "kept", run: info(1), rate: 1, steps: { "1": [1, 20, 40] }, frame: {} });
    await settle();
    expect(steps()).toEqual([1]);
  });

  it("plays the kept frames to the end, and stops there", async () => {
    await show(traitsOf([[info(1, { latest: 30 }), [1, 10, 20, 30]]]));
    button("Replay").click();
    await settle();
    expect(model.get("step")).toBe(1);
    await vi.advanceTimersByTimeAsync(300);
    expect(model.get("step")).toBe(10);
    button("End replay").click();
    await vi.advanceTimersByTimeAsync(2000);
    expect(model.get("step")).toBe(10);
    button("Replay").click();
    await vi.advanceTimersByTimeAsync(2000);
    expect(model.get("step")).toBe(-1);
    expect(button("Replay")).toBeDefined();
  });

  it("shows two runs at the same step, and chooses among runs", async () => {
    const second = info(2, { parent: 1, first: 10, latest: 30 });
    await show(
      traitsOf([
        [info(1, { latest: 99 }), [1, 10, 20, 99]],
        [second, [10, 30]],
      ]),
    );
    expect(steps()).toEqual([30]);
    expect(text()).toContain("from run 1 at step 10");
    const select = host.querySelector("select") as HTMLSelectElement;
    select.value = "1";
    select.dispatchEvent(new Event("change"));
    await settle();
    expect(model.get("other")).toBe(1);
    expect(steps()).toEqual([30, 20]);
    const first = host.querySelector("input[type=radio][value='1']") as HTMLInputElement;
    first.click();
    await settle();
    expect(model.get("run")).toBe(1);
    expect(steps()).toEqual([99]); // not beside itself
  });

  it("says of each picture which it is, what its run is, and when its values were measured", async () => {
    await show(
      traitsOf(
        [
          [info(1, { latest: 30, text: "jitter 4" }), [1, 10, 20, 30]],
          [info(2, { parent: 1, first: 10, latest: 30, text: "jitter 8" }), [10, 30]],
        ],
        { other: 1 },
      ),
    );
    const measured = "measured before this step:loss 0.03333";
    const captions = [...host.querySelectorAll("figure:not([hidden]) figcaption")];
    expect(captions.map(({ children }) => [...children].map((each) => each.textContent))).toEqual([
      ["step 30 \u00b7 run 2", "from run 1 at step 10: jitter 8", measured],
      ["step 30 \u00b7 run 1", "jitter 4", measured],
    ]);
    for (const caption of captions) {
      const when = caption.querySelector(".cvz-player-measured span") as HTMLElement;
      expect(when.style.visibility).toBe("visible");
    }
  });

  it("offers a comparison only where there is another run", async () => {
    await show(traitsOf([[info(1), [1, 10]]]));
    const compare = host.querySelector(".cvz-player-compare") as HTMLElement;
    expect(compare.hidden).toBe(true);
    model.tell({ kind: "runs", runs: [info(2)] });
    await settle();
    expect(compare.hidden).toBe(false);
  });

  it("follows a run that begins, even where a step chosen before is still on its way", async () => {
    await show(traitsOf([[info(1, { latest: 20 }), [1, 10, 20]]]));
    const begin = async (number: number) => {
      model.tell({ kind: "runs", runs: [info(number)] });
      model.receive({ run: number, step: -1, state: "running" });
      await settle();
    };
    await begin(2);
    expect(model.saved).toEqual([]); // nothing of its own, which could undo what Python says next
    model.receive({ run: 1 });
    await settle();
    await press(slider(), "Home");
    await begin(3);
    expect(model.saved.at(-1)?.step).toBe(-1);
    const told = model.saved.length;
    await begin(4);
    model.receive({ run: 3, step: 5 });
    model.receive({ run: 4 });
    await settle();
    expect([model.saved.length, model.get("step")]).toEqual([told, 5]);
    // Nor does a run begin that was there when the page was loaded.
    close();
    const both: [RunInfo, number[]][] = [
      [info(1, { latest: 20 }), [1, 20]],
      [info(2, { latest: 20 }), [1, 20]],
    ];
    await show(traitsOf(both, { run: 1 }));
    await press(slider(), "Home");
    model.receive({ run: 2 });
    await settle();
    expect(model.get("step")).toBe(1);
  });

  it("has the marker of a chart where the step is, over both runs", async () => {
    await show(
      traitsOf([
        [info(1, { latest: 101 }), [1, 51]],
        [info(2, { latest: 21 }), [1, 21]],
      ]),
    );
    const place = () => -model.get("marker_low");
    expect(place()).toBeCloseTo(1 - MARGIN, 12);
    model.receive({ run: 1, other: 2, step: 51 });
    await settle();
    expect(place()).toBeCloseTo(0.5, 12);
    // The latest of the run on show; the other one is further.
    model.receive({ run: 2, other: 1, step: -1 });
    await settle();
    expect(place()).toBeCloseTo(MARGIN + (1 - 2 * MARGIN) * 0.2, 12);
    expect(model.saved).toEqual([]); // Python has no use for it
  });

  it("leaves the marker at the end while a run is followed, so that nothing linked to it is told", async () => {
    await show(traitsOf([[info(1, { latest: 3 }), [1]]], { state: "running" }));
    const places = new Set<number>();
    for (let step = 4; step < 60; step += 3) {
      both(step, step, step + 2);
      await settle();
      places.add(model.get("marker_low"));
      await asked();
      places.add(model.get("marker_low"));
    }
    expect([...places]).toEqual([MARGIN - 1]);
  });

  it("asks for what the buttons say, once, and for nothing without a kernel", async () => {
    await show(traitsOf([[info(1, { state: "done" }), [1, 10]]]));
    const asked = () => model.sent.filter((each) => "act" in (each as object));
    expect(isDisabled(button("Start"))).toBe(true);
    expect(isDisabled(button("Branch from here"))).toBe(true);
    await press(host.querySelector("[role=img]"), " ");
    expect(asked()).toEqual([]);
    await welcome();
    button("Branch from here").click();
    expect(asked()[0]).toMatchObject({ act: "branch", run: 1, step: 10 });
    await press(host.querySelector("[role=img]"), " ");
    expect(asked()[1]).toMatchObject({ act: "start" });
    expect(isDisabled(button("Start"))).toBe(true);
    const { page } = model.sent[0] as { page: string };
    model.tell({ kind: "heard", page, act: "start" });
    model.receive({ state: "running" });
    model.tell({ kind: "runs", runs: [info(1)] });
    await settle();
    expect(isDisabled(button("Pause"))).toBe(false);
    expect(isDisabled(button("Stop"))).toBe(false);
    expect(isDisabled(button("Branch from here"))).toBe(true);
    expect(isDisabled(button("Remove run"))).toBe(true);
    button("GIF").click();
    expect(asked()[2]).toMatchObject({ act: "export", format: "gif", run: 1, step: 10 });
  });

  it("shows texts as texts, says states aloud and no single step", async () => {
    const failed = info(1, { text: HOSTILE, state: "failed", ended: HOSTILE, latest: 10 });
    await show(traitsOf([[failed, [10]]], { state: "failed" }));
    expect(host.querySelector("img")).toBeNull();
    expect(text()).toContain(HOSTILE);
    expect(host.querySelector(".cvz-player-failed")?.textContent).toBe(HOSTILE);
    const spoken = host.querySelector("[aria-live]");
    expect(spoken?.textContent).toBe(`Run 1 failed at step 10 of 100. ${HOSTILE}`);
    model.receive({ state: "running" });
    model.tell({ kind: "runs", runs: [info(1, { latest: 11 })] });
    live(1, 11);
    await settle();
    expect(spoken?.textContent).toBe("Run 1 is running");
    live(2, 12);
    await settle();
    expect(spoken?.textContent).toBe("Run 1 is running");
  });

  it("downloads what is offered to it, and not what is offered to another page", async () => {
    await show(traitsOf([]));
    const { page } = model.sent[0] as { page: string };
    const made = vi.fn(() => "blob:it");
    vi.stubGlobal("URL", { createObjectURL: made, revokeObjectURL: vi.fn() });
    const clicked = vi
      .spyOn(HTMLAnchorElement.prototype, "click")
      .mockImplementation(function click(this: HTMLAnchorElement) {
        expect([this.download, this.getAttribute("href")]).toEqual(["a.gif", "blob:it"]);
      });
    const offer = { kind: "offer", name: "a.gif", mime: "image/gif" };
    model.tell({ ...offer, page: "another" }, [file(1)]);
    expect(clicked).not.toHaveBeenCalled();
    model.tell({ ...offer, page }, [file(1)]);
    expect(clicked).toHaveBeenCalledOnce();
    expect(text()).toContain("Press Start");
  });
});
