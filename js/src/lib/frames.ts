/** Draws with the next frame of the page, however often it is asked to. */
export class NextFrame {
  #frame = 0;

  constructor(private readonly draw: () => void) {}

  request(): void {
    if (this.#frame === 0) {
      this.#frame = requestAnimationFrame(() => {
        this.#frame = 0;
        this.draw();
      });
    }
  }

  cancel(): void {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
  }
}
