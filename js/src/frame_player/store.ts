/** What a page knows of a player, and what it tells Python: once a model, however many views show it. */
import type { AnyModel } from "@anywidget/types";
import { asUint8 } from "../lib/buffers";
import { Cleanup, element } from "../lib/dom";
import { onChange, setTraits } from "../lib/model";
import { Bitmaps } from "./bitmaps";
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

interface Live extends Label {
  /** As many pixels as come. */
  carried: Size;
  /** Whether it is kept, too. */
  kept: boolean;
}

interface LiveMessage {
  kind: "live";
  serial: number;
  run: RunInfo;
  rate: number | null;
  /** How many such frames come with one message at most. */
  room: number;
  /** In the order of their steps; their pixels come last. None where others are on show. */
  live: Live[];
  /** Frames kept since the last message, of steps before, between and after; their files come first. */
  frames: Labeled[];
  /** Which are kept, of each run of which others are now. */
  steps: Record<string, number[]>;
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
  /** Whether anything is seen of the widget that it is part of: it may be larger than the page. */
  readonly near: boolean;
  /** Draw anew what has changed: the pictures, and now or some time soon the rest; the `whole` of it now. */
  refresh(whole: boolean): void;
}

/** A greeting that is not answered is repeated after so long, in milliseconds, then twice as long, and so on. */
const GREETING = 3000;
const GREETINGS = 5;
/** What was asked for and is not heard for so long may never be: the kernel may be another one. */
const UNHEARD = 10_000;
/** Live frames are asked for so often, in milliseconds: what asking costs it costs once for all that come then. */
const ASKING = 960;
/** Sooner at first, when what is seen is new: so long after the first time, then so much longer each time, a frame's. */
const ASKING_FIRST = 96;
/** Frames are shown one after another until the next ones come, each of them so long at least. */
const PACE = 80;

