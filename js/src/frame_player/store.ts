/** What a page knows of a player, and what it tells Python: once a model, however many views show it. */
import type { AnyModel } from "@anywidget/types";
import { asUint8 } from "../lib/buffers";
import { Cleanup, element } from "../lib/dom";
import { Bitmaps, fromRaw } from "./bitmaps";
import { type Kept, type Label, type LiveFrame, type RunInfo, Runs, type Size } from "./runs";

export interface Traits extends Record<string, unknown> {
  _kept: Kept;
  state: string;
  run: number;
  step: number;
  other: number;
  marker_low: number;
  marker_high: number;
}

interface Labeled extends Label {
  run: number;
}

interface LiveMessage extends Label {
  kind: "live";
  serial: number;
  run: RunInfo;
  rate: number | null;
  carried: Size;
}

/** What comes from views/frame_player.py; the buffers are pictures. */
type Message =
  | { kind: "runs"; runs: RunInfo[] }
  | {
      kind: "kept";
      run: RunInfo;
      rate: number | null;
      steps: Record<string, number[]>;
      frame: Labeled;
    }
  | LiveMessage
  | {
      kind: "all";
      page: string;
      runs: RunInfo[];
      steps: Record<string, number[]>;
      frames: Labeled[];
    }
  | { kind: "heard"; page: string; act: string }
  | { kind: "offer"; page: string; name: string; mime: string };

/** A view, as the store sees it. */
export interface Onlooker {
  readonly seen: boolean;
  refresh(): void;
}

export class Store {
  readonly runs = new Runs();
  readonly bitmaps = new Bitmaps(() => this.#refresh());
  live: LiveFrame | undefined;
  /** Steps a second of the run that is going on. */
  rate: number | null = null;
  /** Whether Python has answered: in a saved notebook nobody does. */
  connected = false;
  /** What was asked for last and not heard yet. */
  asked = "";

  readonly #page = crypto.getRandomValues(new Uint32Array(2)).join("-");
  #cleanup = new Cleanup();
  #onlookers = new Set<Onlooker>();
  #serial = 0;
  #visible: boolean | undefined;

  constructor(private readonly model: AnyModel<Traits>) {
    const take = (message: Message, buffers: DataView[]) => this.#take(message, buffers);
    const load = () => {
      this.runs.load(model.get("_kept"));
      this.#refresh();
    };
    model.on("msg:custom", take);
    model.on("change:_kept", load);
    this.#cleanup.add(() => model.off("msg:custom", take));
    this.#cleanup.add(() => model.off("change:_kept", load));
    this.#cleanup.listen(document, "visibilitychange", () => this.tellSeen());
    this.#cleanup.listen(window, "pagehide", () => this.#report(false));
    load();
  }

  close(): void {
    this.#cleanup.run();
    this.bitmaps.close();
  }

  /** Have a view told of what is new; Python sends what is not here yet. */
  join(view: Onlooker): void {
    this.#onlookers.add(view);
    this.#visible = this.#isSeen();
    const have = this.runs.all.map(({ number, frames }) => [
      number,
      frames.map(({ step }) => step),
    ]);
    this.model.send({
      page: this.#page,
      visible: this.#visible,
      have: Object.fromEntries(have),
    });
  }

  leave(view: Onlooker): void {
    this.#onlookers.delete(view);
    this.tellSeen();
  }

  /** Tell Python, which sends live frames only where somebody sees them, if that has changed. */
  tellSeen(): void {
    if (this.#isSeen() === this.#visible) {
      return;
    }
    this.#visible = this.#isSeen();
    if (this.#visible) {
      this.#tellPainted();
    } else {
      this.#report(false);
    }
  }

  /** Ask for what a button stands for. */
  act(act: string, details: Record<string, unknown> = {}): void {
    this.asked = act;
    this.model.send({ page: this.#page, act, ...details });
    this.#refresh();
  }

  #take(message: Message, buffers: DataView[]): void {
    switch (message.kind) {
      case "runs":
        message.runs.map((info) => this.runs.note(info));
        break;
      case "kept":
        this.rate = message.rate;
        this.runs.note(message.run);
        this.#keep(message.frame, buffers[0]);
        this.runs.thin(message.steps);
        break;
      case "live":
        this.#takeLive(message, buffers[0]);
        break;
      case "all":
        this.connected ||= message.page === this.#page;
        this.runs.retain(message.runs.map(({ number }) => number));
        message.runs.map((info) => this.runs.note(info));
        message.frames.forEach((frame, index) => {
          this.#keep(frame, buffers[index]);
        });
        this.runs.thin(message.steps);
        break;
      case "heard":
        if (message.page === this.#page && message.act === this.asked) {
          this.asked = "";
        }
        break;
      case "offer":
        if (message.page === this.#page || (message.page === "" && this.#isSeen())) {
          download(message.name, asUint8(buffers[0]), message.mime);
        }
    }
    this.#refresh();
  }

  #keep({ run, ...label }: Labeled, buffer: DataView | undefined): void {
    this.runs.add(run, { ...label, bytes: asUint8(buffer) });
  }

  /** Take a frame; one without a picture only tells how far it is. */
  #takeLive(message: LiveMessage, buffer: DataView | undefined): void {
    const { serial, rate, run, carried, step, size, values } = message;
    this.#serial = serial;
    this.rate = rate;
    this.runs.note(run);
    if (buffer !== undefined) {
      const picture = fromRaw(asUint8(buffer), ...carried);
      this.live = { run: run.number, step, size, values, picture };
    }
    this.#tellPainted();
  }

  /** Tell Python, which sends no live frame before, once what came up to now is painted: never while hidden. */
  #tellPainted(): void {
    const serial = this.#serial;
    // The views draw in the next frame, before this.
    requestAnimationFrame(() => {
      setTimeout(() => {
        if (this.#visible === true && serial === this.#serial) {
          this.#report(true, serial);
        }
      });
    });
  }

  #report(visible: boolean, painted?: number): void {
    this.model.send({ page: this.#page, visible, ...(painted === undefined ? {} : { painted }) });
  }

  #isSeen(): boolean {
    return !document.hidden && [...this.#onlookers].some(({ seen }) => seen);
  }

  #refresh(): void {
    for (const view of this.#onlookers) {
      view.refresh();
    }
  }
}

function download(name: string, bytes: Uint8Array, type: string): void {
  const url = URL.createObjectURL(new Blob([bytes as Uint8Array<ArrayBuffer>], { type }));
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
