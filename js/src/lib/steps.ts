/** Recorded steps of a training, ascending: which record is meant, and where it lies on a chart. */

/** What is left free at either side of a chart over the steps: `STEP_MARGIN` of views/_chart_data.py. */
export const MARGIN = 0.02;

/** The index of the record nearest to a step, the earlier one of two; the last one for -1; -1 for none. */
export function nearestStep(steps: number[], value: number): number {
  let nearest = steps.length - 1;
  if (value >= 0) {
    for (let index = nearest; index >= 0; index -= 1) {
      const distance = (at: number) => Math.abs((steps[at] ?? 0) - value);
      nearest = distance(index) <= distance(nearest) ? index : nearest;
    }
  }
  return nearest;
}

/**
 * The ends of a scale on which zero lies where the step lies on a chart.
 *
 * So a line at zero marks the step, and two numbers, which any widget can be linked to, move it.
 */
export function markerEnds(
  steps: number[],
  value: number,
): { marker_low: number; marker_high: number } {
  const first = steps[0] ?? 0;
  const span = (steps[steps.length - 1] ?? 0) - first;
  const step = steps[nearestStep(steps, value)] ?? 0;
  const share = span > 0 ? MARGIN + (1 - 2 * MARGIN) * ((step - first) / span) : 0.5;
  return { marker_low: -share, marker_high: 1 - share };
}
