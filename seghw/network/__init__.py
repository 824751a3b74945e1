"""mUNet with ASPP: the parts, the network, and the weights of DLStudio's own."""

from seghw.network.blocks import ASPP, HEADS, SkipDown, SkipUp
from seghw.network.dlstudio import from_dlstudio
from seghw.network.munet import MUNet

__all__ = ["ASPP", "HEADS", "MUNet", "SkipDown", "SkipUp", "from_dlstudio"]
