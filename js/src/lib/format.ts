/** Numbers as people read them. */

const MINUS = "\u2212";
const APPROXIMATELY = "\u2248\u2009";
const SUPERSCRIPTS = "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079";

function superscript(exponent: number): string {
  const digits = [...String(Math.abs(exponent))].map((digit) => SUPERSCRIPTS[Number(digit)] ?? "");
  return (exponent < 0 ? "\u207b" : "") + digits.join("");
}

/**
 * A number in `digits` significant digits: `1.235`, `−0.0401`, `1.2×10⁻⁷`, `NaN`, `∞`.
 *
 * Trailing zeros after the point are dropped; powers of ten are written out only where plain digits
 * would be long.
 */
export function formatNumber(value: number, digits = 4): string {
  if (Number.isNaN(value)) {
    return "NaN";
  }
  if (!Number.isFinite(value)) {
    return value > 0 ? "\u221e" : `${MINUS}\u221e`;
  }
  if (value === 0) {
    return "0";
  }
  const [mantissa = "", power = "0"] = Math.abs(value)
    .toExponential(digits - 1)
    .split("e");
  const exponent = Number(power);
  const sign = value < 0 ? MINUS : "";
  if (exponent < -4 || exponent > 5) {
    return `${sign}${trimZeros(mantissa)}\u00d710${superscript(exponent)}`;
  }
  const decimals = Math.max(0, digits - 1 - exponent);
  return sign + trimZeros(Number(`${mantissa}e${exponent}`).toFixed(decimals));
}

function trimZeros(text: string): string {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

/**
 * A number known to within `error`: plain where that is less than half a unit of the last digit shown,
 * otherwise after "≈".
 */
export function formatWithin(value: number, error: number, digits = 4): string {
  if (!Number.isFinite(value) || error <= 0) {
    return formatNumber(value, digits);
  }
  if (Math.abs(value) <= error) {
    return `${APPROXIMATELY}0`;
  }
  const exponent = Number(value.toExponential(digits - 1).split("e")[1]);
  const shown = formatNumber(value, digits);
  return error < 0.5 * 10 ** (exponent - digits + 1) ? shown : APPROXIMATELY + shown;
}

/** A whole number with separators: `2,048`. */
export function formatCount(count: number): string {
  return String(Math.trunc(count)).replace(/\B(?=(\d{3})+$)/g, ",");
}
