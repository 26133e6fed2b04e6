/** Listening to a widget's traits. */
import type { AnyModel } from "@anywidget/types";
import type { Cleanup } from "./dom";

/**
 * Call `handler` whenever one of the traits changes, until the clean-up runs.
 *
 * Several traits that change in one message call it once: the calls of one message are gathered in a
 * microtask, when all of the traits have their new values.
 */
export function onChange<T extends Record<string, unknown>>(
  model: AnyModel<T>,
  traits: (keyof T & string)[],
  cleanup: Cleanup,
  handler: () => void,
): void {
  let pending = false;
  let live = true;
  const gather = () => {
    if (pending) {
      return;
    }
    pending = true;
    queueMicrotask(() => {
      pending = false;
      if (live) {
        handler();
      }
    });
  };
  for (const trait of traits) {
    model.on(`change:${trait}`, gather);
  }
  cleanup.add(() => {
    live = false;
    for (const trait of traits) {
      model.off(`change:${trait}`, gather);
    }
  });
}

/** Set traits and send them to the kernel, if there is one; a saved page simply keeps them. */
export function setTraits<T extends Record<string, unknown>>(
  model: AnyModel<T>,
  values: Partial<T>,
): void {
  for (const [name, value] of Object.entries(values)) {
    model.set(name as keyof T, value as T[keyof T]);
  }
  model.save_changes();
}
