"""InputSpec: the same numbers as torchvision and timm, and back again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies
from PIL import Image
from timm.data import create_transform, resolve_data_config
from timm.models import get_pretrained_cfg, list_pretrained
from torch import nn
from torchvision import models

from cnnviz_widgets.engine.errors import InputError, InputTypeError
from cnnviz_widgets.engine.inputs import InputSpec

RESNET = models.ResNet18_Weights.IMAGENET1K_V1


def photo(height: int, width: int, seed: int = 0) -> Image.Image:
    """A picture with detail at several scales, so that a wrong filter or a shift by a pixel shows."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    rows, columns = np.mgrid[:height, :width]
    waves = np.stack([127 + 127 * np.sin(rows / 7 + columns / each) for each in (5, 9, 13)], axis=-1)
    return Image.fromarray((0.5 * noise + 0.5 * waves).astype(np.uint8))


PHOTOS = [photo(157, 211), photo(301, 120, seed=1)]


def presets(modules: list[Any]) -> Iterator[Any]:
    """One of torchvision's weights for each set of transforms that its classifiers and segmenters use."""
    seen = set()
    for module in modules:
        for name in models.list_models(module=module):
            for weights in models.get_model_weights(name):
                described = repr(weights.transforms())
                if described not in seen:
                    seen.add(described)
                    yield weights


CLASSIFIERS = list(presets([models]))
SEGMENTERS = list(presets([models.segmentation]))


@pytest.mark.parametrize("weights", CLASSIFIERS, ids=str)
def test_torchvision_classifiers_get_their_own_numbers(weights: Any) -> None:
    spec = InputSpec.from_torchvision(weights)
    for picture in PHOTOS:
        assert torch.equal(spec.prepare(picture)[0], weights.transforms()(picture))


def test_the_torchvision_weights_differ_in_all_that_a_spec_holds() -> None:
    specs = [InputSpec.from_torchvision(each) for each in CLASSIFIERS]
    assert len(specs) > 25
    assert {each.interpolation for each in specs} == {"bilinear", "bicubic"}
    assert len({each.size for each in specs}) > 5
    assert len({each.mean for each in specs}) > 1


@pytest.mark.parametrize("weights", SEGMENTERS, ids=str)
def test_torchvision_segmenters_keep_proportions(weights: Any) -> None:
    spec = InputSpec.from_torchvision(weights)
    prepared = spec.prepare(PHOTOS[0])[0]
    assert torch.equal(prepared, weights.transforms()(PHOTOS[0]))
    assert prepared.shape == (3, 520, int(520 * 211 / 157))


def test_float_tensors_go_through_the_same_transforms() -> None:
    picture = torch.rand(3, 120, 90, generator=torch.Generator().manual_seed(0))
    spec = InputSpec.from_torchvision(RESNET)
    assert torch.equal(spec.prepare(picture)[0], RESNET.transforms()(picture))


def test_what_weights_may_be_given() -> None:
    expected = InputSpec.from_torchvision(RESNET)
    assert expected == InputSpec(
        size=(224, 224), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), resize=256
    )
    assert InputSpec.from_torchvision(RESNET.transforms()) == expected
    assert InputSpec.from_torchvision(RESNET.transforms) == expected


@pytest.mark.parametrize(
    "weights",
    [
        models.detection.FasterRCNN_ResNet50_FPN_Weights.DEFAULT,
        models.video.R3D_18_Weights.DEFAULT,
        models.optical_flow.Raft_Small_Weights.DEFAULT,
        "IMAGENET1K_V1",
    ],
    ids=str,
)
def test_torchvision_transforms_that_are_not_for_images_of_one_size(weights: Any) -> None:
    with pytest.raises(InputError, match=r"can't read an input spec from .*write it out: cv.InputSpec"):
        InputSpec.from_torchvision(weights)


def timm_configurations() -> list[dict[str, Any]]:
    """One of timm's configurations for each way to prepare an image, up to a size that is quick to test."""
    found: dict[Any, dict[str, Any]] = {}
    for name in list_pretrained():
        config = get_pretrained_cfg(name)
        size, kind = config.input_size, config.crop_mode
        unusual = size[1] != size[2] or config.crop_pct > 1
        if kind in ("center", "squash") and (max(size) <= 256 or unusual):
            key = (size, kind, config.crop_pct, config.interpolation)
            if key not in found:
                found[key] = config.to_dict()
    return list(found.values())


