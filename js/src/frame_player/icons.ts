/** The signs on the buttons, drawn: many a font lacks them, or has them in colors. */

const PATHS = {
  play: "M3 1.5v9l8-4.5z",
  pause: "M2.5 1.5h2.6v9H2.5zm4.4 0h2.6v9H6.9z",
  stop: "M2 2h8v8H2z",
  down: "M2 4h8L6 9z",
  replay: "M5.6 0 2 2.9l3.6 2.9V3.7a3.3 3.3 0 1 1-2.9 4.9H1a4.8 4.8 0 1 0 4.6-6.4z",
};

export type Icon = keyof typeof PATHS;

/** A sign as high as small letters, in the color of the text. */
export function icon(name: Icon): SVGSVGElement {
  const space = "http://www.w3.org/2000/svg";
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", PATHS[name]);
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 12 12");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "cvz-player-sign");
  svg.append(path);
  return svg;
}

/** Put a sign and a text on a button, if they are not there already. */
export function label(button: HTMLElement, name: Icon, text = ""): void {
  const key = `${name} ${text}`;
  if (button.dataset.sign !== key) {
    button.dataset.sign = key;
    button.replaceChildren(icon(name), text);
  }
}
