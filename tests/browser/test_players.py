"""The players of attacks, dreams, textures and styles as a person uses them: begun, seen and stopped with a click."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.browser.test_maximization_player import PIXELS

SETUP = """
import cnnviz_widgets as cv
net, images = cv.samples.fashion_cnn(), cv.samples.fashion_mnist("test")[0]
def odds():
    scores = net(net.prepare(attack.view.frame(1, -1).image))[0]
    return scores.softmax(0).tolist()
"""
PLAYERS = {
    "attack": 'attack = cv.AttackPlayer(net, images[0], method="pgd", epsilon=4 / 255, steps=90_000)\nattack',
    "dream": 'dream = cv.DeepDreamPlayer(net, images[0], "relu2", octaves=1, steps=90_000)\ndream',
    "texture": "texture = cv.TexturePlayer(net, images[1], steps=90_000)\ntexture",
    "style": "style = cv.StylePlayer(net, images[0], list(images[1:3]), steps=90_000)\nstyle",
}


@pytest.mark.parametrize("front_end", ["notebook"])
def test_each_is_begun_seen_and_stopped(open_notebook):
    nb = open_notebook([SETUP, *PLAYERS.values()], viewport={"width": 1280, "height": 1000})
    nb.run_all()
    for index, name in enumerate(PLAYERS, 1):
        output = nb.output(index)
        picture = output.locator(".cvz-player figure").first
        output.get_by_role("button", name="Start", exact=True).click()
        nb.page.wait_for_function(
            "figure => Number(figure.dataset.step) > 2", arg=picture.element_handle(), timeout=20_000
        )
        output.get_by_role("button", name="Stop", exact=True).click()
        nb.kernel.wait_for(f"{name}.state == 'stopped' and {name}.result is not None")
        step, kept = nb.kernel.value(
            f"(lambda frame: (frame.step, frame.image.tolist()))({name}.view.frame(1, -1))"
        )
        # On the page is the last step's picture, as Python has kept it.
        expect(picture).to_have_attribute("data-step", str(step))
        height, width, *values = picture.locator("canvas").evaluate(PIXELS)
        np.testing.assert_array_equal(np.reshape(values, (height, width, 4))[:, :, :3], kept)
        nb.screenshot(name)

    # What the network says of the attacked picture stands beside it.
    odds, names = nb.kernel.value("odds()"), nb.kernel.value("list(cv.samples.FASHION_LABELS)")
    likeliest = int(np.argmax(odds))
    expect(nb.output(1)).to_contain_text(names[likeliest])
    expect(nb.output(1)).to_contain_text(f"{odds[likeliest]:.1%}")
