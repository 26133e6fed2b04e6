/** The controls above the map: what colors tell, dragging, thumbnails, zoom, search. */
import { Cleanup, element, setText, uniqueId } from "../lib/dom";
import { formatCount } from "../lib/format";
import type { DragMode } from "./gestures";

export interface ControlEvents {
  color(mode: string): void;
  search(query: string): void;
  /** The person is about to type. */
  searching(): void;
  selectFound(): void;
  thumbnails(shown: boolean): void;
  drag(): void;
  zoom(factor: number): void;
  fit(): void;
}

export interface ControlState {
  modes: readonly (readonly [string, string])[];
  colorBy: string;
  query: string;
  searchable: boolean;
  found: number | undefined;
  hasThumbnails: boolean;
  thumbnailsShown: boolean;
}

export class Controls {
  readonly node: HTMLElement;
  dragMode: DragMode = "pan";
  #cleanup = new Cleanup();
  #color = element("select", { "aria-label": "Color points by", title: "Color points by" });
  #colorLabel = element("label", { class: "cvz-map-color" }, "Color ", this.#color);
  #search = element("input", {
    type: "search",
    placeholder: "Search labels",
    "aria-label": "Search labels and names",
    title: "Part of a label or name, in any case; in quotes, exactly the label",
    spellcheck: "false",
    autocomplete: "off",
  });
  #found = element("button", { type: "button", title: "Select what was found" });
  #thumbnails = element("input", { type: "checkbox" });
  #thumbnailsLabel = element("label", { class: "cvz-check" }, this.#thumbnails, "Thumbnails");
  #modes = "";

  constructor(private readonly events: ControlEvents) {
    const zoomIn = iconButton("+", "Zoom in (+)");
    const zoomOut = iconButton("\u2212", "Zoom out (\u2212)");
    const fit = element("button", { type: "button", title: "Show all points (0)" }, "Fit");
    const zoom = element("div", { class: "cvz-buttons", role: "group" }, zoomOut, zoomIn, fit);
    zoom.setAttribute("aria-label", "Zoom");
    const search = element("div", { class: "cvz-map-search" }, this.#search, this.#found);
    this.node = element(
      "div",
      { class: "cvz-map-controls" },
      this.#colorLabel,
      this.#dragSwitch(),
      zoom,
      this.#thumbnailsLabel,
      search,
    );
    const cleanup = this.#cleanup;
    cleanup.listen(this.#color, "change", () => events.color(this.#color.value));
    cleanup.listen(this.#search, "focus", () => events.searching());
    cleanup.listen(this.#search, "input", () => events.search(this.#search.value));
    cleanup.listen(this.#search, "keydown", (event: KeyboardEvent) => this.#searchKey(event));
    cleanup.listen(this.#found, "click", () => events.selectFound());
    cleanup.listen(this.#thumbnails, "change", () => events.thumbnails(this.#thumbnails.checked));
    cleanup.listen(zoomIn, "click", () => events.zoom(1.5));
    cleanup.listen(zoomOut, "click", () => events.zoom(1 / 1.5));
    cleanup.listen(fit, "click", () => events.fit());
  }

  close(): void {
    this.#cleanup.run();
  }

  update(state: ControlState): void {
    const modes = JSON.stringify(state.modes);
    if (this.#modes !== modes) {
      this.#modes = modes;
      const options = state.modes.map(([mode, text]) => element("option", { value: mode }, text));
      this.#color.replaceChildren(...options);
    }
    this.#color.value = state.colorBy;
    this.#colorLabel.hidden = state.modes.length < 2;
    if (this.#search.value !== state.query) {
      this.#search.value = state.query;
    }
    this.#search.hidden = !state.searchable;
    this.#found.hidden = state.found === undefined;
    this.#found.disabled = state.found === 0;
    setText(this.#found, state.found === 0 ? "None" : `Select ${formatCount(state.found ?? 0)}`);
    this.#thumbnailsLabel.hidden = !state.hasThumbnails;
    this.#thumbnails.checked = state.thumbnailsShown;
  }

  #searchKey(event: KeyboardEvent): void {
    if (event.key === "Escape" && this.#search.value !== "") {
      event.preventDefault();
      this.events.search("");
    } else if (event.key === "Enter") {
      event.preventDefault();
      this.events.selectFound();
    }
  }

  #dragSwitch(): HTMLElement {
    const group = uniqueId("cvz-drag");
    const choices: [DragMode, string, string][] = [
      ["pan", "Move", "Drag moves the map"],
      ["lasso", "Lasso", "Drag selects points (or hold Shift)"],
    ];
    const labels = choices.map(([mode, text, title]) => {
      const checked = mode === this.dragMode;
      const attributes = { type: "radio", name: group, value: mode, class: "cvz-hidden", checked };
      const input = element("input", attributes);
      this.#cleanup.listen(input, "change", () => {
        this.dragMode = mode;
        this.events.drag();
      });
      return element("label", { title }, input, element("span", {}, text));
    });
    const attributes = { class: "cvz-segments", role: "radiogroup", "aria-label": "Drag" };
    return element("div", attributes, ...labels);
  }
}

function iconButton(text: string, title: string): HTMLButtonElement {
  return element("button", { type: "button", title, "aria-label": title }, text);
}
