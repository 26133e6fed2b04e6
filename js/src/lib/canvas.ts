/** Canvases that are as sharp as the screen. */

/** Fit a canvas to its size on the screen; returns its context, empty and in CSS pixels. */
export function sizeCanvas(
  canvas: HTMLCanvasElement,
  width: number,
  height: number,
  pixelRatio: number,
): CanvasRenderingContext2D {
  const screenWidth = Math.max(1, Math.round(width * pixelRatio));
  const screenHeight = Math.max(1, Math.round(height * pixelRatio));
  if (canvas.width !== screenWidth || canvas.height !== screenHeight) {
    canvas.width = screenWidth;
    canvas.height = screenHeight;
  }
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  if (context === null) {
    throw new Error("this browser has no canvas to draw on");
  }
  context.setTransform(pixelRatio, 0, 0, pixelRatio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}