export class Store {
  readonly runs = new Runs();
  readonly bitmaps = new Bitmaps(() => this.#refresh());
  live: LiveFrame | undefined;
  /** Steps a second of the run that is going on. */
  rate: number | null = null;
  /** Whether Python is heard: in a saved notebook nobody is. */
  connected = false;
  /** What was asked for last and not heard yet. */
  asked = "";
  /** The newest run that is known from before, or was shown. */
  #followed: number;
  /** Whether a step was chosen since that run began. */
  #chose = false;

  readonly #page = crypto.getRandomValues(new Uint32Array(2)).join("-");
  #cleanup = new Cleanup();
  #onlookers = new Set<Onlooker>();
  #serial = 0;
  /** Live frames to be shown yet. */
  #queue: (LiveFrame & Live)[] = [];
  /** Kept ones that came with them, of steps not shown yet: the latest kept frame would be shown in their place. */
  #early: LiveFrame[] = [];
  #later: ReturnType<typeof setTimeout> | undefined;
  /** When some were asked for last; long ago where the next ones need not wait. */
  #askedAt = Number.NEGATIVE_INFINITY;
  /** How long after asking others are asked for: with these frames, and where many come with one message. */
  #wait = 0;
  #period = 0;
  /** They are asked for at this frame of the page, and after this time. */
  #painting = 0;
  #asking: ReturnType<typeof setTimeout> | undefined;
  #visible: boolean | undefined;
  #near = false;
  #answered = false;
  #greetings = 0;
  #again: ReturnType<typeof setTimeout> | undefined;
  #unheard: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly model: AnyModel<Traits>) {
    const take = (message: Message, buffers: DataView[]) => this.#take(message, buffers);
    const load = () => {
      this.#hurry();
      this.runs.load(model.get("_kept"));
      this.#refresh();
    };
    const lose = () => this.#lose();
    // The last one comes from ipywidgets when the kernel is started anew.
    const events = {
      "msg:custom": take,
      "change:_kept": load,
      comm_live_update: lose,
    };
    for (const [event, handler] of Object.entries(events)) {
      model.on(event, handler);
      this.#cleanup.add(() => model.off(event, handler));
    }
    onChange(model, ["run"], this.#cleanup, () => this.#follow());
    this.#cleanup.listen(document, "visibilitychange", () => this.tellSeen());
    this.#cleanup.listen(window, "pagehide", () => {
      this.#visible = false;
      this.#near = false;
      this.#report();
    });
    this.#cleanup.listen(window, "pageshow", () => this.tellSeen());
    this.#cleanup.add(() => clearTimeout(this.#again));
    this.#cleanup.add(() => clearTimeout(this.#unheard));
    this.#cleanup.add(() => clearTimeout(this.#later));
    this.#cleanup.add(() => this.#stopAsking());
    load();
    this.#followed = Math.max(model.get("run"), this.runs.newest?.number ?? 0);
  }

  close(): void {
    this.#visible = false; // nothing is told any more
    this.#cleanup.run();
    this.bitmaps.close();
  }

  /** Have a view told of what is new; Python sends what is not here yet. */
  join(view: Onlooker): void {
    this.#onlookers.add(view);
    this.#greet();
  }

  /** Greet Python again if it has not answered: somebody is about to use the buttons. */
  poke(): void {
    if (!this.#answered) {
      this.#greet();
    }
  }

  /** Show a run, a step of it, or another run beside it. */
  choose(chosen: Partial<Traits>): void {
    this.#chose ||= chosen.step !== undefined;
    setTraits(this.model, chosen);
    if (chosen.step === undefined || chosen.step < 0) {
      this.#askNow();
    }
  }

  /**
   * Follow a run that begins, as Python does.
   *
   * ipywidgets holds a step back until Python has heard of the one before, but no message: a step chosen right before
   * the button that began the run comes after its beginning, and would be taken for one of the new run.
   */
  #follow(): void {
    const run = this.model.get("run");
    if (run > this.#followed) {
      this.#followed = run;
      if (this.#chose) {
        this.#chose = false;
        // Only what changes is sent; here it may be -1 already.
        this.model.set("step", 0);
        setTraits(this.model, { step: -1 });
      }
    }
  }

  /** Say that the page is here, whether it is seen, and which frames it has. */
  #greet(): void {
    this.#visible = this.#isSeen("seen");
    this.#near = this.#isSeen("near");
    const have = this.runs.all.map(({ number, frames }) => [
      number,
      frames.map(({ step }) => step),
    ]);
    this.model.send({
      page: this.#page,
      visible: this.#visible,
      near: this.#near,
      have: Object.fromEntries(have),
    });
    clearTimeout(this.#again);
    if (!this.#answered && this.#greetings < GREETINGS) {
      this.#again = setTimeout(() => this.#greet(), GREETING * 2 ** this.#greetings);
      this.#greetings += 1;
    }
  }

  /** Find out anew whether there is a kernel that made the widget. */
  #lose(): void {
    this.connected = false;
    this.#answered = false;
    this.#greetings = 0;
    this.#hear();
    this.#greet();
    this.#refresh();
  }

  /** Nothing that was asked for is to be heard of any more. */
  #hear(): void {
    this.asked = "";
    clearTimeout(this.#unheard);
  }

  leave(view: Onlooker): void {
    this.#onlookers.delete(view);
    this.tellSeen();
  }

  /** Tell Python, which sends live frames, and curves, only where somebody sees them, if that has changed. */
  tellSeen(): void {
    const [visible, near] = [this.#isSeen("seen"), this.#isSeen("near")];
    if (visible && !this.#visible) {
      this.#greet(); // nothing was sent meanwhile
    } else if (visible !== this.#visible || near !== this.#near) {
      this.#visible = visible;
      this.#near = near;
      this.#report();
    }
  }

  /** Ask for what a button stands for. */
  act(act: string, details: Record<string, unknown> = {}): void {
    this.#hear();
    this.asked = act;
    this.#unheard = setTimeout(() => this.#lose(), UNHEARD);
    this.model.send({ page: this.#page, act, ...details });
    this.#refresh();
  }

  #take(message: Message, buffers: DataView[]): void {
    this.connected = true;
    if (message.kind !== "heard" && message.kind !== "offer") {
      this.#hurry();
      if (message.kind !== "live") {
        this.#askNow();
      }
    }
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
        this.#takeLive(message, buffers);
        break;
      case "all":
        if (message.page === this.#page) {
          this.#answered = true;
          clearTimeout(this.#again);
        }
        this.runs.retain(message.runs.map(({ number }) => number));
        message.runs.map((info) => this.runs.note(info));
        message.frames.forEach((frame, index) => {
          this.#keep(frame, buffers[index]);
        });
        this.runs.thin(message.steps);
        break;
      case "heard":
        if (message.page === this.#page && message.act === this.asked) {
          this.#hear();
        }
        break;
      case "offer":
        if (message.page === this.#page || (message.page === "" && this.#isSeen("seen"))) {
          download(message.name, asUint8(buffers[0]), message.mime);
        }
    }
    // What stands beside the last frame is up to date, whatever comes next, and when.
    this.#refresh(this.#queue.length === 0);
  }

  #keep({ run, ...label }: Labeled, buffer: DataView | undefined): void {
    this.runs.add(run, { ...label, bytes: asUint8(buffer) });
  }

  /** Take live frames, and show them one after another. */
  #takeLive(message: LiveMessage, buffers: DataView[]): void {
    const { serial, rate, room, run, live, frames, steps } = message;
    this.#serial = serial;
    this.#stopAsking();
    this.#wait = Math.min(this.#period, room * PACE);
    this.rate = rate;
    this.runs.note(run);
    this.runs.thin(steps);
    this.#early = frames.map((frame, index) => ({ ...frame, bytes: asUint8(buffers[index]) }));
    this.#queue = live.map((frame, index) => {
      return { ...frame, run: run.number, bytes: asUint8(buffers[frames.length + index]) };
    });
    this.#showNext(Math.max(PACE, this.#wait / live.length), performance.now());
  }

  /** Show the live frame that is due, for so long; once the last one is painted, Python may send others. */
  #showNext(pace: number, due: number): void {
    this.#showLive(this.#queue.shift());
    if (this.#queue.length > 0) {
      const next = due + pace; // timers are late: were it counted from now, those of all frames would add up
      this.#later = setTimeout(() => {
        this.#showNext(pace, next);
        this.#refresh(this.#queue.length === 0);
      }, next - performance.now());
    } else {
      this.#tellPainted();
    }
  }

  /** Skip to the last live frame: something newer comes. */
  #hurry(): void {
    clearTimeout(this.#later);
    if (this.#queue.length > 0) {
      for (const frame of this.#queue.splice(0)) {
        this.#showLive(frame);
      }
      this.#tellPainted();
    }
  }

  #showLive(next: (LiveFrame & Live) | undefined): void {
    const isEarly = ({ run, step }: LiveFrame) =>
      this.#queue.length > 0 && run === next?.run && step > next.step;
    for (const { run, ...frame } of this.#early.filter((each) => !isEarly(each))) {
      this.runs.add(run, frame);
    }
    this.#early = this.#early.filter(isEarly);
    if (next !== undefined) {
      const { kept, ...frame } = next;
      this.live = frame;
      if (kept) {
        this.runs.add(frame.run, frame);
      }
    }
  }

  /** Tell Python, which sends no live frame before, once what came up to now is painted: never while hidden. */
  #tellPainted(): void {
    this.#stopAsking();
    // The views draw in the next frame, before this.
    this.#painting = requestAnimationFrame(() => {
      const wait = Math.max(0, this.#askedAt + this.#wait - performance.now());
      this.#asking = setTimeout(() => {
        this.#asking = undefined;
        if (this.#visible === true) {
          this.#askedAt = performance.now();
          this.#period = Math.min(this.#period + ASKING_FIRST, ASKING);
          this.#report(this.#serial);
        }
      }, wait);
    });
  }

  #stopAsking(): void {
    cancelAnimationFrame(this.#painting);
    clearTimeout(this.#asking);
    this.#asking = undefined;
  }

  /** Let the next live frames not wait: something has happened, such as the beginning of a run. */
  #askNow(): void {
    this.#askedAt = Number.NEGATIVE_INFINITY;
    this.#period = 0;
    if (this.#asking !== undefined) {
      this.#tellPainted();
    }
  }

  #report(painted?: number): void {
    this.model.send({
      page: this.#page,
      visible: this.#visible,
      near: this.#near,
      ...(painted === undefined ? {} : { painted }),
    });
  }

  #isSeen(how: "seen" | "near"): boolean {
    return !document.hidden && [...this.#onlookers].some((each) => each[how]);
  }

  #refresh(whole = true): void {
    for (const view of this.#onlookers) {
      view.refresh(whole);
    }
  }
}

function download(name: string, bytes: Uint8Array, type: string): void {
  const url = URL.createObjectURL(new Blob([bytes as Uint8Array<ArrayBuffer>], { type }));
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
