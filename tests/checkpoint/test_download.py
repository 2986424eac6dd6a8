"""Downloads, from a server on this machine that cuts, lies, waits and changes its mind."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ppls.checkpoint import download as module
from ppls.checkpoint.download import download
from ppls.errors import CheckpointError
from tests.server import Server, beside, serving


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(module, "_PAUSE", 0.0)
    monkeypatch.setattr(module, "_TIMEOUT", 5.0)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving() as found:
        yield found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "model.pdparams"


def test_a_file_comes_whole_with_its_size_and_digest_beside_it_and_but_once(server: Server, path: Path) -> None:
    seen: list[tuple[int, int]] = []
    digest = download(server.address, path, lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == server.content
    assert digest == hashlib.sha256(server.content).hexdigest()
    recorded = json.loads(path.with_name("model.pdparams.json").read_text())
    assert recorded["sha256"] == digest
    assert (recorded["size"], recorded["address"]) == (len(server.content), server.address)
    assert seen[-1] == (len(server.content), len(server.content))
    assert download(server.address, path) == digest
    assert server.asked == [None]
    assert "model.pdparams.partial.json" not in beside(path)


def test_what_is_cut_goes_on_where_it_was(server: Server, path: Path) -> None:
    server.cuts = [3000, 2000]
    download(server.address, path)
    assert server.asked == [None, "bytes=3000-", "bytes=5000-"]
    assert path.read_bytes() == server.content


def test_the_next_run_goes_on_where_one_gave_up(server: Server, path: Path) -> None:
    server.cuts = [4000, *[0] * 10]
    with pytest.raises(CheckpointError, match=r"cut after 4,000 of 10,240 bytes \(4,000 bytes are kept, .* goes on"):
        download(server.address, path)
    assert not path.exists()
    server.cuts = []
    server.asked.clear()
    download(server.address, path)
    assert server.asked == ["bytes=4000-"]
    assert path.read_bytes() == server.content


@pytest.mark.parametrize("ranges", [True, False])
def test_a_file_that_changed_in_between_is_taken_from_its_start(server: Server, path: Path, ranges: bool) -> None:
    server.cuts = [4000]
    server.ranges = ranges

    def change() -> None:
        if len(server.asked) == 2:
            server.content, server.etag = b"other" * 2048, '"two"'  # of the same size

    server.before = change
    download(server.address, path)
    assert path.read_bytes() == b"other" * 2048


def test_a_server_that_does_not_call_its_version_anything_is_asked_for_the_whole_again(
    server: Server, path: Path
) -> None:
    server.cuts, server.etag = [4000], None
    download(server.address, path)
    assert server.asked == [None, None]
    assert path.read_bytes() == server.content


def test_a_part_that_is_not_the_one_asked_for_is_refused(server: Server, path: Path) -> None:
    server.cuts = [4000]
    server.before = lambda: server.headers.update({"Content-Range": "bytes 17-10239/10240"})
    with pytest.raises(CheckpointError, match="gives another part of the file than it was asked for"):
        download(server.address, path)
    assert not path.exists()


def test_a_partial_file_longer_than_the_whole_is_thrown_away(server: Server, path: Path) -> None:
    path.parent.mkdir()
    path.with_name("model.pdparams.partial").write_bytes(b"x" * 20_000)
    state = {"address": server.address, "size": 30_000, "version": '"one"'}
    path.with_name("model.pdparams.partial.json").write_text(json.dumps(state))
    server.answers = [416]
    download(server.address, path)
    assert path.read_bytes() == server.content


@pytest.mark.parametrize("text", ["", "[", '{"size": "x"}', '{"address": 1, "size": 2}', "\x00"])
def test_a_damaged_state_of_a_partial_file_is_none(server: Server, path: Path, text: str) -> None:
    path.parent.mkdir()
    path.with_name("model.pdparams.partial").write_bytes(b"x" * 20)
    path.with_name("model.pdparams.partial.json").write_text(text)
    download(server.address, path)
    assert path.read_bytes() == server.content


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"Content-Length": None}, "does not say how large it is, so that it may have no end"),
        ({"Content-Length": "-5"}, "does not say how large it is"),
        ({"Content-Length": "0"}, "has 0 bytes"),
        ({"Content-Length": "99999999999999"}, "has 99,999,999,999,999 bytes; no weight file has"),
        ({"Content-Type": "text/html; charset=utf-8"}, "is answered with a web page"),
        ({"Content-Encoding": "gzip"}, "comes encoded"),
    ],
)
def test_what_a_weight_file_is_not_is_refused_at_once(
    server: Server, path: Path, headers: dict[str, str | None], why: str
) -> None:
    server.headers = headers
    with pytest.raises(CheckpointError, match=why):
        download(server.address, path)
    assert not path.exists()


def test_a_size_that_is_announced_too_large_is_no_whole_file(server: Server, path: Path) -> None:
    server.headers = {"Content-Length": str(len(server.content) + 1)}
    server.ranges = False
    with pytest.raises(CheckpointError, match=r"cut after 10,240 of 10,241 bytes"):
        download(server.address, path)
    assert not path.exists()


def test_no_more_is_taken_than_was_announced(server: Server, path: Path) -> None:
    server.headers = {"Content-Length": "1000"}
    download(server.address, path)
    assert path.read_bytes() == server.content[:1000]


@pytest.mark.parametrize(("status", "times"), [(404, 1), (403, 1), (503, 5)])
def test_a_server_without_the_file_is_named_with_the_address_to_fetch_by_hand(
    server: Server, path: Path, status: int, times: int
) -> None:
    server.answers = [status] * 9
    with pytest.raises(CheckpointError, match=rf"the server answers {status} .*fetch {server.address} by hand"):
        download(server.address, path)
    assert len(server.asked) == times
    assert beside(path) == set()


def test_a_server_that_is_busy_is_asked_again(server: Server, path: Path) -> None:
    server.answers = [503, 429]
    download(server.address, path)
    assert path.read_bytes() == server.content


def test_without_a_network_the_address_is_in_the_message(path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}/model.pdparams"
        with pytest.raises(CheckpointError, match=rf"refused; without a network, fetch {address} by hand and give"):
            download(address, path)


def test_a_server_that_falls_silent_is_given_up(server: Server, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TIMEOUT", 0.05)
    monkeypatch.setattr(module, "_ATTEMPTS", 1)
    server.pause = 0.3
    with pytest.raises(CheckpointError, match="timed out"):
        download(server.address, path)


def test_a_slow_server_is_waited_for_and_one_that_drips_is_not(
    server: Server, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.pause = 0.01
    monkeypatch.setattr(module, "_WINDOW", 0.03)
    monkeypatch.setattr(module, "_LEAST_IN_WINDOW", 1)
    download(server.address, path)
    path.unlink()
    monkeypatch.setattr(module, "_LEAST_IN_WINDOW", 9000)
    monkeypatch.setattr(module, "_ATTEMPTS", 1)
    server.ranges = False
    with pytest.raises(CheckpointError, match=r"only [\d,]+ bytes came in 0 seconds"):
        download(server.address, path)


def test_a_redirection_is_followed_but_not_to_a_file_nor_without_end(server: Server, path: Path) -> None:
    with serving() as other:
        other.content = b"elsewhere"
        server.leads_to = other.address
        download(server.address, path)
        assert path.read_bytes() == b"elsewhere"
    for server.leads_to in ("file:///etc/passwd", "ftp://127.0.0.1/x"):
        with pytest.raises(CheckpointError, match=r"is not (followed|allowed)"):
            download(server.address, path.with_name("a.pdparams"))
    server.leads_to = server.address
    with pytest.raises(CheckpointError, match="the server answers 302"):
        download(server.address, path.with_name("a.pdparams"))


def test_from_https_nothing_leads_to_http() -> None:
    import urllib.request

    request = urllib.request.Request("https://example.org/x")
    with pytest.raises(CheckpointError, match="which is not followed"):
        module._Redirects().redirect_request(request, None, 302, "", {}, "http://example.org/x")


def test_a_file_that_changed_since_is_refused(server: Server, path: Path) -> None:
    download(server.address, path)
    path.write_bytes(b"others'")
    with pytest.raises(CheckpointError, match=r"has changed since it was downloaded: its SHA-256 is .*; remove it"):
        download(server.address, path)


def test_a_server_whose_file_changed_since_is_refused(server: Server, path: Path) -> None:
    download(server.address, path)
    path.unlink()
    server.content = b"others'"
    with pytest.raises(CheckpointError, match=r"has changed since it was downloaded first: .* remove that file"):
        download(server.address, path)
    assert not path.exists()
    path.with_name("model.pdparams.json").unlink()
    download(server.address, path)
    assert path.read_bytes() == b"others'"


def test_a_damaged_record_is_refused(server: Server, path: Path) -> None:
    download(server.address, path)
    path.with_name("model.pdparams.json").write_text('{"address": 5}')
    with pytest.raises(CheckpointError, match=r"model.pdparams.json: the record of a download is damaged"):
        download(server.address, path)


def test_what_somebody_put_there_is_taken_and_recorded(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"by hand")
    digest = download("http://127.0.0.1:9/model.pdparams", path)
    assert json.loads(path.with_name("model.pdparams.json").read_text())["sha256"] == digest


def test_two_at_once_download_it_once(server: Server, path: Path) -> None:
    server.pause = 0.01
    threads = [threading.Thread(target=download, args=(server.address, path)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.asked == [None]
    assert path.read_bytes() == server.content


def test_a_link_in_the_place_of_the_partial_file_is_not_followed(server: Server, path: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept")
    path.parent.mkdir()
    path.with_name("model.pdparams.partial").symlink_to(tmp_path / "precious")
    with pytest.raises(CheckpointError, match="cannot be downloaded to"):
        download(server.address, path)
    assert (tmp_path / "precious").read_text() == "kept"


def test_a_folder_that_cannot_be_made_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(CheckpointError, match="cache: cannot be downloaded to"):
        download(server.address, tmp_path / "cache" / "model.pdparams")
