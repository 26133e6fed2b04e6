/** The runs to choose from, each with what it was branched from. */
import { type Cleanup, element, setAttribute, setHidden, setText, uniqueId } from "../lib/dom";
import type { Run } from "./runs";
import { originText } from "./texts";

export class Tabs {
  readonly root = element("div", {
    class: "cvz-player-runs",
    role: "radiogroup",
    "aria-label": "Runs",
  });
  #name = uniqueId("cvz-player-run");
  #empty = element("span", { class: "cvz-muted" }, "No run yet");

  /** `choose` is called with the number of the run to show. */
  constructor(
    cleanup: Cleanup,
    private readonly choose: (run: number) => void,
  ) {
    cleanup.listen(this.root, "change", (event: Event) => {
      if (event.target instanceof HTMLInputElement) {
        this.choose(Number(event.target.value));
      }
    });
    this.root.append(this.#empty);
  }

  /** Show all runs; those that are there already stay, so that none loses the focus. */
  show(runs: Run[], chosen: number, other: number): void {
    const here = new Map(
      [...this.root.querySelectorAll("input")].map((input) => [Number(input.value), input]),
    );
    for (const [number, input] of here) {
      if (!runs.some((run) => run.number === number)) {
        input.parentElement?.remove();
      }
    }
    for (const run of runs) {
      const input = here.get(run.number) ?? this.#add(run);
      if (input.checked !== (run.number === chosen)) {
        input.checked = run.number === chosen;
      }
      const chip = input.parentElement;
      if (chip !== null) {
        setAttribute(chip, "data-state", run.state);
        setAttribute(chip, "title", run.text);
        chip.toggleAttribute("data-beside", run.number === other);
      }
    }
    setHidden(this.#empty, runs.length > 0);
  }

  #add(run: Run): HTMLInputElement {
    const input = element("input", {
      type: "radio",
      class: "cvz-hidden",
      name: this.#name,
      value: run.number,
    });
    const origin = element("small");
    setText(origin, originText(run));
    const text = element(
      "span",
      {},
      element("i", { class: "cvz-player-dot" }),
      `Run ${run.number} `,
      origin,
    );
    this.root.append(element("label", {}, input, text));
    return input;
  }
}
