"""Pulling and pushing over DICOMweb against a real Orthanc, through the command line and with everything that goes wrong."""

from __future__ import annotations

import json
import ssl
from pathlib import Path

import numpy as np
import pydicom
import pytest
import trustme
from ctreasoner import cli
from ctreasoner.dicom import read_series
from ctreasoner.errors import InputError, NetworkError
from ctreasoner.pacs import web
from ctreasoner.pacs.address import Access, Address
from ctreasoner.pacs.archive import open_archive
from ctreasoner.pacs.transfer import Patience, pull, push
from dicom_series import compressed, deflated, hounsfield, jpeg_lossless, save, series
from orthanc import PASSWORD, TOKEN, USER, Proxy, a_study, free_port
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, generate_uid

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
AT_ONCE = Patience(sleep=lambda seconds: None)


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main([str(a) for a in arguments])
    return left.value.code or 0


def direct(orthanc):
    """Speak to the server itself, with user and password."""
    return open_archive(Address.parse(orthanc.url), Access(user=USER, password=PASSWORD))


def through(proxy, timeout_s: float = 60.0):
    """Speak to it through the proxy, with a token."""
    return open_archive(Address.parse(proxy.url), Access(token=TOKEN), timeout_s=timeout_s)


def files_of(folder: Path) -> dict[str, pydicom.Dataset]:
    return {ds.SOPInstanceUID: ds for ds in map(pydicom.dcmread, (p for p in folder.rglob("*") if p.is_file()))}


# --- there and back --------------------------------------------------------------------------------------------------
def test_a_study_is_pushed_listed_and_pulled_through_the_command_line(orthanc, study, secrets, tmp_path, capsys):
    folder, uid = study
    assert run("push", folder, orthanc.url, *secrets["basic"]) == 0
    assert capsys.readouterr().out.startswith("8 objects stored, 0 were there already")
    assert run("pull", orthanc.url, "--patient", "P1", "--date", "20260102", *secrets["basic"], "--json") == 0
    listed = {row["uid"]: row for row in json.loads(capsys.readouterr().out)}
    assert (listed[uid]["patient_name"], listed[uid]["images"], listed[uid]["modalities"]) == ("Žofia^Ωmega", 8, "CT")
    assert run("pull", orthanc.url, "--study", uid, *secrets["basic"], "--json") == 0
    assert [(row["number"], row["images"]) for row in json.loads(capsys.readouterr().out)] == [("3", 8)]
    assert run("pull", orthanc.url, "--study", uid, "--out", tmp_path / "out", *secrets["basic"]) == 0
    assert capsys.readouterr().out.startswith("8 objects fetched, 0 were here already")
    before, after = files_of(folder), files_of(tmp_path / "out")
    assert before.keys() == after.keys() and all(before[k] == after[k] for k in before)
    sent, came = read_series(folder), read_series(tmp_path / "out")
    assert sent.volume.identity == came.volume.identity and str(came.template.PatientName) == "Žofia^Ωmega"


def test_tables_are_printed_for_people(orthanc, study, secrets, capsys):
    folder, uid = study
    run("push", folder, orthanc.url, *secrets["basic"])
    assert run("pull", orthanc.url, *secrets["basic"]) == 0
    assert run("pull", orthanc.url, "--study", uid, *secrets["basic"]) == 0
    printed = capsys.readouterr().out
    assert "20260102" in printed and "Thorax" in printed


