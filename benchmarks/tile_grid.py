"""From a click on a layer to its channels' pixels in a page, against a matplotlib grid of subplots."""

from __future__ import annotations

from benchmarks._page import open_page
from benchmarks._timing import Row, pairs

# Two layers of 512 channels of 28 x 28, to click in turn, in a network whose own time is small.
CELL = """
import torch, cnnviz_widgets as cv
torch.manual_seed(0)
module = torch.nn.Sequential(torch.nn.Conv2d(3, 512, 8, stride=8), torch.nn.ReLU())
net = cv.Network(module, input=cv.InputSpec(size=224, mean=0.5, std=0.25))
browser = cv.LayerBrowser(net, cv.samples.photo("coffee"))
browser
"""

MATPLOTLIB = """
def draw():
    import io, time
    import matplotlib
    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    maps = cv.activations(net, browser.image, "1").maps
    start = time.perf_counter()
    figure, axes = plt.subplots(16, 32, figsize=(16, 8))
    for values, axis in zip(maps, axes.ravel()):
        axis.imshow(values)
        axis.axis("off")
    figure.savefig(io.BytesIO(), format="png")
    plt.close(figure)
    return time.perf_counter() - start
"""

# Seconds from the click on a row of the tree to the frame after the tiles of the new layer were painted.
CLICK = """
async ([name]) => {
    const row = [...document.querySelectorAll('[role=treeitem]')].find(
        each => each.textContent.trim().startsWith(name));
    const tiles = document.querySelector('.cvz-tiles');
    const before = tiles.dataset.painted;
    const painted = new Promise(resolve => {
        const observer = new MutationObserver(() => {
            if (tiles.dataset.painted !== before) { observer.disconnect(); resolve(); }
        });
        observer.observe(tiles, { attributes: true, attributeFilter: ['data-painted'] });
    });
    const start = performance.now();
    row.click();
    await painted;
    await new Promise(resolve => requestAnimationFrame(resolve));
    return (performance.now() - start) / 1000;
}
"""


def click_to_pixels() -> Row:
    """512 channels of 28 x 28, computed, sent and painted, against drawing them with matplotlib alone."""
    with open_page(CELL) as page:
        page.output(0).get_by_role("grid").wait_for()
        page.kernel.run(MATPLOTLIB)
        clicks = 0

        def ours() -> float:
            nonlocal clicks
            # The receptive field of the last layer must not be under way still.
            page.kernel.run("browser.wait()")
            clicks += 1
            seconds: float = page.page.evaluate(CLICK, [str(clicks % 2)])
            return seconds

        def theirs() -> float:
            seconds: float = page.kernel.value("draw()", timeout=300)
            return seconds

        times = pairs(ours, theirs, rounds=5)
    note = "" if times[0] < 0.2 else "asked for: under 200 ms"
    return Row(
        "512 channels of 28x28 from click to pixels in the page (network included)",
        "matplotlib's grid of subplots (to a PNG, without the page)",
        *times,
        target=40,
        note=note,
    )


ROWS = {"click-to-pixels": click_to_pixels}
