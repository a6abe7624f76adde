"""Zip functions with SnapStart instead of images: their sizes, and what they cost idle.

The zips are not built: the sizes are those of the layers of the images, whose files are the
same. Lambda takes 250 MB unpacked (Lambda Developer Guide, quotas). SnapStart takes managed
runtimes from Python 3.12, and no images; it is billed for each published version as long as
the version exists, for the memory of the function, and once more for each restore.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
# us-east-1; AWS Lambda's price page as quoted in May 2026 at
# awsnegotiations.com/blog/lambda-snapstart-cost-impact, not confirmed on the page itself.
CACHE_GB_SECOND = 0.0000015046
RESTORE_GB = 0.0001397998
MONTH = 30 * 24 * 3600
LIMIT_MB = 250
PYTHON = "3.12"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--versions", type=int, default=1, help="published versions of each")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    from facectl.container_images.layers import files_layer
    from facectl.container_images.packages import packages_layer
    from facectl.deploy.models import Sizing
    from facectl.deploy.recipe import NETWORKS, BuildOptions, Recipe
    from facectl.models import store

    model = store.find()
    memory = Sizing().memory / 1024
    print(f"MB unpacked, of {LIMIT_MB}")
    print(f"{'function':18} {'packages':>9} {'code':>6} {'model':>7} {'together':>9}")
    for function in NETWORKS:
        parts = Recipe(function, model, BuildOptions(base_python=PYTHON)).parts
        packages = packages_layer(parts.requirements, parts.prune, ("amd64", PYTHON), None)
        sizes = [
            layer.unpacked / 1e6
            for layer in (packages, files_layer(parts.code), files_layer(parts.model))
        ]
        cells = " ".join(f"{size:{width}.1f}" for size, width in zip(sizes, (9, 6, 7), strict=True))
        print(f"{function:18} {cells} {sum(sizes):9.1f}")
    idle = len(NETWORKS) * options.versions * memory * MONTH * CACHE_GB_SECOND
    print(
        f"\n{len(NETWORKS)} functions of {Sizing().memory} MB, {options.versions} version(s) each: "
        f"${idle:.2f} a month idle, ${memory * RESTORE_GB * 1000:.2f} for 1,000 restores"
    )


if __name__ == "__main__":
    main()
