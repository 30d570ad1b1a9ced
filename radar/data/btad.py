"""BTAD, the beanTech anomaly detection dataset: three products, 01, 02 and 03.

Mishra, Verk, Fornasier, Piciarelli, Foresti, "VT-ADL: A Vision Transformer Network for Image Anomaly Detection and
Localization", ISIE 2021. MVTec AD's layout, but that normal images lie in ok/ and defective ones in ko/.
"""

from pathlib import Path

from radar.data.listing import Listing, layout


def listing(folder: Path, category: str, settings: dict) -> Listing:
    """No settings: the split is the authors'."""
    result = Listing(published=True)
    result.rows = layout(folder, category, result.problems, normal=("ok",))
    return result
