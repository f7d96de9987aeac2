"""One image, from whatever a file or a column holds, to (C, H, W) uint8.

One rule each, the same as transformers' own `load_image` wherever that is right:
EXIF rotation is applied; palette and CMYK become RGB; alpha is dropped; 16-bit grey is divided by 257 (`convert("RGB")`
would clip it); grey becomes 3 equal channels, colour becomes luminance for one channel; arrays of other channel counts
are taken as they are, channels first or last.
"""

import io
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from hfssl.data.source import StoredFile
from hfssl.objective import Array, BadRowError

_PIL_MODES = {1: "L", 3: "RGB"}
_DEEP_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I")


def decode(value: StoredFile | Sequence[object] | None, num_channels: int) -> Tensor:
    """The image as (num_channels, H, W) uint8.

    Args:
        value: {"bytes", "path"} of an undecoded image column, or an array column's nested lists.

    Raises:
        BadRowError: unreadable, truncated, a decompression bomb, or of channels that do not fit.
    """
    if isinstance(value, dict):
        return _from_file(value, num_channels)
    if value is None:
        raise BadRowError("the row holds no image")
    return _from_array(np.asarray(value), num_channels)


def _from_file(value: StoredFile, num_channels: int) -> Tensor:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            content, path = value["bytes"], value["path"]
            if content is None and path is None:
                raise ValueError("the row names no file")
            with Image.open(str(path) if content is None else io.BytesIO(content)) as opened:
                image = _to_eight_bits(ImageOps.exif_transpose(opened))
                if num_channels in _PIL_MODES:
                    image = image.convert(_PIL_MODES[num_channels])
                pixels = np.asarray(image)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise BadRowError(f"is a decompression bomb: {error}") from error
    except (
        Exception
    ) as error:  # hostile bytes make PIL's decoders raise almost anything: struct, zlib, index, syntax errors
        raise BadRowError(f"cannot be read: {error}") from error
    return _from_array(pixels, num_channels)


def _to_eight_bits(image: Image.Image) -> Image.Image:
    if image.mode in _DEEP_MODES:
        deep = np.asarray(image).astype(np.int64)
        if deep.size and (deep.min() < 0 or deep.max() > 65535):
            raise ValueError(f"grey values beyond 16 bits: {deep.min()} to {deep.max()}")
        return Image.fromarray((deep // 257).astype(np.uint8))
    if image.mode in ("P", "PA", "CMYK", "YCbCr", "LAB", "HSV"):
        return image.convert("RGB")
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range: convert them to 8 or 16 bits")
    return image


def _from_array(pixels: Array, num_channels: int) -> Tensor:
    if pixels.dtype == np.uint16:
        pixels = (pixels // 257).astype(np.uint8)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.ndim != 3 or 0 in pixels.shape:
        raise BadRowError(f"is not an image: shape {pixels.shape}")
    if pixels.dtype.kind not in "ui" or pixels.min() < 0 or pixels.max() > 255:
        raise BadRowError(f"must hold whole numbers in 0..255, got {pixels.dtype}")
    if pixels.shape[2] not in (1, num_channels) and pixels.shape[0] in (1, num_channels):
        pixels = pixels.transpose(1, 2, 0)
    if pixels.shape[2] == 1 and num_channels > 1:
        pixels = pixels.repeat(num_channels, axis=2)
    if pixels.shape[2] != num_channels:
        raise BadRowError(f"has shape {pixels.shape}, which does not fit num_channels {num_channels}")
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1).astype(np.uint8)))