CONFIGURATIONS = timm_configurations()


def describe(config: dict[str, Any]) -> str:
    size = "x".join(map(str, config["input_size"][1:]))
    return f"{size}-{config['crop_mode']}-{config['crop_pct']}-{config['interpolation']}"


@pytest.mark.parametrize("config", CONFIGURATIONS, ids=describe)
def test_timm_configurations_get_their_own_numbers(config: dict[str, Any]) -> None:
    resolved = resolve_data_config({}, pretrained_cfg=config)
    transform = create_transform(**resolved, is_training=False)
    spec = InputSpec.from_timm(config)
    for picture in PHOTOS:
        assert torch.equal(spec.prepare(picture)[0], transform(picture))


def test_what_a_timm_configuration_leaves_out_is_timms_default() -> None:
    config = {"input_size": (3, 96, 96)}
    transform = create_transform(**resolve_data_config({}, pretrained_cfg=config), is_training=False)
    assert torch.equal(InputSpec.from_timm(config).prepare(PHOTOS[0])[0], transform(PHOTOS[0]))


def test_the_timm_configurations_cover_what_differs() -> None:
    kinds = {(each["crop_mode"], each["interpolation"]) for each in CONFIGURATIONS}
    assert kinds >= {("center", "bilinear"), ("center", "bicubic"), ("squash", "bicubic")}
    assert any(each["input_size"][1] != each["input_size"][2] for each in CONFIGURATIONS)
    assert any(each["crop_pct"] > 1 for each in CONFIGURATIONS)  # scaled below the size: black around it


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "mobilenetv3_small_050", "test_vit"])
def test_timm_models_are_read_as_their_configuration(name: str) -> None:
    model = timm.create_model(name, pretrained=False)
    transform = create_transform(**resolve_data_config({}, model=model), is_training=False)
    spec = InputSpec.from_timm(model)
    assert torch.equal(spec.prepare(PHOTOS[0])[0], transform(PHOTOS[0]))
    assert spec == InputSpec.from_timm(model.pretrained_cfg)


def test_timm_models_made_for_gray_take_the_average_scaling() -> None:
    model = timm.create_model("resnet18", pretrained=False, in_chans=1)
    spec = InputSpec.from_timm(model)
    gray = PHOTOS[0].convert("L")
    mean, std = (0.485 + 0.456 + 0.406) / 3, (0.229 + 0.224 + 0.225) / 3
    config = resolve_data_config({"input_size": (1, 224, 224), "mean": (mean,), "std": (std,)}, model=model)
    expected = create_transform(**config, is_training=False)(gray)
    assert spec.channels == 1
    torch.testing.assert_close(spec.prepare(gray)[0], expected, rtol=0, atol=1e-6)


def test_timm_configuration_for_gray() -> None:
    overlay = {"input_size": (1, 28, 28), "mean": (0.29,), "std": (0.35,), "crop_pct": 1.0}
    model = timm.create_model("resnet18", pretrained=False, in_chans=1, pretrained_cfg_overlay=overlay)
    transform = create_transform(**resolve_data_config({}, model=model), is_training=False)
    gray = PHOTOS[0].convert("L")
    assert torch.equal(InputSpec.from_timm(model).prepare(gray)[0], transform(gray))


def test_timm_stems_that_fold_pixels_into_channels_still_take_three() -> None:
    model = nn.Sequential(nn.PixelUnshuffle(4), nn.Conv2d(48, 8, 3))
    model.pretrained_cfg = {"input_size": (3, 64, 64), "first_conv": "1", "crop_pct": 1.0}
    assert InputSpec.from_timm(model).channels == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crop_mode": "border"}, "crop_mode 'border'"),
        ({"input_size": (3, 64, 32)}, "crop_pct 0.875 for 64 x 32 is not supported"),
        ({"input_size": None}, "no 'input_size' in it"),
    ],
)
def test_timm_configurations_that_a_spec_cannot_hold(change: dict[str, Any], message: str) -> None:
    config = {"input_size": (3, 64, 64), "crop_mode": "center", "crop_pct": 0.875, **change}
    config = {name: value for name, value in config.items() if value is not None}
    with pytest.raises(InputError, match=message):
        InputSpec.from_timm(config)


