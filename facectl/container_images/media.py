"""Media types of images: Docker's, which facectl writes, and OCI's, which it reads too."""

from __future__ import annotations

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEXES = frozenset(
    {
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.index.v1+json",
    }
)
# For the Accept header.
MANIFESTS = (MANIFEST, OCI_MANIFEST, *sorted(INDEXES))

GZIPPED = frozenset({LAYER, "application/vnd.oci.image.layer.v1.tar+gzip"})
PLAIN = frozenset(
    {"application/vnd.docker.image.rootfs.diff.tar", "application/vnd.oci.image.layer.v1.tar"}
)
