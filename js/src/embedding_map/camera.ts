/** What part of the map is on the screen: normalized coordinates to CSS pixels and back. */
import type { Box } from "./points";

/** The place in the middle of the screen, and how much larger than "all points fit" it shows. */
export interface Camera {
  x: number;
  y: number;
  zoom: number;
}

/** A camera on a screen of some size. `scale` is in pixels a normalized unit. */
export interface Screen {
  width: number;
  height: number;
  x: number;
  y: number;
  scale: number;
}

export const HOME: Camera = { x: 0, y: 0, zoom: 1 };

const MARGIN = 24;
const MIN_ZOOM = 0.5;
const MAX_ZOOM = 5000;

export function screenOf(
  camera: Camera,
  half: { x: number; y: number },
  width: number,
  height: number,
): Screen {
  const fit = Math.min(
    Math.max(1, width / 2 - MARGIN) / Math.max(half.x, 0.01),
    Math.max(1, height / 2 - MARGIN) / Math.max(half.y, 0.01),
  );
  return { width, height, x: camera.x, y: camera.y, scale: fit * camera.zoom };
}

export function toScreen(screen: Screen, x: number, y: number): [number, number] {
  return [
    screen.width / 2 + (x - screen.x) * screen.scale,
    screen.height / 2 - (y - screen.y) * screen.scale,
  ];
}

export function fromScreen(screen: Screen, left: number, top: number): [number, number] {
  return [
    screen.x + (left - screen.width / 2) / screen.scale,
    screen.y - (top - screen.height / 2) / screen.scale,
  ];
}

/** The part of the map on the screen, and `margin` pixels around it. */
export function visibleBox(screen: Screen, margin: number): Box {
  const [left, top] = fromScreen(screen, -margin, -margin);
  const [right, bottom] = fromScreen(screen, screen.width + margin, screen.height + margin);
  return { left, right, bottom, top };
}

/** The camera after dragging the map by so many pixels: never further than the points reach. */
export function panned(camera: Camera, screen: Screen, right: number, down: number): Camera {
  return {
    zoom: camera.zoom,
    x: clamp(camera.x - right / screen.scale, -1, 1),
    y: clamp(camera.y + down / screen.scale, -1, 1),
  };
}

/** The camera after zooming so that the place under a pixel stays there. */
export function zoomed(
  camera: Camera,
  screen: Screen,
  factor: number,
  left = screen.width / 2,
  top = screen.height / 2,
): Camera {
  const zoom = clamp(camera.zoom * factor, MIN_ZOOM, MAX_ZOOM);
  const [x, y] = fromScreen(screen, left, top);
  const share = camera.zoom / zoom;
  return {
    zoom,
    x: clamp(x + (camera.x - x) * share, -1, 1),
    y: clamp(y + (camera.y - y) * share, -1, 1),
  };
}

/** The camera that shows a place at least `margin` pixels from the rim, moved no more than needed. */
export function revealing(
  camera: Camera,
  screen: Screen,
  x: number,
  y: number,
  margin: number,
): Camera {
  const [left, top] = toScreen(screen, x, y);
  const right = clamp(left, margin, Math.max(margin, screen.width - margin)) - left;
  const down = clamp(top, margin, Math.max(margin, screen.height - margin)) - top;
  return panned(camera, screen, right, down);
}

function clamp(value: number, low: number, high: number): number {
  return Math.max(low, Math.min(high, value));
}
