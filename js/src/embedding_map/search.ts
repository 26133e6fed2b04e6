/** Finding points by the text of their label or name. */

/**
 * A test for a query: a part of a text, in any case; in quotes, exactly the text. `undefined` for no query.
 */
export function matcher(query: string): ((text: string) => boolean) | undefined {
  const wanted = query.trim();
  if (wanted === "") {
    return undefined;
  }
  if (wanted.length > 2 && wanted.startsWith('"') && wanted.endsWith('"')) {
    const whole = wanted.slice(1, -1);
    // "Cat" and "cat" are two labels, of which a legend has two entries.
    return (text) => text === whole;
  }
  const part = wanted.toLowerCase();
  return (text) => text.toLowerCase().includes(part);
}

/** The query that finds exactly one label. */
export function exactly(text: string): string {
  return `"${text}"`;
}

/** Which points a query finds, 1 for each found; `undefined` for no query. */
export function search(
  query: string,
  count: number,
  classNames: readonly string[],
  codes: Uint16Array,
  names: readonly string[],
): Uint8Array | undefined {
  const matches = matcher(query);
  if (matches === undefined) {
    return undefined;
  }
  const classes = classNames.map(matches);
  const found = new Uint8Array(count);
  for (let index = 0; index < count; index += 1) {
    const name = names[index];
    const hit =
      classes[codes[index] ?? -1] === true || (name !== undefined && name !== "" && matches(name));
    found[index] = hit ? 1 : 0;
  }
  return found;
}
