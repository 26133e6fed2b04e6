/** Runs and their frames as the page has them, and which of them is meant by a step. */
import { asUint8, type Binary } from "../lib/buffers";

export type Values = Record<string, number | null>;

/** What Python tells of a run: the names are those of views/_frames.py. */
export interface RunInfo {
  number: number;
  total: number | null;
  first: number;
  parent: number | null;
  text: string;
  state: string;
  ended: string;
  latest: number;
}

export type Size = [width: number, height: number];

/** What is told of each frame: the size is that of the exact picture. */
export interface Label {
  step: number;
  size: Size;
  values: Values;
}

/** A file, or red, green and blue as they are where `carried` says of how many pixels. */
export interface KeptFrame extends Label {
  bytes: Uint8Array;
  carried?: Size;
}

export interface LiveFrame extends KeptFrame {
  run: number;
}

export interface Run extends RunInfo {
  frames: KeptFrame[];
}

/** What `_kept` holds: all frames one after another, and how long each is. */
export interface Kept {
  runs: (RunInfo & { frames: (Label & { bytes: number })[] })[];
  data: Binary;
}

export class Runs {
  #runs = new Map<number, Run>();

  get all(): Run[] {
    return [...this.#runs.values()].sort((one, other) => one.number - other.number);
  }

  /** The one that is going on, or was last. */
  get newest(): Run | undefined {
    return this.all[this.#runs.size - 1];
  }

  get(number: number): Run | undefined {
    return this.#runs.get(number);
  }

  note(info: RunInfo): Run {
    const run = Object.assign(this.#runs.get(info.number) ?? { frames: [] }, info) as Run;
    this.#runs.set(info.number, run);
    return run;
  }

  /** Keep a frame, in the place of one of the same step. */
  add(number: number, frame: KeptFrame): void {
    const run = this.#runs.get(number);
    if (run !== undefined) {
      const others = run.frames.filter(({ step }) => step !== frame.step);
      run.frames = [...others, frame].sort((one, other) => one.step - other.step);
    }
  }

  /** Drop frames that Python keeps no longer. */
  thin(steps: Record<string, number[]>): void {
    for (const [number, kept] of Object.entries(steps)) {
      const run = this.#runs.get(Number(number));
      if (run !== undefined) {
        const still = new Set(kept);
        run.frames = run.frames.filter(({ step }) => still.has(step));
      }
    }
  }

  /** Drop runs that are gone. */
  retain(numbers: number[]): void {
    for (const number of this.#runs.keys()) {
      if (!numbers.includes(number)) {
        this.#runs.delete(number);
      }
    }
  }

  /** Take over what a saved notebook holds; frames that are here already stay, with their decoded pictures. */
  load({ runs, data }: Kept): void {
    const bytes = asUint8(data);
    let start = 0;
    this.retain(runs.map(({ number }) => number));
    for (const { frames, ...info } of runs) {
      const run = this.note(info);
      const here = new Map(run.frames.map((frame) => [frame.step, frame]));
      run.frames = frames.map(({ bytes: length, ...label }) => {
        const slice = bytes.subarray(start, start + length);
        start += length;
        const old = here.get(label.step);
        return old?.bytes.byteLength === length ? old : { ...label, bytes: slice };
      });
    }
  }
}

/** The frame to show for a step, the latest for -1: the nearest one, and of two the earlier one. */
export function frameAt(
  run: Run,
  live: LiveFrame | undefined,
  step: number,
): KeptFrame | undefined {
  const frames = run.frames;
  const current = live?.run === run.number ? live : undefined;
  const last = frames[frames.length - 1];
  if (step < 0) {
    return current !== undefined && current.step > (last?.step ?? -1) ? current : last;
  }
  let nearest: KeptFrame | undefined;
  for (const frame of current === undefined ? frames : [...frames, current]) {
    if (nearest === undefined || Math.abs(frame.step - step) < Math.abs(nearest.step - step)) {
      nearest = frame;
    }
  }
  return nearest;
}

/** The step that a slider goes to at most. */
export function lastStep(run: Run): number {
  return Math.max(run.latest, run.total ?? 0, run.first);
}

/** The first step there is a picture of. */
export function firstStep(run: Run): number {
  return run.frames[0]?.step ?? run.first;
}
