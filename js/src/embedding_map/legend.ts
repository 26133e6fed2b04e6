/** What the colors mean: a button for each class, or a bar for values. */
import { element, setText } from "../lib/dom";
import { formatCount, formatNumber } from "../lib/format";
import { type Coloring, css, type LegendEntry } from "./colors";

/** More classes than that are only counted. */
const MAX_ENTRIES = 120;
const STOPS = 33;

export class Legend {
  readonly node = element("div", {
    class: "cvz-map-legend",
    role: "group",
    "aria-label": "Colors",
  });
  #coloring: Coloring | undefined;

  /** `pick` is called with the name of a class whose button was pressed. */
  constructor(private readonly pick: (name: string) => void) {}

  update(coloring: Coloring, valueName: string): void {
    if (this.#coloring === coloring) {
      return;
    }
    this.#coloring = coloring;
    const { legend, ends } = coloring;
    const children: HTMLElement[] = ends === undefined ? [] : [this.#bar(coloring, valueName)];
    for (const entry of legend.slice(0, MAX_ENTRIES)) {
      children.push(this.#entry(entry));
    }
    if (legend.length > MAX_ENTRIES) {
      const more = `and ${formatCount(legend.length - MAX_ENTRIES)} more`;
      children.push(element("span", { class: "cvz-muted" }, more));
    }
    const colors = coloring.palette.length - 1;
    if (legend.filter(({ isClass }) => isClass).length > colors) {
      const text = `Colors repeat every ${colors} classes; press a class to find it.`;
      children.push(element("span", { class: "cvz-muted" }, text));
    }
    this.node.replaceChildren(...children);
    this.node.hidden = children.length === 0;
  }

  #entry({ name, color, count, isClass }: LegendEntry): HTMLElement {
    const chip = element("span", { class: "cvz-map-chip", "aria-hidden": "true" });
    chip.style.background = css(color);
    const text = element("span", { class: "cvz-map-class" });
    setText(text, name);
    const number = element("span", { class: "cvz-muted" }, formatCount(count));
    if (!isClass) {
      return element("span", { class: "cvz-map-entry" }, chip, text, number);
    }
    const title = `Highlight ${name}`;
    const button = element("button", { type: "button", class: "cvz-map-entry", title });
    button.append(chip, text, number);
    button.addEventListener("click", () => this.pick(name));
    return button;
  }

  #bar({ palette, ends }: Coloring, valueName: string): HTMLElement {
    const last = palette.length - 2;
    const stops = Array.from({ length: STOPS }, (_, stop) =>
      css(palette[Math.round((stop * last) / (STOPS - 1))] ?? [0, 0, 0]),
    );
    const bar = element("span", { class: "cvz-map-bar", "aria-hidden": "true" });
    bar.style.background = `linear-gradient(to right, ${stops.join(", ")})`;
    const title = element("span", { class: "cvz-muted" });
    setText(title, valueName);
    const low = element("span", {}, formatNumber(ends?.low ?? 0));
    const high = element("span", {}, formatNumber(ends?.high ?? 0));
    return element("span", { class: "cvz-map-scale" }, title, low, bar, high);
  }
}
