/** One view of an embedding map: controls, the points with what is drawn over them, and the legend. */
import { Cleanup, element, liveRegion, setText, shieldKeys } from "../lib/dom";
import { formatCount } from "../lib/format";
import { onChange, setTraits } from "../lib/model";
import { resolveColor, themedRoot, watchTheme } from "../lib/theme";
import * as cameras from "./camera";
import { Card } from "./card";
import { type Coloring, colorPoints, drawingOrder, emphasize } from "./colors";
import { Controls } from "./controls";
import styles from "./embedding_map.css";
import { Gestures, type Outline } from "./gestures";
import { Legend } from "./legend";
import { drawOverlay, NOTHING, type OverlayPalette, placeThumbnails, thumbnailAt } from "./overlay";
import { type Marks, pointSize, zoomOf } from "./painter";
import { PainterHost } from "./painter_host";
import type { Direction } from "./points";
import { exactly, search } from "./search";
import * as states from "./state";

/** The current point is told to Python at most this often, in milliseconds. */
const CURRENT_INTERVAL = 50;

/** How near to a point the pointer has to be, in pixels, besides the size of the point. */
const REACH = 6;

export class EmbeddingMapView {
  readonly #root = themedRoot("cvz-map", styles);
  #cleanup = new Cleanup();
  #points = element("canvas", { "aria-hidden": "true" });
  #overlay = element("canvas", { "aria-hidden": "true" });
  #hint = element("div", { class: "cvz-map-hint" });
  #plot = element(
    "div",
    { class: "cvz-map-plot", role: "application", tabindex: "0" },
    this.#points,
    this.#overlay,
    this.#hint,
  );
  #card = new Card(this.#plot);
  #controls: Controls;
  #legend = new Legend((name) => setTraits(this.model, { query: exactly(name) }));
  #selection = element("span");
  #clear = element("button", { type: "button", title: "Clear (Escape)" }, "Clear");
  #count = element("span", { class: "cvz-map-count" });
  #note = element("span", { class: "cvz-map-note" });
  #live = liveRegion();
  #host: PainterHost;
  #subjects: states.Subjects;
  #coloring: Coloring;
  #found: Uint8Array | undefined;
  #marks: Marks;
  #selected = new Set<number>();
  #camera = cameras.HOME;
  #placement = NOTHING;
  #outline: Outline = [];
  #palette: OverlayPalette | undefined;
  #current = -1;
  /** Whether the card stands beside the current point: not where another map set it. */
  #cardShown = false;
  #currentTimer: ReturnType<typeof setTimeout> | undefined;
  #frame = 0;

  constructor(
    private readonly model: states.Model,
    private readonly store: states.MapStore,
    el: HTMLElement,
  ) {
    this.#subjects = this.#readSubjects();
    this.#coloring = colorPoints(this.#subjects);
    this.#marks = this.#makeMarks();
    this.#controls = new Controls({
      color: (mode) => setTraits(model, { color_by: mode }),
      search: (query) => setTraits(model, { query }),
      selectFound: () => this.#selectFound(),
      thumbnails: (shown) => setTraits(model, { thumbnails_shown: shown }),
      drag: () => this.#plot.classList.toggle("cvz-lasso", this.#controls.dragMode === "lasso"),
      zoom: (factor) => this.#zoom(factor),
      fit: () => this.#fit(),
    });
    this.#host = new PainterHost(this.#points, this.#plot, this.#note, () => this.#redraw());
    this.#build();
    el.append(this.#root);
    this.#watch();
    this.#update(true);
  }

  close(): void {
    clearTimeout(this.#currentTimer);
    cancelAnimationFrame(this.#frame);
    this.#cleanup.run();
    this.#controls.close();
    this.#host.close();
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
    this.#root.append(this.#controls.node, this.#plot, this.#legend.node, footer, this.#live);
    this.#cleanup.listen(this.#clear, "click", () => this.#escape());
    shieldKeys(this.#root, this.#cleanup);
    new Gestures(
      this.#plot,
      {
        dragMode: () => this.#controls.dragMode,
        wheelIsMine: () => this.#hasFocus(),
        pan: (right, down) => this.#look(cameras.panned(this.#camera, this.#screen(), right, down)),
        zoom: (factor, left, top) => this.#zoom(factor, left, top),
        fit: () => this.#fit(),
        outline: (points) => {
          this.#outline = [...points];
          this.#redraw();
        },
        lasso: (points, adding) => this.#lasso(points, adding),
        click: (left, top, toggling) => this.#click(left, top, toggling),
        hover: (place) => this.#hover(place),
        walk: (direction) => this.#walk(direction),
        choose: (toggling) => this.#current >= 0 && this.#choose(this.#current, toggling),
        escape: () => this.#escape(),
      },
      this.#cleanup,
    );
  }

  #watch(): void {
    const { model } = this;
    const cleanup = this.#cleanup;
    watchTheme(this.#root, cleanup, () => {
      this.#palette = {
        text: resolveColor(this.#root, "var(--cvz-text)"),
        background: resolveColor(this.#root, "var(--cvz-background)"),
        accent: resolveColor(this.#root, "var(--cvz-accent)"),
      };
      this.#redraw();
    });
    const resized = new ResizeObserver(() => this.#redraw());
    resized.observe(this.#plot);
    cleanup.add(() => resized.disconnect());
    // What only this view must drop when points or thumbnails are others; the store has dropped its own.
    onChange(model, [...states.POINT_TRAITS, ...states.CLASS_TRAITS], cleanup, () => {
      this.#update(true);
    });
    onChange(model, [...states.THUMBNAIL_TRAITS], cleanup, () => this.#thumbnailsChanged());
    onChange(model, ["color_by", "selected", "query"], cleanup, () => this.#update(true));
    onChange(model, ["current", "height", "thumbnails_shown"], cleanup, () => this.#update(false));
    let stop = () => {};
    const seen = new IntersectionObserver(
      (entries) => {
        const visible = entries[entries.length - 1]?.isIntersecting === true;
        this.#host.setVisible(visible);
        if (visible) {
          stop();
          stop = this.store.thumbnails(model).load(() => this.#redraw());
          this.#redraw();
        }
      },
      { rootMargin: "100px" },
    );
    seen.observe(this.#plot);
    cleanup.add(() => {
      seen.disconnect();
      stop();
    });
    cleanup.listen(this.#plot, "focus", () => this.#showHint());
    cleanup.listen(this.#plot, "blur", () => this.#showHint());
  }

  #thumbnailsChanged(): void {
    const stop = this.store.thumbnails(this.model).load(() => this.#redraw());
    this.#cleanup.add(stop);
    this.#card.hide();
    this.#update(true);
  }

  #readSubjects(): states.Subjects {
    return states.readSubjects(this.model, this.store.points(this.model).count);
  }

  #makeMarks(): Marks {
    const { model } = this;
    const points = this.store.points(model);
    const { classNames, labels, predictions, names } = this.#subjects;
    const codes = labels.length > 0 ? labels : predictions;
    this.#found = search(model.get("query"), points.count, classNames, codes, names);
    const selected = model.get("selected").filter((index) => index < points.count);
    this.#selected = new Set(selected);
    const emphasis = emphasize(points.count, selected, this.#found);
    const order = drawingOrder(emphasis);
    const { palette } = this.#coloring;
    return { points, codes: this.#coloring.codes, palette, emphasis, order };
  }

  /** Bring the view up to date with the traits; `marks` where the points' look may have changed. */
  #update(marks: boolean): void {
    const { model } = this;
    if (marks) {
      this.#subjects = this.#readSubjects();
      this.#coloring = colorPoints(this.#subjects);
      this.#marks = this.#makeMarks();
      this.#updateTexts();
    }
    this.#plot.style.setProperty("--cvz-height", `${model.get("height")}px`);
    const thumbnails = this.store.thumbnails(model);
    this.#controls.update({
      modes: states.colorModes(this.#subjects),
      colorBy: model.get("color_by"),
      query: model.get("query"),
      searchable: this.#subjects.classNames.length > 0 || this.#subjects.names.length > 0,
      found: this.#found?.reduce((sum, hit) => sum + hit, 0),
      hasThumbnails: thumbnails.present,
      thumbnailsShown: model.get("thumbnails_shown"),
    });
    this.#legend.update(this.#coloring, this.#subjects.valueName);
    const current = model.get("current");
    if (this.#currentTimer === undefined && current !== this.#current) {
      this.#current = current < this.#subjects.count ? current : -1;
      this.#cardShown = false;
    }
    this.#redraw();
  }

  #updateTexts(): void {
    const { count, note } = this.#subjects;
    const selected = this.#selected.size;
    setText(this.#selection, selected > 0 ? `${formatCount(selected)} selected` : "");
    this.#clear.hidden = selected === 0 && this.#found === undefined;
    setText(this.#count, `${formatCount(count)} point${count === 1 ? "" : "s"}`);
    this.#host.setNote(note);
    this.#plot.setAttribute(
      "aria-label",
      `Map of ${formatCount(count)} points, ${formatCount(selected)} selected. Arrow keys walk from point ` +
        "to point, Enter selects, Space adds, Escape clears, plus and minus zoom.",
    );
    this.#showHint();
  }

  #showHint(): void {
    setText(this.#hint, this.#hasFocus() ? "" : "Click to zoom with the wheel");
    this.#hint.hidden = this.#hasFocus();
  }

  #hasFocus(): boolean {
    const scope = this.#root.getRootNode() as Document | ShadowRoot;
    return this.#plot.contains(scope.activeElement ?? null);
  }

  #screen(): cameras.Screen {
    const ratio = window.devicePixelRatio || 1;
    // Whole pairs of screen pixels: what is copied from the shared canvas then stays sharp.
    const whole = (size: number) => (2 * Math.floor((size * ratio) / 2)) / ratio;
    const { clientWidth, clientHeight } = this.#plot;
    return cameras.screenOf(
      this.#camera,
      this.#marks.points.half,
      Math.max(2 / ratio, whole(clientWidth)),
      Math.max(2 / ratio, whole(clientHeight)),
    );
  }

  #redraw(): void {
    if (this.#frame === 0) {
      this.#frame = requestAnimationFrame(() => {
        this.#frame = 0;
        this.#draw();
      });
    }
  }

  #draw(): void {
    if (this.#plot.clientWidth === 0 || this.#palette === undefined) {
      return;
    }
    const screen = this.#screen();
    const ratio = window.devicePixelRatio || 1;
    for (const canvas of [this.#points, this.#overlay]) {
      canvas.style.width = `${screen.width}px`;
      canvas.style.height = `${screen.height}px`;
    }
    const shown = this.#host.paint(this.#marks, screen, ratio);
    if (shown === undefined) {
      return;
    }
    const thumbnails = this.store.thumbnails(this.model);
    const wanted = thumbnails.present && this.model.get("thumbnails_shown");
    this.#placement = wanted ? placeThumbnails(shown, screen) : NOTHING;
    const scene = {
      marks: shown,
      screen,
      thumbnails,
      placement: this.#placement,
      selected: this.#selected,
      current: this.#current,
      lasso: this.#outline,
      palette: this.#palette,
    };
    const drawn = drawOverlay(this.#overlay, scene, ratio);
    this.#placeCard(screen);
    this.#report(shown, screen, drawn);
  }

  #placeCard(screen: cameras.Screen): void {
    const index = this.#current;
    const { points } = this.#marks;
    if (index < 0 || !this.#cardShown || index >= points.count) {
      this.#card.hide();
      return;
    }
    const [left, top] = cameras.toScreen(screen, points.x(index), points.y(index));
    const thumbnails = this.store.thumbnails(this.model);
    this.#card.show(index, states.describe(this.#subjects, index), thumbnails, left, top);
  }

  /** Acknowledge the points, and let tests see what is on the screen. */
  #report(shown: Marks, screen: cameras.Screen, thumbnails: number): void {
    const { dataset } = this.#root;
    const { origin } = shown.points;
    dataset.painter = this.#host.kind;
    dataset.thumbnails = String(thumbnails);
    dataset.place = [origin.x, origin.y, origin.unit, screen.x, screen.y, screen.scale].join(" ");
    if (shown === this.#marks) {
      const serial = this.model.get("_serial");
      dataset.drawn = String(serial);
      dataset.selected = String(this.#selected.size);
      if (this.model.get("_drawn") !== serial) {
        setTraits(this.model, { _drawn: serial });
      }
    }
  }

  #look(camera: cameras.Camera): void {
    this.#camera = camera;
    this.#redraw();
  }

  #zoom(factor: number, left?: number, top?: number): void {
    this.#look(cameras.zoomed(this.#camera, this.#screen(), factor, left, top));
  }

  #fit(): void {
    this.#look(cameras.HOME);
  }

  #pointAt(left: number, top: number): number {
    const inPlace = thumbnailAt(this.#placement, left, top);
    if (inPlace >= 0) {
      return inPlace;
    }
    const screen = this.#screen();
    const { points } = this.#marks;
    const [x, y] = cameras.fromScreen(screen, left, top);
    const reach = pointSize(points.count, zoomOf(points, screen)) / 2 + REACH;
    return points.nearest(x, y, reach / screen.scale);
  }

  #hover(place: { left: number; top: number } | undefined): void {
    const index = place === undefined ? -1 : this.#pointAt(place.left, place.top);
    this.#plot.classList.toggle("cvz-on-point", index >= 0);
    this.#setCurrent(index);
  }

  /** Make a point the current one, with its card; Python hears of it a few times a second. */
  #setCurrent(index: number): void {
    if (index === this.#current && this.#cardShown === index >= 0) {
      return;
    }
    this.#current = index;
    this.#cardShown = index >= 0;
    // At once, not with the next frame: this is what the person waits for.
    this.#placeCard(this.#screen());
    this.#redraw();
    this.#currentTimer ??= setTimeout(() => {
      this.#currentTimer = undefined;
      setTraits(this.model, { current: this.#current });
    }, CURRENT_INTERVAL);
  }

  #click(left: number, top: number, toggling: boolean): void {
    const index = this.#pointAt(left, top);
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
    setTraits(this.model, { selected: [...selected] });
  }

  #lasso(outline: Outline, adding: boolean): void {
    const screen = this.#screen();
    const polygon = outline.map(([left, top]) => cameras.fromScreen(screen, left, top));
    const inside = this.#marks.points.inside(polygon);
    const selected = adding ? [...new Set([...this.#selected, ...inside])] : inside;
    setTraits(this.model, { selected });
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
      setTraits(this.model, { selected });
    }
  }

  #walk(direction: Direction): void {
    const { points } = this.#marks;
    const start = this.#current >= 0 ? this.#current : [...this.#selected][0];
    const next =
      start === undefined
        ? points.nearest(this.#camera.x, this.#camera.y, 4)
        : points.neighbor(start, direction);
    if (next >= 0) {
      const camera = cameras.revealing(
        this.#camera,
        this.#screen(),
        points.x(next),
        points.y(next),
        40,
      );
      this.#look(camera);
      this.#setCurrent(next);
      setText(this.#live, states.describeAloud(this.#subjects, next));
    }
  }

  #escape(): void {
    this.#setCurrent(-1);
    setTraits(this.model, { selected: [], query: "" });
    setText(this.#live, "Selection cleared");
  }
}
