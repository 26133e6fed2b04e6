/** Where an enlarged map goes, how its axes are labeled, and where a key leads in it: plain arithmetic. */
import type { Box } from "./drawing";
import type { State } from "./state";

/** Room for the axis labels around the map. */
export const MARGIN = { left: 36, top: 6, right: 6, bottom: 20 };
const LARGEST = 640;
const THINNEST = 24;
const TICK_ROOM = 30;

/** Where the map goes: as large as there is room, each value on whole screen pixels where that works. */
export function fitMap(state: State, room: number, pixelRatio: number): Box {
  const { rows, columns } = state.data;
  const width = Math.max(20, room - MARGIN.left - MARGIN.right);
  const height = Math.max(160, Math.min(LARGEST, state.maxHeight));
  const perValue = Math.min(Math.min(width, LARGEST) / columns, height / rows);
  const screen = perValue * pixelRatio;
  const fitted = screen >= 1 ? Math.floor(screen) / pixelRatio : perValue;
  return {
    x: MARGIN.left,
    y: MARGIN.top,
    width: Math.max(THINNEST, columns * fitted),
    height: Math.max(THINNEST, rows * fitted),
  };
}

/** The distance of axis labels: 1, 2 or 5 times a power of ten, far enough apart to be read. */
export function tickStep(count: number, length: number): number {
  for (let power = 1; ; power *= 10) {
    for (const step of [power, 2 * power, 5 * power]) {
      if ((step / count) * length >= TICK_ROOM || step >= count) {
        return step;
      }
    }
  }
}

/** The place a key leads to inside a map; `undefined` for keys that do not move. */
export function moveCursor(
  key: string,
  start: { row: number; column: number } | undefined,
  rows: number,
  columns: number,
): { row: number; column: number } | undefined {
  const steps: Record<string, [number, number]> = {
    ArrowLeft: [0, -1],
    ArrowRight: [0, 1],
    ArrowUp: [-1, 0],
    ArrowDown: [1, 0],
    Home: [0, -columns],
    End: [0, columns],
  };
  const step = steps[key];
  if (step === undefined) {
    return undefined;
  }
  if (start === undefined) {
    return { row: 0, column: 0 };
  }
  return {
    row: Math.min(rows - 1, Math.max(0, start.row + step[0])),
    column: Math.min(columns - 1, Math.max(0, start.column + step[1])),
  };
}
