import { describe, expect, it, vi } from "vitest";
import { asFloat32, asUint8, asUint16, asUint32 } from "../src/lib/buffers";
import { Cleanup, element, setText, uniqueId } from "../src/lib/dom";
import { formatCount, formatNumber, formatWithin } from "../src/lib/format";
import { onChange } from "../src/lib/model";
import { luminance } from "../src/lib/theme";
import { fakeModel } from "./fake_model";

describe("reading buffers", () => {
  const bytes = new Uint8Array(16);
  const writer = new DataView(bytes.buffer);
  writer.setFloat32(5, 1.5, true);
  writer.setFloat32(9, -2.25, true);

  it("reads a misaligned view", () => {
    expect([...asFloat32(new DataView(bytes.buffer, 5, 8))]).toEqual([1.5, -2.25]);
  });

  it("does not copy an aligned one", () => {
    const read = asUint16(new DataView(bytes.buffer, 4, 8));
    expect(read.buffer).toBe(bytes.buffer);
    expect(read).toHaveLength(4);
  });

  it("reads only what the view covers", () => {
    const data = new Uint8Array([9, 1, 0, 0, 0, 2, 0, 0, 0, 9]);
    expect([...asUint32(new DataView(data.buffer, 1, 8))]).toEqual([1, 2]);
    expect([...asUint8(new DataView(data.buffer, 8, 2))]).toEqual([0, 9]);
  });

  it("takes nothing as empty and refuses half an element", () => {
    expect(asFloat32(null)).toHaveLength(0);
    expect(asUint8(undefined)).toHaveLength(0);
    expect(() => asUint32(new Uint8Array(6))).toThrow(/6 bytes/);
  });
});

describe("number format", () => {
  it.each([
    [0, "0"],
    [-0, "0"],
    [1, "1"],
    [1.23456, "1.235"],
    [-0.0400999, "\u22120.0401"],
    [123456, "123500"],
    [999999, "1\u00d710\u2076"],
    [9.9999, "10"],
    [0.00012344, "0.0001234"],
    [0.0000123444, "1.234\u00d710\u207b\u2075"],
    [1e21, "1\u00d710\u00b2\u00b9"],
    [Number.NaN, "NaN"],
    [Number.POSITIVE_INFINITY, "\u221e"],
    [Number.NEGATIVE_INFINITY, "\u2212\u221e"],
  ])("writes %s as %s", (value, text) => {
    expect(formatNumber(value)).toBe(text);
  });

  it("agrees with toPrecision on the digits of any number", () => {
    let seed = 1;
    for (let index = 0; index < 2000; index += 1) {
      seed = (seed * 16807) % 2147483647;
      const value = (seed / 2147483647 - 0.5) * 10 ** ((index % 17) - 8);
      const digits = formatNumber(value)
        .replace("\u2212", "-")
        .replace(/\u00d710(.+)$/, (_, power: string) => {
          const plain = [...power].map((c) =>
            "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079".indexOf(c),
          );
          return `e${plain.map((d) => (d < 0 ? "-" : d)).join("")}`;
        });
      expect(Number(digits)).toBe(Number(value.toPrecision(4)));
    }
  });

  it("says so when the digits shown are not certain", () => {
    expect(formatWithin(1.2344, 0.00001)).toBe("1.234");
    expect(formatWithin(1.2344, 0.0004)).toBe("1.234");
    expect(formatWithin(1.2344, 0.0006)).toBe("\u2248\u20091.234");
    expect(formatWithin(-0.09999, 0.00006)).toBe("\u2248\u2009\u22120.09999");
    expect(formatWithin(0.00001, 0.0001)).toBe("\u2248\u20090");
    expect(formatWithin(Number.NaN, 1)).toBe("NaN");
    expect(formatWithin(0.3, 0)).toBe("0.3");
  });

  it("groups large counts", () => {
    expect(formatCount(2048)).toBe("2,048");
    expect(formatCount(12)).toBe("12");
  });
});

describe("building elements", () => {
  it("keeps hostile labels as text", () => {
    const node = element("span", { title: "<b>" }, "<img src=x onerror=alert(1)>");
    expect(node.children).toHaveLength(0);
    expect(node.textContent).toBe("<img src=x onerror=alert(1)>");
    expect(node.getAttribute("title")).toBe("<b>");
  });

  it("leaves out false and undefined attributes", () => {
    const node = element("button", { disabled: true, hidden: false, title: undefined });
    expect(node.outerHTML).toBe('<button disabled=""></button>');
  });

  it("sets text only where it differs", () => {
    const node = element("p", {}, "same");
    const child = node.firstChild;
    setText(node, "same");
    expect(node.firstChild).toBe(child);
    setText(node, "other");
    expect(node.textContent).toBe("other");
  });

  it("makes ids that differ", () => {
    expect(uniqueId("a")).not.toBe(uniqueId("a"));
  });
});

describe("clean-up", () => {
  it("undoes everything once, last first", () => {
    const calls: string[] = [];
    const cleanup = new Cleanup();
    cleanup.add(() => calls.push("first"));
    cleanup.add(() => calls.push("second"));
    cleanup.run();
    cleanup.run();
    expect(calls).toEqual(["second", "first"]);
  });

  it("stops listening", () => {
    const handler = vi.fn();
    const cleanup = new Cleanup();
    const target = new EventTarget();
    cleanup.listen(target, "ping", handler);
    target.dispatchEvent(new Event("ping"));
    cleanup.run();
    target.dispatchEvent(new Event("ping"));
    expect(handler).toHaveBeenCalledTimes(1);
  });
});

describe("listening to traits", () => {
  it("calls once for several traits of one message, and never after the clean-up", async () => {
    const model = fakeModel({ a: 1, b: 2 });
    const cleanup = new Cleanup();
    const handler = vi.fn();
    onChange(model, ["a", "b"], cleanup, handler);
    model.receive({ a: 3, b: 4 });
    await Promise.resolve();
    expect(handler).toHaveBeenCalledTimes(1);
    model.receive({ a: 5 });
    cleanup.run();
    await Promise.resolve();
    expect(handler).toHaveBeenCalledTimes(1);
  });
});

describe("luminance", () => {
  it("tells light from dark in the forms browsers write", () => {
    expect(luminance("rgb(255, 255, 255)")).toBeCloseTo(1);
    expect(luminance("rgba(0, 0, 0, 0.87)")).toBe(0);
    expect(luminance("color(srgb 1 1 1)")).toBeCloseTo(1);
  });
});
