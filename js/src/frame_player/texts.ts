/** What a player says in words. */
import { formatCount, formatNumber } from "../lib/format";
import type { Run } from "./runs";

const DOT = " \u00b7 ";
const ENDED: Record<string, string> = {
  paused: "paused at ",
  stopped: "stopped at ",
  failed: "failed at ",
  done: "done at ",
};

/** `step 45 of 128`. */
function place(run: Run): string {
  const total = run.total === null ? "" : ` of ${formatCount(run.total)}`;
  return `step ${formatCount(run.latest)}${total}`;
}

/** How far the newest run is; with its number where another one is on show. */
export function progressText(
  run: Run | undefined,
  state: string,
  rate: number | null,
  connected: boolean,
  onShow: boolean,
): string {
  if (run === undefined) {
    return "";
  }
  const name = onShow ? "" : `run ${run.number} ${state === "running" ? "is at " : ""}`;
  if (state !== "running") {
    return `${name}${ENDED[state] ?? ""}${place(run)}`;
  }
  const parts = [place(run)];
  if (connected && rate !== null && rate > 0) {
    parts.push(rateText(rate));
    if (run.total !== null) {
      parts.push(`${durationText((run.total - run.latest) / rate)} left`);
    }
  }
  return name + parts.join(DOT);
}

/** `21 steps a second`, and of slow ones `4.2 s a step`. */
export function rateText(rate: number): string {
  if (rate < 0.95) {
    return `${formatNumber(1 / rate, 2)} s a step`;
  }
  const shown = rate < 9.95 ? rate.toFixed(1) : formatCount(Math.round(rate));
  return `${shown} steps a second`;
}

/** `4 s`, `2 min 10 s`, `1 h 5 min`: rounded up, and coarser the longer it is. */
export function durationText(seconds: number): string {
  if (seconds <= 90) {
    return `${Math.max(1, Math.ceil(seconds))} s`;
  }
  const coarse = seconds < 600 ? Math.ceil(seconds / 10) * 10 : Math.ceil(seconds / 60) * 60;
  const [hours, minutes] = [Math.floor(coarse / 3600), Math.floor((coarse % 3600) / 60)];
  if (hours > 0) {
    return `${formatCount(hours)} h ${minutes} min`;
  }
  return `${minutes} min${coarse % 60 > 0 ? ` ${coarse % 60} s` : ""}`;
}

/** `from run 1 at step 40`, or nothing. */
export function originText(run: Run): string {
  return run.parent === null ? "" : `from run ${run.parent} at step ${formatCount(run.first)}`;
}

/** What is read out when a run begins, pauses or ends: never a single step. */
export function spokenText(run: Run | undefined, state: string): string {
  if (run === undefined) {
    return "";
  }
  if (state === "running") {
    return `Run ${run.number} is running`;
  }
  return `Run ${run.number} ${ENDED[state] ?? "at "}${place(run)}. ${run.ended}`.trimEnd();
}

/** A value measured at a step; JSON has neither NaN nor infinities. */
export function valueText(value: number | null): string {
  return value === null ? "not finite" : formatNumber(value, 4);
}
