/** Where the points are: brought to one scale, and found by place. */

/** A rectangle in normalized coordinates. */
export interface Box {
  left: number;
  right: number;
  bottom: number;
  top: number;
}

export type Direction = "left" | "right" | "up" | "down";

/** Points a cell of the index holds on average. */
const POINTS_PER_CELL = 2;
const MAX_CELLS = 256;

/**
 * Points in normalized coordinates: the middle of their bounding box is (0, 0), its longer side reaches
 * from -1 to 1, y points upwards. A grid of cells finds those near a place.
 */
export class PointSet {
  readonly count: number;
  /** x and y of each point in turn. */
  readonly xy: Float32Array;
  /** Half the sides of the bounding box, in normalized coordinates. */
  readonly half: { x: number; y: number };
  /** The middle of the bounding box, and half of its longer side, in the coordinates given. */
  readonly origin: { x: number; y: number; unit: number };
  #cells: number;
  #starts: Uint32Array;
  #order: Uint32Array;

  constructor(source: Float32Array) {
    this.count = source.length / 2;
    const { x, y } = bounds(source);
    const unit = Math.max(x.high - x.low, y.high - y.low) / 2 || 1;
    this.origin = { x: (x.low + x.high) / 2, y: (y.low + y.high) / 2, unit };
    this.half = { x: (x.high - x.low) / 2 / unit, y: (y.high - y.low) / 2 / unit };
    this.xy = new Float32Array(source.length);
    for (let i = 0; i < source.length; i += 2) {
      this.xy[i] = ((source[i] ?? 0) - this.origin.x) / unit;
      this.xy[i + 1] = ((source[i + 1] ?? 0) - this.origin.y) / unit;
    }
    this.#cells = Math.max(
      1,
      Math.min(MAX_CELLS, Math.ceil(Math.sqrt(this.count / POINTS_PER_CELL))),
    );
    [this.#starts, this.#order] = this.#sort();
  }

  x(index: number): number {
    return this.xy[2 * index] ?? 0;
  }

  y(index: number): number {
    return this.xy[2 * index + 1] ?? 0;
  }

  /** The point nearest to a place, the lower index of two, -1 where none is within `radius`. */
  nearest(x: number, y: number, radius: number): number {
    let best = -1;
    let bestDistance = radius * radius;
    const box = { left: x - radius, right: x + radius, bottom: y - radius, top: y + radius };
    this.visit(box, (index) => {
      const distance = (this.x(index) - x) ** 2 + (this.y(index) - y) ** 2;
      if (distance < bestDistance || (distance === bestDistance && (best < 0 || index < best))) {
        best = index;
        bestDistance = distance;
      }
    });
    return best;
  }