def test_one_series_of_a_study_is_pulled_by_its_number(orthanc, tmp_path):
    folder, uid = a_study(tmp_path / "ct")
    first = next(iter(files_of(folder).values()))
    second = series(hounsfield((12, 10, 5)) // 2 * 2, number=7)
    for ds in second:
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.PatientName = uid, generate_uid(), first.PatientName
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        ds.SpecificCharacterSet, ds.SeriesInstanceUID = "ISO_IR 192", second[0].SeriesInstanceUID
    save(second, folder, "B")
    archive = direct(orthanc)
    push(archive, folder)
    assert pull(archive, uid, tmp_path / "out", series="7").fetched == 5
    assert read_series(tmp_path / "out").volume.shape == (12, 10, 5)
    with pytest.raises(NetworkError, match="no series '9'"):
        pull(archive, uid, tmp_path / "out", series="9")


@pytest.mark.parametrize("syntax", ["JPEG lossless", "JPEG-LS", "JPEG 2000", "Deflated"])
def test_a_compressed_series_comes_back_as_it_was(orthanc, tmp_path, syntax):
    hu = hounsfield((48, 40, 4)) // 2 * 2
    slices = series(hu)
    study, number = generate_uid(), generate_uid()
    for ds in slices:
        ds.StudyInstanceUID, ds.SeriesInstanceUID = study, number
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    if syntax == "Deflated":
        folder = deflated(slices, tmp_path / "ct")
    elif syntax == "JPEG lossless":
        folder = save(jpeg_lossless(slices), tmp_path / "ct")
    else:
        folder = compressed(slices, JPEGLSLossless if syntax == "JPEG-LS" else JPEG2000Lossless, tmp_path / "ct")
    archive = direct(orthanc)
    push(archive, folder)
    pull(archive, study, tmp_path / "out")
    np.testing.assert_array_equal(read_series(tmp_path / "out").volume.voxels, hu)
    assert {ds.file_meta.TransferSyntaxUID for ds in files_of(tmp_path / "out").values()} == \
        {ds.file_meta.TransferSyntaxUID for ds in slices}


def test_a_study_pushed_twice_is_there_once(orthanc, study):
    folder, uid = study
    archive = direct(orthanc)
    assert push(archive, folder).stored == 8
    again = push(archive, folder)
    assert (again.stored, again.already) == (0, 8)
    assert len(archive.objects(uid)) == 8


def test_what_is_here_is_not_fetched_again(orthanc, study, proxy, tmp_path):
    folder, uid = study
    push(direct(orthanc), folder)
    archive = through(proxy)
    pull(archive, uid, tmp_path / "out")
    files = sorted((tmp_path / "out").rglob("*.dcm"))
    files[2].unlink()
    proxy.requests.clear()
    got = pull(archive, uid, tmp_path / "out")
    assert (got.fetched, got.already) == (1, 7)
    assert sum("/instances/" in path for _, path, _ in proxy.requests) == 1
    assert sorted((tmp_path / "out").rglob("*.dcm")) == files


# --- who is let in ---------------------------------------------------------------------------------------------------
def test_a_bearer_token_lets_one_in(proxy, study, secrets, capsys):
    folder, _ = study
    assert run("push", folder, proxy.url, *secrets["bearer"]) == 0


@pytest.mark.parametrize("who", ["nobody", "wrong password", "wrong token"])
def test_401_is_one_sentence(orthanc, proxy, study, secrets, tmp_path, capsys, who):
    folder, _ = study
    (tmp_path / "wrong").write_text("wrong")
    options = {"nobody": [], "wrong password": ["--user", USER, "--password-file", tmp_path / "wrong"],
               "wrong token": ["--token-file", tmp_path / "wrong"]}[who]
    assert run("push", folder, proxy.url if who == "wrong token" else orthanc.url, *options) == 6
    printed = capsys.readouterr()
    assert printed.out == "" and "does not let us in (HTTP 401). [CTR-NET-013]" in printed.err
    assert "wrong" not in printed.err and "127.0.0.1" in printed.err and "Traceback" not in printed.err


def test_tls_is_trusted_by_the_authority_that_is_named_alone(orthanc, study, tmp_path):
    """A server with a certificate of its own: refused without --ca, served with it."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with Proxy(orthanc.http) as proxy:
        proxy.socket = context.wrap_socket(proxy.socket, server_side=True)
        address = Address.parse(proxy.url.replace("http://", "https://"))
        folder, _ = study
        with pytest.raises(NetworkError, match=r"certificate of the server .* is not trusted") as caught:
            push(open_archive(address, Access(token=TOKEN)), folder, patience=AT_ONCE)
        assert caught.value.code == "CTR-NET-014"
        trusting = open_archive(address, Access(token=TOKEN, ca=tmp_path / "ca.pem"))
        assert push(trusting, folder, patience=AT_ONCE).stored == 8


# --- what goes wrong -------------------------------------------------------------------------------------------------
def test_a_server_that_takes_little_at_a_time_gets_little_at_a_time(orthanc, proxy, study):
    folder, uid = study
    proxy.largest = 4000
    assert push(through(proxy), folder, patience=AT_ONCE).stored == 8
    assert len(direct(orthanc).objects(uid)) == 8
    assert max(size for method, _, size in proxy.requests if method == "POST" and size <= 4000) > 1000


def test_413_for_a_single_object_is_one_sentence(orthanc, proxy, study):
    folder, uid = study
    proxy.largest = 500
    with pytest.raises(NetworkError, match=r"does not take an object of this size \(HTTP 413\)") as caught:
        push(through(proxy), folder, patience=AT_ONCE)
    assert caught.value.code == "CTR-NET-015" and direct(orthanc).objects(uid) == []


@pytest.mark.parametrize("faults", [["503"], ["", "503", "429"], ["", "drop"], ["", "cut"]])
def test_a_push_that_is_disturbed_is_made_again(orthanc, proxy, study, faults):
    """"drop": the server stored everything and its answer was lost. Either way each object is there once."""
    folder, uid = study
    proxy.faults = list(faults)
    assert push(through(proxy), folder, patience=AT_ONCE).stored == 8
    assert len(direct(orthanc).objects(uid)) == 8 and proxy.faults == []


@pytest.mark.parametrize("faults", [["503"], ["", "cut", "", "cut"], ["", "drop"], ["", "", "", "504"]])
def test_a_pull_that_is_disturbed_goes_on_and_every_byte_is_right(orthanc, proxy, study, tmp_path, faults):
    folder, uid = study
    push(direct(orthanc), folder)
    proxy.faults = list(faults)
    assert pull(through(proxy), uid, tmp_path / "out", patience=AT_ONCE).fetched == 8
    assert files_of(folder) == files_of(tmp_path / "out") and proxy.faults == []


def test_a_pull_that_was_cut_for_good_leaves_whole_files_and_the_next_one_goes_on(orthanc, proxy, study, tmp_path):
    folder, uid = study
    push(direct(orthanc), folder)
    proxy.faults = ["", "", "", *["cut"] * 4]
    with pytest.raises(NetworkError, match=r"broke off in the middle|closed the connection"):
        pull(through(proxy), uid, tmp_path / "out", patience=AT_ONCE)
    kept = files_of(tmp_path / "out")
    assert len(kept) == 2 and list((tmp_path / "out").rglob("*.part")) == []
    got = pull(through(proxy), uid, tmp_path / "out", patience=AT_ONCE)
    assert (got.fetched, got.already) == (6, 2) and files_of(tmp_path / "out") == files_of(folder)


def test_waiting_grows_between_the_tries(proxy, study):
    folder, _ = study
    waited: list[float] = []
    proxy.faults = ["503"] * 4
    with pytest.raises(NetworkError, match=r"busy or out of order \(HTTP 503\)"):
        push(through(proxy), folder, patience=Patience(sleep=waited.append))
    assert waited == [1, 2, 4]


def test_a_slow_server_is_one_sentence(proxy, study):
    folder, _ = study
    proxy.faults = ["wait"]
    with pytest.raises(NetworkError, match="did not answer within 1 seconds") as caught:
        push(through(proxy, timeout_s=1), folder, patience=Patience(tries=1))
    assert caught.value.code == "CTR-NET-011"


def test_a_server_that_is_down_is_one_sentence(study):
    folder, _ = study
    waited: list[float] = []
    with pytest.raises(NetworkError, match="cannot be reached, or closed the connection") as caught:
        push(open_archive(Address.parse(f"http://127.0.0.1:{free_port()}/dicom-web"), Access()), folder,
             patience=Patience(sleep=waited.append))
    assert caught.value.code == "CTR-NET-010" and waited == [1, 2, 4]


def test_a_server_without_space_is_one_sentence(orthanc, proxy, study):
    folder, uid = study
    proxy.faults = ["", "507"]
    with pytest.raises(NetworkError, match="has no space left") as caught:
        push(through(proxy), folder, patience=AT_ONCE)
    assert caught.value.code == "CTR-NET-016" and direct(orthanc).objects(uid) == []


def test_a_server_that_takes_everything_and_shows_nothing_did_not_store_it(orthanc, proxy, study, monkeypatch):
    folder, _ = study
    archive = through(proxy)
    monkeypatch.setattr(archive, "store", lambda files: [(file, "") for file in files])
    with pytest.raises(NetworkError, match="8 of 8 objects are not on the server") as caught:
        push(archive, folder, patience=AT_ONCE)
    assert caught.value.code == "CTR-NET-020"


def test_another_service_at_that_address_is_one_sentence(orthanc, study):
    folder, _ = study
    archive = open_archive(Address.parse(orthanc.url.replace("dicom-web", "app")), Access(user=USER, password=PASSWORD))
    with pytest.raises(NetworkError) as caught:
        push(archive, folder, patience=AT_ONCE)
    assert caught.value.code in ("CTR-NET-017", "CTR-NET-018", "CTR-NET-010", "CTR-NET-020")


def test_a_study_that_is_not_there_is_one_sentence(orthanc, tmp_path):
    with pytest.raises(NetworkError, match="has no such study"):
        pull(direct(orthanc), "1.2.3.4", tmp_path / "out", patience=AT_ONCE)
    assert not (tmp_path / "out").exists()


# --- what a server sends is not trusted ------------------------------------------------------------------------------
def test_an_answer_that_is_another_object_or_no_dicom_is_left_out_and_said(orthanc, study, tmp_path, monkeypatch):
    folder, uid = study
    archive = direct(orthanc)
    push(archive, folder)
    fetch = archive.fetch
    other = next(iter(sorted(folder.iterdir()))).read_bytes()

    def swapped(wanted):
        for count, (remote, data) in enumerate(fetch(wanted)):
            yield remote, (b"<html>" if count == 0 else other if count == 1 else data[:700] if count == 2 else data)

    monkeypatch.setattr(archive, "fetch", swapped)
    with pytest.raises(NetworkError, match=r"[23] of 8 objects came damaged or not at all") as caught:
        pull(archive, uid, tmp_path / "out", patience=AT_ONCE)
    assert caught.value.code == "CTR-NET-019"
    assert len(list((tmp_path / "out").rglob("*.dcm"))) in (5, 6)


@pytest.mark.parametrize("evil", ["../../evil", "/tmp/evil", "1.2.3/../x", "1.2..3", "", "1" * 65])
def test_an_identifier_of_a_server_that_is_none_is_refused(orthanc, study, tmp_path, monkeypatch, evil):
    folder, uid = study
    archive = direct(orthanc)
    push(archive, folder)
    search = archive._client.search_for_instances

    def forged(**options):
        rows = search(**options)
        rows[0]["00080018"]["Value"] = [evil]
        return rows

    monkeypatch.setattr(archive._client, "search_for_instances", forged)
    with pytest.raises(InputError, match="is no DICOM UID"):
        pull(archive, uid, tmp_path / "out", patience=AT_ONCE)
    assert not (tmp_path / "out").exists()


def test_an_object_without_an_end_is_not_kept_in_memory(orthanc, study, tmp_path, monkeypatch):
    folder, uid = study
    archive = direct(orthanc)
    push(archive, folder)
    monkeypatch.setattr(web, "LARGEST", 1000)
    with pytest.raises(NetworkError, match="an object without an end"):
        pull(archive, uid, tmp_path / "out", patience=AT_ONCE)
