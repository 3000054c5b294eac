"""A lineage as one page that needs nothing else: the drawing, moved with the mouse, the wheel, the keys or the fingers.

The page's own policy forbids every request and every script but the one here, so that nothing in a registry can make it do more.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import TYPE_CHECKING

from artfs.api.lineage.labels import name_line
from artfs.api.lineage.svg import render_svg

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artfs.api.lineage.graph import Lineage

_STYLE = """
html, body { margin: 0; height: 100%; overflow: hidden; background: #ffffff; color: #55606c; color-scheme: light dark; }
svg { width: 100%; height: 100%; touch-action: none; cursor: grab; user-select: none; }
svg.moving { cursor: grabbing; }
p { position: fixed; left: 12px; bottom: 8px; margin: 0; font: 12px system-ui, sans-serif; }
@media (prefers-color-scheme: dark) { html, body { background: #14181d; color: #b6c0cb; } }
"""

_SCRIPT = """
const svg = document.querySelector("svg"), all = svg.viewBox.baseVal;
const whole = [all.x, all.y, all.width, all.height];
let [x, y, w, h] = whole, pointers = new Map();
const scale = () => Math.max(w / svg.clientWidth, h / svg.clientHeight);
const show = () => svg.setAttribute("viewBox", [x, y, w, h].join(" "));
function at(e) {
  const s = scale();
  return [x + w / 2 + (e.clientX - svg.clientWidth / 2) * s, y + h / 2 + (e.clientY - svg.clientHeight / 2) * s];
}
function zoom(factor, px, py) {
  factor = Math.min(Math.max(factor, 40 / w), 4 * Math.max(whole[2], 200) / w);
  x = px - (px - x) * factor; y = py - (py - y) * factor; w *= factor; h *= factor; show();
}
function fit() {
  [x, y, w, h] = whole;
  const s = scale();
  if (s < 1) { x -= w * (1 / s - 1) / 2; y -= h * (1 / s - 1) / 2; w /= s; h /= s; }
  show();
}
svg.addEventListener("wheel", e => { e.preventDefault(); zoom(Math.exp(e.deltaY * 0.0015), ...at(e)); }, { passive: false });
svg.addEventListener("pointerdown", e => {
  svg.setPointerCapture(e.pointerId); pointers.set(e.pointerId, e); svg.classList.add("moving");
});
svg.addEventListener("pointermove", e => {
  const last = pointers.get(e.pointerId);
  if (!last) return;
  if (pointers.size === 1) {
    const s = scale();
    x -= (e.clientX - last.clientX) * s; y -= (e.clientY - last.clientY) * s; show();
  } else {
    const other = [...pointers.values()].find(p => p.pointerId !== e.pointerId);
    const far = p => Math.hypot(p.clientX - other.clientX, p.clientY - other.clientY) || 1;
    zoom(far(last) / far(e), ...at(other));
  }
  pointers.set(e.pointerId, e);
});
const end = e => { pointers.delete(e.pointerId); if (!pointers.size) svg.classList.remove("moving"); };
svg.addEventListener("pointerup", end);
svg.addEventListener("pointercancel", end);
svg.addEventListener("dblclick", fit);
addEventListener("resize", show);
addEventListener("keydown", e => {
  const step = 60 * scale(), middle = [x + w / 2, y + h / 2];
  if (e.key === "+" || e.key === "=") zoom(0.8, ...middle);
  else if (e.key === "-") zoom(1.25, ...middle);
  else if (e.key === "0") fit();
  else if (e.key === "ArrowLeft") { x -= step; show(); }
  else if (e.key === "ArrowRight") { x += step; show(); }
  else if (e.key === "ArrowUp") { y -= step; show(); }
  else if (e.key === "ArrowDown") { y += step; show(); }
});
fit();
"""


def render_html(lineage: Lineage) -> Iterator[str]:
    """Yield the lines of a page of HTML."""
    title = escape(f"Lineage of {name_line(lineage.nodes[lineage.root])}")
    script = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{script}'; base-uri 'none'; form-action 'none'"
    yield "<!DOCTYPE html>"
    yield '<html lang="en"><head><meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{title}</title>"
    yield f"<style>{_STYLE}</style></head><body>"
    yield from render_svg(lineage)
    yield "<p>drag to move, wheel to zoom, double click to see all; hold the pointer on a shape to read more</p>"
    yield f"<script>{_SCRIPT}</script>"
    yield "</body></html>"
