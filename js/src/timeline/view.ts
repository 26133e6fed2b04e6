/** A slider over recorded steps with a play button; moves other views by the traits it sets. */
import type { AnyModel } from "@anywidget/types";
import { Cleanup, element, setText, shieldKeys, uniqueId } from "../lib/dom";
import { formatCount } from "../lib/format";
import { onChange, setTraits } from "../lib/model";
import { markerEnds, nearestStep } from "../lib/steps";
import { themedRoot, watchTheme } from "../lib/theme";
import styles from "./timeline.css";

export interface Traits extends Record<string, unknown> {
  _steps: number[];
  _texts: string[];
  value: number;
  label: string;
  playable: boolean;
  interval: number;
  marker_low: number;
  marker_high: number;
  _serial: number;
}

export class TimelineView {
  readonly #root = themedRoot("cvz-timeline", styles);
  #cleanup = new Cleanup();
  #play = element("button", { type: "button", class: "cvz-play" });
  #slider = element("input", { type: "range", min: 0, step: 1, id: uniqueId("cvz-timeline") });
  #label = element("label", { for: this.#slider.id });
  #where = element("span", { class: "cvz-where" });
  #latest = element(
    "button",
    { type: "button", title: "Show the last record, and each new one as it comes" },
    "Latest",
  );
  #text = element("div", { class: "cvz-step-text" });
  #timer: ReturnType<typeof setInterval> | undefined;
  readonly #id = crypto.getRandomValues(new Uint32Array(2)).join("-");
  #painting = false;

  constructor(
    private readonly model: AnyModel<Traits>,
    el: HTMLElement,
  ) {
    const row = element(
      "div",
      { class: "cvz-timeline-row" },
      this.#play,
      this.#label,
      this.#slider,
      this.#where,
      this.#latest,
    );
    this.#root.append(row, this.#text);
    el.append(this.#root);
    this.#cleanup.listen(this.#slider, "input", () => {
      const index = Number(this.#slider.value);
      this.#stop();
      this.#go(index);
    });
    this.#cleanup.listen(this.#play, "click", () => this.#toggle());
    this.#cleanup.listen(this.#latest, "click", () => {
      this.#stop();
      this.#go(Number.POSITIVE_INFINITY);
      this.#slider.focus();
    });
    shieldKeys(this.#root, this.#cleanup);
    watchTheme(this.#root, this.#cleanup, () => {});
    const shown: (keyof Traits & string)[] = ["_steps", "_texts", "value", "label", "playable"];
    onChange(model, shown, this.#cleanup, () => this.#update());
    onChange(model, ["_serial"], this.#cleanup, () => this.#tellPainted());
    this.#cleanup.listen(document, "visibilitychange", () => this.#tell({}));
    this.#update();
    this.#tellPainted();
  }

  close(): void {
    this.#stop();
    this.#cleanup.run();
    this.#root.remove();
  }

  /** Tell Python, which sends nothing more before, once what came up to now is painted: never while hidden. */
  #tellPainted(): void {
    if (this.#painting) {
      return;
    }
    this.#painting = true;
    // Views of other widgets paint in the next frame, some of them in the one after.
    requestAnimationFrame(() =>
      requestAnimationFrame(() => {
        setTimeout(() => {
          this.#painting = false;
          this.#tell({ painted: this.model.get("_serial") });
        });
      }),
    );
  }

  #tell(what: { painted?: number }): void {
    if (this.#root.isConnected) {
      this.model.send({ view: this.#id, hidden: document.hidden, ...what });
    }
  }

  get #steps(): number[] {
    return this.model.get("_steps");
  }

  /** Show a record; the last one stands for "the latest", whatever is recorded after it. */
  #go(index: number): void {
    const steps = this.#steps;
    const value = index >= steps.length - 1 ? -1 : (steps[index] ?? -1);
    setTraits(this.model, { value, ...markerEnds(steps, value) });
    this.#update();
  }

  #toggle(): void {
    if (this.#timer !== undefined) {
      this.#stop();
      return;
    }
    const last = this.#steps.length - 1;
    if (nearestStep(this.#steps, this.model.get("value")) >= last) {
      this.#go(0);
    }
    this.#timer = setInterval(() => this.#advance(), this.model.get("interval"));
    this.#update();
  }

  #advance(): void {
    const next = nearestStep(this.#steps, this.model.get("value")) + 1;
    this.#go(next);
    if (next >= this.#steps.length - 1) {
      this.#stop();
    }
  }

  #stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#update();
  }

  #update(): void {
    const steps = this.#steps;
    const value = this.model.get("value");
    const index = nearestStep(steps, value);
    const empty = steps.length === 0;
    const playing = this.#timer !== undefined;
    this.#slider.max = String(Math.max(0, steps.length - 1));
    this.#slider.value = String(Math.max(0, index));
    this.#slider.disabled = steps.length < 2;
    const step = empty ? "nothing recorded yet" : `step ${formatCount(steps[index] ?? 0)}`;
    const place = empty ? "" : `record ${formatCount(index + 1)} of ${formatCount(steps.length)}`;
    this.#slider.setAttribute("aria-valuetext", empty ? step : `${step}, ${place}`);
    setText(this.#label, this.model.get("label"));
    setText(this.#where, empty ? step : `${step} \u00b7 ${place}`);
    setText(this.#text, this.model.get("_texts")[index] ?? "");
    this.#play.hidden = !this.model.get("playable");
    this.#play.disabled = steps.length < 2;
    setText(this.#play, playing ? "\u23f8\ufe0e" : "\u25b6\ufe0e");
    const act = playing ? "Pause" : "Play";
    this.#play.setAttribute("aria-label", act);
    this.#play.title = act;
    // Kept in its place, so that the slider does not change its length when it is let go at the end.
    const following = value < 0 || empty || !this.model.get("playable");
    this.#latest.style.visibility = following ? "hidden" : "visible";
    this.#root.dataset.step = empty ? "" : String(steps[index]);
    this.#mark(markerEnds(steps, value));
  }

  #mark(ends: Pick<Traits, "marker_low" | "marker_high">): void {
    if (this.model.get("marker_low") !== ends.marker_low) {
      setTraits(this.model, ends);
    }
  }
}
