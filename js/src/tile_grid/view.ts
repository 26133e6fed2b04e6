/** One view of a tile grid: legend and switches, the tiles, one of them enlarged, and what is read off. */
import { Cleanup, element, liveRegion, setText, shieldKeys } from "../lib/dom";
import { onReturn } from "../lib/frames";
import { onChange, setTraits } from "../lib/model";
import panelStyles from "../lib/panel.css";
import { themedRoot, watchTheme } from "../lib/theme";
import { Controls } from "./controls";
import { readPalette } from "./drawing";
import { Enlarged } from "./enlarged";
import type { Layout } from "./layout";
import { Legend } from "./legend";
import { type Place, Scroller } from "./scroller";
import { DATA_TRAITS, type Model, type State, type TileStore, VIEW_TRAITS } from "./state";
import { countText, describeTile, labelOf, placeText, valueText } from "./texts";
import styles from "./tile_grid.css";
import { Tooltip } from "./tooltip";

/** From this width on an enlarged tile stands beside the others, below it in their place. */
const WIDE = 680;

/** The pointer is told to Python at most this often, in milliseconds. */
const POINTER_INTERVAL = 50;

export class TileGridView {
  readonly #root = themedRoot("cvz-panel cvz-tiles", panelStyles, styles);
  #cleanup = new Cleanup();
  #legend = new Legend();
  #controls: Controls;
  #scroller: Scroller;
  #enlarged: Enlarged;
  #tooltip = new Tooltip(this.#root);
  #summary = element("span", { class: "cvz-tiles-summary" });
  #count = element("span", { class: "cvz-tiles-count" });
  #enlarge = element("button", { type: "button" }, "Enlarge");
  #live = liveRegion();
  #state: State;
  #hovered = -1;
  #pointer: [number, number, number] = [-1, -1, -1];
  #pointerTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly model: Model,
    private readonly store: TileStore,
    el: HTMLElement,
  ) {
    this.#state = store.read(model);
    this.#controls = new Controls(model);
    this.#scroller = new Scroller({
      select: (tile, place) => this.#select(tile, place),
      enlarge: (tile) => this.#open(tile),
      pick: (tile) => this.#pick(tile),
      escape: () => this.#close(),
      hover: (place, event) => this.#hover(place, event),
      painted: (layout) => this.#painted(layout),
    });
    this.#enlarged = new Enlarged(this.#scroller.bitmaps, {
      close: () => this.#close(),
      go: (tile) => this.#select(tile, undefined),
      pin: (place) => this.#select(place.tile, place),
      hover: (place) => this.#point(place),
    });
    this.#build();
    el.append(this.#root);
    watchTheme(this.#root, this.#cleanup, () => this.#theme());
    onChange(model, [...DATA_TRAITS, ...VIEW_TRAITS], this.#cleanup, () => this.#update());
    onReturn(this.#root, this.#cleanup, () => this.#update());
    this.#update();
  }

  close(): void {
    clearTimeout(this.#pointerTimer);
    this.#cleanup.run();
    this.#controls.close();
    this.#enlarged.close();
    this.#scroller.close();
    this.#root.remove();
  }

  #build(): void {
    const header = element(
      "div",
      { class: "cvz-tiles-header" },
      this.#legend.node,
      this.#controls.node,
    );
    const footer = element(
      "div",
      { class: "cvz-tiles-footer" },
      this.#summary,
      this.#enlarge,
      this.#count,
    );
    const body = element(
      "div",
      { class: "cvz-tiles-body" },
      this.#scroller.node,
      this.#enlarged.node,
    );
    this.#root.append(header, body, footer, this.#live);
    const observer = new ResizeObserver(() => this.#fitWidth());
    observer.observe(this.#root);
    this.#cleanup.add(() => observer.disconnect());
    this.#cleanup.listen(this.#enlarge, "click", () => this.#open(this.#state.selected));
    shieldKeys(this.#root, this.#cleanup);
    this.#watchPixelRatio();
  }

  /** Moving to a screen of another density, or zooming the page, changes the size of a screen pixel. */
  #watchPixelRatio(): void {
    const query = window.matchMedia?.(`(resolution: ${window.devicePixelRatio}dppx)`);
    const onRatio = () => {
      this.#update();
      this.#watchPixelRatio();
    };
    query?.addEventListener("change", onRatio, { once: true });
    this.#cleanup.add(() => query?.removeEventListener("change", onRatio));
  }

  #fitWidth(): void {
    const width = this.#root.clientWidth;
    if (width > 0) {
      this.#root.classList.toggle("cvz-wide", width >= WIDE);
    }
  }

  #theme(): void {
    const palette = readPalette(this.#root);
    this.#scroller.setPalette(palette);
    this.#enlarged.setPalette(palette);
  }

  #update(): void {
    const before = this.#state;
    const state = this.store.read(this.model);
    this.#state = state;
    const open = state.enlarged >= 0 && state.enlarged < state.data.count;
    this.#root.classList.toggle("cvz-open", open);
    this.#enlarged.update(state);
    this.#scroller.update(state);
    this.#controls.update(state);
    this.#updateLegend();
    const selected = state.selected >= 0 && state.selected < state.data.count;
    const summary = selected ? describeTile(state, state.selected) : "";
    setText(this.#summary, selected ? summary : state.order.length > 0 ? "No tile selected" : "");
    this.#summary.classList.toggle("cvz-muted", !selected);
    this.#enlarge.hidden = !selected || open;
    this.#enlarge.title = state.picks ? "Enlarge" : "Enlarge (Enter)";
    setText(this.#count, state.data.count > 0 ? countText(state) : "");
    if (before.selected !== state.selected) {
      setText(this.#live, summary);
    }
    if (before.serial !== state.serial) {
      this.#tooltip.hide();
    }
  }

  #updateLegend(): void {
    const { enlarged, selected, data } = this.#state;
    const candidates = [this.#hovered, enlarged, selected];
    this.#legend.update(
      this.#state,
      candidates.find((tile) => tile >= 0 && tile < data.count) ?? -1,
    );
  }

  #select(tile: number, place: Place | undefined): void {
    const position = place === undefined ? [-1, -1] : this.#original(place);
    const follow = this.#enlarged.open ? { enlarged: tile } : {};
    setTraits(this.model, { selected: tile, position, ...follow });
  }

  /** Tell Python, with the tiles it was picked among: they may have been swapped by then. */
  #pick(tile: number): void {
    this.model.send({ picked: tile, serial: this.#state.serial });
  }

  #original(place: Place): [number, number] {
    const { factor } = this.#state.data;
    return [place.row * factor, place.column * factor];
  }

  #open(tile: number): void {
    if (tile >= 0) {
      this.#hover(undefined, undefined);
      const moved = tile === this.#state.selected ? {} : { position: [-1, -1] };
      setTraits(this.model, { enlarged: tile, selected: tile, ...moved });
      this.#update();
      this.#enlarged.focus();
    }
  }

  #close(): boolean {
    const open = this.#enlarged.open;
    if (open) {
      setTraits(this.model, { enlarged: -1 });
      this.#point(undefined);
      this.#update();
      this.#scroller.focus();
    }
    return open;
  }

  #hover(place: Place | undefined, event: PointerEvent | undefined): void {
    if (place === undefined || event === undefined) {
      this.#tooltip.hide();
    } else {
      const { tile, row, column } = place;
      this.#tooltip.show(event.clientX, event.clientY, {
        title: labelOf(this.#state, tile),
        value: valueText(this.#state, tile, row, column),
        place: placeText(this.#state, row, column),
        remark: this.#state.badges[String(tile)] ?? "",
      });
    }
    this.#point(place);
  }

  /** Tell Python where the pointer is: at once where it rested, otherwise a few times a second. */
  #point(place: Place | undefined): void {
    const tile = place?.tile ?? -1;
    if (tile !== this.#hovered) {
      this.#hovered = tile;
      this.#updateLegend();
    }
    const pointer: [number, number, number] = place
      ? [tile, ...this.#original(place)]
      : [-1, -1, -1];
    if (pointer.join() === this.#pointer.join()) {
      return;
    }
    this.#pointer = pointer;
    this.#pointerTimer ??= setTimeout(() => {
      this.#pointerTimer = undefined;
      setTraits(this.model, { pointer: this.#pointer });
    }, POINTER_INTERVAL);
  }

  /** Let tests and benchmarks see when, and how, the tiles came to the screen. */
  #painted(layout: Layout): void {
    this.#controls.setLayout(layout);
    const { dataset } = this.#root;
    dataset.across = String(layout.across);
    dataset.inset = String(layout.inset);
    dataset.pitchX = String(layout.pitchX);
    dataset.pitchY = String(layout.pitchY);
    dataset.tileWidth = String(layout.tileWidth);
    dataset.tileHeight = String(layout.tileHeight);
    dataset.step = String(this.#state.step ?? "");
    const serial = String(this.#state.serial);
    if (dataset.painted !== serial) {
      dataset.painted = serial;
      performance.mark(`cnnviz:tiles-painted:${serial}`);
    }
  }
}
