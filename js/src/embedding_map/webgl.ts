/** Drawing the points with WebGL: regl-scatterplot, on one context shared by all maps of the page. */
import createScatterplot, { createRenderer, createSpatialIndex } from "regl-scatterplot";
import type { Screen } from "./camera";
import { FADED, STRONG, USUAL } from "./colors";
import { type Marks, opacityOf, type Painter, pointSize, STRONG_SIZE, zoomOf } from "./painter";

type Renderer = ReturnType<typeof createRenderer>;
type Scatterplot = ReturnType<typeof createScatterplot>;

/**
 * A browser allows some sixteen contexts a page, and drops the oldest of more. Each widget loads its own copy
 * of this module, so what they share hangs on the window, under a name that changes with its meaning.
 */
const SHARED = Symbol.for("cnnviz_widgets.embedding_map.renderer.1");

interface Shared {
  renderer: Renderer;
  users: Set<WebGLPainter>;
  lost: boolean;
}

type SharedWindow = Window & { [SHARED]?: Shared | undefined };

/** Pixels of the shared canvas a side at most, so that it stays within what any WebGL can do. */
const MAX_SIDE = 4096;

function acquire(painter: WebGLPainter): Shared {
  const page = window as SharedWindow;
  let shared = page[SHARED];
  if (shared === undefined) {
    shared = { renderer: makeRenderer(), users: new Set(), lost: false };
    const created = shared;
    page[SHARED] = created;
    created.renderer.canvas.addEventListener("webglcontextlost", () => {
      created.lost = true;
      if (page[SHARED] === created) {
        page[SHARED] = undefined;
      }
      for (const user of [...created.users]) {
        user.lose();
      }
    });
  }
  shared.users.add(painter);
  return shared;
}

function release(shared: Shared, painter: WebGLPainter): void {
  const page = window as SharedWindow;
  shared.users.delete(painter);
  if (shared.users.size === 0) {
    if (page[SHARED] === shared) {
      page[SHARED] = undefined;
    }
    const context = shared.renderer.canvas.getContext("webgl");
    shared.renderer.destroy();
    // Without this the context lives on until the garbage is collected.
    context?.getExtension("WEBGL_lose_context")?.loseContext();
  }
}

function makeRenderer(): Renderer {
  const canvas = document.createElement("canvas");
  canvas.width = 2;
  canvas.height = 2;
  if (canvas.getContext("webgl", { antialias: false }) === null) {
    throw new Error("this browser gives no WebGL context");
  }
  const renderer = createRenderer({ canvas });
  if (!renderer.isSupported) {
    renderer.destroy();
    throw new Error("this browser's WebGL can't draw to textures of floating-point numbers");
  }
  return renderer;
}

export class WebGLPainter implements Painter {
  readonly kind = "webgl";
  #shared: Shared;
  #plot: Scatterplot;
  #frame: () => void = () => {};
  #sent: Marks | undefined;
  #shown: Marks | undefined;
  #busy = false;
  #closed = false;
  #size = { width: 0, height: 0, pixelRatio: 0, point: 0, palette: undefined as unknown };

