/** What jsdom lacks: it has no layout, so an observer reports once that it sees the element, and nothing more. */
class OnceObserver implements ResizeObserver {
  #live = true;

  constructor(private readonly callback: ResizeObserverCallback) {}

  observe(): void {
    queueMicrotask(() => {
      if (this.#live) {
        this.callback([], this);
      }
    });
  }

  unobserve(): void {}

  disconnect(): void {
    this.#live = false;
  }
}

globalThis.ResizeObserver = OnceObserver;

/** Reports what a test says: `SightObserver.tell(false)` scrolls all elements away. */
export class SightObserver {
  static #callbacks = new Set<IntersectionObserverCallback>();

  static tell(isIntersecting: boolean): void {
    for (const callback of SightObserver.#callbacks) {
      callback([{ isIntersecting } as IntersectionObserverEntry], null as never);
    }
  }

  constructor(private readonly callback: IntersectionObserverCallback) {}

  observe(): void {
    SightObserver.#callbacks.add(this.callback);
  }

  disconnect(): void {
    SightObserver.#callbacks.delete(this.callback);
  }
}

globalThis.IntersectionObserver = SightObserver as unknown as typeof IntersectionObserver;
