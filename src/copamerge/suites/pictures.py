"""From a picture on disk to pixels, when a sample is asked."""

from pathlib import Path

import numpy as np

from copamerge.errors import CopamergeError, SuiteError
from copamerge.suites._base import Image, Picture


class PictureError(SuiteError):
    """A picture that cannot be read: its sample counts as wrong, and the run goes on."""


def pixels(picture: Picture) -> Image:
    """The picture in RGB, as it is stored: as the released code, Exif turns are left alone.

    Raises:
        PictureError: not there, or nothing that Pillow can read.
        CopamergeError: Pillow is not installed.
    """
    if isinstance(picture, np.ndarray):
        return picture
    if not isinstance(picture, Path):
        return picture()
    try:
        from PIL import Image as Pil
        from PIL import UnidentifiedImageError
    except ModuleNotFoundError:
        raise CopamergeError(
            "Pillow is not installed, and pictures are read by it; pip install 'copamerge[bench]'"
        ) from None
    try:
        with Pil.open(picture) as opened:
            return np.asarray(opened.convert("RGB"))
    except FileNotFoundError:
        raise PictureError(f"image {picture}: not there; copy it from the data set") from None
    except UnidentifiedImageError:
        raise PictureError(
            f"image {picture}: not a picture that Pillow can read; copy it again"
        ) from None
    except (OSError, ValueError, SyntaxError, Pil.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PictureError(f"image {picture}: cannot be read ({reason}); copy it again") from None
