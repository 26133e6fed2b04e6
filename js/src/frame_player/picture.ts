/** One picture with what it is and what was measured: it stays as it is until the next one is decoded. */
import { element, setAttribute, setHidden, setStyle, setText } from "../lib/dom";
import { type Bitmaps, fromRaw } from "./bitmaps";
import type { KeptFrame, Size, Values } from "./runs";
import { valueText } from "./texts";

/** Width and height in CSS pixels that a picture is brought to where there is room. */
export const SHOWN_SIDE = 448;
const TALLEST = 600;
/** Pictures of so few pixels are enlarged in whole pixels. */
const SMALL_SIDE = 112;

/** The size on the screen of a picture, and whether its pixels are shown as squares. */
export function shownSize(
  [width, height]: Size,
  room: number,
): { width: number; height: number; pixelated: boolean } {
  const longest = Math.max(width, height);
  const small = longest <= SMALL_SIDE;
  const wanted = Math.max(longest, SHOWN_SIDE) / longest;
  let zoom = Math.min(wanted, room / width, TALLEST / height);
  if (small) {
    zoom = zoom < 1 ? zoom : Math.floor(zoom);
  }
  return {
    width: Math.max(1, Math.round(width * zoom)),
    height: Math.max(1, Math.round(height * zoom)),
    pixelated: small && zoom >= 1,
  };
}

export class Picture {
  readonly root: HTMLElement;
  readonly canvas = element("canvas", { width: 1, height: 1 });
  #empty = element("div", { class: "cvz-player-empty" });
  #frame = element(
    "div",
    { class: "cvz-player-frame", role: "img", tabindex: 0 },
    this.canvas,
    this.#empty,
  );
  #title = element("div", { class: "cvz-player-title" });
  /** What the run is: it changes with the run alone, so it may take as many lines as it needs. */
  #about = element("div", { class: "cvz-player-about" });
  #values = element("span", { class: "cvz-player-values" });
  #when = element("span", {}, "measured before this step:");
  /** Of the picture that is drawn. */
  #source: Uint8Array | undefined;
  #size: Size | undefined;
  /** For live frames, one after another: each anew would have the browser collect garbage all the time. */
  #pixels: ImageData | undefined;

  constructor() {
    const measured = element("div", { class: "cvz-player-measured" }, this.#when, this.#values);
    const caption = element("figcaption", {}, this.#title, this.#about, measured);
    this.root = element("figure", { class: "cvz-player-picture" }, this.#frame, caption);
    this.#note(-1);
  }

  /** Draw a frame in so much room; without one, say why. */
  show(
    frame: KeptFrame | undefined,
    bitmaps: Bitmaps,
    room: number,
    texts: { title: string; about: string; empty: string; label: string },
  ): void {
    const broken = frame !== undefined && bitmaps.isBroken(frame.bytes);
    if (frame === undefined || broken) {
      this.#clear();
    } else {
      this.#draw(frame, bitmaps);
    }
    this.#resize(room);
    setText(this.#title, texts.title);
    setText(this.#about, texts.about);
    setText(this.#empty, broken ? "This picture is damaged" : texts.empty);
    setAttribute(this.#frame, "aria-label", texts.label);
    this.#showValues(frame?.values ?? {});
    setHidden(this.#empty, this.#source !== undefined);
  }

  /**
   * Draw the next frame alone, all words as they are, as soon as it is decoded.
   *
   * Returns whether that will do: it looks like the last one.
   */
  next(frame: KeptFrame | undefined, bitmaps: Bitmaps): boolean {
    const same = frame?.size.every((side, index) => side === this.#size?.[index]) === true;
    if (this.#source === undefined || !same || bitmaps.isBroken(frame.bytes)) {
      return false;
    }
    this.#draw(frame, bitmaps);
    return true;
  }

  #clear(): void {
    this.canvas.width = 1;
    this.canvas.height = 1;
    this.#source = undefined; // the size stays: the next picture is likely to have it, too
    this.#note(-1);
  }

  #draw(frame: KeptFrame, bitmaps: Bitmaps): void {
    if (frame.bytes === this.#source) {
      return;
    }
    const { bytes, carried } = frame;
    const picture = carried === undefined ? bitmaps.get(bytes) : this.#unpack(bytes, carried);
    if (picture === undefined) {
      return;
    }
    const context = this.canvas.getContext("2d");
    if (context === null) {
      throw new Error("this browser has no canvas to draw pictures on");
    }
    if (this.canvas.width !== picture.width || this.canvas.height !== picture.height) {
      this.canvas.width = picture.width;
      this.canvas.height = picture.height;
    }
    if (picture instanceof ImageData) {
      context.putImageData(picture, 0, 0);
    } else {
      context.drawImage(picture, 0, 0);
    }
    this.#source = bytes;
    this.#size = frame.size;
    this.#note(frame.step);
  }

  /** Say of which step the picture is that is drawn. */
  #note(step: number): void {
    setAttribute(this.root, "data-step", String(step));
  }

  #unpack(bytes: Uint8Array, carried: Size): ImageData {
    this.#pixels = fromRaw(bytes, ...carried, this.#pixels);
    return this.#pixels;
  }

  #resize(room: number): void {
    const { width, height, pixelated } = shownSize(this.#size ?? [SHOWN_SIDE, SHOWN_SIDE], room);
    setStyle(this.#frame, "width", `${width}px`);
    setStyle(this.#frame, "height", `${height}px`);
    this.canvas.classList.toggle("cvz-pixelated", pixelated);
    // What stands below is as wide as the picture, so that two of them stay beside each other.
    setStyle(this.root, "width", `${Math.max(width, Math.min(room, 200))}px`);
  }

  #showValues(values: Values): void {
    const entries = Object.entries(values);
    setStyle(this.#when, "visibility", entries.length > 0 ? "visible" : "hidden");
    while (this.#values.children.length > entries.length) {
      this.#values.lastElementChild?.remove();
    }
    entries.forEach(([name, value], index) => {
      if (this.#values.children[index] === undefined) {
        this.#values.append(
          element("span", { class: "cvz-player-value" }, element("span"), " ", element("b")),
        );
      }
      const [label, number] = this.#values.children[index]?.children ?? [];
      if (label !== undefined && number !== undefined) {
        setText(label, name);
        setText(number, valueText(value));
      }
    });
  }
}
