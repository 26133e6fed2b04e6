/** What the colors mean: a bar with the values of its ends and of zero, and the unit. */
import { element, setText } from "../lib/dom";
import { formatNumber } from "../lib/format";
import type { Range } from "./data";
import { colorIndex, cssColor, scaleOf } from "./scale";
import type { State } from "./state";
import { labelOf } from "./texts";

const STOPS = 33;

export class Legend {
  readonly node: HTMLElement;
  #title = element("div", { class: "cvz-legend-title" });
  #bar = element("div", { class: "cvz-legend-bar", "aria-hidden": "true" });
  #low = element("span");
  #zero = element("span", { class: "cvz-legend-zero" });
  #high = element("span");
  #key = "";

  constructor() {
    const ends = element("div", { class: "cvz-legend-ends" }, this.#low, this.#zero, this.#high);
    this.node = element(
      "div",
      { class: "cvz-legend", role: "group" },
      this.#title,
      this.#bar,
      ends,
    );
    this.node.setAttribute("aria-label", "Color scale");
  }

  /** Show the scale of `tile` where each has its own, or the one of all. */
  update(state: State, tile: number): void {
    this.node.hidden = state.data.pictures || state.data.count === 0;
    if (this.node.hidden) {
      return;
    }
    if (this.#key !== state.colorKey) {
      this.#key = state.colorKey;
      const colors = state.data.colored
        ? ["#000", "#fff"]
        : Array.from({ length: STOPS }, (_, stop) =>
            cssColor(state.table, Math.round((255 * stop) / (STOPS - 1))),
          );
      this.#bar.style.background = `linear-gradient(to right, ${colors.join(", ")})`;
    }
    const { shared } = state.choice;
    const whose = shared
      ? ""
      : tile >= 0
        ? `, ${labelOf(state, tile)}`
        : ", each tile its own scale";
    const colors = state.data.colored ? ", of red, green and blue each" : "";
    setText(this.#title, state.unit + colors + whose);
    if (!shared && tile < 0) {
      this.#write("lowest", state.choice.zeroCentered ? "0" : "", "highest", 0.5);
      return;
    }
    const scale = scaleOf(state.data, Math.max(0, tile), state.choice);
    if (scale === undefined) {
      this.#write("no finite value", "", "", 0.5);
    } else if (scale.low === scale.high) {
      this.#write(`${formatNumber(scale.low)} everywhere`, "", "", 0.5);
    } else {
      const inside = scale.low < 0 && scale.high > 0;
      this.#write(
        formatNumber(scale.low),
        inside ? "0" : "",
        formatNumber(scale.high),
        placeOfZero(scale),
      );
    }
  }

  #write(low: string, zero: string, high: string, place: number): void {
    setText(this.#low, low);
    setText(this.#zero, place > 0.2 && place < 0.8 ? zero : "");
    this.#zero.style.left = `${100 * place}%`;
    setText(this.#high, high);
  }
}

function placeOfZero(scale: Range): number {
  return colorIndex(0, scale) / 255;
}
