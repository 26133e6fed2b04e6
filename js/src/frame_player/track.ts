/** A slider over the steps of a run, filled as far as it has come, with buttons to play and to follow the run. */
import { type Cleanup, element, setAttribute, setDisabled, setStyle, uniqueId } from "../lib/dom";
import { formatCount } from "../lib/format";
import { label } from "./icons";
import { firstStep, lastStep, type Run } from "./runs";

/** Playing all frames takes about so long, in milliseconds, and each one of them so long at least and at most. */
const PLAY_TIME = 5000;
const [SHORTEST, LONGEST] = [50, 300];

export class Track {
  readonly root: HTMLElement;
  #play = element("button", { type: "button", class: "cvz-player-replay" });
  #fill = element("div", { class: "cvz-player-fill" });
  #bar = element(
    "div",
    { class: "cvz-player-bar", role: "progressbar", "aria-label": "Progress" },
    this.#fill,
  );
  #slider = element("input", {
    type: "range",
    min: 0,
    step: 1,
    id: uniqueId("cvz-player"),
    "aria-label": "Step",
  });
  /** It stands where there is room for it, so that the slider is as long as all is wide. */
  readonly latest = element(
    "button",
    { type: "button", title: "Show the latest frame, and each new one as it comes" },
    "Latest",
  );
  #timer: ReturnType<typeof setInterval> | undefined;
  #run: Run | undefined;
  #step = -1;

  /** `go` is called with the step to show, -1 for the latest. */
  constructor(
    cleanup: Cleanup,
    private readonly go: (step: number) => void,
  ) {
    const rail = element("div", { class: "cvz-player-rail" }, this.#bar, this.#slider);
    this.root = element("div", { class: "cvz-player-line" }, this.#play, rail);
    cleanup.listen(this.#slider, "input", () => this.#drag(Number(this.#slider.value)));
    cleanup.listen(this.#slider, "keydown", (event: KeyboardEvent) => this.press(event));
    cleanup.listen(this.#play, "click", () => this.#toggle());
    cleanup.listen(this.latest, "click", () => {
      this.#goTo(Number.POSITIVE_INFINITY);
      this.#slider.focus();
    });
    cleanup.add(() => this.#stop());
  }

  /** Show where a run is: `step` is the one on show, -1 where that follows the run; `at` is its frame's. */
  show(run: Run | undefined, step: number, at: number): void {
    if (run?.number !== this.#run?.number) {
      this.#stop();
    }
    this.#run = run;
    this.#step = step;
    const [first, last] = run === undefined ? [0, 1] : [firstStep(run), lastStep(run)];
    const reached = run === undefined ? 0 : run.latest;
    setAttribute(this.#slider, "min", String(first));
    setAttribute(this.#slider, "max", String(Math.max(last, first + 1)));
    this.#slide(step < 0 ? Math.max(reached, at) : at);
    setDisabled(this.#slider, this.#steps.length < 2);
    setAttribute(this.#slider, "aria-valuetext", this.#spoken(at));
    const share = (reached - first) / Math.max(1, last - first);
    setStyle(this.#fill, "transform", `scaleX(${share})`); // unlike a width it moves nothing else
    setAttribute(this.#bar, "aria-valuemin", String(first));
    setAttribute(this.#bar, "aria-valuemax", String(last));
    setAttribute(this.#bar, "aria-valuenow", String(reached));
    const playing = this.#timer !== undefined;
    setDisabled(this.#play, this.#steps.length < 2);
    // No sign or word that the buttons of the run have, too: this computes nothing.
    label(this.#play, "replay", playing ? "End replay" : "Replay");
    setAttribute(this.#play, "title", playing ? "" : "Show the kept frames one after another");
    // Kept in its place, so that nothing beside it moves.
    setStyle(this.latest, "visibility", step < 0 ? "hidden" : "visible");
  }

  #slide(to: number): void {
    if (this.#slider.value !== String(to)) {
      this.#slider.value = String(to);
    }
  }

  /** Go to another frame by a key; the steps between them are skipped. */
  press(event: KeyboardEvent): void {
    const move = {
      ArrowLeft: -1,
      ArrowDown: -1,
      ArrowRight: 1,
      ArrowUp: 1,
      PageDown: -10,
      PageUp: 10,
      Home: Number.NEGATIVE_INFINITY,
      End: Number.POSITIVE_INFINITY,
    }[event.key];
    if (move === undefined || event.ctrlKey || event.metaKey || event.altKey) {
      return;
    }
    event.preventDefault();
    this.#goTo(this.#index + move);
  }

  get #steps(): number[] {
    return this.#run?.frames.map(({ step }) => step) ?? [];
  }

  /** Of the kept frame on show; one behind the last where that is a live one. */
  get #index(): number {
    const steps = this.#steps;
    const behind = steps.findIndex((step) => step >= this.#step);
    if (this.#step < 0 || behind < 0) {
      const live = (this.#run?.latest ?? -1) > (steps[steps.length - 1] ?? -1);
      return steps.length - (live ? 0 : 1);
    }
    return behind;
  }

  #drag(value: number): void {
    const steps = this.#steps;
    let nearest = 0;
    steps.forEach((step, index) => {
      if (Math.abs(step - value) < Math.abs((steps[nearest] ?? 0) - value)) {
        nearest = index;
      }
    });
    this.#goTo(nearest);
  }

  #goTo(index: number): void {
    this.#stop();
    if (this.#steps.length > 1) {
      this.#show(index);
    } else {
      this.#slide(this.#step < 0 ? (this.#run?.latest ?? 0) : this.#step);
    }
  }

  /** Show a kept frame; the last one stands for the latest, whatever comes after it. */
  #show(index: number): void {
    const steps = this.#steps;
    this.go(index >= steps.length - 1 ? -1 : (steps[Math.max(0, index)] ?? -1));
  }

  #toggle(): void {
    if (this.#timer !== undefined) {
      this.#stop();
      this.#show(this.#index);
      return;
    }
    const count = this.#steps.length;
    if (count < 2) {
      return;
    }
    const start = this.#index >= count - 1 ? 0 : this.#index;
    const pace = Math.min(LONGEST, Math.max(SHORTEST, PLAY_TIME / count));
    this.#timer = setInterval(() => this.#advance(), pace);
    this.#show(start);
  }

  #advance(): void {
    const next = this.#index + 1;
    if (next >= this.#steps.length - 1) {
      this.#stop();
    }
    this.#show(next);
  }

  #stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #spoken(at: number): string {
    const count = this.#steps.length;
    if (at < 0) {
      return "nothing yet";
    }
    const following = this.#step < 0 ? ", the latest" : "";
    return `step ${formatCount(at)}${following}, ${formatCount(count)} kept`;
  }
}
