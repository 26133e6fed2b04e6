/** What is asked of Python: to start, pause, resume and stop, to branch, to export, and to remove a run. */
import {
  type Cleanup,
  element,
  isDisabled,
  setAttribute,
  setDisabled,
  setHidden,
} from "../lib/dom";
import { type Icon, icon, label } from "./icons";
import type { Run } from "./runs";

const FORMATS: [format: string, text: string, title: string][] = [
  ["png", "PNG", "The frame on show, exactly"],
  ["gif", "GIF", "The kept frames as an animation"],
  ["webp", "WebP", "The kept frames as an animation of all colors"],
  ["npz", "NPZ", "The result with all its numbers"],
];

/** What the first button does in each state, and what is written on it. */
type Meaning = [act: string, sign: Icon, text: string];
const MAIN: Record<string, Meaning> = {
  running: ["pause", "pause", "Pause"],
  paused: ["resume", "play", "Resume"],
};
const START: Meaning = ["start", "play", "Start"];
const NOBODY = "This needs a running kernel that made the widget";

export type Act = (act: string, details?: Record<string, unknown>) => void;

/** Start, pause or resume, and stop. */
export class JobButtons {
  readonly main = element("button", { type: "button", class: "cvz-player-main" });
  readonly stop = element("button", { type: "button" }, icon("stop"), "Stop");
  #state = "ready";

  constructor(
    cleanup: Cleanup,
    private readonly act: Act,
  ) {
    cleanup.listen(this.main, "click", () => this.press());
    onPress(cleanup, this.stop, () => this.act("stop"));
  }

  /** Do what the first button does, as long as it may. */
  press(): void {
    if (!isDisabled(this.main)) {
      this.act((MAIN[this.#state] ?? START)[0]);
    }
  }

  show(state: string, connected: boolean, asked: string): void {
    this.#state = state;
    const [act, sign, text] = MAIN[state] ?? START;
    label(this.main, sign, text);
    disable(this.main, asked === act || asked === "stop", connected);
    const going = state === "running" || state === "paused";
    disable(this.stop, !going || asked === "stop", connected);
  }
}

/** Branch, compare, download and remove. */
export class RunButtons {
  readonly root: HTMLElement;
  #branch = element("button", { type: "button" }, "Branch from here");
  #compare = element("select");
  #compareLabel = element("label", { class: "cvz-player-compare" }, "Compare with ", this.#compare);
  #menu = element("div", { class: "cvz-player-menu" });
  #summary = element("summary", {}, "Download", icon("down"));
  #download = element("details", { class: "cvz-player-download" }, this.#summary, this.#menu);
  #remove = element("button", { type: "button" }, "Remove run");
  #run = 0;
  /** Of the frame on show, -1 where there is none. */
  step = -1;
  #choices = "";

  /** `compare` is called with the number of the run to show beside, -1 for none. */
  constructor(cleanup: Cleanup, act: Act, compare: (run: number) => void) {
    this.root = element(
      "div",
      { class: "cvz-player-line cvz-player-more" },
      this.#branch,
      this.#download,
      this.#remove,
      this.#compareLabel,
    );
    const here = () => ({ run: this.#run, step: this.step });
    onPress(cleanup, this.#branch, () => act("branch", here()));
    onPress(cleanup, this.#remove, () => act("remove", { run: this.#run }));
    cleanup.listen(this.#compare, "change", () => compare(Number(this.#compare.value)));
    for (const [format, text, title] of FORMATS) {
      const button = element("button", { type: "button", title }, text);
      cleanup.listen(button, "click", () => {
        this.#close();
        act("export", { format, ...here() });
      });
      this.#menu.append(button);
    }
    cleanup.listen(this.#download, "keydown", (event: KeyboardEvent) => {
      if (event.key === "Escape" && this.#download.open) {
        this.#close();
      }
    });
    cleanup.listen(this.#summary, "click", (event: Event) => {
      if (isDisabled(this.#summary)) {
        event.preventDefault();
      }
    });
    cleanup.listen(document, "pointerdown", (event: Event) => {
      if (this.#download.open && !event.composedPath().includes(this.#download)) {
        this.#download.open = false;
      }
    });
  }

  /** Show what may be done with the frame on show; `step` is -1 where there is none. */
  show(
    runs: Run[],
    run: Run | undefined,
    step: number,
    other: number,
    job: { state: string; number: number; connected: boolean },
  ): void {
    this.#run = run?.number ?? 0;
    this.step = step;
    const going = job.state === "running" || job.state === "paused";
    const branch = "Begin another run from this frame";
    disable(this.#branch, step < 0 || job.state === "running", job.connected, branch);
    disable(this.#remove, run === undefined || (going && run.number === job.number), job.connected);
    const nothing = !job.connected || step < 0;
    disable(this.#summary, nothing, job.connected);
    if (nothing && this.#download.open) {
      this.#download.open = false;
    }
    this.#choose(
      runs.map(({ number }) => number).filter((number) => number !== run?.number),
      other,
    );
  }

  #choose(numbers: number[], other: number): void {
    const choices = numbers.join();
    if (choices !== this.#choices || this.#compare.options.length === 0) {
      this.#choices = choices;
      this.#compare.replaceChildren(
        element("option", { value: -1 }, "nothing"),
        ...numbers.map((number) => element("option", { value: number }, `run ${number}`)),
      );
    }
    const value = String(numbers.includes(other) ? other : -1);
    if (this.#compare.value !== value) {
      this.#compare.value = value;
    }
    setHidden(this.#compareLabel, numbers.length === 0);
  }

  #close(): void {
    this.#download.open = false;
    this.#summary.focus();
  }
}

function onPress(cleanup: Cleanup, button: HTMLElement, press: () => void): void {
  cleanup.listen(button, "click", () => {
    if (!isDisabled(button)) {
      press();
    }
  });
}

function disable(button: HTMLElement, because: boolean, connected: boolean, title = ""): void {
  setDisabled(button, because || !connected);
  setAttribute(button, "title", connected ? title : NOBODY);
}
