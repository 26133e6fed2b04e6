/** The map itself: points, what is drawn over them, the card, and the part of the map that is on the screen. */
import { element, setText } from "../lib/dom";
import { NextFrame } from "../lib/frames";
import type { Thumbnails } from "./atlas";
import * as cameras from "./camera";
import { Card } from "./card";
import type { Outline } from "./gestures";
import { drawOverlay, NOTHING, type OverlayPalette, placeThumbnails, thumbnailAt } from "./overlay";
import { type Marks, pointSize, zoomOf } from "./painter";
import { PainterHost } from "./painter_host";
import type { Description } from "./state";

/** How near to a point the pointer has to be, in pixels, besides the size of the point. */
const REACH = 6;

/** A point walked to is shown at least so far from the rim, in pixels. */
const RIM = 40;

/** What there is to be shown. */
export interface Scene {
  marks: Marks;
  thumbnails: Thumbnails;
  /** Whether thumbnails are drawn in place. */
  inPlace: boolean;
  selected: ReadonlySet<number>;
  describe(index: number): Description;
}

export class Stage {
  #points = element("canvas", { "aria-hidden": "true" });
  #overlay = element("canvas", { "aria-hidden": "true" });
  #hint = element("div", { class: "cvz-map-hint" });
  readonly node = element(
    "div",
    { class: "cvz-map-plot", role: "application", tabindex: "0" },
    this.#points,
    this.#overlay,
    this.#hint,
  );
  #card = new Card(this.node);
  #host: PainterHost;
  #camera = cameras.HOME;
  #placement = NOTHING;
  #outline: Outline = [];
  #palette: OverlayPalette | undefined;
  #current = -1;
  /** Whether the card stands beside the current point: not where another map set it. */
  #cardShown = false;
  #frame = new NextFrame(() => this.#draw());

  /** `drawn` is called with the marks that are on the screen, after each frame. */
  constructor(
    private scene: Scene,
    private readonly root: HTMLElement,
    note: HTMLElement,
    private readonly drawn: (marks: Marks) => void,
  ) {
    this.#host = new PainterHost(this.#points, this.node, note, () => this.redraw());
  }

  get current(): number {
    return this.#current;
  }

  close(): void {
    this.#frame.cancel();
    this.#host.close();
  }

  setScene(scene: Scene): void {
    this.scene = scene;
    this.redraw();
  }

  setPalette(palette: OverlayPalette): void {
    this.#palette = palette;
    this.redraw();
  }

  setVisible(visible: boolean): void {
    this.#host.setVisible(visible);
    this.redraw();
  }

  setNote(note: string): void {
    this.#host.setNote(note);
  }

  setOutline(outline: Outline): void {
    this.#outline = [...outline];
    this.redraw();
  }

  /** Make a point the current one; returns whether that changes anything. */
  setCurrent(index: number, withCard: boolean): boolean {
    const cardShown = withCard && index >= 0;
    if (index === this.#current && cardShown === this.#cardShown) {
      return false;
    }
    this.#current = index;
    this.#cardShown = cardShown;
    // At once, not with the next frame: this is what the person waits for.
    this.#placeCard(this.#screen());
    this.redraw();
    return true;
  }

  /** Forget what the card shows: the thumbnails are others. */
  dropCard(): void {
    this.#card.hide();
    this.redraw();
  }

  hasFocus(): boolean {
    const scope = this.root.getRootNode() as Document | ShadowRoot;
    return this.node.contains(scope.activeElement ?? null);
  }

