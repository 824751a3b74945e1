"""The weights of DLStudio's own mUNet, under this package's names."""

from collections.abc import Mapping

from torch import Tensor

from seghw.errors import BadInput
from seghw.network.munet import MUNet

# DLStudio's module names, longest first, and ours.
_FROM_DLSTUDIO = {
    "conv_in": "stem",
    "skip64DN_arr": "down_outer",
    "skip64dsDN": "halve_outer",
    "bn1DN": "down_norm_outer",
    "skip64to128DN": "widen",
    "skip128DN_arr": "down_inner",
    "bn2DN": "down_norm_inner",
    "skip128dsDN": "halve_inner",
    "skip128usUP": "double_inner",
    "skip128UP_arr": "up_inner",
    "bn1UP": "up_norm_inner",
    "skip128to64UP": "narrow",
    "skip64UP_arr": "up_outer",
    "bn2UP": "up_norm_outer",
    "skip64usUP": "double_outer",
    "conv_out": "head",
    # inside a block
    "convo1": "conv1",
    "convo2": "conv2",
    "convoT1": "conv1",
    "convoT2": "conv2",
    "bn1": "norm1",
    "bn2": "norm2",
    "downsampler": "resample",
    "upsampler": "resample",
    # the report's additions (Listing 1)
    "conv_i": "aspp.point",
    "a1": "aspp.atrous.0",
    "a2": "aspp.atrous.1",
    "a3": "aspp.atrous.2",
    "conv_1": "aspp.merge",
}


def from_dlstudio(state_dict: Mapping[str, Tensor], *, skip_connections: bool = True) -> MUNet:
    """Build the network that a DLStudio ``mUNet`` state dict describes, with its weights.

    Args:
        state_dict: of DLStudio's ``mUNet``, or of the report's Listing 1 (with ASPP at rates
            2, 4, 6).
        skip_connections: as DLStudio's network was built; a state dict does not say it.

    Returns:
        A network with the same outputs, in training mode.

    Raises:
        BadInput: the state dict is of another network.
    """
    try:
        wide = {
            ".".join(_FROM_DLSTUDIO.get(part, part) for part in name.split(".")): value
            for name, value in state_dict.items()
        }
        blocks = len({name.split(".")[1] for name in wide if name.startswith("down_outer.")})
        model = MUNet(
            num_classes=wide["head.bias"].shape[0],
            width=wide["stem.weight"].shape[0],
            depth=2 * blocks,
            aspp_rates=(2, 4, 6) if "aspp.merge.weight" in wide else None,
            skip_connections=skip_connections,
        )
        model.load_state_dict(wide)
    except (KeyError, RuntimeError) as error:
        raise BadInput(f"not a state dict of DLStudio's mUNet: {error}") from error
    return model
