"""Embedded data sets, so that every recipe runs offline and without arguments."""

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image
from PIL import Image as PILImage

from hfssl.data.demo.pydocs import pydocs

DIGITS_TRAINING_ROWS = 1297  # the rows after them were written by other people


def digits() -> DatasetDict:
    """scikit-learn's 1,797 handwritten digits, 8 x 8 grey: the first 1,297 rows train, the other 500 are the test split.

    Alpaydin & Kaynak 1998, "Optical recognition of handwritten digits", UCI; pixel counts 0-16 brought to 0-255.
    """
    from sklearn.datasets import load_digits  # most runs bring their own data and need not wait for it

    bunch = load_digits()
    pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    features = Features({"image": Image(), "label": ClassLabel(names=[str(digit) for digit in range(10)])})
    splits = {}
    for name, rows in {"train": slice(None, DIGITS_TRAINING_ROWS), "test": slice(DIGITS_TRAINING_ROWS, None)}.items():
        columns = {"image": [PILImage.fromarray(image) for image in pixels[rows]], "label": bunch.target[rows].tolist()}
        splits[name] = Dataset.from_dict(columns, features=features)
        splits[name]._fingerprint = f"demo-digits-{name}"  # the same in every process: it names the cache
    return DatasetDict(splits)


def vowels() -> DatasetDict:
    """Synthesised voices; see demo_vowels.py."""
    from hfssl.data.demo import vowels as demo_vowels

    return demo_vowels.vowels()


SETS = {"digits": digits, "pydocs": pydocs, "vowels": vowels}
