/** Chooses how the points are drawn: WebGL while the map is on the screen, otherwise a plain canvas. */
import { element } from "../lib/dom";
import type { Screen } from "./camera";
import { CanvasPainter, type Marks, type Painter } from "./painter";
import { WebGLPainter } from "./webgl";

const SLOWER = "so the map is drawn on a plain canvas, more slowly where there are many points.";

export class PainterHost {
  #painter: Painter | undefined;
  #visible = false;
  #note = "";
  /** Why there is no WebGL; empty where there is. */
  #reason = "";
  #canRetry = false;

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
      this.#painter?.close();
      this.#painter = undefined;
    }
  }

  paint(marks: Marks, screen: Screen, pixelRatio: number): Marks | undefined {
    if (!this.#visible) {
      return undefined;
    }
    this.#painter ??= this.#create();
    return this.#painter.paint(marks, screen, pixelRatio);
  }

  close(): void {
    this.#visible = false;
    this.#painter?.close();
    this.#painter = undefined;
  }

  #create(): Painter {
    if (this.#reason === "") {
      try {
        return new WebGLPainter(this.canvas, this.parent, this.redraw, () => this.#lose());
      } catch (error) {
        console.warn("the embedding map goes on without WebGL", error);
        this.#fail("This browser has no WebGL that can be used,", false);
      }
    }
    return new CanvasPainter(this.canvas);
  }

  #lose(): void {
    this.#painter = undefined;
    this.#fail("The browser took its WebGL back,", true);
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
    this.#painter?.close();
    this.#painter = undefined;
    this.#fail("", false);
    this.redraw();
  }
}
