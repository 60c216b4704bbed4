"""Over https: a certificate that does not hold, and ways out of the encryption, are refused."""

import shutil
import ssl
import subprocess

import pytest
from prompt.server import good, send, serving

from steppe.prompt import ChatError, HTTPClient, Message

KEY = "sk-very-secret-0123456789"
ASK = [Message("user", "Three colours, please.")]
ONE = send(200, good("red"))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A certificate for 127.0.0.1 that is signed by itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("no program openssl that could make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -batch"
    names = ["-subj", "/CN=steppe", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", *words.split(), *names, "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


@pytest.fixture
def tls(files, monkeypatch):
    monkeypatch.setenv("THE_KEY", KEY)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    return context


@pytest.fixture
def trusted(files, monkeypatch):
    """The certificate is among those that this machine trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))


def client(url):
    return HTTPClient(url, "tiny", key="THE_KEY", sleep=lambda seconds: None)


def refusal(url, words):
    with pytest.raises(ChatError, match=words) as found:
        client(url).complete(ASK)
    assert KEY not in str(found.value) and "\n" not in str(found.value)


def test_a_certificate_that_is_trusted_holds(tls, trusted):
    with serving(ONE, tls=tls) as server:
        assert client(server.url).complete(ASK).texts == ("red",)
    assert server.url.startswith("https:") and len(server.asked) == 1
    assert server.asked[0][1]["Authorization"] == f"Bearer {KEY}"


def test_a_certificate_that_nobody_signed_is_refused(tls):
    with serving(ONE, tls=tls) as server:
        refusal(server.url, r"its certificate is not valid for this host; ")
    assert not server.asked


def test_a_certificate_of_another_host_is_refused(tls, trusted):
    with serving(ONE, tls=tls) as server:
        refusal(server.url.replace("127.0.0.1", "localhost"), "its certificate is not valid")
    assert not server.asked


def test_a_redirect_out_of_the_encryption_is_not_followed(tls, trusted):
    with serving(ONE) as plain:
        away = send(307, Location=f"{plain.url}/v1/chat/completions")
        with serving(away, tls=tls) as server:
            refusal(server.url, "sends us on to another address, which is not followed")
            # The same host and port, without encryption.
            server.acts[:] = [send(308, Location=server.url.replace("https:", "http:"))]
            refusal(server.url, "sends us on to another address, which is not followed")
    assert len(server.asked) == 2 and not plain.asked


def test_a_server_without_encryption_is_none_for_https(tls, trusted):
    with serving(ONE) as server:
        refusal(server.url.replace("http:", "https:"), r"the connection broke \(\w+\), 5 times")
    assert not server.asked
