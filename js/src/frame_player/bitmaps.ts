/** Encoded frames made into pictures: not before they are asked for, and kept while there is room. */

/** Pixels kept at most, about 64 MB. */
const KEPT_PIXELS = 16_000_000;
const PNG_START = 0x89;

/** A picture of encoded bytes. */
export function decode(bytes: Uint8Array): Promise<ImageBitmap> {
  const type = bytes[0] === PNG_START ? "image/png" : "image/jpeg";
  return createImageBitmap(new Blob([bytes as Uint8Array<ArrayBuffer>], { type }));
}

/** A picture of red, green and blue as they are; `old` is overwritten where it has the size. */
export function fromRaw(
  bytes: Uint8Array,
  width: number,
  height: number,
  old?: ImageData,
): ImageData {
  if (bytes.byteLength !== 3 * width * height) {
    throw new RangeError(`${bytes.byteLength} bytes are no picture of ${width} x ${height} pixels`);
  }
  const image = old?.width === width && old.height === height ? old : new ImageData(width, height);
  // Four bytes at once, the first of them lowest, as everywhere in lib/buffers.ts.
  const target = new Uint32Array(image.data.buffer);
  for (let from = 0, to = 0; from < bytes.length; from += 3, to += 1) {
    const [red, green, blue] = [bytes[from] ?? 0, bytes[from + 1] ?? 0, bytes[from + 2] ?? 0];
    target[to] = 0xff000000 | (blue << 16) | (green << 8) | red;
  }
  return image;
}

export class Bitmaps {
  #decoded = new Map<Uint8Array, ImageBitmap>();
  #pending = new Set<Uint8Array>();
  #broken = new WeakSet<Uint8Array>();
  #pixels = 0;
  #open = true;

  /** `onDecoded` is told when a picture has come that was not there when it was asked for. */
  constructor(private readonly onDecoded: () => void) {}

  get(bytes: Uint8Array): ImageBitmap | undefined {
    const bitmap = this.#decoded.get(bytes);
    if (bitmap !== undefined) {
      this.#decoded.delete(bytes); // put back at the end: a Map keeps the order of insertion
      this.#decoded.set(bytes, bitmap);
    } else if (!this.#pending.has(bytes) && !this.#broken.has(bytes)) {
      this.#pending.add(bytes);
      decode(bytes).then(
        (made) => this.#keep(bytes, made),
        (error: unknown) => this.#giveUp(bytes, error),
      );
    }
    return bitmap;
  }

  /** Whether bytes were found to be no picture. */
  isBroken(bytes: Uint8Array): boolean {
    return this.#broken.has(bytes);
  }

  close(): void {
    this.#open = false;
    for (const bytes of [...this.#decoded.keys()]) {
      this.#drop(bytes);
    }
  }

  #keep(bytes: Uint8Array, bitmap: ImageBitmap): void {
    this.#pending.delete(bytes);
    if (!this.#open) {
      bitmap.close();
      return;
    }
    this.#decoded.set(bytes, bitmap);
    this.#pixels += bitmap.width * bitmap.height;
    for (const oldest of this.#decoded.keys()) {
      if (this.#pixels <= KEPT_PIXELS || oldest === bytes) {
        break;
      }
      this.#drop(oldest);
    }
    this.onDecoded();
  }

  #giveUp(bytes: Uint8Array, error: unknown): void {
    console.error("a frame can't be decoded", error);
    this.#pending.delete(bytes);
    this.#broken.add(bytes);
    if (this.#open) {
      this.onDecoded();
    }
  }

  #drop(bytes: Uint8Array): void {
    const bitmap = this.#decoded.get(bytes);
    if (bitmap !== undefined) {
      this.#decoded.delete(bytes);
      this.#pixels -= bitmap.width * bitmap.height;
      bitmap.close();
    }
  }
}
