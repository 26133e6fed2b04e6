/** Pointer, wheel and keys on the map, as what they mean. */
import type { Cleanup } from "../lib/dom";
import type { Direction } from "./points";

export type DragMode = "pan" | "lasso";

export type Outline = readonly (readonly [number, number])[];

export interface Intents {
  dragMode(): DragMode;
  /** Whether the wheel is the map's: otherwise it scrolls the page. */
  wheelIsMine(): boolean;
  pan(right: number, down: number): void;
  zoom(factor: number, left?: number, top?: number): void;
  fit(): void;
  /** The lasso so far, in pixels of the map; empty when it is over. */
  outline(points: Outline): void;
  /** The finished lasso; `adding` keeps what was selected before. */
  lasso(points: Outline, adding: boolean): void;
  click(left: number, top: number, toggling: boolean): void;
  /** The pointer is over a place, or left. */
  hover(place: { left: number; top: number } | undefined): void;
  walk(direction: Direction): void;
  choose(toggling: boolean): void;
  escape(): void;
}

/** A press that moves less than this is a click, in pixels. */
const CLICK_REACH = 4;

/** Pixels from one corner of the lasso to the next. */
const LASSO_STEP = 3;

const DIRECTIONS: Record<string, Direction> = {
  ArrowLeft: "left",
  ArrowRight: "right",
  ArrowUp: "up",
  ArrowDown: "down",
};

interface Press {
  id: number;
  mode: DragMode;
  left: number;
  top: number;
  moved: boolean;
  outline: [number, number][];
}

export class Gestures {
  #press: Press | undefined;

  constructor(
    private readonly node: HTMLElement,
    private readonly intents: Intents,
    cleanup: Cleanup,
  ) {
    cleanup.listen(node, "pointerdown", (event: PointerEvent) => this.#down(event));
    cleanup.listen(node, "pointermove", (event: PointerEvent) => this.#move(event));
    cleanup.listen(node, "pointerup", (event: PointerEvent) => this.#up(event));
    cleanup.listen(node, "pointercancel", () => this.#cancel());
    cleanup.listen(node, "pointerleave", () => this.#press ?? intents.hover(undefined));
    cleanup.listen(node, "wheel", (event: WheelEvent) => this.#wheel(event), { passive: false });
    cleanup.listen(node, "keydown", (event: KeyboardEvent) => this.#key(event));
  }

  #place(event: MouseEvent): { left: number; top: number } {
    const frame = this.node.getBoundingClientRect();
    return {
      left: event.clientX - frame.left - this.node.clientLeft,
      top: event.clientY - frame.top - this.node.clientTop,
    };
  }

  #down(event: PointerEvent): void {
    if (event.button !== 0 || this.#press !== undefined) {
      return;
    }
    this.node.setPointerCapture(event.pointerId);
    this.node.focus({ preventScroll: true });
    const { left, top } = this.#place(event);
    const mode = event.shiftKey ? "lasso" : this.intents.dragMode();
    this.#press = { id: event.pointerId, mode, left, top, moved: false, outline: [[left, top]] };
    event.preventDefault();
  }

  #move(event: PointerEvent): void {
    const { left, top } = this.#place(event);
    const press = this.#press;
    if (press === undefined) {
      this.intents.hover({ left, top });
      return;
    }
    if (event.pointerId !== press.id) {
      return;
    }
    if (!press.moved && Math.hypot(left - press.left, top - press.top) >= CLICK_REACH) {
      press.moved = true;
      this.intents.hover(undefined);
    }
    if (!press.moved) {
      return;
    }
    if (press.mode === "pan") {
      this.intents.pan(left - press.left, top - press.top);
      press.left = left;
      press.top = top;
      return;
    }
    const [x, y] = press.outline[press.outline.length - 1] ?? [0, 0];
    if (Math.hypot(left - x, top - y) >= LASSO_STEP) {
      press.outline.push([left, top]);
      this.intents.outline(press.outline);
    }
  }

  #up(event: PointerEvent): void {
    const press = this.#press;
    if (press === undefined || event.pointerId !== press.id) {
      return;
    }
    this.#press = undefined;
    const adding = event.ctrlKey || event.metaKey;
    const { left, top } = this.#place(event);
    if (!press.moved) {
      this.intents.click(left, top, adding || event.shiftKey);
    } else if (press.mode === "lasso") {
      this.intents.outline([]);
      this.intents.lasso(press.outline, adding);
    }
  }

  #cancel(): boolean {
    const pressed = this.#press !== undefined;
    this.#press = undefined;
    this.intents.outline([]);
    return pressed;
  }

  #wheel(event: WheelEvent): void {
    // Pinching on a touch pad arrives as the wheel with the control key.
    if (!(event.ctrlKey || this.intents.wheelIsMine())) {
      return;
    }
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
    const turned = Math.max(-240, Math.min(240, event.deltaY * lines));
    const { left, top } = this.#place(event);
    this.intents.zoom(Math.exp(-turned * (event.ctrlKey ? 0.01 : 0.0022)), left, top);
  }

  #key(event: KeyboardEvent): void {
    if (event.target !== this.node || event.ctrlKey || event.metaKey || event.altKey) {
      return;
    }
    if (this.#act(event)) {
      event.preventDefault();
      event.stopPropagation();
    }
  }

  #act({ key, shiftKey }: KeyboardEvent): boolean {
    const direction = Object.hasOwn(DIRECTIONS, key) ? DIRECTIONS[key] : undefined;
    if (direction !== undefined) {
      this.intents.walk(direction);
    } else if (key === "Enter" && !shiftKey) {
      this.intents.choose(false);
    } else if (key === " ") {
      this.intents.choose(true);
    } else if (key === "Escape") {
      if (!this.#cancel()) {
        this.intents.escape();
      }
    } else if (key === "+" || key === "=") {
      this.intents.zoom(1.5);
    } else if (key === "-") {
      this.intents.zoom(1 / 1.5);
    } else if (key === "0" || key === "Home") {
      this.intents.fit();
    } else {
      return false;
    }
    return true;
  }
}
