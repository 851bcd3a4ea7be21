"""The error tree: exit codes, codes and hints travel."""

from __future__ import annotations

import pickle

import pytest
from ctreasoner import errors


@pytest.mark.parametrize(("kind", "exit_code"), [
    (errors.UsageError, 2), (errors.InputError, 3), (errors.GeometryError, 3), (errors.NotACTError, 3),
    (errors.ModelError, 4), (errors.ResourceError, 5), (errors.NetworkError, 6), (errors.Interrupted, 130)])
def test_each_kind_has_its_exit_code(kind, exit_code):
    error = kind("One sentence.", code="CTR-X-001", hint="Do this.")
    assert (kind.exit_code, str(error), error.code, error.hint) == (exit_code, "One sentence.", "CTR-X-001", "Do this.")
    assert isinstance(error, errors.CTReasonerError)


def test_an_error_without_a_code_gets_the_one_of_its_kind():
    assert errors.GeometryError("x").code == "CTR-GEO-000"
    assert issubclass(errors.GeometryError, errors.InputError)
    assert issubclass(errors.NotACTError, errors.InputError)


def test_errors_survive_a_trip_between_processes():
    error = pickle.loads(pickle.dumps(errors.NotACTError("No HU.", code="CTR-IO-101", hint="Rescale.")))
    assert (type(error), str(error), error.code, error.hint) == (errors.NotACTError, "No HU.", "CTR-IO-101", "Rescale.")
