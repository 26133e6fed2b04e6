/** One view of an embedding map: controls, the points with what is drawn over them, and the legend. */
import { Cleanup, element, liveRegion, setText, shieldKeys } from "../lib/dom";
import { formatCount } from "../lib/format";
import { onChange, setTraits } from "../lib/model";
import panelStyles from "../lib/panel.css";
import { resolveColor, themedRoot, watchTheme } from "../lib/theme";
import { type Coloring, colorPoints, drawingOrder, emphasize } from "./colors";
import { Controls } from "./controls";
import styles from "./embedding_map.css";
import { Gestures, type Outline } from "./gestures";
import { Legend } from "./legend";
import type { Marks } from "./painter";
import type { Direction, PointSet } from "./points";
import { exactly, search } from "./search";
import { type Scene, Stage } from "./stage";
import * as states from "./state";

/** The current point is told to Python at most this often, in milliseconds. */
const CURRENT_INTERVAL = 50;

export class EmbeddingMapView {
  readonly #root = themedRoot("cvz-panel cvz-map", panelStyles, styles);
  #cleanup = new Cleanup();
  #stage: Stage;
  #controls: Controls;
  #legend = new Legend((name) => setTraits(this.shared, { query: exactly(name) }));
  #selection = element("span");
  #clear = element("button", { type: "button", title: "Clear (Escape)" }, "Clear");
  #count = element("span", { class: "cvz-map-count" });
  #note = element("span", { class: "cvz-map-note" });
  #live = liveRegion();
  #subjects: states.Subjects;
  #coloring: Coloring;
  #found: Uint8Array | undefined;
  #marks: Marks;
  #selected = new Set<number>();
  #currentTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    /** Where the points are. */
    private readonly model: states.PlacesModel,
    /** What they are, and what is chosen: another map's model where this one goes along with it. */
    private readonly shared: states.Model,
    private readonly store: states.MapStore,
    el: HTMLElement,
  ) {
    this.#subjects = states.readSubjects(this.shared);
    this.#coloring = colorPoints(this.#subjects);
    this.#marks = this.#makeMarks();
    this.#controls = new Controls({
      color: (mode) => setTraits(shared, { color_by: mode }),
      search: (query) => setTraits(shared, { query }),
      searching: () => this.#setCurrent(-1),
      selectFound: () => this.#selectFound(),
      thumbnails: (shown) => setTraits(shared, { thumbnails_shown: shown }),
      drag: () =>
        this.#stage.node.classList.toggle("cvz-lasso", this.#controls.dragMode === "lasso"),
      zoom: (factor) => this.#stage.zoom(factor),
      fit: () => this.#stage.fit(),
    });
    this.#stage = new Stage(this.#scene(), this.#root, this.#note, (shown) => this.#drawn(shown));
    this.#build();
    el.append(this.#root);
    this.#watch();
    this.#update("all");
  }

  close(): void {
    clearTimeout(this.#currentTimer);
    this.#cleanup.run();
    this.#controls.close();
    this.#stage.close();
    this.#root.remove();
  }

  #build(): void {
    const footer = element(
      "div",
      { class: "cvz-map-footer" },
      this.#selection,
      this.#clear,
      this.#note,
      this.#count,
    );
    this.#root.append(this.#controls.node, this.#stage.node, this.#legend.node, footer, this.#live);
    this.#cleanup.listen(this.#clear, "click", () => this.#escape());
    shieldKeys(this.#root, this.#cleanup);
    const stage = this.#stage;
    new Gestures(
      stage.node,
      {
        dragMode: () => this.#controls.dragMode,
        wheelIsMine: () => stage.hasFocus(),
        pan: (right, down) => stage.pan(right, down),
        zoom: (factor, left, top) => stage.zoom(factor, left, top),
        fit: () => stage.fit(),
        outline: (points) => stage.setOutline(points),
        lasso: (points, adding) => this.#lasso(points, adding),
        click: (left, top, toggling) => this.#click(left, top, toggling),
        hover: (place) => this.#hover(place),
        walk: (direction) => this.#walk(direction),
        choose: (toggling) => stage.current >= 0 && this.#choose(stage.current, toggling),
        escape: () => this.#escape(),
      },
      this.#cleanup,
    );
  }

  #watch(): void {
    const { model, shared } = this;
    const cleanup = this.#cleanup;
    const stage = this.#stage;
    watchTheme(this.#root, cleanup, () => {
      stage.setPalette({
        text: resolveColor(this.#root, "var(--cvz-text)"),
        background: resolveColor(this.#root, "var(--cvz-background)"),
        accent: resolveColor(this.#root, "var(--cvz-accent)"),
      });
    });
    const resized = new ResizeObserver(() => stage.redraw());
    resized.observe(stage.node);
    cleanup.add(() => resized.disconnect());
    onChange(shared, [...states.CLASS_TRAITS, "color_by"], cleanup, () => this.#update("all"));
    onChange(model, [...states.POINT_TRAITS], cleanup, () => this.#pointsChanged());
    if (model !== (shared as unknown)) {
      onChange(shared, [...states.POINT_TRAITS], cleanup, () => this.#pointsChanged());
    }
    onChange(shared, [...states.THUMBNAIL_TRAITS], cleanup, () => this.#thumbnailsChanged());
    onChange(shared, ["selected", "query"], cleanup, () => this.#update("marks"));
    onChange(shared, ["current", "thumbnails_shown"], cleanup, () => this.#update("rest"));
    onChange(model, ["height"], cleanup, () => this.#update("rest"));
    let stop = () => {};
    const seen = new IntersectionObserver(
      (entries) => {
        const visible = entries[entries.length - 1]?.isIntersecting === true;
        stage.setVisible(visible);
        if (visible) {
          stop();
          stop = this.store.thumbnails(shared).load(() => stage.redraw());
        }
      },
      { rootMargin: "100px" },
    );
    seen.observe(stage.node);
    cleanup.add(() => {
      seen.disconnect();
      stop();
    });
    cleanup.listen(stage.node, "focus", () => stage.showHint());
    cleanup.listen(stage.node, "blur", () => stage.showHint());
  }

  #pointsChanged(): void {
    // Points that only move keep their colors, and the page its legend.
    const moved = this.#points().count === this.#subjects.count;
    this.#update(moved ? "marks" : "all");
  }

  #thumbnailsChanged(): void {
    const stop = this.store.thumbnails(this.shared).load(() => this.#stage.redraw());
    this.#cleanup.add(stop);
    this.#stage.dropCard();
    this.#update("all");
  }

  #points(): PointSet {
    return this.store.points(this.model, this.shared);
  }

  #makeMarks(): Marks {
    const { shared } = this;
    const points = this.#points();
    const { classNames, labels, predictions, names } = this.#subjects;
    const codes = labels.length > 0 ? labels : predictions;
    this.#found = search(shared.get("query"), points.count, classNames, codes, names);
    const selected = shared.get("selected").filter((index) => index < points.count);
    this.#selected = new Set(selected);
    const emphasis = emphasize(points.count, selected, this.#found);
    const order = drawingOrder(emphasis);
    const { palette } = this.#coloring;
    return { points, codes: this.#coloring.codes, palette, emphasis, order };
  }

  /** Bring the view up to date with the traits: colors and points, points as they are marked, or the rest. */
  #update(changed: "all" | "marks" | "rest"): void {
    const { model, shared } = this;
    if (changed === "all") {
      this.#subjects = states.readSubjects(this.shared);
      this.#coloring = colorPoints(this.#subjects);
    }
    if (changed !== "rest") {
      this.#marks = this.#makeMarks();
      this.#updateTexts();
    }
    this.#stage.node.style.setProperty("--cvz-height", `${model.get("height")}px`);
    const thumbnails = this.store.thumbnails(shared);
    this.#controls.update({
      modes: states.colorModes(this.#subjects),
      colorBy: shared.get("color_by"),
      query: shared.get("query"),
      searchable: this.#subjects.classNames.length > 0 || this.#subjects.names.length > 0,
      found: this.#found?.reduce((sum, hit) => sum + hit, 0),
      hasThumbnails: thumbnails.present,
      thumbnailsShown: shared.get("thumbnails_shown"),
    });
    this.#legend.update(this.#coloring, this.#subjects.valueName);
    const current = shared.get("current");
    this.#stage.setScene(this.#scene());
    if (this.#currentTimer === undefined && current !== this.#stage.current) {
      // Set by Python or by another map: that one shows the card.
      this.#stage.setCurrent(current < this.#subjects.count ? current : -1, false);
    }
  }

  #scene(): Scene {
    const subjects = this.#subjects;
    return {
      marks: this.#marks,
      thumbnails: this.store.thumbnails(this.shared),
      inPlace: this.shared.get("thumbnails_shown"),
      selected: this.#selected,
      describe: (index) => states.describe(subjects, index),
    };
  }

  #updateTexts(): void {
    const { count, note } = this.#subjects;
    const selected = this.#selected.size;
    setText(this.#selection, selected > 0 ? `${formatCount(selected)} selected` : "");
    this.#clear.hidden = selected === 0 && this.#found === undefined;
    setText(this.#count, `${formatCount(count)} point${count === 1 ? "" : "s"}`);
    const missing = this.#marks.points.count < count ? "These points have no places here yet." : "";
    this.#stage.setNote([note, missing].filter((text) => text !== "").join(" "));
    this.#stage.node.setAttribute(
      "aria-label",
      `Map of ${formatCount(count)} points, ${formatCount(selected)} selected. Arrow keys walk from point ` +
        "to point, Enter selects, Space adds, Escape clears, plus and minus zoom.",
    );
    this.#stage.showHint();
  }

  /** Acknowledge the points on the screen, so that Python may send the next frame. */
  #drawn(shown: Marks): void {
    if (shown === this.#marks) {
      const serial = this.model.get("_serial");
      this.#root.dataset.drawn = String(serial);
      this.#root.dataset.selected = String(this.#selected.size);
      if (this.model.get("_drawn") !== serial) {
        setTraits(this.model, { _drawn: serial });
      }
    }
  }

  #hover(place: { left: number; top: number } | undefined): void {
    const index = place === undefined ? -1 : this.#stage.pointAt(place.left, place.top);
    this.#stage.node.classList.toggle("cvz-on-point", index >= 0);
    this.#setCurrent(index);
  }

  /** Make a point the current one, with its card; Python hears of it a few times a second. */
  #setCurrent(index: number): void {
    if (!this.#stage.setCurrent(index, true)) {
      return;
    }
    this.#currentTimer ??= setTimeout(() => {
      this.#currentTimer = undefined;
      setTraits(this.shared, { current: this.#stage.current });
    }, CURRENT_INTERVAL);
  }

  #click(left: number, top: number, toggling: boolean): void {
    const index = this.#stage.pointAt(left, top);
    if (index >= 0) {
      this.#setCurrent(index);
      this.#choose(index, toggling);
    }
  }

  #choose(index: number, toggling: boolean): void {
    const selected = new Set(toggling ? this.#selected : []);
    if (toggling && this.#selected.has(index)) {
      selected.delete(index);
    } else {
      selected.add(index);
    }
    setTraits(this.shared, { selected: [...selected] });
  }

  #lasso(outline: Outline, adding: boolean): void {
    const inside = this.#stage.inside(outline);
    const selected = adding ? [...new Set([...this.#selected, ...inside])] : inside;
    setTraits(this.shared, { selected });
    setText(this.#live, `${formatCount(selected.length)} selected`);
  }

  #selectFound(): void {
    if (this.#found !== undefined) {
      const selected: number[] = [];
      this.#found.forEach((hit, index) => {
        if (hit) {
          selected.push(index);
        }
      });
      setTraits(this.shared, { selected });
    }
  }

  #walk(direction: Direction): void {
    const { current } = this.#stage;
    const start = current >= 0 ? current : [...this.#selected][0];
    const next =
      start === undefined ? this.#stage.middle() : this.#marks.points.neighbor(start, direction);
    if (next >= 0) {
      this.#stage.reveal(next);
      this.#setCurrent(next);
      setText(this.#live, states.describeAloud(this.#subjects, next));
    }
  }

  #escape(): void {
    this.#setCurrent(-1);
    setTraits(this.shared, { selected: [], query: "" });
    setText(this.#live, "Selection cleared");
  }
}
