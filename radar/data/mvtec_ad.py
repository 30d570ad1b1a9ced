"""MVTec AD, and every dataset published in its layout: a folder per category with train/, test/ and ground_truth/.

Bergmann, Batzner, Fauser, Sattlegger, Steger, "The MVTec Anomaly Detection Dataset", IJCV 129, 2021 (15 categories).
MPDD (Jezek, Jonak, Burget, Dvorak, Skotak, "Deep learning-based defect detection of metal parts", ICUMT 2021, six
categories) has the same layout.
"""

from pathlib import Path

from radar.data.listing import Listing, layout


def listing(folder: Path, category: str, settings: dict) -> Listing:
    """No settings: the split is the authors'."""
    result = Listing(published=True)
    result.rows = layout(folder, category, result.problems)
    return result
