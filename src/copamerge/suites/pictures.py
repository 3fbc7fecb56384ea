"""From a picture on disk to pixels, when a sample is asked."""

import io
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
    return _rgb(picture, f"image {picture}")


def decoded(content: bytes, place: str) -> Image:
    """The picture that is in these bytes of a file, in RGB; `place` says where they are from.

    Raises:
        PictureError: nothing that Pillow can read.
        CopamergeError: Pillow is not installed.
    """
    return _rgb(io.BytesIO(content), place)


def _rgb(source: Path | io.BytesIO, place: str) -> Image:
    try:
        from PIL import Image as Pil
        from PIL import UnidentifiedImageError
    except ModuleNotFoundError:
        raise CopamergeError(
            "Pillow is not installed, and pictures are read by it; pip install 'copamerge[bench]'"
        ) from None
    try:
        with Pil.open(source) as opened:
            return np.asarray(opened.convert("RGB"))
    except FileNotFoundError:
        raise PictureError(f"{place}: not there; copy it from the data set") from None
    except UnidentifiedImageError:
        raise PictureError(f"{place}: not a picture that Pillow can read; copy it again") from None
    except (OSError, ValueError, SyntaxError, Pil.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PictureError(f"{place}: cannot be read ({reason}); copy it again") from None
