/** Chooses how the points are drawn: WebGL while the map is on the screen, otherwise a plain canvas. */
import { element } from "../lib/dom";
import type { Screen } from "./camera";
import { CanvasPainter, type Marks, type Painter } from "./painter";
import { WebGLPainter } from "./webgl";

const SLOWER = "drawn on a plain canvas, slower with many points.";

/** A frame that takes longer than this, in milliseconds, is felt; points are then not drawn in each one. */
const SLOW = 28;

/** Slow painting gets one part in so many of the time. */
const SHARE = 5;

interface Painted {
  marks: Marks;
  screen: Screen;
  pixelRatio: number;
  at: number;
}

export class PainterHost {
  #painter: Painter | undefined;
  #visible = false;
  #note = "";
  /** Why there is no WebGL; empty where there is. */
  #reason = "";
  #canRetry = false;
  #painted: Painted | undefined;
  /** How long painting took lately until the browser was ready for the next frame, in milliseconds. */
  #cost = 0;
  #later: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly parent: HTMLElement,
    private readonly noteNode: HTMLElement,
    private readonly redraw: () => void,
  ) {}

  get kind(): string {
    return this.#painter?.kind ?? "";
  }

  /** What is to be said besides, such as that thumbnails were made smaller. */
  setNote(note: string): void {
    if (this.#note !== note) {
      this.#note = note;
      this.#write();
    }
  }

  /** A map that is scrolled away gives its share of the WebGL context back; its picture stays. */
  setVisible(visible: boolean): void {
    this.#visible = visible;
    if (!visible) {
      this.#drop();
    }
  }

  paint(marks: Marks, screen: Screen, pixelRatio: number): Marks | undefined {
    if (!this.#visible) {
      return undefined;
    }
    this.#painter ??= this.#create();
    const now = performance.now();
    const before = this.#painted;
    const same = before?.marks === marks && before.pixelRatio === pixelRatio;
    if (same && isStill(before.screen, screen)) {
      // Only what lies over the points has changed: what is under the pointer, a lasso.
      this.canvas.style.transform = "";
      return marks;
    }
    const moved = same && isOfSize(before.screen, screen);
    if (moved && this.#cost > SLOW && now - before.at < SHARE * this.#cost) {
      // Moving the picture there is costs nothing; its rim stays empty until it is painted again.
      this.canvas.style.transform = movement(before.screen, screen);
      this.#later ??= setTimeout(
        () => {
          this.#later = undefined;
          this.redraw();
        },
        SHARE * this.#cost - (now - before.at),
      );
      return marks;
    }
    this.canvas.style.transform = "";
    const shown = this.#painter.paint(marks, screen, pixelRatio);
    this.#painted = shown === marks ? { marks, screen, pixelRatio, at: now } : undefined;
    this.#measure(now);
    return shown;
  }

  /** What the graphics card does shows only in when the next frame comes. */
  #measure(from: number): void {
    requestAnimationFrame(() => {
      this.#cost = (this.#cost + performance.now() - from) / 2;
    });
  }

  close(): void {
    this.#visible = false;
    clearTimeout(this.#later);
    this.#drop();
  }

  #drop(): void {
    this.#painter?.close();
    this.#painter = undefined;
    this.#painted = undefined;
  }

  #create(): Painter {
    if (this.#reason === "") {
      try {
        return new WebGLPainter(this.canvas, this.parent, this.redraw, () => this.#lose());
      } catch (error) {
        console.warn("the embedding map goes on without WebGL", error);
        this.#fail("This browser has no WebGL:", false);
      }
    }
    return new CanvasPainter(this.canvas);
  }

  #lose(): void {
    this.#painter = undefined;
    this.#painted = undefined;
    this.#fail("The browser took its WebGL back:", true);
    this.redraw();
  }

  #fail(reason: string, canRetry: boolean): void {
    this.#reason = reason;
    this.#canRetry = canRetry;
    this.#write();
  }

  #write(): void {
    const parts: (Node | string)[] = [];
    if (this.#reason !== "") {
      parts.push(element("span", { role: "note" }, `${this.#reason} ${SLOWER}`));
    }
    if (this.#canRetry) {
      const again = element("button", { type: "button" }, "Try again");
      again.addEventListener("click", () => this.#retry());
      parts.push(again);
    }
    if (this.#note !== "") {
      parts.push(element("span", {}, this.#note));
    }
    this.noteNode.replaceChildren(...parts);
  }

  #retry(): void {
    this.#drop();
    this.#fail("", false);
    this.redraw();
  }
}

function isOfSize(before: Screen, screen: Screen): boolean {
  return before.width === screen.width && before.height === screen.height;
}

function isStill(before: Screen, screen: Screen): boolean {
  const there = before.x === screen.x && before.y === screen.y && before.scale === screen.scale;
  return there && isOfSize(before, screen);
}

/** The CSS transformation, about the top left corner, that brings one screen's picture to another's. */
export function movement(from: Screen, to: Screen): string {
  const factor = to.scale / from.scale;
  const right = (to.width / 2) * (1 - factor) + (from.x - to.x) * to.scale;
  const down = (to.height / 2) * (1 - factor) - (from.y - to.y) * to.scale;
  return `matrix(${factor}, 0, 0, ${factor}, ${right}, ${down})`;
}
