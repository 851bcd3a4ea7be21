"""Small Python modules that Slicer has beside ``slicer.util``: i18n, packaging, SampleData."""

from __future__ import annotations

import importlib.metadata
import inspect
import os
import re
import subprocess
import sys
import types

from packaging.requirements import Requirement

from . import names


def _module(name, **members):
    made = types.ModuleType(name)
    made.__dict__.update(members)
    return made


# slicer.i18n
def getContext(sourceFile):
    """Package and file name, or the file name alone, as Slicer makes translation contexts."""
    name = os.path.basename(sourceFile).replace(".py", "")
    folder = os.path.dirname(sourceFile)
    return f"{os.path.basename(folder)}.{name}" if os.path.isfile(os.path.join(folder, "__init__.py")) else name


def translate(context, text):
    """Translate to the application's language; the host's language is the source's."""
    import slicer

    return slicer.app.translate(context, text)


def tr(text):
    """Translate; placeholders ``{name}`` must survive."""
    frame = inspect.currentframe().f_back
    translated = translate(getContext(inspect.getsourcefile(frame) or inspect.getfile(frame)), text)

    def placeholders(words):
        return set(re.findall(r"(?<!\{)\{([^\{\}]+)\}(?!\})", words))

    return translated if placeholders(text) == placeholders(translated) else text


def i18n_module():
    return _module("slicer.i18n", translate=translate, tr=tr, getContext=getContext)


# slicer.packaging
class Packaging(types.ModuleType):
    """Functions that install packages check their arguments against the index and are recorded; `pip_ensure` asks and runs pip.

    As in Slicer nothing is installed in testing mode.
    """

    def __init__(self):
        super().__init__("slicer.packaging")
        self.calls = []

    def __getattr__(self, name):
        listed = names.index()["slicer_packaging"]["functions"].get(name)
        if listed is None:
            raise AttributeError(f"slicer.packaging has no {name!r}")

        def call(*arguments, **keywords):
            known = [entry.rstrip("=") for entry in listed]
            needed = [entry for entry in listed if not entry.endswith("=")]
            wrong = [key for key in keywords if key not in known]
            if wrong or len(arguments) > len(known) or any(n not in keywords for n in needed[len(arguments) :]):
                raise TypeError(f"slicer.packaging.{name}({', '.join(listed)}): wrong arguments {wrong}")
            if name in ("pip_install", "pip_uninstall", "pip_ensure"):
                if keywords.get("skip_packages") and keywords.get("no_deps_requirements"):
                    raise ValueError("skip_packages and no_deps_requirements exclude each other")
                self.calls.append((name, arguments, keywords))
                return _pip_ensure(*arguments, **keywords) if name == "pip_ensure" else None
            if name == "pip_check":
                return not _lacking(*arguments, **keywords)
            if name == "isPipInstallInProgress":
                return False
            raise NotImplementedError(f"slicer.packaging.{name} exists in Slicer; the host does not implement it")

        return call


def _lacking(requirements) -> list[str]:
    """Those of some requirements (without extras) that are not met by the Python that runs this."""
    lacking = []
    for requirement in map(Requirement, [requirements] if isinstance(requirements, str) else requirements):
        try:
            met = importlib.metadata.version(requirement.name) in requirement.specifier
        except importlib.metadata.PackageNotFoundError:
            met = False
        if not met:
            lacking.append(str(requirement))
    return lacking


def _pip_ensure(requirements, constraints=None, prompt_install=True, requester=None, skip_in_testing=True, **_shown):
    import slicer

    lacking = _lacking(requirements)
    if not lacking or (skip_in_testing and slicer.app.testingEnabled()):
        return
    text, title = f"{len(lacking)} Python packages need to be installed.", f"{requester} - Install Python Packages"
    if prompt_install and not slicer.util.confirmOkCancelDisplay(text, title, detailedText="\n".join(lacking)):
        raise RuntimeError("User declined package installation")
    kept = ["-c", str(constraints)] if constraints else []
    subprocess.run([sys.executable, "-m", "pip", "install", *lacking, *kept], check=True)


# SampleData
def sample_data_module():
    """Registers sources with the checks of Slicer's; downloading is not the host's business."""
    import slicer

    sources = slicer.modules.sampleDataSources = {}
    titles = {}
    listed = names.index()["modules_python"]["SampleData"]["classes"]["SampleDataLogic"]["registerCustomSampleDataSource"]
    fields = {entry.rstrip("=") for entry in listed}

    class SampleDataSource:
        def __init__(self, **values):
            self.__dict__.update(dict.fromkeys(fields - {"category"}), **values)

    class SampleDataLogic:
        @staticmethod
        def registerCustomSampleDataCategory(category, title):
            titles[category] = title

        @staticmethod
        def categoryTitle(category):
            return titles.get(category, category)

        @staticmethod
        def registerCustomSampleDataSource(category="Custom", **values):
            wrong = sorted(set(values) - fields)
            if wrong:
                raise TypeError(f"registerCustomSampleDataSource() got an unexpected keyword argument {wrong}")
            lengths = {
                name: len(values[name])
                for name in ("uris", "fileNames", "nodeNames", "checksums", "loadFileTypes", "loadFiles")
                if isinstance(values.get(name), (list, tuple))
            }
            if len(set(lengths.values())) > 1:
                raise ValueError(f"All fields of sample data source must have the same length: {lengths}")
            sources.setdefault(category, []).append(SampleDataSource(**values))

        @staticmethod
        def sampleDataSourcesByCategory(category=None):
            return sources.get(category, []) if category else sources

        @staticmethod
        def isSampleDataSourceRegistered(category, source):
            return source in sources.get(category, [])

    return _module("SampleData", SampleDataLogic=SampleDataLogic, SampleDataSource=SampleDataSource)
