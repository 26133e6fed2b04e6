/** The host's theme, for style sheets (by variables) and for canvases (by resolved colors). */
import type { Cleanup } from "./dom";
import { element } from "./dom";
import sharedStyles from "./theme.css";

/** The root element of a view with the styles of all views and these; `cvz` is the styles' root class. */
export function themedRoot(className: string, ...styles: string[]): HTMLElement {
  const root = element("div", { class: `cvz ${className}` });
  // A style element inside the view reaches shadow roots and sandboxed outputs, where one in the
  // document's head would not.
  root.append(element("style", {}, [sharedStyles, ...styles].join("\n")));
  return root;
}

/** The color an expression such as `var(--cvz-text)` has at `host`, as `rgb(...)` for a canvas. */
export function resolveColor(host: HTMLElement, expression: string): string {
  const probe = element("span", { style: `color: ${expression}; display: none` });
  host.append(probe);
  const color = getComputedStyle(probe).color;
  probe.remove();
  return color;
}

/** Relative luminance in [0, 1] of an `rgb(...)` or `color(srgb ...)` text, as far as telling light from dark needs. */
export function luminance(color: string): number {
  const parts = (color.match(/[\d.]+(?:e-?\d+)?/g) ?? []).slice(0, 3).map(Number);
  const scale = color.startsWith("color(") ? 1 : 255;
  const [red = 0, green = 0, blue = 0] = parts.map((part) => part / scale);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

/**
 * Mark `root` with `data-theme` and call `onTheme` when it is first on the page, and whenever the host changes
 * its theme. Before that no color of the host can be resolved: a view is built outside of the page.
 */
export function watchTheme(root: HTMLElement, cleanup: Cleanup, onTheme: () => void): void {
  const update = () => {
    if (!root.isConnected) {
      return;
    }
    // Bright text means a dark theme: the text color is always opaque, backgrounds need not be.
    const dark = luminance(resolveColor(root, "var(--cvz-text)")) > 0.5;
    root.dataset.theme = dark ? "dark" : "light";
    onTheme();
  };
  let shown = false;
  const arrival = new ResizeObserver(() => {
    if (!shown && root.isConnected) {
      update();
    }
    shown = root.isConnected;
  });
  arrival.observe(root);
  cleanup.add(() => arrival.disconnect());
  const observer = new MutationObserver(update);
  const attributes = {
    attributes: true,
    attributeFilter: ["class", "style", "data-jp-theme-name", "theme"],
  };
  observer.observe(document.documentElement, attributes);
  observer.observe(document.body, attributes);
  cleanup.add(() => observer.disconnect());
  const scheme = window.matchMedia?.("(prefers-color-scheme: dark)");
  if (scheme) {
    cleanup.listen(scheme, "change", update);
  }
  // JupyterLab swaps the theme's style sheet after it has changed the attribute; load events don't bubble.
  const onLoad = (event: Event) => {
    if (event.target instanceof HTMLLinkElement) {
      update();
    }
  };
  cleanup.listen(document, "load", onLoad, { capture: true });
}
