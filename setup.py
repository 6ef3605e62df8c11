"""Build description of emofair. Torch and fairseq are deliberately not hard requirements: see README, Installation."""

import re
import sys
import sysconfig
from pathlib import Path

from setuptools import Distribution, find_packages, setup

HERE = Path(__file__).resolve().parent
VERSION = re.search(r'__version__ = "([^"]+)"', (HERE / "emofair/__init__.py").read_text()).group(1)

EXTRAS = {
    "fairseq": ["fairseq-fixed==0.12.3.1"],
    "demo": ["espeakng-loader>=0.2.4", "matplotlib>=3.7"],
    "plots": ["matplotlib>=3.7"],
    "hf": ["safetensors>=0.4"],
    "faiss": ["faiss-cpu>=1.8"],
    "tensorboard": ["tensorboard>=2.10"],
    "pipeline": ["snakemake>=8"],
    "test": [
        "pytest>=8",
        "pytest-xdist>=3",
        "ruff>=0.15",
        "scipy>=1.10",
        "transformers>=4.40",
        "safetensors>=0.4",
        "faiss-cpu>=1.8",
        "espeakng-loader>=0.2.4",
        "matplotlib>=3.7",
        "snakemake>=8",
        "tensorboard>=2.10",
    ],
}


def marker_for_user_dir() -> list:
    """Files that let ``--user-dir emofair`` be found from any folder after an editable install.

    fairseq looks for the folder ``<site-packages>/emofair`` and imports what it lists under ``tasks`` and
    ``models``. An editable install has no such folder. One with file names but no ``__init__.py`` is enough: Python
    skips it as a package (the checkout wins), and fairseq finds its names.
    """
    if "editable_wheel" not in sys.argv:
        return []
    paths = sysconfig.get_paths()
    site = Path(paths["purelib"]).relative_to(paths["data"])
    rooms = {"tasks": "tasks/emotion_prediction.py", "models": "models/robertaemo.py"}
    return [(str(site / "emofair" / room), [f"emofair/{file}"]) for room, file in rooms.items()]


class DistributionWithData(Distribution):
    """setuptools asks ``has_data`` before it puts data files into an editable wheel, and defines it nowhere."""

    def has_data(self) -> bool:
        return bool(self.data_files)


setup(
    distclass=DistributionWithData,
    name="emofair",
    version=VERSION,
    description="Emotion and turn-taking in speech: five published systems as one fairseq plugin",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    # Said explicitly so that an editable install is a plain path entry, which the marker folder below cannot shadow.
    package_dir={"": "."},
    packages=find_packages(include=["emofair", "emofair.*"]),
    package_data={"emofair": ["config/*/*.yaml"]},
    include_package_data=True,
    install_requires=[
        "numpy>=1.23",
        "tqdm>=4.60",
        "soundfile>=0.12",
        "soxr>=0.3.5",
        "sentencepiece>=0.1.99",
        "scikit-learn>=1.3",
        "hydra-core",
        "omegaconf",
    ],
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["emofair=emofair.cli.main:main"]},
    data_files=marker_for_user_dir(),
    classifiers=[
        "Programming Language :: Python :: 3",
        "License :: OSI Approved :: MIT License",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