  /**
   * Throws where there is no WebGL.
   *
   * `again` asks for another call of `paint`, `lost` tells that the context is gone.
   */
  constructor(
    canvas: HTMLCanvasElement,
    parent: HTMLElement,
    private readonly again: () => void,
    private readonly lost: () => void,
  ) {
    this.#shared = acquire(this);
    const { renderer } = this.#shared;
    // Drawn when this map asks for it, together with its thumbnails, not in a loop of the library's own.
    const onDemand = {
      canvas: renderer.canvas,
      regl: renderer.regl,
      isSupported: renderer.isSupported,
      isDestroyed: false,
      gamma: renderer.gamma,
      render: renderer.render,
      refresh: renderer.refresh,
      resize: renderer.resize,
      destroy: () => {},
      onFrame: (draw: () => void) => {
        this.#frame = draw;
        return () => {};
      },
    };
    this.#plot = createScatterplot({
      renderer: onDemand as unknown as Renderer,
      canvas,
      width: 2,
      height: 2,
      cameraIsFixed: true,
      deselectOnDblClick: false,
      deselectOnEscape: false,
      lassoInitiatorParentElement: parent,
      lassoLongPressIndicatorParentElement: parent,
      colorBy: "valueA",
      opacityBy: "valueB",
      sizeBy: "valueB",
      pointScaleMode: "constant",
    } as unknown as Parameters<typeof createScatterplot>[0]);
  }

  paint(marks: Marks, screen: Screen, pixelRatio: number): Marks | undefined {
    if (this.#closed || this.#shared.lost) {
      return this.#shown;
    }
    if (marks !== this.#sent && !this.#busy) {
      void this.#send(marks);
    }
    this.#fit(marks, screen, pixelRatio);
    const { height, scale, x, y } = screen;
    // The library's own unit is half the height of the canvas.
    const unit = (2 * scale) / height;
    this.#plot.view([unit, 0, 0, 0, 0, unit, 0, 0, 0, 0, 1, 0, -x * unit, -y * unit, 0, 1], {
      preventEvent: true,
    });
    this.#frame();
    return this.#shown;
  }

  lose(): void {
    this.close();
    this.lost();
  }

  close(): void {
    if (!this.#closed) {
      this.#closed = true;
      if (!this.#shared.lost) {
        // The library's `destroy` forgets the texture of the points; an empty one takes its place.
        this.#plot.clearPoints();
      }
      this.#plot.destroy();
      release(this.#shared, this);
    }
  }

  /** Bring the size of canvases and points, and the colors, up to date. */
  #fit(marks: Marks, screen: Screen, pixelRatio: number): void {
    const { width, height } = screen;
    const point = pointSize(marks.points.count, zoomOf(marks.points, screen));
    const palette = marks.palette;
    const before = this.#size;
    const resized =
      before.width !== width || before.height !== height || before.pixelRatio !== pixelRatio;
    const changes: Record<string, unknown> = {};
    if (resized) {
      // A hair more, as the library rounds down what is even already in pixels of the screen.
      Object.assign(changes, { width: width + 1e-4, height: height + 1e-4 });
    }
    if (before.point !== point) {
      changes.pointSize = [point, point, point * STRONG_SIZE];
      changes.opacity = [FADED, USUAL, STRONG].map((level) => opacityOf(level, marks.points.count));
    }
    if (before.palette !== palette) {
      const colors = palette.map((color) => [...color.map((part) => part / 255), 1]);
      changes.pointColor = colors.length > 1 ? colors : [...colors, ...colors];
    }
    if (Object.keys(changes).length > 0) {
      this.#size = { width, height, pixelRatio, point, palette };
      void this.#plot.set(changes).then(() => this.again());
    }
    this.#growShared(width * pixelRatio, height * pixelRatio);
  }

  /** The shared canvas is as large as the largest map. */
  #growShared(width: number, height: number): void {
    const { renderer } = this.#shared;
    const wide = Math.min(MAX_SIDE, Math.max(renderer.canvas.width, even(width)));
    const high = Math.min(MAX_SIDE, Math.max(renderer.canvas.height, even(height)));
    if (wide !== renderer.canvas.width || high !== renderer.canvas.height) {
      const ratio = window.devicePixelRatio;
      renderer.resize(wide / ratio, high / ratio);
      renderer.refresh();
    }
  }

  /** Hand the points over; the library takes one set at a time. */
  async #send(marks: Marks): Promise<void> {
    this.#busy = true;
    this.#sent = marks;
    const { points, order, codes, emphasis } = marks;
    const columns = {
      x: Array.from(order, (index) => points.x(index)),
      y: Array.from(order, (index) => points.y(index)),
      z: Array.from(order, (index) => codes[index] ?? 0),
      w: Array.from(order, (index) => emphasis[index] ?? 0),
    };
    // The map finds points by itself: the library need not build an index of its own for each frame.
    const spatialIndex = await unusedIndex();
    if (!this.#closed) {
      const drawn = this.#plot.draw(columns, {
        zDataType: "categorical",
        wDataType: "categorical",
        spatialIndex,
      });
      await this.#drawUntil(drawn);
    }
    this.#busy = false;
    if (!this.#closed) {
      this.#shown = marks;
      this.again();
    }
  }

  /** The promise of `draw` is kept by a frame drawn after the points have arrived. */
  async #drawUntil(drawn: Promise<void>): Promise<void> {
    let waiting = true;
    void drawn.finally(() => {
      waiting = false;
    });
    while (waiting && !this.#closed) {
      await new Promise((resolve) => setTimeout(resolve, 0));
      if (!this.#closed && !this.#shared.lost) {
        this.#frame();
      }
    }
  }
}

let index: Promise<ArrayBuffer> | undefined;

function unusedIndex(): Promise<ArrayBuffer> {
  index ??= createSpatialIndex([[0, 0]]) as Promise<ArrayBuffer>;
  return index;
}

function even(pixels: number): number {
  return 2 * Math.ceil(pixels / 2 - 1e-3);
}
