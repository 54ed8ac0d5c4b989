"""Names of classes as records write them, and the way back among what is loaded.

Nothing that a record names is ever imported: a class is found only if its module is loaded already.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

#: No class has a longer name; and looking for one takes time that grows with its square.
_LONGEST: Final = 1000


def class_name(kind: type) -> str:
    """Module and qualified name of a class, the same whether its module was run as a script or imported."""
    return f"{_module_name(kind.__module__)}.{kind.__qualname__}"


def loaded_class(name: str) -> type | None:
    """The class that `class_name` named, if its module is loaded."""
    if len(name) > _LONGEST:
        return None
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:cut])
        module = sys.modules.get(module_name)
        if module is None and module_name == _module_name("__main__"):
            module = sys.modules["__main__"]
        found: Any = module
        for part in parts[cut:]:
            found = getattr(found, "__dict__", {}).get(part)
        if isinstance(found, type):
            return found
    return None


def _module_name(name: str) -> str:
    """The name that a module would be imported by."""
    if name != "__main__":
        return name
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    path = getattr(main, "__file__", None)
    if spec is not None:
        return str(spec.name).removesuffix(".__main__")
    return name if path is None else Path(path).stem
