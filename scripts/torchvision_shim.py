"""Declares torchvision's compiled operators where its own build does not load.

Where `import torchvision` fails (a CUDA build beside the CPU torch), the set-up copies this module
into the environment, with a `.pth` file that imports it in every process. Image processors need the
package, not its operators.
"""

import sys
from importlib.machinery import ModuleSpec

OPERATORS = ("nms", "qnms")
_library: list[object] = []


class OperatorDeclarer:
    """A meta path finder that finds nothing, and declares the operators when torchvision is wanted.

    So Python processes that do not import torchvision start without torch.
    """

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name == "torchvision" and not _library:
            import torch

            library = torch.library.Library("torchvision", "DEF")
            for operator in OPERATORS:
                library.define(
                    f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                )
            _library.append(library)
        return None


sys.meta_path.insert(0, OperatorDeclarer())
