"""Prints the arguments of the parity program that load what torchvision's operators need, in the order in which it must be loaded.

Nothing where the interpreter is no shared library: then its extensions cannot be loaded without it.
"""

import pathlib
import sysconfig

import torch
import torchvision

python = pathlib.Path(sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("INSTSONAME") or "")
torch_python = pathlib.Path(torch.__file__).parent / "lib" / "libtorch_python.so"
vision = next(pathlib.Path(torchvision.__file__).parent.glob("_C*.so"))
if python.is_file():
    print(*(f"--load {path}" for path in (python, torch_python, vision)), sep="\n")
