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
