/** What is under the pointer, beside it. */
import { element, setText } from "../lib/dom";

export interface TooltipText {
  title: string;
  value: string;
  place: string;
  remark: string;
}

const DISTANCE = 14;

export class Tooltip {
  #title = element("span", { class: "cvz-tooltip-title" });
  #remark = element("span", { class: "cvz-tooltip-remark" });
  #value = element("div", { class: "cvz-tooltip-value" });
  #place = element("div", { class: "cvz-tooltip-place" });
  #node = element(
    "div",
    { class: "cvz-tooltip", role: "tooltip" },
    element("div", {}, this.#title, this.#remark),
    this.#value,
    this.#place,
  );

  constructor(private readonly root: HTMLElement) {
    this.#node.hidden = true;
    root.append(this.#node);
  }

  hide(): void {
    this.#node.hidden = true;
  }

  /** Show the text near a point of the window, on the side where there is room. */
  show(clientX: number, clientY: number, text: TooltipText): void {
    setText(this.#title, text.title);
    setText(this.#remark, text.remark);
    this.#remark.hidden = text.remark === "";
    setText(this.#value, text.value);
    setText(this.#place, text.place);
    this.#node.hidden = false;
    const frame = this.root.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = this.#node;
    const x = clientX - frame.left;
    const y = clientY - frame.top;
    const left = x + DISTANCE + width <= frame.width ? x + DISTANCE : x - DISTANCE - width;
    const top = y + DISTANCE + height <= frame.height ? y + DISTANCE : y - DISTANCE - height;
    this.#node.style.left = `${Math.max(0, Math.min(left, frame.width - width))}px`;
    this.#node.style.top = `${Math.max(0, top)}px`;
  }
}
