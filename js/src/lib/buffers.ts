/**
 * Reading the binary traits of a widget.
 *
 * A `Bytes` trait arrives as a `DataView` into a larger message: its start is rarely a multiple of the
 * element size, so a typed array can't always be laid over it. Everything on the wire is little-endian,
 * as is every machine a browser runs on.
 */

/** A binary trait as the page sees it: nothing before the first message, a view afterwards. */
export type Binary = ArrayBufferView | ArrayBuffer | null | undefined;

type NumberArray<T> = {
  new (buffer: ArrayBuffer, byteOffset: number, length: number): T;
  readonly BYTES_PER_ELEMENT: number;
};

function readAs<T>(kind: NumberArray<T>, data: Binary): T {
  const bytes = asUint8(data);
  const size = kind.BYTES_PER_ELEMENT;
  if (bytes.byteLength % size !== 0) {
    throw new RangeError(`${bytes.byteLength} bytes are no whole number of ${size}-byte elements`);
  }
  const aligned = bytes.byteOffset % size === 0 ? bytes : bytes.slice();
  return new kind(aligned.buffer as ArrayBuffer, aligned.byteOffset, aligned.byteLength / size);
}

/** The bytes themselves, without a copy. */
export function asUint8(data: Binary): Uint8Array {
  if (data === null || data === undefined) {
    return new Uint8Array(0);
  }
  if (ArrayBuffer.isView(data)) {
    return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  }
  return new Uint8Array(data);
}

/** Unsigned 16-bit numbers; copies only where the view is misaligned. */
export function asUint16(data: Binary): Uint16Array {
  return readAs(Uint16Array, data);
}

/** Unsigned 32-bit numbers; copies only where the view is misaligned. */
export function asUint32(data: Binary): Uint32Array {
  return readAs(Uint32Array, data);
}

/** 32-bit floats; copies only where the view is misaligned. */
export function asFloat32(data: Binary): Float32Array {
  return readAs(Float32Array, data);
}
