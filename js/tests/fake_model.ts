import type { AnyModel } from "@anywidget/types";

type Traits = Record<string, unknown>;

/** A model as anywidget hands it over, without a kernel: traits, change events, and what was saved. */
export class FakeModel<T extends Traits> {
  readonly saved: Partial<T>[] = [];
  readonly sent: unknown[] = [];
  #unsaved: Partial<T> = {};
  #handlers = new Map<string, Set<(...told: unknown[]) => void>>();

  constructor(public readonly traits: T) {}

  get<K extends keyof T>(name: K): T[K] {
    return this.traits[name];
  }

  set<K extends keyof T>(name: K, value: T[K]): void {
    this.#unsaved[name] = value;
    this.receive({ [name]: value } as unknown as Partial<T>);
  }

  save_changes(): void {
    this.saved.push(this.#unsaved);
    this.#unsaved = {};
  }

  send(content: unknown): void {
    this.sent.push(content);
  }

  on(event: string, handler: (...told: unknown[]) => void): void {
    const handlers = this.#handlers.get(event) ?? new Set();
    this.#handlers.set(event, handlers.add(handler));
  }

  off(event: string, handler: (...told: unknown[]) => void): void {
    this.#handlers.get(event)?.delete(handler);
  }

  /** What a message from the kernel does: all traits first, then the change events. */
  receive(values: Partial<T>): void {
    const changed = Object.keys(values).filter((name) => this.traits[name] !== values[name]);
    Object.assign(this.traits, values);
    for (const name of changed) {
      for (const handler of this.#handlers.get(`change:${name}`) ?? []) {
        handler();
      }
    }
  }

  /** What a custom message from the kernel does. */
  tell(content: unknown, buffers: DataView[] = []): void {
    for (const handler of this.#handlers.get("msg:custom") ?? []) {
      handler(content, buffers);
    }
  }

  /** What an event of ipywidgets does. */
  emit(event: string): void {
    for (const handler of this.#handlers.get(event) ?? []) {
      handler();
    }
  }

  /** How many handlers are still attached: none after a clean-up. */
  get listeners(): number {
    return [...this.#handlers.values()].reduce((sum, handlers) => sum + handlers.size, 0);
  }
}

export function fakeModel<T extends Traits>(traits: T): FakeModel<T> & AnyModel<T> {
  return new FakeModel(traits) as unknown as FakeModel<T> & AnyModel<T>;
}
