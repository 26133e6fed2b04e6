import type { Cleanup } from "./dom";

/** Draws with the next frame of the page, however often it is asked to. */
export class NextFrame {
  #frame = 0;

  constructor(private readonly draw: () => void) {}

  request(): void {
    if (this.#frame === 0) {
      this.#frame = requestAnimationFrame(() => {
        this.#frame = 0;
        this.draw();
      });
    }
  }

  cancel(): void {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
  }
}

/** Call `handler` whenever an element comes into sight, or goes out of it, until the clean-up runs. */
export function onSight(
  node: Element,
  cleanup: Cleanup,
  handler: (seen: boolean) => void,
  rootMargin = "0px",
): void {
  let seen = true;
  const observer = new IntersectionObserver(
    (entries) => {
      const before = seen;
      seen = entries[entries.length - 1]?.isIntersecting === true;
      if (seen !== before) {
        handler(seen);
      }
    },
    { rootMargin },
  );
  observer.observe(node);
  cleanup.add(() => observer.disconnect());
}

/**
 * Call `handler` whenever an element comes back into sight, until the clean-up runs.
 *
 * JupyterLab skips cells that are scrolled away (`content-visibility`): they measure nothing, so nothing can be
 * drawn in them, and no `ResizeObserver` tells when they have their size again.
 */
export function onReturn(node: Element, cleanup: Cleanup, handler: () => void): void {
  const handle = (seen: boolean) => {
    if (seen) {
      handler();
    }
  };
  onSight(node, cleanup, handle, "100px");
}