  showHint(): void {
    const focused = this.hasFocus();
    setText(this.#hint, focused ? "" : "Click to zoom with the wheel");
    this.#hint.hidden = focused;
  }

  pan(right: number, down: number): void {
    this.#look(cameras.panned(this.#camera, this.#screen(), right, down));
  }

  zoom(factor: number, left?: number, top?: number): void {
    this.#look(cameras.zoomed(this.#camera, this.#screen(), factor, left, top));
  }

  fit(): void {
    this.#look(cameras.HOME);
  }

  /** Move the map as far as needed to have a point in sight. */
  reveal(index: number): void {
    const { points } = this.scene.marks;
    const [x, y] = [points.x(index), points.y(index)];
    this.#look(cameras.revealing(this.#camera, this.#screen(), x, y, RIM));
  }

  /** The point nearest to the middle of the screen. */
  middle(): number {
    return this.scene.marks.points.nearest(this.#camera.x, this.#camera.y, 4);
  }

  /** The point under a pixel, -1 for none. */
  pointAt(left: number, top: number): number {
    const inPlace = thumbnailAt(this.#placement, left, top);
    if (inPlace >= 0) {
      return inPlace;
    }
    const screen = this.#screen();
    const { points } = this.scene.marks;
    const [x, y] = cameras.fromScreen(screen, left, top);
    const reach = pointSize(points.count, zoomOf(points, screen)) / 2 + REACH;
    return points.nearest(x, y, reach / screen.scale);
  }

  /** The points inside an outline in pixels. */
  inside(outline: Outline): number[] {
    const screen = this.#screen();
    const polygon = outline.map(([left, top]) => cameras.fromScreen(screen, left, top));
    return this.scene.marks.points.inside(polygon);
  }

  redraw(): void {
    this.#frame.request();
  }

  #look(camera: cameras.Camera): void {
    this.#camera = camera;
    this.redraw();
  }

  #screen(): cameras.Screen {
    const ratio = window.devicePixelRatio || 1;
    // Whole pairs of screen pixels: what is copied from the shared canvas then stays sharp.
    const whole = (size: number) => Math.max(2, 2 * Math.floor((size * ratio) / 2)) / ratio;
    const { clientWidth, clientHeight } = this.node;
    const { half } = this.scene.marks.points;
    return cameras.screenOf(this.#camera, half, whole(clientWidth), whole(clientHeight));
  }

  #draw(): void {
    if (this.node.clientWidth === 0 || this.#palette === undefined) {
      return;
    }
    const screen = this.#screen();
    const ratio = window.devicePixelRatio || 1;
    for (const canvas of [this.#points, this.#overlay]) {
      canvas.style.width = `${screen.width}px`;
      canvas.style.height = `${screen.height}px`;
    }
    const { marks, thumbnails, inPlace, selected } = this.scene;
    const shown = this.#host.paint(marks, screen, ratio);
    if (shown === undefined) {
      return;
    }
    this.#placement = inPlace && thumbnails.present ? placeThumbnails(shown, screen) : NOTHING;
    const overlay = {
      marks: shown,
      screen,
      thumbnails,
      placement: this.#placement,
      selected,
      current: this.#current,
      lasso: this.#outline,
      palette: this.#palette,
    };
    const drawn = drawOverlay(this.#overlay, overlay, ratio);
    this.#placeCard(screen);
    this.#tell(shown, screen, drawn);
    this.drawn(shown);
  }

  #placeCard(screen: cameras.Screen): void {
    const index = this.#current;
    const { marks, thumbnails, describe } = this.scene;
    const { points } = marks;
    if (index < 0 || !this.#cardShown || index >= points.count) {
      this.#card.hide();
      return;
    }
    const [left, top] = cameras.toScreen(screen, points.x(index), points.y(index));
    this.#card.show(index, describe(index), thumbnails, left, top);
  }

  /** Let tests see what is on the screen. */
  #tell(shown: Marks, screen: cameras.Screen, thumbnails: number): void {
    const { dataset } = this.root;
    const { x, y, unit } = shown.points.origin;
    dataset.painter = this.#host.kind;
    dataset.thumbnails = String(thumbnails);
    dataset.place = [x, y, unit, screen.x, screen.y, screen.scale].join(" ");
  }
}
