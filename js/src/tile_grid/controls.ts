/** The switches above the tiles: scale, zero in the middle, colors, size. */
import { Cleanup, element, uniqueId } from "../lib/dom";
import { setTraits } from "../lib/model";
import { type Layout, nextTileSize, tileSizes } from "./layout";
import type { Model, State } from "./state";

export class Controls {
  readonly node: HTMLElement;
  #cleanup = new Cleanup();
  #state: State | undefined;
  #layout: Layout | undefined;
  #scales = new Map<string, HTMLInputElement>();
  #zero = element("input", { type: "checkbox" });
  #colors = element("select", { "aria-label": "Colors", title: "Colors" });
  #smaller = element(
    "button",
    { type: "button", "aria-label": "Smaller tiles", title: "Smaller tiles" },
    "\u2212",
  );
  #larger = element(
    "button",
    { type: "button", "aria-label": "Larger tiles", title: "Larger tiles" },
    "+",
  );
  #scale: HTMLElement;
  #zeroLabel = element("label", { class: "cvz-check" }, this.#zero, "Zero-centered");
  #names = "";

  constructor(private readonly model: Model) {
    this.#scale = this.#scaleSwitch();
    const size = element(
      "div",
      { class: "cvz-buttons", role: "group" },
      this.#smaller,
      this.#larger,
    );
    size.setAttribute("aria-label", "Tile size");
    this.node = element(
      "div",
      { class: "cvz-tiles-controls" },
      this.#scale,
      this.#zeroLabel,
      this.#colors,
      size,
    );
    this.#cleanup.listen(this.#zero, "change", () => {
      setTraits(this.model, { zero_centered: this.#zero.checked });
    });
    this.#cleanup.listen(this.#colors, "change", () => this.#chooseColors());
    this.#cleanup.listen(this.#smaller, "click", () => this.#resize(false));
    this.#cleanup.listen(this.#larger, "click", () => this.#resize(true));
  }

  close(): void {
    this.#cleanup.run();
  }

  update(state: State): void {
    this.#state = state;
    this.node.hidden = state.data.count === 0;
    const { pictures, colored } = state.data;
    this.#scale.hidden = pictures;
    this.#zeroLabel.hidden = pictures || colored;
    this.#colors.hidden = pictures || colored;
    const { shared, zeroCentered } = state.choice;
    for (const [name, input] of this.#scales) {
      input.checked = name === (shared ? "shared" : "each");
    }
    this.#zero.checked = zeroCentered;
    this.#listColors(zeroCentered);
  }

  /** The tile size as it came out: tells which steps are left. */
  setLayout(layout: Layout): void {
    this.#layout = layout;
    this.#smaller.disabled = this.#nextSize(false) === undefined;
    this.#larger.disabled = this.#nextSize(true) === undefined;
  }

  #scaleSwitch(): HTMLElement {
    const group = uniqueId("cvz-scale");
    const choices = { shared: "One scale for all", each: "Each its own" };
    const labels = Object.entries(choices).map(([name, text]) => {
      const input = element("input", {
        type: "radio",
        name: group,
        value: name,
        class: "cvz-hidden",
      });
      this.#scales.set(name, input);
      this.#cleanup.listen(input, "change", () => setTraits(this.model, { scale: name }));
      return element("label", {}, input, element("span", {}, text));
    });
    return element(
      "div",
      { class: "cvz-segments", role: "radiogroup", "aria-label": "Scale" },
      ...labels,
    );
  }

  #listColors(zeroCentered: boolean): void {
    const names = this.model.get(zeroCentered ? "_diverging_names" : "_sequential_names");
    if (this.#names !== names.join()) {
      this.#names = names.join();
      this.#colors.replaceChildren(
        ...names.map((name) => element("option", { value: name }, name)),
      );
    }
    this.#colors.value = this.model.get(zeroCentered ? "diverging" : "sequential");
  }

  #chooseColors(): void {
    const trait = this.#state?.choice.zeroCentered ? "diverging" : "sequential";
    setTraits(this.model, { [trait]: this.#colors.value });
  }

  #nextSize(up: boolean): number | undefined {
    if (this.#state === undefined || this.#layout === undefined) {
      return undefined;
    }
    const { rows, columns } = this.#state.data;
    const sizes = tileSizes(rows, columns, window.devicePixelRatio || 1);
    return nextTileSize(sizes, this.#layout.tileSize, up);
  }

  #resize(up: boolean): void {
    const size = this.#nextSize(up);
    if (size !== undefined) {
      setTraits(this.model, { tile_size: Math.ceil(size) });
    }
  }
}
