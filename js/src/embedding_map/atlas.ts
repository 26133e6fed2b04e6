/** Thumbnails: where each is in the pages of the atlas, and the decoded pages. */
import { asUint8, type Binary } from "../lib/buffers";

export interface AtlasLayout {
  rows: number;
  columns: number;
  pitchRows: number;
  pitchColumns: number;
  across: number;
  down: number;
}

/** A thumbnail's place in its page, in pixels. */
export interface Place {
  page: number;
  x: number;
  y: number;
}

export function readLayout(numbers: readonly number[]): AtlasLayout {
  const [rows = 0, columns = 0, pitchRows = 0, pitchColumns = 0, across = 1, down = 1] = numbers;
  return { rows, columns, pitchRows, pitchColumns, across, down };
}

/** Where thumbnail `index` is, by the rule that `views/_atlas.py` states. */
export function placeOf(layout: AtlasLayout, index: number): Place {
  const perPage = layout.across * layout.down;
  const slot = index % perPage;
  return {
    page: Math.floor(index / perPage),
    x: (slot % layout.across) * layout.pitchColumns,
    y: Math.floor(slot / layout.across) * layout.pitchRows,
  };
}

/** The pages of one model, decoded when a view of it is first seen, and shared by all of its views. */
export class Thumbnails {
  readonly layout: AtlasLayout;
  #bitmaps: (ImageBitmap | undefined)[] = [];
  #failed = false;
  #begun = false;
  #closed = false;
  #listeners = new Set<() => void>();

  constructor(
    private readonly pages: readonly Binary[],
    numbers: readonly number[],
  ) {
    this.layout = readLayout(numbers);
  }

  get present(): boolean {
    return this.pages.length > 0;
  }

  get failed(): boolean {
    return this.#failed;
  }

  /** Begin to decode, and call `changed` whenever a page is ready; returns how to stop listening. */
  load(changed: () => void): () => void {
    this.#listeners.add(changed);
    if (!this.#begun) {
      this.#begun = true;
      void this.#decode();
    }
    return () => this.#listeners.delete(changed);
  }

  close(): void {
    this.#closed = true;
    for (const bitmap of this.#bitmaps.splice(0)) {
      bitmap?.close();
    }
  }

  /** Draw a thumbnail into a rectangle; false where its page is not decoded (yet). */
  draw(
    pen: CanvasRenderingContext2D,
    index: number,
    left: number,
    top: number,
    width: number,
    height: number,
  ): boolean {
    const { page, x, y } = placeOf(this.layout, index);
    const bitmap = this.#bitmaps[page];
    if (bitmap === undefined) {
      return false;
    }
    const { rows, columns } = this.layout;
    pen.drawImage(bitmap, x, y, columns, rows, left, top, width, height);
    return true;
  }

  async #decode(): Promise<void> {
    for (const [number, page] of this.pages.entries()) {
      if (this.#closed) {
        return;
      }
      try {
        const bytes = asUint8(page) as Uint8Array<ArrayBuffer>;
        const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/webp" }));
        if (this.#closed) {
          bitmap.close();
          return;
        }
        this.#bitmaps[number] = bitmap;
      } catch (error) {
        this.#failed = true;
        console.error(`page ${number} of the thumbnails can't be decoded`, error);
      }
      for (const changed of this.#listeners) {
        changed();
      }
    }
  }
}
