"""The players of inversions, attacks, dreams, textures and styles as a person uses them: begun, seen and stopped."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

import cnnviz_widgets as cv
from tests.browser.test_maximization_player import PIXELS

SETUP = """
import cnnviz_widgets as cv
net, images = cv.samples.fashion_cnn(), cv.samples.fashion_mnist("test")[0]
def odds():
    scores = net(net.prepare(attack.view.frame(attack.view.run, -1).image))[0]
    return scores.softmax(0).tolist()
"""
PLAYERS = {
    "inversion": 'inversion = cv.InversionPlayer(net, images[0], "relu2", steps=90_000)\ninversion',
    "dream": 'dream = cv.DeepDreamPlayer(net, images[0], "relu2", octaves=1, steps=90_000)\ndream',
    "texture": "texture = cv.TexturePlayer(net, images[1], steps=90_000)\ntexture",
    "style": "style = cv.StylePlayer(net, images[0], list(images[1:3]), steps=90_000)\nstyle",
    "attack": 'attack = cv.AttackPlayer(net, images[0], method="pgd", epsilon=4 / 255, steps=90_000)\nattack',
}
# Of a still picture, as the browser has decoded it.
STILL_PIXELS = f"""async image => {{
    await image.decode();
    const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
    canvas.getContext("2d").drawImage(image, 0, 0);
    return ({PIXELS})(canvas);
}}"""
ZOOM = 16  # of pictures of 28 pixels, in an animation


class Playing:
    """One of the players, in the output of its cell."""

    def __init__(self, nb, name):
        self.nb, self.name = nb, name

    def begin(self):
        self.look()
        self.press("Start")
        self.wait_for_steps(3)

    def look(self):
        """Scroll to it: what is out of sight gets no live pictures."""
        self.output = self.nb.output(1 + list(PLAYERS).index(self.name))
        self.picture = self.output.locator(".cvz-player figure").first

    def press(self, name):
        self.output.get_by_role("button", name=name, exact=True).click()

    def wait_for_steps(self, more):
        """Wait until a picture of so many steps later is on show."""
        self.nb.page.wait_for_function(
            "([figure, step]) => Number(figure.dataset.step) > step",
            arg=[self.picture.element_handle(), int(self.picture.get_attribute("data-step")) + more],
            timeout=20_000,
        )

    def pixels(self):
        return rgb(self.picture.locator("canvas").evaluate(PIXELS))

    def stop(self):
        """Stop it: on the page is the last step's picture, as Python has kept it."""
        self.press("Stop")
        self.nb.kernel.wait_for(f"{self.name}.state == 'stopped' and {self.name}.result is not None")
        step, kept = self.nb.kernel.value(
            f"(lambda frame: (frame.step, frame.image.tolist()))({self.name}.view.frame(1, -1))"
        )
        expect(self.picture).to_have_attribute("data-step", str(step))
        np.testing.assert_array_equal(self.pixels(), kept)
        self.nb.screenshot(self.name)

    def download(self, kind):
        """Have the run on show downloaded, and return the file's name and what is in it."""
        self.output.locator(".cvz-player summary").click()
        with self.nb.page.expect_download() as download:
            self.press(kind)
        return download.value.suggested_filename, io.BytesIO(download.value.path().read_bytes())


def rgb(read):
    height, width, *values = read
    return np.reshape(values, (height, width, 4))[:, :, :3]


@pytest.mark.parametrize("front_end", ["notebook"])
def test_each_is_begun_seen_and_stopped(open_notebook):
    nb = open_notebook([SETUP, *PLAYERS.values()], viewport={"width": 1280, "height": 1000})
    nb.run_all()
    inversion, *others = (Playing(nb, name) for name in PLAYERS)
    inversion.begin()
    for playing in others:
        playing.begin()
        if playing.name == "dream":
            # Two at once: each goes on while the other one does.
            inversion.look()
            inversion.wait_for_steps(1)
            assert nb.kernel.value("(inversion.state, dream.state)") == ["running", "running"]
            inversion.stop()
            check_animation(inversion)
            playing.look()
            playing.wait_for_steps(1)
        playing.stop()
    check_answer(nb, playing)
    check_epsilon(nb, playing)
    check_numbers(nb, playing)


def check_animation(playing):
    """The kept frames are in the animation, all their colors, each pixel enlarged."""
    name, file = playing.download("WebP")
    assert name == "invert-run-1.webp"
    kept = playing.nb.kernel.value("[frame.image.tolist() for frame in inversion.view.frames(1)]")
    found = Image.open(file)
    assert found.n_frames == len(kept) >= 2
    for index, frame in enumerate(kept):
        found.seek(index)
        enlarged = np.repeat(np.repeat(frame, ZOOM, 0), ZOOM, 1)
        np.testing.assert_array_equal(np.asarray(found.convert("RGB")), enlarged)


def check_answer(nb, attack):
    """What the network says of the attacked picture stands beside it."""
    odds = nb.kernel.value("odds()")
    likeliest = int(np.argmax(odds))
    expect(attack.output).to_contain_text(cv.samples.FASHION_LABELS[likeliest])
    expect(attack.output).to_contain_text(f"{odds[likeliest]:.1%}")
    return cv.samples.FASHION_LABELS[likeliest]


def check_epsilon(nb, attack):
    """With FGSM, moving the slider is enough: the picture, its difference and the answer are those of that epsilon."""
    original = np.repeat(cv.samples.fashion_mnist("test")[0][0][:, :, None], 3, axis=2).astype(int)
    difference = attack.output.locator("img.cnnviz-still:visible").nth(1)
    attack.output.get_by_label("Method").select_option("FGSM: one step")
    slider = attack.output.locator(".widget-hslider").filter(has_text="Epsilon").get_by_role("slider")
    pictures, answers = [], []
    for key, epsilon in (("End", 32), ("PageDown", 27)):
        slider.press(key)
        nb.kernel.wait_for(f"attack.state == 'done' and attack.params['epsilon'] == {epsilon} / 255")
        expect(attack.output.locator(".widget-hslider")).to_contain_text(str(epsilon))
        expect(attack.output).to_contain_text(f"No number changed by more than {epsilon}/255")
        expect(attack.output).to_contain_text(f"the difference \u00d7 {127.5 / epsilon:.0f}")
        nb.settle()
        change = attack.pixels() - original
        assert np.abs(change).max() == epsilon == round(255 * nb.kernel.value("attack.result.norm_inf"))
        pictures.append(rgb(difference.evaluate(STILL_PIXELS)))
        np.testing.assert_allclose(pictures[-1], 127.5 + change * 127.5 / epsilon, atol=0.51)
        answers.append(check_answer(nb, attack))
        verdict = {True: "Success", False: "No success"}[answers[-1] != "Ankle boot"]
        expect(attack.output.locator("b").filter(has_text="uccess")).to_have_text(verdict)
        nb.screenshot(f"epsilon-{epsilon}")
    assert nb.kernel.value("attack.result == cv.attack(net, *attack.inputs, **attack.params)")


def check_numbers(nb, attack):
    """The result's numbers can be read without this package, and without pickle."""
    name, file = attack.download("NPZ")
    assert name == f"attack-run-{nb.kernel.value('attack.view.run')}.npz"
    with np.load(file, allow_pickle=False) as found:
        fields = dict(json.loads(found["header"].tobytes())["result"])["fields"]
        picture = found[fields["adversarial"]["array"]]
        assert all(found[name].dtype.kind in "uif" for name in found.files)
    np.testing.assert_array_equal(picture, attack.pixels())
    assert fields["epsilon"] == nb.kernel.value("attack.params['epsilon']")
