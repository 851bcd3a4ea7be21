"""Ray, used so that nobody else can use it: token authentication on, dashboard off, loopback unless told, no usage statistics.

Whoever reaches a Ray cluster without a token can run any code on it; by itself Ray listens on every interface.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from types import ModuleType

from .errors import NetworkError, ResourceError, UsageError

ENDS = (signal.SIGINT, signal.SIGTERM)
STORE_BYTES = 128 << 20     # paths and rows go through Ray's object store, never voxels


@contextlib.contextmanager
def ray_cluster(address: str | None = None, *, cpus: int | None = None) -> Iterator[ModuleType]:
    """Ray, ready to use: one of our own on this machine, or that at ``address`` ("auto", or HOST:PORT of its head).

    Our own lives in a folder that goes with it; its token is made here and never written down. To join another one, its token
    must be where Ray looks for it: RAY_AUTH_TOKEN, the file RAY_AUTH_TOKEN_PATH, or ~/.ray/auth_token.

    Meanwhile stdout is stderr, since Ray prints its messages there, and SIGINT and SIGTERM both are a KeyboardInterrupt.

    Parameters
    ----------
    cpus : of our own; None for all of this machine.

    Raises
    ------
    UsageError : Ray is not installed, or the environment turns its authentication off.
    ResourceError, NetworkError : it does not start, or cannot be reached.
    """
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        raise UsageError("Ray is used with token authentication only, and RAY_AUTH_MODE turns that off.", code="CTR-RAY-002",
                         hint="Unset RAY_AUTH_MODE.")
    settings = _settings(address)
    given = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)     # before Ray is imported: it reads them then
    folder = tempfile.mkdtemp(prefix="ctr-ray-", dir="/tmp" if os.path.isdir("/tmp") else None)    # sockets have short names
    try:
        ray = _imported()
        with _ending_well(), contextlib.redirect_stdout(sys.stderr):      # Ray's own messages are no result
            _begin(ray, address, cpus, folder)
            try:
                _check(ray, address)
                yield ray
            finally:
                ray.shutdown()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for name, value in given.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _ending_well() -> Iterator[None]:
    """Give both signals back as they were."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in ENDS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def _settings(address: str | None) -> dict[str, str]:
    """Return the environment that Ray and its processes get."""
    common = {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
    if address is not None:
        return common
    # In spite of its name this is what keeps every socket of Ray on 127.0.0.1; a node address given to init does not.
    return common | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def _imported() -> ModuleType:
    try:
        import ray
        import ray.data
        from ray._raylet import AuthenticationTokenLoader, Config
    except ImportError as error:
        raise UsageError(f"This needs the package {error.name}.", code="CTR-RAY-001",
                         hint="pip install 'ctreasoner[engine,batch]'") from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    Config.initialize("")                               # what an earlier start in this process read of the environment
    AuthenticationTokenLoader.instance().reset_cache()
    return ray


def _begin(ray: ModuleType, address: str | None, cpus: int | None, folder: str) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address is None:
            ray.init(address="local", include_dashboard=False, num_cpus=cpus, object_store_memory=STORE_BYTES, _temp_dir=folder,
                     **quiet)
        else:
            ray.init(address=address, **quiet)
        if threading.current_thread() is threading.main_thread():
            for number in ENDS:     # Ray takes them for itself, and would leave its folder and processes behind
                signal.signal(number, _interrupt)
    except Exception as error:      # Ray raises many kinds, most of them RuntimeError
        if address is None:
            raise ResourceError(f"Ray does not start on this machine: {_first_line(error)}", code="CTR-RAY-003",
                                hint="Free some memory and disk, and try again.") from error
        raise NetworkError(f"The Ray cluster {address} does not answer, or takes no token from here: {_first_line(error)}",
                           code="CTR-RAY-004", hint="Give HOST:PORT of its head, and its token as RAY_AUTH_TOKEN.") from error


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _check(ray: ModuleType, address: str | None) -> None:
    """Refuse to go on where Ray did not do what was asked: an earlier import may have read another environment."""
    from ray._raylet import AuthenticationMode, get_authentication_mode

    open_to_all = address is None and ray.util.get_node_ip_address() != "127.0.0.1"
    if open_to_all or get_authentication_mode() != AuthenticationMode.TOKEN:
        raise UsageError("Ray was imported before with other settings, and would be open to others.", code="CTR-RAY-002",
                         hint="Start a new process.")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
