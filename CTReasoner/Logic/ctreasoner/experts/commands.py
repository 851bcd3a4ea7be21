"""``ctreasoner experts list | add | check | remove | use``: which models of other people answer for objects beyond our own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ..answer import write_json
from ..errors import UsageError
from . import anatomy, registry
from .protocol import Expert, ExpertError

app = typer.Typer(no_args_is_help=True, help="Models of other people that answer for objects beyond our own.")
SURE = 88.0             # likeness from which a label is proposed for an object

Name = Annotated[str, typer.Argument(metavar="NAME")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]


@app.command("list")
def list_(json_: Json = False) -> None:
    """List the experts in the order in which they are asked, with their objects and licences."""
    found, problems = registry.experts()
    rows = [facts(expert) for expert in found]
    if json_:
        typer.echo(json.dumps({"experts": rows, "problems": problems, "use": registry.read()["use"]}, indent=1, ensure_ascii=False))
        return
    for row in rows:
        typer.echo(f"{row['name']} ({row['version'] or 'version unknown'}, {row['device']}): {', '.join(row['objects'])}\n"
                   f"    licence: {row['licence']}")
    for problem in problems:
        typer.echo(f"Cannot be used. {problem}", err=True)
    if not rows and not problems:
        typer.echo("There are no experts. ctreasoner experts add FOLDER adds an nnU-Net v2 model.")


@app.command()
def add(folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="An nnU-Net v2 model folder (…__3d_fullres).")],
        name: Annotated[str, typer.Option("--name", help="What answers call it; the folder's data set otherwise.")] = "",
        python: Annotated[Path | None, typer.Option("--python", metavar="FILE", help="The Python that has its package.")] = None,
        labels: Annotated[Path | None, typer.Option("--labels", metavar="FILE", help="The mapping file, looked at.")] = None,
        licence: Annotated[str, typer.Option("--licence", help="Under what its weights may be used.")] = "",
        terms: Annotated[str, typer.Option("--terms", help="The terms, or where they stand.")] = "",
        non_commercial: Annotated[bool, typer.Option("--non-commercial", help="Its masks carry that note.")] = False,
        orientation: Annotated[str, typer.Option("--orientation", help="How its training images lay: LPS or RAS.")] = "",
        device: Annotated[str, typer.Option("--device", help="cpu or cuda.")] = "cpu") -> None:
    """Add a model folder: first without --labels, which writes the mapping file to look at, then with it."""
    from .nnunet import ModelFolder

    if orientation not in ("", "LPS", "RAS") or device not in ("cpu", "cuda"):
        raise UsageError("An orientation is LPS or RAS, a device cpu or cuda.", code="CTR-USE-030")
    model = ModelFolder.read(folder.expanduser().resolve())
    name = name or model.folder.parent.name or model.folder.name
    mapping = registry.place().with_name(f"{name}.labels.json")
    if labels is None:
        write_mapping(model.labels, mapping)
        typer.echo(f"Look at {mapping}: each label stands beside the object that it is taken for. Then run the same command with\n"
                   f"--labels {mapping}")
        return
    entry: dict[str, Any] = {
        "name": name, "kind": "nnunet", "folder": str(model.folder), "labels": read_mapping(labels, model.labels), "device": device,
        "licence": {"name": licence or model.licence or "licence not stated", "terms": terms, "non_commercial": non_commercial},
        "orientation": orientation}
    if python is not None:
        entry["python"] = str(python.expanduser().absolute())
    _measure(entry)
    content = registry.read()
    content["experts"] = [*(e for e in content["experts"] if e["name"] != name), entry]
    registry.write(content)
    typer.echo(f"{name} answers for {', '.join(facts(registry.made(entry))['objects'])}.")


@app.command()
def check(name: Name) -> None:
    """Load an expert in its own Python, and measure anew how long it takes."""
    content = registry.read()
    entry = _entry(content, name)
    _measure(entry)
    registry.write(content)
    cost = entry["seconds"]
    typer.echo(f"{name} works: nnunetv2 {entry['version']}, ready after {cost['start']:.1f} s, {cost['patch']:.2f} s for a patch.")


@app.command()
def remove(name: Name) -> None:
    """Remove an expert from the list; its files stay."""
    content = registry.read()
    content["experts"].remove(_entry(content, name))
    registry.write(content)


@app.command()
def use(when: Annotated[str, typer.Argument(metavar="ask|always")]) -> None:
    """Say whether experts are used only after a yes, or always."""
    if when not in ("ask", "always"):
        raise UsageError("Experts are used when you say so (ask), or always.", code="CTR-USE-030")
    registry.write({**registry.read(), "use": when})


def facts(expert: Expert) -> dict[str, Any]:
    """What lists show of an expert."""
    return {"name": expert.name, "version": expert.version, "device": expert.device, "licence": expert.licence.note,
            "terms": expert.licence.terms, "spacing_mm": list(expert.spacing_mm), "modality": expert.modality,
            "objects": [item.display for item in expert.objects.values()], "keys": list(expert.objects)}


def write_mapping(labels: dict[str, int], path: Path) -> None:
    """Write which object each label is taken for; None, and what it may be, where none is near enough."""
    rows = {}
    for label in labels:
        likely = anatomy.suggested(label)
        rows[label] = {"object": likely[0][0] if likely and likely[0][1] >= SURE else None,
                       "suggestions": {key: round(score) for key, score in likely}}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json({"labels": rows, "how": "object: a key of ours, null for none, or {key, names, code} for one of your own"}, path)


def read_mapping(path: Path, labels: dict[str, int]) -> dict[str, Any]:
    """{label: object} of a mapping file; labels without an object are left out."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["labels"]
        found = {str(label): row["object"] for label, row in rows.items() if row["object"]}
        keys = [what if isinstance(what, str) else what["key"] for what in found.values()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExpertError(f"The mapping file {path.name} cannot be read.", code="CTR-EXP-017",
                          hint="Run ctreasoner experts add without --labels: it writes one.") from error
    if unknown := sorted(set(found) - set(labels)):
        raise ExpertError(f"{path.name} names the label '{unknown[0]}', which the model does not have.", code="CTR-EXP-017")
    if twice := next((k for k in keys if keys.count(k) > 1), None):
        raise ExpertError(f"{path.name} takes two labels for '{twice}'.", code="CTR-EXP-017",
                          hint="Give one of them another object.")
    if not found:
        raise ExpertError(f"{path.name} takes no label for an object.", code="CTR-EXP-017",
                          hint="Give at least one label an object: a key of ours, or {key, names} for one of your own.")
    return found


def _measure(entry: dict[str, Any]) -> None:
    measured = registry.made(entry).check()
    entry["version"] = measured["package"]
    entry["seconds"] = {"start": measured["start_s"], "patch": measured["patch_s"]}


def _entry(content: dict[str, Any], name: str) -> dict[str, Any]:
    found = next((e for e in content["experts"] if e["name"] == name), None)
    if found is None:
        raise UsageError(f"There is no expert called '{name}'.", code="CTR-USE-030", hint="ctreasoner experts list")
    return found
