"""The same journeys over DIMSE, with pynetdicom against a real Orthanc."""

from __future__ import annotations

import numpy as np
import pytest
import trustme
from ctreasoner.dicom import read_series
from ctreasoner.errors import NetworkError, UsageError
from ctreasoner.pacs.address import Access, Address
from ctreasoner.pacs.archive import open_archive
from ctreasoner.pacs.transfer import Patience, pull, push
from dicom_series import hounsfield, jpeg_lossless, save, series
from orthanc import Orthanc, free_port
from pydicom.uid import generate_uid
from test_dicomweb import AT_ONCE, files_of, run

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


@pytest.fixture
def archive(orthanc):
    return open_archive(Address.parse(orthanc.dicom), Access())


def test_somebody_answers(archive):
    archive.echo()


def test_a_study_is_pushed_listed_and_pulled(archive, orthanc, study, tmp_path, capsys):
    folder, uid = study
    assert run("push", folder, orthanc.dicom) == 0
    assert capsys.readouterr().out.startswith("8 objects stored")
    listed = {row.uid: row for row in archive.studies(patient_id="P1")}
    assert (listed[uid].patient_name, listed[uid].images) == ("Žofia^Ωmega", 8)
    assert [(s.number, s.modality, s.images) for s in archive.series(uid)] == [("3", "CT", 8)]
    assert run("pull", orthanc.dicom, "--study", uid, "--out", tmp_path / "out") == 0
    before, after = files_of(folder), files_of(tmp_path / "out")
    assert before.keys() == after.keys() and all(before[k] == after[k] for k in before)
    assert read_series(tmp_path / "out").volume.identity == read_series(folder).volume.identity


def test_a_study_pushed_twice_is_there_once_and_what_is_here_is_not_fetched_again(archive, study, tmp_path):
    folder, uid = study
    assert push(archive, folder).stored == 8
    assert push(archive, folder).already == 8 and len(archive.objects(uid)) == 8
    pull(archive, uid, tmp_path / "out")
    next((tmp_path / "out").rglob("*.dcm")).unlink()
    got = pull(archive, uid, tmp_path / "out")
    assert (got.fetched, got.already) == (1, 7)


def test_a_compressed_series_comes_back_as_it_was(archive, tmp_path):
    hu = hounsfield((48, 40, 3)) // 2 * 2
    slices = series(hu)
    study, number = generate_uid(), generate_uid()
    for ds in slices:
        ds.StudyInstanceUID, ds.SeriesInstanceUID = study, number
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    push(archive, save(jpeg_lossless(slices), tmp_path / "ct"))
    pull(archive, study, tmp_path / "out")
    np.testing.assert_array_equal(read_series(tmp_path / "out").volume.voxels, hu)


def test_a_connection_that_is_lost_is_made_again(archive, study, tmp_path, monkeypatch):
    from pynetdicom.association import Association

    folder, uid = study
    send, count = Association.send_c_store, 0

    def lossy(self, *arguments, **options):
        nonlocal count
        count += 1
        if count in (3, 6):
            self.abort()
        return send(self, *arguments, **options)

    monkeypatch.setattr(Association, "send_c_store", lossy)
    assert push(archive, folder, patience=AT_ONCE).stored == 8
    assert count > 8 and len(archive.objects(uid)) == 8


# pynetdicom leaves the socket of a connection that was refused to the garbage collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_server_that_is_down_is_one_sentence(study, capsys):
    folder, _ = study
    down = open_archive(Address.parse(f"dicom://ANY@127.0.0.1:{free_port()}"), Access())
    with pytest.raises(NetworkError, match="cannot be reached") as caught:
        push(down, folder, patience=Patience(tries=1))
    assert caught.value.code == "CTR-NET-010"


