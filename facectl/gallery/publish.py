"""The copy of the gallery in the deployment's bucket, which the running function reads."""

from __future__ import annotations

from facectl.aws import Clients, cloud_errors
from facectl.gallery import store
from lambda_src.gallery import Gallery

KEY = "gallery/current.npz"


def publish(clients: Clients, gallery: Gallery) -> None:
    """Put the gallery where the deployed function finds it.

    Raises GalleryError where the deployment runs a model of another embedding
    space, and CloudError.
    """
    deployment = clients.deployment
    if deployment.space is not None:
        store.check_space(gallery, deployment.space, deployment.asu_id)
    bucket = deployment.names.bucket(clients.account, deployment.region)
    with cloud_errors(f"publishing the gallery to bucket {bucket}", deployment):
        clients.s3.put_object(
            Bucket=bucket,
            Key=KEY,
            Body=gallery.serialise(),
            ContentType="application/octet-stream",
        )


def publish_local(clients: Clients) -> Gallery | None:
    """Publish the gallery kept on this computer; None where nobody is enrolled."""
    gallery = store.load(clients.deployment.asu_id)
    if gallery is not None:
        publish(clients, gallery)
    return gallery
