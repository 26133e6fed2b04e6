/** The card beside a point: its thumbnail, label, prediction, value and name. */
import { element, setText } from "../lib/dom";
import type { Thumbnails } from "./atlas";
import type { Description } from "./state";

const DISTANCE = 16;

/** Longer side of the thumbnail on the card, in CSS pixels, about. */
const SIDE = 112;

export class Card {
  readonly canvas = element("canvas", { "aria-hidden": "true" });
  #title = element("div", { class: "cvz-card-title" });
  #prediction = element("div", { class: "cvz-card-prediction" });
  #value = element("div", { class: "cvz-card-line" });
  #name = element("div", { class: "cvz-card-line" });
  #node = element(
    "div",
    { class: "cvz-card", role: "tooltip" },
    this.canvas,
    element(
      "div",
      { class: "cvz-card-text" },
      this.#title,
      this.#prediction,
      this.#value,
      this.#name,
    ),
  );
  /** The point on the card, -1 for none. */
  #index = -1;
  #drawn = false;

  constructor(private readonly frame: HTMLElement) {
    this.#node.hidden = true;
    frame.append(this.#node);
  }

  hide(): void {
    this.#node.hidden = true;
    this.#index = -1;
  }

  /** Show a point that stands at a place of the map, in CSS pixels. */
  show(
    index: number,
    description: Description,
    thumbnails: Thumbnails,
    left: number,
    top: number,
  ): void {
    if (this.#index !== index) {
      this.#index = index;
      this.#drawn = false;
      this.#write(description);
    }
    this.#drawThumbnail(index, thumbnails);
    this.#node.hidden = false;
    this.#node.dataset.index = String(index);
    const { clientWidth, clientHeight } = this.frame;
    const { offsetWidth: width, offsetHeight: height } = this.#node;
    const x = left + DISTANCE + width <= clientWidth ? left + DISTANCE : left - DISTANCE - width;
    const y = top + DISTANCE + height <= clientHeight ? top + DISTANCE : top - DISTANCE - height;
    this.#node.style.left = `${Math.max(0, Math.min(x, clientWidth - width))}px`;
    this.#node.style.top = `${Math.max(0, Math.min(y, clientHeight - height))}px`;
  }

  #write({ title, prediction, right, value, name }: Description): void {
    setText(this.#title, title);
    setText(this.#prediction, prediction);
    // The mark is a sign, not a color alone.
    const mark = right === undefined ? "" : right ? "right" : "wrong";
    this.#prediction.dataset.mark = mark;
    this.#prediction.hidden = prediction === "";
    setText(this.#value, value);
    this.#value.hidden = value === "";
    setText(this.#name, name);
    this.#name.hidden = name === "";
  }

  #drawThumbnail(index: number, thumbnails: Thumbnails): void {
    this.canvas.hidden = !thumbnails.present || thumbnails.failed;
    if (this.#drawn || this.canvas.hidden) {
      return;
    }
    const { rows, columns } = thumbnails.layout;
    // Whole multiples keep small thumbnails crisp; large ones are shown as they are.
    const factor = Math.max(1, Math.round(SIDE / Math.max(rows, columns)));
    this.canvas.width = columns * factor;
    this.canvas.height = rows * factor;
    const pen = this.canvas.getContext("2d");
    if (pen !== null) {
      pen.imageSmoothingEnabled = false;
      this.#drawn = thumbnails.draw(pen, index, 0, 0, columns * factor, rows * factor);
    }
  }
}
