"""facenet-pytorch, the original that every built network is compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from facectl.errors import ModelError
from facectl.models.torch_shim import make_torchvision_importable

_INSTALL = "pip install 'facectl[models]'"


def facenet() -> Any:
    """The module facenet_pytorch; raises ModelError without the `models` extra."""
    try:
        make_torchvision_importable()
        import facenet_pytorch
    except ImportError as error:
        raise ModelError(
            f"Building models needs torch and facenet-pytorch ({error})", hint=_INSTALL
        ) from error
    return facenet_pytorch


def cascade() -> dict[str, Any]:
    """P-, R- and O-Net with the weights of facenet-pytorch's wheel, ready to run."""
    import torch

    module = facenet()
    folder = Path(module.__file__).parent / "data"
    networks = {}
    for name, kind in (("pnet", module.PNet), ("rnet", module.RNet), ("onet", module.ONet)):
        network = kind(pretrained=False)
        state = torch.load(folder / f"{name}.pt", map_location="cpu", weights_only=True)
        network.load_state_dict(state)
        networks[name] = network.eval()
    return networks


def embedder(state: dict[str, Any]) -> Any:
    """InceptionResnetV1 with these weights; raises ModelError where they do not fit.

    The classifier that released weights carry is left out, as the embedding
    does not pass through it.
    """
    network = facenet().InceptionResnetV1(pretrained=None)
    wanted = {key: value for key, value in state.items() if not key.startswith("logits.")}
    try:
        network.load_state_dict(wanted)
    except (RuntimeError, AttributeError, TypeError) as error:
        reason = str(error).splitlines()
        raise ModelError(
            "These are not the weights of facenet-pytorch's InceptionResnetV1: "
            + " ".join(line.strip() for line in reason[:3])[:300],
            hint="facectl models build --weights vggface2",
        ) from error
    return network.eval()