def test_timm_model_whose_channels_do_not_fit_its_configuration() -> None:
    model = timm.create_model("resnet18", pretrained=False, in_chans=4)
    with pytest.raises(InputError, match="the model takes 4 channels, its configuration has 3; write it out"):
        InputSpec.from_timm(model)


def test_a_picture_is_scaled_until_it_covers_the_size() -> None:
    picture = photo(60, 50)
    prepared = InputSpec(size=(20, 40)).prepare(picture)[0]
    # 50 wide must become 40, so 60 high becomes 48, of which the middle 20 are kept.
    expected = np.asarray(picture.resize((40, 48), Image.Resampling.BILINEAR))[14:34] / np.float32(255)
    np.testing.assert_array_equal(prepared.permute(1, 2, 0).numpy(), expected.astype(np.float32))


def test_a_picture_of_the_right_size_keeps_its_pixels() -> None:
    picture = photo(20, 40)
    prepared = InputSpec(size=(20, 40)).prepare(picture)[0]
    np.testing.assert_array_equal((prepared * 255).round().permute(1, 2, 0).numpy(), np.asarray(picture))


def test_a_pair_as_resize_changes_proportions_and_one_number_keeps_them() -> None:
    picture = photo(60, 50)
    squashed = InputSpec(size=8, resize=(10, 12)).prepare(picture)[0]
    expected = np.asarray(picture.resize((12, 10), Image.Resampling.BILINEAR))[1:9, 2:10]
    np.testing.assert_array_equal((squashed * 255).round().permute(1, 2, 0).numpy(), expected)
    assert InputSpec(resize=25).prepare(picture).shape == (1, 3, 30, 25)


