"""Real files: every kind of image has one rule, and what is no image is a bad row."""

import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hfssl.data.images.files import decode
from hfssl.objective import BadRowError

GRADIENT = np.arange(12 * 8, dtype=np.uint8).reshape(12, 8)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> dict[str, Any]:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return {"bytes": buffer.getvalue(), "path": None}


def test_grey_becomes_three_equal_channels_and_colour_luminance() -> None:
    grey = decode(encoded(Image.fromarray(GRADIENT)), 3)
    assert grey.shape == (3, 12, 8)
    assert grey.dtype == torch.uint8
    assert torch.equal(grey, torch.from_numpy(GRADIENT).expand(3, 12, 8))
    colour = Image.new("RGB", (8, 12), (200, 100, 50))
    assert decode(encoded(colour), 1).unique().tolist() == [round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)]


def test_exif_rotation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = decode(encoded(Image.fromarray(GRADIENT), exif=exif), 1)[0]
    assert np.array_equal(turned, np.rot90(GRADIENT, -1))


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    deep = Image.fromarray(GRADIENT.astype(np.uint16) * 257)
    assert np.array_equal(decode(encoded(deep), 1)[0], GRADIENT)
    assert np.array_equal(decode(encoded(deep, "TIFF"), 3)[2], GRADIENT)


def test_palette_alpha_and_cmyk_become_rgb() -> None:
    colour = Image.new("RGB", (8, 12), (200, 100, 50))
    for image, kind in (
        (colour.quantize(4), "PNG"),
        (Image.new("RGBA", (8, 12), (200, 100, 50, 7)), "PNG"),
        (colour.convert("CMYK"), "TIFF"),
    ):
        assert decode(encoded(image, kind), 3)[:, 0, 0].tolist() == [200, 100, 50]


def test_a_palette_is_never_taken_for_pixels() -> None:
    palette = Image.new("RGB", (8, 12), (200, 100, 50)).quantize(4)
    with pytest.raises(BadRowError, match="does not fit num_channels 4"):
        decode(encoded(palette), 4)
    assert decode(encoded(Image.new("RGBA", (8, 12), (200, 100, 50, 7))), 4)[:, 0, 0].tolist() == [200, 100, 50, 7]


def test_arrays_of_any_channels_first_or_last() -> None:
    array = np.random.default_rng(0).integers(0, 256, (12, 8, 6))
    assert torch.equal(decode(array.tolist(), 6), decode(array.transpose(2, 0, 1).tolist(), 6))
    assert decode(array[:, :, 0].tolist(), 3).shape == (3, 12, 8)


def bomb() -> bytes:
    """A PNG of 12,000 x 12,000 black pixels in 20 kB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    side = 12_000
    header = side.to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    pixels = zlib.compress(bytes((side // 8 + 1) * side), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


WHOLE = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)), "JPEG")[
    "bytes"
]
BAD = {
    "text": b"this is no image",
    "empty": b"",
    "truncated": WHOLE[: len(WHOLE) // 2],
    "header alone": WHOLE[:100],
    "bomb": bomb(),
    "float": encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF")["bytes"],
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_image_is_a_bad_row(kind: str) -> None:
    with pytest.raises(BadRowError, match="bomb" if kind == "bomb" else "cannot be read"):
        decode({"bytes": BAD[kind], "path": None}, 3)


@pytest.mark.parametrize("value", [None, [1, 2, 3], [[0.5, 0.5]], [[300, 1]], np.zeros((4, 4, 5), int).tolist()])
def test_an_array_that_is_no_image_is_a_bad_row(value: Any) -> None:
    with pytest.raises(BadRowError):
        decode(value, 3)


def test_a_missing_file_is_a_bad_row(tmp_path: Path) -> None:
    with pytest.raises(BadRowError, match="cannot be read"):
        decode({"bytes": None, "path": str(tmp_path / "gone.png")}, 3)
