"""The style sheet of the views built on ipywidgets, ipycanvas and bqplot, in the host's own colors."""

from __future__ import annotations

import ipywidgets as widgets

# Colors come from the host's CSS variables, as in the front-end views (js/src/lib/theme.css): JupyterLab and
# Notebook 7, then VS Code, then the system's own.
_STYLES = """
.cvz-views {
  --cvz-text: var(--jp-ui-font-color0, var(--vscode-editor-foreground, CanvasText));
  --cvz-muted: var(--jp-ui-font-color2, var(--vscode-descriptionForeground, GrayText));
  --cvz-border: var(--jp-border-color2, var(--vscode-panel-border, GrayText));
  --cvz-sunken: var(--jp-layout-color2, var(--vscode-editorWidget-background, Canvas));
}
.cvz-views .cvz-note { color: var(--cvz-muted); font-variant-numeric: tabular-nums; line-height: 1.4; }
.cvz-views .cvz-frame {
  display: grid; position: relative; overflow: hidden; max-width: 100%; background: var(--cvz-sunken);
}
.cvz-frame > * { grid-area: 1 / 1; margin: 0; width: 100%; max-width: none; height: auto; }
.cvz-frame > .cvz-layer { position: absolute; inset: 0; height: 100%; }
.cvz-frame > .cvz-pixelated { image-rendering: pixelated; }
/* An ipycanvas canvas takes the focus by Tab and when pressed, and keeps every key while it has it, Tab
   included. What is hidden loses the focus with the next frame, so each is hidden while it has it. */
.cvz-frame > .cvz-boxes { pointer-events: none; interactivity: inert; }
.cvz-frame > .cvz-boxes:focus { visibility: hidden; }
.cvz-frame > .cvz-pointer { cursor: crosshair; outline: none; }
.cvz-frame > .cvz-pointer:focus:not(:active) { visibility: hidden; }
.cvz-stage-legend { display: flex; flex-wrap: wrap; align-items: center; gap: 2px 8px; }
.cvz-stage-legend > b { margin-right: 6px; color: var(--cvz-text); font-weight: 600; }
.cvz-stage-legend > b:empty { display: none; }
.cvz-stage-ramp { width: 140px; height: 10px; border: 1px solid var(--cvz-border); border-radius: 3px; }
.cvz-chart.cvz-chart {
  /* As wide as what holds it, which else could be scrolled by the four pixels of ipywidgets' margins. */
  margin: 0;
  --bq-content-font-color: var(--cvz-text);
  --bq-axislabel-fill: var(--cvz-muted);
  --bq-axislabel-font: 12px var(--jp-ui-font-family, system-ui, sans-serif);
  --bq-axis-tick-text-fill: var(--cvz-text);
  --bq-axis-tick-text-font: 12px var(--jp-ui-font-family, system-ui, sans-serif);
  --bq-axis-tick-stroke: var(--cvz-border);
  --bq-axis-path-stroke: var(--cvz-border);
}
.cvz-line-legend .widget-html-content { display: flex; flex-wrap: wrap; gap: 0 14px; }
.cvz-line-legend .widget-html-content { color: var(--cvz-muted); line-height: 1.5; }
.cvz-line-legend span { display: inline-flex; align-items: center; gap: 5px; overflow-wrap: anywhere; }
.cvz-line-legend i { flex: none; width: 22px; }
.cvz-spoken { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.cvz-bare .axis path.domain, .cvz-bare .axis .tick line { display: none; }
.cvz-bare .zeroLine { stroke: var(--cvz-border); }
"""


def style_sheet() -> widgets.HTML:
    """Return the element that brings the styles to wherever a view is shown: put it among its children."""
    return widgets.HTML(f"<style>{_STYLES}</style>", layout={"display": "none"})