@pytest.mark.parametrize("name", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_interpolations_are_those_of_pillow(name: str) -> None:
    picture = photo(60, 50)
    prepared = InputSpec(size=(30, 25), interpolation=name).prepare(picture)[0]
    expected = np.asarray(picture.resize((25, 30), Image.Resampling[name.upper()]))
    np.testing.assert_array_equal((prepared * 255).round().permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("name", ["nearest", "bilinear", "bicubic"])
def test_float_tensors_are_resized_like_pictures(name: str) -> None:
    picture = photo(60, 50)
    spec = InputSpec(size=(30, 25), interpolation=name)
    floats = np.asarray(picture) / 255
    difference = (spec.prepare(floats) - spec.prepare(picture)).clamp(-1, 1)
    # Pillow rounds to whole 255ths after each of its two passes and clips what a cubic overshoots.
    inside = (spec.prepare(floats) > 0) & (spec.prepare(floats) < 1)
    assert difference[inside].abs().max() < 1.6 / 255


def test_a_cubic_that_overshoots_is_no_error() -> None:
    edge = np.zeros((8, 8), np.float32)
    edge[:, 4:] = 1
    prepared = InputSpec(size=16, channels=1, interpolation="bicubic", mean=0.5).prepare(edge)
    assert prepared.max() > 0.5 + 1e-3


def test_lanczos_on_floats_says_what_to_do() -> None:
    spec = InputSpec(size=4, interpolation="lanczos")
    with pytest.raises(InputError, match=r"the image is a float tensor, .*'lanczos'.*; make it uint8"):
        spec.prepare(torch.zeros(3, 8, 8))
    assert spec.prepare(torch.zeros(3, 4, 4)).shape == (1, 3, 4, 4)


def test_a_strip_that_would_grow_beyond_pillows_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    strip = np.zeros((1, 300, 3), np.uint8)
    with pytest.raises(InputError, match="image 1 of 2 is 1 x 300 pixels and would be scaled to 10 x 3000"):
        InputSpec(size=8, resize=10).prepare([strip[:, :8], strip])


pictures = numpy_strategies.arrays(
    np.uint8, st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.just(3))
)
numbers = st.floats(0.01, 1.0)


@given(pictures, st.tuples(numbers, numbers, numbers), st.tuples(numbers, numbers, numbers))
def test_restore_is_the_inverse_of_prepare(batch: Any, mean: Any, std: Any) -> None:
    spec = InputSpec(mean=mean, std=std)
    np.testing.assert_array_equal(spec.restore(spec.prepare(batch)), batch)


@given(pictures, numbers, numbers)
def test_restore_is_the_inverse_of_prepare_for_gray(batch: Any, mean: float, std: float) -> None:
    spec = InputSpec(channels=1, mean=mean, std=std)
    gray = batch[..., 0]
    np.testing.assert_array_equal(spec.restore(spec.prepare(gray[..., None])), np.stack([gray] * 3, axis=-1))


@pytest.mark.parametrize(("dtype", "off"), [(torch.float16, 0), (torch.bfloat16, 1), (torch.float64, 0)])
def test_restore_from_other_number_types(dtype: torch.dtype, off: int) -> None:
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    spec = InputSpec.from_torchvision(RESNET)
    spec = InputSpec(mean=spec.mean, std=spec.std)
    restored = spec.restore(spec.prepare(values).to(dtype))
    assert np.abs(restored.astype(int) - values).max() <= off


def test_restore_clips_and_does_not_change_its_input() -> None:
    x = torch.tensor([-3.0, 0.25, 9.0]).reshape(1, 3, 1, 1).requires_grad_()
    before = x.detach().clone()
    assert InputSpec().restore(x).tolist() == [[[[0, 64, 255]]]]
    assert torch.equal(x, before)


def test_view_is_what_the_network_sees() -> None:
    picture = photo(60, 50)
    expected = np.asarray(picture.resize((40, 48), Image.Resampling.BILINEAR))[4:44]
    viewed = InputSpec(size=40, mean=0.4, std=0.2).view(picture)
    np.testing.assert_array_equal(viewed, expected)
    with pytest.raises(InputError, match="view takes one image, got 2"):
        InputSpec(size=40).view([picture, picture])


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (
            torch.zeros(3, 4, 4),
            InputError,
            r"takes a batch \(images, 3, rows, columns\), got shape \(3, 4, 4\)",
        ),
        (torch.zeros(2, 3, 4), InputError, r"got shape \(2, 3, 4\)"),
        (torch.zeros(1, 1, 4, 4), InputError, r"got shape \(1, 1, 4, 4\)"),
        (np.zeros((1, 3, 4, 4)), InputTypeError, "got ndarray"),
        (torch.full((1, 3, 4, 4), torch.nan), InputError, "NaN"),
        (torch.full((1, 3, 4, 4), torch.inf), InputError, "infinity"),
    ],
)
def test_restore_refuses(x: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        InputSpec().restore(x)


def test_restore_refuses_what_makes_no_picture() -> None:
    with pytest.raises(InputError, match="5 channels make no picture"):
        InputSpec(channels=5).restore(torch.zeros(1, 5, 4, 4))


def test_channels_follow_from_the_scaling() -> None:
    assert InputSpec().channels == 3
    assert InputSpec(mean=0.5).channels == 3
    assert InputSpec(mean=(0.5,)).channels == 1
    assert InputSpec(mean=np.array([0.1, 0.2]), std=0.5).channels == 2
    assert InputSpec(std=torch.tensor([0.5, 0.5, 0.5, 0.5])).channels == 4
    assert InputSpec(channels=2, mean=0.5).mean == (0.5, 0.5)
    assert InputSpec(mean=(0.5,), std=(0.1, 0.2, 0.3)).mean == (0.5, 0.5, 0.5)


def test_specs_compare_and_show_themselves() -> None:
    assert InputSpec(size=8) == InputSpec(size=(8, 8), channels=3, mean=[0, 0, 0])
    assert hash(InputSpec(size=8)) == hash(InputSpec(size=(8, 8)))
    assert "size=(8, 8)" in repr(InputSpec(size=np.int64(8)))


def test_example_is_the_mean_picture() -> None:
    spec = InputSpec(size=(6, 9), channels=2, mean=(0.2, 0.4), std=0.5)
    example = spec.example(dtype=torch.float64)
    assert example.shape == (1, 2, 6, 9)
    assert example.dtype == torch.float64
    assert not example.any()
    assert InputSpec().example().shape == (1, 3, 224, 224)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size must be a whole number from 1, got 0"),
        ({"size": 7.5}, "got 7.5"),
        ({"size": True}, "got True"),
        ({"size": (1, 2, 3)}, r"size is a number or \(height, width\)"),
        ({"size": "224"}, r"size is a number or \(height, width\)"),
        ({"resize": (256,)}, r"resize is a number or \(height, width\)"),
        ({"resize": -1}, "resize must be a whole number from 1"),
        ({"channels": 0}, "channels must be a whole number from 1"),
        ({"mean": (0.1, 0.2), "channels": 3}, "mean is one number, or one for each channel"),
        ({"mean": (0.1, 0.2), "std": (0.1, 0.2, 0.3)}, "mean is one number, or one for each channel"),
        ({"mean": float("nan")}, "mean must be finite"),
        ({"mean": "bright"}, "mean is a number or one for each channel, got 'bright'"),
        ({"mean": None}, "mean must be finite|mean is a number"),
        ({"std": (0.1, 0.0, 0.1)}, "std must be positive"),
        ({"std": -1}, "std must be positive"),
        ({"mean": (123.7, 116.3, 103.5)}, "divide by 255"),
        ({"std": (58.4, 57.1, 57.4)}, "divide by 255"),
        (
            {"interpolation": "cubic"},
            "interpolation is one of nearest, bilinear, bicubic, lanczos; got 'cubic'",
        ),
    ],
)
def test_specs_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        InputSpec(**options)


