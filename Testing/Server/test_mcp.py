"""The tools for assistants, called by the client of the `mcp` package through a real process."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio
import pytest
from ctreasoner.client.wire import write_nrrd
from fake_engine import phantom_volume

PROGRAM = Path(__file__).with_name("mcp_double.py")


def called(folder: Path, *calls: tuple[str, dict]) -> list:
    """Return the results of tool calls of one session, and first the tools."""
    from mcp import ClientSession, StdioServerParameters
    from mcp.client.stdio import stdio_client

    async def talk() -> list:
        import os

        parameters = StdioServerParameters(command=sys.executable, args=[str(PROGRAM), str(folder)], env=dict(os.environ))
        async with stdio_client(parameters) as (read, write), ClientSession(read, write) as session:
            await session.initialize()
            results = [await session.list_tools()]
            return results + [await session.call_tool(name, arguments) for name, arguments in calls]

    return anyio.run(talk)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cts")
    write_nrrd(phantom_volume(), folder / "a.nrrd")
    write_nrrd(phantom_volume((34, 30, 20)), folder / "b.nrrd")
    return folder, called(
        folder,
        ("ask", {"ct": str(folder / "a.nrrd"), "question": "Segment the heart."}),
        ("measure", {"ct": str(folder / "a.nrrd"), "object": "heart"}),
        ("compare", {"object": "heart", "first_ct": str(folder / "a.nrrd"), "second_ct": str(folder / "b.nrrd")}),
        ("export", {"ct": str(folder / "a.nrrd"), "folder": str(folder / "out")}),
        ("ask", {"ct": "/etc/passwd", "question": "What is here?"}),
        ("export", {"ct": str(folder / "b.nrrd"), "folder": str(folder / ".." / "elsewhere")}),
        ("ask", {"ct": str(folder / "none.nii"), "question": "What is here?"}),
        ("ask", {"ct": str(folder / "a.nrrd"), "question": " "}))


def test_the_tools_say_what_they_take(spoken):
    tools = {tool.name: tool for tool in spoken[1][0].tools}
    assert set(tools) == {"ask", "measure", "compare", "export"}
    assert all(tool.description and tool.input_schema["required"] for tool in tools.values())


def test_an_answer_has_words_and_measured_numbers(spoken):
    for result in spoken[1][1:3]:
        told = result.structured_content
        assert not result.is_error and told["text"] == "The heart measures 5 ml."
        assert told["objects"][0]["measurements"][0]["value"] == pytest.approx(4.512)
        assert told["statements"] == [{"claim": "volume", "verdict": "verified"}]


def test_two_cts_are_compared_number_by_number(spoken):
    changes = {c["name"]: c for c in spoken[1][3].structured_content["changes"]}
    assert changes["volume"]["first"] == pytest.approx(4.512) and changes["volume"]["change"] == pytest.approx(0)


def test_everything_is_exported(spoken):
    folder, results = spoken
    files = results[4].structured_content["files"]
    assert (folder / "out" / files["DICOM-SEG"]).is_file() and (folder / "out" / files["report"]).is_file()


def test_what_lies_elsewhere_is_neither_read_nor_written(spoken):
    folder, results = spoken
    for result in results[5:7]:
        assert result.is_error and "CTR-MCP-001" in result.content[0].text and "root:" not in result.content[0].text
    assert not (folder.parent / "elsewhere").exists()


def test_errors_are_sentences(spoken):
    assert [r.is_error for r in spoken[1][7:9]] == [True, True]
    assert "CTR-IO-001" in spoken[1][7].content[0].text and "CTR-USE-001" in spoken[1][8].content[0].text
