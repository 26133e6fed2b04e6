/** Small helpers to build the page's side of a view. Text is always text, never HTML. */

type Attributes = Record<string, string | number | boolean | undefined>;

/**
 * Create an element with attributes and children.
 *
 * A string child becomes a text node, so labels and file names can't inject markup. `false` and
 * `undefined` leave an attribute out, `true` writes it empty.
 */
export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) {
      node.setAttribute(name, value === true ? "" : String(value));
    }
  }
  node.append(...children);
  return node;
}

/** Set the text of a node only if it differs, so that screen readers aren't woken for nothing. */
export function setText(node: Node, text: string): void {
  if (node.textContent !== text) {
    node.textContent = text;
  }
}

/** Set an attribute only if it differs: the page would look up the styles of the node again. */
export function setAttribute(node: Element, name: string, value: string): void {
  if (node.getAttribute(name) !== value) {
    node.setAttribute(name, value);
  }
}

/** Show or hide a node. */
export function setHidden(node: HTMLElement, hidden: boolean): void {
  if (node.hidden !== hidden) {
    node.hidden = hidden;
  }
}

/** Set a style only if it differs. */
export function setStyle(
  node: HTMLElement,
  name: "height" | "transform" | "visibility" | "width",
  value: string,
): void {
  if (node.style[name] !== value) {
    node.style[name] = value;
  }
}

/**
 * Say that a control can't be used now; whoever handles it asks `isDisabled`.
 *
 * It keeps the focus, which one with the attribute `disabled` loses to the page when it is pressed.
 */
export function setDisabled(node: Element, disabled: boolean): void {
  setAttribute(node, "aria-disabled", String(disabled));
}

export function isDisabled(node: Element): boolean {
  return node.getAttribute("aria-disabled") === "true";
}

/** What must be undone when a view goes: run in reverse order, each once. */
export class Cleanup {
  #tasks: (() => void)[] = [];

  add(task: () => void): void {
    this.#tasks.push(task);
  }

  /** Listen until the clean-up runs. */
  listen<E extends Event>(
    target: EventTarget,
    type: string,
    handler: (event: E) => void,
    options?: AddEventListenerOptions,
  ): void {
    target.addEventListener(type, handler as EventListener, options);
    this.add(() => target.removeEventListener(type, handler as EventListener, options));
  }

  run(): void {
    for (const task of this.#tasks.splice(0).reverse()) {
      task();
    }
  }
}

let lastId = 0;

/** An id no other element of the page has, for `aria-*` references between elements. */
export function uniqueId(prefix: string): string {
  lastId += 1;
  return `${prefix}-${lastId}-${Math.random().toString(36).slice(2, 8)}`;
}

/** A visually hidden element whose text is read out when it changes. */
export function liveRegion(): HTMLElement {
  return element("div", { class: "cvz-hidden", role: "status", "aria-live": "polite" });
}

/**
 * Keep the notebook's shortcuts away from keys pressed inside `root`: in command mode it would take arrow keys,
 * Enter and letters for itself. Control, Alt and Meta combinations and Shift+Enter still reach it, so that
 * saving and running work from everywhere.
 */
export function shieldKeys(root: HTMLElement, cleanup: Cleanup): void {
  const shield = (event: KeyboardEvent) => {
    const target = event.composedPath()[0];
    if (target instanceof Element && root.contains(target)) {
      const combined = event.ctrlKey || event.metaKey || event.altKey;
      const running = event.shiftKey && event.key === "Enter";
      const moving = event.key === "Home" || event.key === "End";
      // On the focused element itself: shortcuts whose selector matches that one are else still taken.
      target.toggleAttribute("data-lm-suppress-shortcuts", moving || !(combined || running));
    }
  };
  // The notebook listens on the document while the event is on its way down, so this must come before.
  cleanup.listen(window, "keydown", shield, { capture: true });
}