def test_an_object_that_the_server_does_not_take_is_not_called_stored(archive, study, monkeypatch):
    from pynetdicom.association import Association

    folder, _ = study
    send = Association.send_c_store

    def refusing(self, dataset, *arguments, **options):
        if dataset.InstanceNumber == 5:
            raise ValueError("no presentation context")
        return send(self, dataset, *arguments, **options)

    monkeypatch.setattr(Association, "send_c_store", refusing)
    with pytest.raises(NetworkError, match=r"1 of 8 objects are not on the server .* does not take CT Image Storage") as caught:
        push(archive, folder, patience=AT_ONCE)
    assert caught.value.code == "CTR-NET-020"


# --- over TLS --------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Certificates of an authority: the server's, ours, and one of another authority."""
    folder, authority, other = tmp_path_factory.mktemp("keys"), trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    other.cert_pem.write_to_path(folder / "other-ca.pem")
    for name, issuer in (("server", authority), ("ours", authority), ("foreign", other)):
        made = issuer.issue_cert("127.0.0.1")
        made.private_key_and_cert_chain_pem.write_to_path(folder / f"{name}.pem")
        made.private_key_pem.write_to_path(folder / f"{name}.key")
    return folder


@pytest.fixture(scope="module")
def secure(keys, tmp_path_factory):
    """An Orthanc that speaks DIMSE over TLS alone, with those whose certificate its authority signed."""
    server = Orthanc(tmp_path_factory.mktemp("secure"), {
        "DicomTlsEnabled": True, "DicomTlsCertificate": str(keys / "server.pem"), "DicomTlsPrivateKey": str(keys / "server.key"),
        "DicomTlsTrustedCertificates": str(keys / "ca.pem")}).start()
    yield server.dicom.replace("dicom://", "dicoms://")
    server.stop()


def over_tls(address, keys, ca="ca.pem", certificate="ours.pem"):
    return open_archive(Address.parse(address), Access.read(ca=keys / ca, certificate=certificate and keys / certificate))


def test_a_study_travels_over_tls_when_both_sides_know_each_other(secure, keys, study, tmp_path):
    folder, uid = study
    archive = over_tls(secure, keys)
    assert push(archive, folder).stored == 8
    pull(archive, uid, tmp_path / "out")
    assert read_series(tmp_path / "out").volume.identity == read_series(folder).volume.identity
    assert run("pull", secure, "--ca", keys / "ca.pem", "--cert", keys / "ours.pem") == 0


# pynetdicom leaves the socket of a connection that was refused to the garbage collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("ca", "certificate", "what"), [
    ("other-ca.pem", "ours.pem", "certificate of the server .* is not trusted"),
    ("ca.pem", "foreign.pem", "does not agree to an encrypted connection"),
    ("ca.pem", None, "does not agree to an encrypted connection")])
def test_who_is_not_known_is_told_why(secure, keys, study, ca, certificate, what):
    with pytest.raises(NetworkError, match=what) as caught:
        push(over_tls(secure, keys, ca, certificate), study[0], patience=Patience(tries=1))
    assert caught.value.code == ("CTR-NET-014" if ca == "other-ca.pem" else "CTR-NET-021")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_port_that_is_not_encrypted_is_told_from_one_that_is(orthanc, keys, study):
    with pytest.raises(NetworkError, match="does not agree to an encrypted connection"):
        push(over_tls(orthanc.dicom.replace("dicom://", "dicoms://"), keys), study[0], patience=Patience(tries=1))


def test_a_file_without_key_is_refused_before_anything_is_sent(keys):
    with pytest.raises(UsageError, match=r"'ca.pem' does not hold a certificate and its private key"):
        over_tls("dicoms://ANY@127.0.0.1:1", keys, certificate="ca.pem")


def test_the_verb_says_what_is_wrong_with_an_address(study, capsys):
    folder, _ = study
    assert run("push", folder, "dicom://127.0.0.1:104") == 2
    assert "is no address of a DICOMweb or DICOM server" in capsys.readouterr().err