def as_arrays(pictures: list[Any]) -> list[Any]:
    return [np.asarray(each) for each in pictures]


def as_tensors(pictures: list[Any]) -> list[Any]:
    return [
        torch.from_numpy(np.array(each)).reshape(*each.size[::-1], -1).permute(2, 0, 1) for each in pictures
    ]


QUICK_SPECS = {
    "gray": InputSpec(size=(9, 12), channels=1, mean=0.29, std=0.35),
    "color": InputSpec(size=(9, 12), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), resize=9),
    "any size": InputSpec(channels=3, mean=0.1),
}


@pytest.mark.parametrize("spec", QUICK_SPECS.values(), ids=QUICK_SPECS)
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("given", [list, as_arrays, as_tensors, lambda each: np.stack(as_arrays(each))])
def test_many_small_pictures_at_once_get_the_numbers_of_one_by_one(
    spec: InputSpec, mode: str, given: Any
) -> None:
    pictures = [Image.fromarray(np.asarray(photo(9, 12, seed))).convert(mode) for seed in range(5)]
    together = spec.prepare(given(pictures))
    assert torch.equal(together, torch.stack([spec.prepare_one(each, "it") for each in pictures]))
    assert together.is_contiguous()
    is_plain = mode == "L" or spec.channels == 3
    assert (spec.prepare_pixels(list(given(pictures))) is not None) == is_plain


def test_pictures_that_need_more_than_scaling_are_taken_one_by_one() -> None:
    spec = QUICK_SPECS["color"]
    array = np.asarray(photo(9, 12))
    tagged, turned, deep = Image.fromarray(array), Image.fromarray(array), array.astype(np.uint16) * 257
    tagged.info["transparency"] = (1, 2, 3)
    turned.info["exif"] = b"Exif"
    for odd in (tagged, turned, deep, array[:, :, :2], array[:, ::2], array / 255.0):
        assert spec.prepare_pixels([odd, odd]) is None
        assert spec.prepare_pixels([array, odd]) is None
    assert InputSpec(size=8).prepare_pixels([array]) is None
    assert InputSpec(size=(9, 12), resize=11).prepare_pixels([array]) is None
    assert InputSpec(size=(9, 13), resize=(9, 12)).prepare_pixels([array]) is None
    with pytest.raises(InputError, match="image 1 of 2"):
        spec.prepare([array, array[:0]])
