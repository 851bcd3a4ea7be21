"""Addresses, secrets and patience, and what is looked at before anything is sent: without a server."""

from __future__ import annotations

from pathlib import Path

import pytest
from ctreasoner import cli
from ctreasoner.dicom import read_series, write_derived
from ctreasoner.dicom.derived import is_without_patient
from ctreasoner.errors import InputError, NetworkError, UsageError
from ctreasoner.pacs import problems
from ctreasoner.pacs.address import Access, Address
from ctreasoner.pacs.archive import open_archive
from ctreasoner.pacs.transfer import Patience, outgoing
from dicom_series import hounsfield, save, series

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


# --- addresses and secrets -------------------------------------------------------------------------------------------
def test_addresses_of_both_kinds_are_understood():
    web, dimse = Address.parse("https://pacs.example.org/dicom-web/"), Address.parse("dicom://ORTHANC@10.0.0.5:4242")
    assert (web.url, web.host, web.port, web.title) == ("https://pacs.example.org/dicom-web", "pacs.example.org", 443, "")
    assert (dimse.url, dimse.host, dimse.port, dimse.title) == ("", "10.0.0.5", 4242, "ORTHANC")


@pytest.mark.parametrize("text", ["", "pacs", "ftp://pacs/x", "https://", "dicom://pacs:104", "dicom://TITLE@pacs", "file:///etc/passwd",
                                  "https://pacs:99999/", "https://[bad/", "dicom://" + "T" * 17 + "@pacs:104", "https://p/?q=1"])
def test_what_is_no_address_is_one_sentence(text):
    with pytest.raises(UsageError, match="is no address of a DICOMweb or DICOM server") as caught:
        Address.parse(text)
    assert caught.value.code == "CTR-USE-020"


def test_a_password_in_an_address_is_refused_and_not_repeated():
    with pytest.raises(UsageError) as caught:
        Address.parse("https://me:secret@pacs/dicom-web")
    assert "secret" not in str(caught.value) + caught.value.hint and caught.value.code == "CTR-USE-022"


@pytest.mark.parametrize(("url", "allowed"), [("https://pacs/dicom-web", True), ("http://127.0.0.1:8042/dicom-web", True),
                                              ("http://localhost/x", True), ("http://pacs/dicom-web", False),
                                              ("http://127.0.0.1.example.org/x", False)])
def test_a_secret_goes_over_https_or_stays_on_this_computer(url, allowed):
    for access in (Access(token="t"), Access(user="u", password="p")):
        if allowed:
            open_archive(Address.parse(url), access)
        else:
            with pytest.raises(UsageError, match="over https only"):
                open_archive(Address.parse(url), access)
    open_archive(Address.parse(url), Access())


def test_secrets_come_out_of_files(tmp_path):
    (tmp_path / "p").write_text("geheim ß\nsecond line\n", encoding="utf-8")
    (tmp_path / "empty").write_text("\n")
    assert Access.read(user="u", password_file=tmp_path / "p").password == "geheim ß"
    for options in ({"user": "u"}, {"password_file": tmp_path / "p"},
                    {"user": "u", "password_file": tmp_path / "p", "token_file": tmp_path / "p"}):
        with pytest.raises(UsageError, match="Give either --user with --password-file, or --token-file"):
            Access.read(**options)
    for name in ("empty", "nowhere"):
        with pytest.raises(UsageError, match=name):
            Access.read(token_file=tmp_path / name)
    with pytest.raises(UsageError, match="certificates"):
        Access.read(ca=tmp_path / "nowhere")


# --- patience --------------------------------------------------------------------------------------------------------
def test_a_try_that_got_further_starts_the_count_anew():
    waited, done = [], []

    def step():
        done.append(1)
        if len(done) < 9:
            raise problems.slow("here", 1)
        return "whole"

    assert Patience(sleep=waited.append).insist(step, lambda: len(done)) == "whole"
    assert waited == [1] * 8


def test_what_does_not_pass_is_not_tried_again():
    waited = []

    def step():
        raise problems.refused("here", 401)

    with pytest.raises(NetworkError, match="does not let us in"):
        Patience(sleep=waited.append).insist(step)
    assert waited == []


