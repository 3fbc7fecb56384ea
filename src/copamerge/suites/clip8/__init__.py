"""CLIP on eight image classification sets, from Cars to SVHN.

`<task>.yaml` here has the classes of each set and the words CLIP is asked in, with their sources.
"""

from copamerge.suites.clip8._sets import TASKS, ImageClasses, image_classes
from copamerge.suites.clip8._suite import clip8_suite

__all__ = ["TASKS", "ImageClasses", "clip8_suite", "image_classes"]
