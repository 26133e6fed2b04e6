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

/** Reports what a test says: `SightObserver.tell(false)` scrolls all elements away, or those of a class. */
export class SightObserver {
  static #observed = new Map<SightObserver, Element>();

  static tell(isIntersecting: boolean, className = ""): void {
    for (const [observer, element] of SightObserver.#observed) {
      if (className === "" || element.classList.contains(className)) {
        observer.callback([{ isIntersecting } as IntersectionObserverEntry], null as never);
      }
    }
  }

  constructor(private readonly callback: IntersectionObserverCallback) {}

  observe(element: Element): void {
    SightObserver.#observed.set(this, element);
  }

  disconnect(): void {
    SightObserver.#observed.delete(this);
  }
}

globalThis.IntersectionObserver = SightObserver as unknown as typeof IntersectionObserver;