# --- before anything is sent -----------------------------------------------------------------------------------------
def test_every_object_goes_once_and_a_dicomdir_not_at_all(tmp_path):
    folder = save(series(), tmp_path / "ct")
    (folder / "copy of one").write_bytes((folder / "IM0000").read_bytes())
    (folder / "README.txt").write_text("x")
    files = outgoing(folder)
    assert len(files) == 8 and len({file.uid for file in files}) == 8
    assert {file.syntax for file in files} == {"1.2.840.10008.1.2.1"}


def test_two_objects_under_one_identifier_are_refused(tmp_path):
    slices = series()
    slices[1].SOPInstanceUID = slices[1].file_meta.MediaStorageSOPInstanceUID = slices[0].SOPInstanceUID
    with pytest.raises(InputError, match="differ, but carry the same SOP instance UID") as caught:
        outgoing(save(slices, tmp_path))
    assert caught.value.code == "CTR-IO-042"


def test_two_patients_in_one_study_are_refused_without_their_names(tmp_path):
    slices = series()
    slices[3].PatientID, slices[3].PatientName = "P2", "Other^Person"
    with pytest.raises(InputError, match="belongs to two patients") as caught:
        outgoing(save(slices, tmp_path))
    assert caught.value.code == "CTR-IO-041" and "P2" not in str(caught.value) and "Other" not in str(caught.value)


def test_an_identifier_that_is_a_path_is_refused(tmp_path):
    import pydicom

    slices = series()
    with pydicom.config.disable_value_validation():
        slices[2].SOPInstanceUID = slices[2].file_meta.MediaStorageSOPInstanceUID = "../../studies"
        folder = save(slices, tmp_path)
    with pytest.raises(InputError, match="is no DICOM UID") as caught:
        outgoing(folder)
    assert caught.value.code == "CTR-IO-040"


def test_a_damaged_file_is_refused_before_anything_is_sent(tmp_path):
    folder = save(series(), tmp_path)
    (folder / "IM0003").write_bytes((folder / "IM0003").read_bytes()[:-10])
    with pytest.raises(InputError, match="'IM0003' is truncated"):
        outgoing(folder)


def test_what_was_derived_from_a_ct_without_a_patient_needs_a_word(tmp_path):
    from dataclasses import replace

    got = read_series(save(series(hounsfield() // 2 * 2), tmp_path / "ct"))
    named, nameless = tmp_path / "named", tmp_path / "nameless"
    assert not is_without_patient(write_derived(got.volume, named, got.template)[0])
    assert is_without_patient(write_derived(replace(got.volume, name="x"), nameless)[0])
    assert len(outgoing(named)) == 8
    with pytest.raises(UsageError, match="without a patient") as caught:
        outgoing(nameless)
    assert caught.value.code == "CTR-USE-024"
    assert len(outgoing(nameless, without_patient=True)) == 8


# --- the verbs -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("arguments", "sentence"), [
    (["push", "CT", "nowhere"], "is no address"),
    (["pull", "https://h/x", "--date", "yesterday"], "is no date"),
    (["pull", "https://h/x", "--user", "u"], "Give either --user"),
    (["push", "CT", "http://pacs.example.org/x", "--token-file", "TOKEN"], "over https only"),
])
def test_a_wrong_option_is_one_sentence_and_nothing_is_asked(tmp_path: Path, capsys, arguments, sentence):
    (tmp_path / "token").write_text("t")
    places = {"CT": str(tmp_path), "TOKEN": str(tmp_path / "token")}
    with pytest.raises(SystemExit) as left:
        cli.main([places.get(a, a) for a in arguments])
    assert left.value.code == 2 and sentence in capsys.readouterr().err


def test_without_its_packages_the_verb_says_what_to_install(tmp_path, capsys, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "dicomweb_client", None)
    monkeypatch.delitem(sys.modules, "ctreasoner.pacs.web", raising=False)
    with pytest.raises(SystemExit) as left:
        cli.main(["push", str(tmp_path), "https://pacs.example.org/dicom-web"])
    assert left.value.code == 2 and "ctreasoner[engine,pacs]" in capsys.readouterr().err