  /** Call `found` for each point in a box, its edges included. */
  visit(box: Box, found: (index: number) => void): void {
    this.#rows(box, (from, to) => {
      for (let place = from; place < to; place += 1) {
        const index = this.#order[place] ?? 0;
        const x = this.x(index);
        const y = this.y(index);
        if (x >= box.left && x <= box.right && y >= box.bottom && y <= box.top) {
          found(index);
        }
      }
    });
  }

  /** How many points lie in a box, or a few more: those of all cells that it touches. */
  countNear(box: Box): number {
    let sum = 0;
    this.#rows(box, (from, to) => {
      sum += to - from;
    });
    return sum;
  }

  /** The points inside a polygon of normalized coordinates, by the even-odd rule, in ascending order. */
  inside(polygon: readonly (readonly [number, number])[]): number[] {
    const xs = polygon.map(([x]) => x);
    const ys = polygon.map(([, y]) => y);
    const found: number[] = [];
    if (polygon.length >= 3) {
      const box = {
        left: Math.min(...xs),
        right: Math.max(...xs),
        bottom: Math.min(...ys),
        top: Math.max(...ys),
      };
      this.visit(box, (index) => {
        if (isInside(polygon, this.x(index), this.y(index))) {
          found.push(index);
        }
      });
    }
    return found.sort((a, b) => a - b);
  }

  /**
   * The nearest point to the left, right, above or below, within 45 degrees of that direction; -1 for none.
   *
   * Of points at the very same place the higher index counts as right and below, so that each is reached.
   */
  neighbor(from: number, direction: Direction): number {
    const horizontal = direction === "left" || direction === "right";
    const sign = direction === "right" || direction === "up" ? 1 : -1;
    const onwards = direction === "right" || direction === "down" ? 1 : -1;
    const x = this.x(from);
    const y = this.y(from);
    let best = -1;
    let bestDistance = Number.POSITIVE_INFINITY;
    for (let index = 0; index < this.count; index += 1) {
      const dx = this.x(index) - x;
      const dy = this.y(index) - y;
      const along = sign * (horizontal ? dx : dy);
      const across = Math.abs(horizontal ? dy : dx);
      const same = along === 0 && across === 0;
      if (same ? onwards * (index - from) <= 0 : along <= 0 || across > along) {
        continue;
      }
      // Those at the same place come first, in the order of their indices.
      const distance = same ? Math.abs(index - from) / this.count - 2 : dx * dx + dy * dy;
      if (distance < bestDistance) {
        best = index;
        bestDistance = distance;
      }
    }
    return best;
  }

  #cellOf(value: number): number {
    return Math.max(0, Math.min(this.#cells - 1, Math.floor(((value + 1) / 2) * this.#cells)));
  }

  /** Call `span` with the places in the order that hold the cells of a box, row by row. */
  #rows(box: Box, span: (from: number, to: number) => void): void {
    if (box.right < -1 || box.left > 1 || box.top < -1 || box.bottom > 1) {
      return;
    }
    const first = this.#cellOf(box.left);
    const last = this.#cellOf(box.right);
    for (let row = this.#cellOf(box.bottom); row <= this.#cellOf(box.top); row += 1) {
      const cell = row * this.#cells;
      span(this.#starts[cell + first] ?? 0, this.#starts[cell + last + 1] ?? 0);
    }
  }

  /** Counting sort by cell: where each cell starts, and the points cell by cell. */
  #sort(): [Uint32Array, Uint32Array] {
    const starts = new Uint32Array(this.#cells * this.#cells + 1);
    const cells = new Uint32Array(this.count);
    for (let index = 0; index < this.count; index += 1) {
      const cell = this.#cellOf(this.y(index)) * this.#cells + this.#cellOf(this.x(index));
      cells[index] = cell;
      starts[cell + 1] = (starts[cell + 1] ?? 0) + 1;
    }
    for (let cell = 1; cell < starts.length; cell += 1) {
      starts[cell] = (starts[cell] ?? 0) + (starts[cell - 1] ?? 0);
    }
    const next = starts.slice();
    const order = new Uint32Array(this.count);
    for (let index = 0; index < this.count; index += 1) {
      const cell = cells[index] ?? 0;
      const place = next[cell] ?? 0;
      order[place] = index;
      next[cell] = place + 1;
    }
    return [starts, order];
  }
}

function isInside(polygon: readonly (readonly [number, number])[], x: number, y: number): boolean {
  let inside = false;
  let [beforeX, beforeY] = polygon[polygon.length - 1] ?? [0, 0];
  for (const [nowX, nowY] of polygon) {
    if (nowY > y !== beforeY > y) {
      const crossing = nowX + ((y - nowY) / (beforeY - nowY)) * (beforeX - nowX);
      inside = x < crossing ? !inside : inside;
    }
    [beforeX, beforeY] = [nowX, nowY];
  }
  return inside;
}

function bounds(source: Float32Array) {
  const x = { low: source[0] ?? 0, high: source[0] ?? 0 };
  const y = { low: source[1] ?? 0, high: source[1] ?? 0 };
  for (let i = 0; i < source.length; i += 2) {
    x.low = Math.min(x.low, source[i] ?? 0);
    x.high = Math.max(x.high, source[i] ?? 0);
    y.low = Math.min(y.low, source[i + 1] ?? 0);
    y.high = Math.max(y.high, source[i + 1] ?? 0);
  }
  return { x, y };
}
